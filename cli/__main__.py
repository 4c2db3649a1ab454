"""``python -m diffgraph.cli``: the same as the console script."""

from .main import main

main()
