"""Evaluations: suites of prompts, the arms that answer them, judges of what they show, and benches."""
