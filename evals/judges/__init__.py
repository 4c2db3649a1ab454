"""Judges: what tells right from wrong in an evaluation; registered, found by entry point."""
