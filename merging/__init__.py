"""Plans, what experts do to a base, how they are merged, written out and sampled. Imports no torch by itself."""
