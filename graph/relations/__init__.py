"""Edges between experts."""
