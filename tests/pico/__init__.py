"""Pico pipelines: every family that DiffGraph knows, from the real classes, with random weights and the real key names.

A folder of some megabytes each, built in under a second (`pipelines`), and LoRAs for each in the layouts of trainers,
as repositories with cards (`experts`). Tests take them from the session fixture ``pico`` of ``tests/conftest.py``.
"""
