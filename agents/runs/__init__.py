"""Runs: one request from prompt to run folder, its checkpoints, trace and page."""
