"""Plans merged into weights: the live pipeline, streaming to a file, the arithmetic, the GPU."""
