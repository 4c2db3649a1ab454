"""What was measured of an expert, and on which reference prompts."""
