"""The embedded world's hub: experts that ship with DiffGraph."""

from __future__ import annotations

from pathlib import Path

from ..files.hashing import file_sha256
from ..graph.experts.expert import SourceRef
from ..graph.experts.sources import source
from ..graph.experts.sources.folder import LocalRepos
from ..settings import user_path
from . import WorldMissing, manifest, world_dir


@source("world")
class World(LocalRepos):
    """``world/hub``; every weight file is checked against the world's manifest before it is handed out."""

    name = "world"

    def __init__(self, root: Path | str = "") -> None:
        self._world = user_path(root) if str(root) else world_dir()
        super().__init__(self._world / "hub")

    def fetch(self, ref: SourceRef) -> Path:
        path = super().fetch(ref)
        expected = self._manifest().get(path.relative_to(self._world).as_posix())
        if expected is not None and expected != file_sha256(path):
            raise WorldMissing(
                f"{path} does not match the world's manifest: the file is damaged. Install DiffGraph anew."
            )
        return path

    def _manifest(self) -> dict[str, str]:
        return manifest(self._world) if (self._world / "manifest.json").is_file() else {}
