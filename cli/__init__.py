"""The `diffgraph` command: its console, its tables, and what its groups of commands share."""
