"""Finds the files of a plan's experts by what is in them: folders first, then the graph, then the plan's own words."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from ..bases.index import DENOISERS
from ..errors import DiffGraphError, UserError
from ..files.hashing import file_sha256, weights_sha256
from ..merging.formats.read import expert_files
from ..settings import user_path

if TYPE_CHECKING:
    from ..merging.plan.merge_plan import PlanExpert
    from .context import Context

MAX_FILES = 10_000


class ExpertFinder:
    """Finds the file of a plan's expert by its sha256, wherever it lies and whatever it is called: a `Locate`.

    Args:
        ctx: its graph knows where registered experts lie, its sources keep their caches.
        folders: looked through first, with everything below them; for single files and for diffusers folders.

    Raises:
        UserError: a folder that is not there.
    """

    def __init__(self, ctx: Context, folders: list[Path]) -> None:
        self._ctx = ctx
        self._folders = [user_path(folder) for folder in folders]
        for typed, folder in zip(folders, self._folders, strict=True):
            if not folder.is_dir():
                raise UserError(f"There is no folder {typed} to look for experts in.")
        self._found: dict[str, Path] = {}

    def __call__(self, spec: PlanExpert) -> Path:
        """The expert's file. Raises UserError that says where to get it, if it is nowhere."""
        if spec.sha256 not in self._found:
            self._found[spec.sha256] = self._in_folders(spec) or self._known(spec)
        return self._found[spec.sha256]

    def _in_folders(self, spec: PlanExpert) -> Path | None:
        for folder in self._folders:
            files = itertools.islice(sorted(folder.rglob("*.safetensors")), MAX_FILES)
            for path in files:
                if file_sha256(path) == spec.sha256:
                    return path
            pipelines = {path.parent for name in DENOISERS for path in folder.rglob(name) if path.is_dir()}
            for path in sorted(pipelines):
                if weights_sha256([header.path for header in expert_files(path)]) == spec.sha256:
                    return path
        return None

    def _known(self, spec: PlanExpert) -> Path:
        registered = self._ctx.store.with_files([spec.sha256])
        reasons = []
        for expert in registered:
            try:
                return self._ctx.fetch(expert.ref, spec.sha256)
            except DiffGraphError as error:
                reasons.append(str(error))
        try:
            return self._ctx.locate(spec)
        except DiffGraphError as error:
            reasons.append(str(error))
            raise UserError(
                f"The file of expert {spec.id} (sha256 {spec.sha256[:12]}…, {spec.ref}) is not here: "
                f"{' '.join(dict.fromkeys(reasons))} Say --experts FOLDER with a folder that holds it, or register its "
                "source with `diffgraph scout`."
            ) from error
