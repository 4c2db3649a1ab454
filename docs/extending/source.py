"""A source of experts: the drive that the whole office shares, one folder an expert."""

from __future__ import annotations

import os
from pathlib import Path

from diffgraph.graph.experts.sources import source
from diffgraph.graph.experts.sources.folder import LocalRepos


@source("shelf")
class Shelf(LocalRepos):
    """Folders on the drive that SHELF names."""

    name = "shelf"

    def __init__(self) -> None:
        super().__init__(Path(os.environ.get("SHELF", "/mnt/shelf")))
