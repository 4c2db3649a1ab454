"""The `diffgraph` command: one module a group of commands."""
