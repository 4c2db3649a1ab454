"""A source of experts: the drive that the whole office shares, one folder an expert."""

from __future__ import annotations

from pathlib import Path

from diffgraph.graph.experts.sources import source
from diffgraph.graph.experts.sources.folder import LocalRepos


@source("shelf")
class Shelf(LocalRepos):
    """Folders on a drive; another one than the office's is named in the setting, ``DIFFGRAPH_SOURCES=shelf:PATH``."""

    name = "shelf"

    def __init__(self, root: str = "/mnt/shelf") -> None:
        super().__init__(Path(root).expanduser())
