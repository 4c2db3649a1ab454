"""What an expert does to a base, weight by weight: canonical deltas and how much two of them overlap."""
