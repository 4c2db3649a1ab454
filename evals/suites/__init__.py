"""Suites as data, and the kinds of suites that say what is done with the data."""
