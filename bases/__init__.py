"""What a base is: its profile, its architecture, the names and shapes of its weights."""
