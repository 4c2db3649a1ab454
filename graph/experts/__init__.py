"""What the graph knows of an expert: the node, its card, its registration, the sources it comes from."""
