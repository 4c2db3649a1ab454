"""The graph on Chroma: opening, reading, writing, JSON lines out and in."""
