"""The merge plan as data, and what can be said of it without weights: differences, pins, check, cost, licence."""
