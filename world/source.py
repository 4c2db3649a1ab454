"""The embedded world's hub: experts that ship with DiffGraph."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import WorldMissing
from ..files.hashing import file_sha256
from ..graph.experts.expert import SourceRef
from ..graph.experts.sources import source
from ..graph.experts.sources.folder import LocalRepos


@source("world")
class World(LocalRepos):
    """``world/hub``; every weight file is checked against the world's manifest before it is handed out."""

    name = "world"

    def __init__(self, root: Path | None = None) -> None:
        if root is None:
            from . import world_dir

            root = world_dir()
        self._world = root
        super().__init__(root / "hub")

    def fetch(self, ref: SourceRef) -> Path:
        path = super().fetch(ref)
        expected = self._manifest().get(path.relative_to(self._world).as_posix())
        if expected is not None and expected != file_sha256(path):
            raise WorldMissing(
                f"{path} does not match the world's manifest: the file is damaged. Install DiffGraph anew."
            )
        return path

    def _manifest(self) -> dict[str, str]:
        try:
            files = json.loads((self._world / "manifest.json").read_text(encoding="utf-8"))["files"]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise WorldMissing(f"{self._world / 'manifest.json'} is damaged. Install DiffGraph anew.") from error
        return {str(k): str(v) for k, v in files.items()}
