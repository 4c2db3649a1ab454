"""Judges: what tells right from wrong in an evaluation."""
