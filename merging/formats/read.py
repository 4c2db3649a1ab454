"""Read an expert's file or folder into canonical deltas against a base. Imports no torch before weights are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...bases.index import COMPONENTS, STEMS, BaseIndex, component_files
from ...errors import ExpertError, UserError
from ...files.header import Header, read_header
from ...files.quantisation import refuse_declared, with_scales
from ..deltas.expert_delta import ExpertDelta
from .detect import detect
from .extras import sentences, without_extras
from .format import Format, TargetInfo, expert_error


def expert_files(path: Path | str) -> tuple[Header, ...]:
    """The headers of an expert given as a file, as a component folder, or as a diffusers folder with ``unet/`` in it.

    Raises:
        ExpertError: nothing there, a folder with several files none of which is the obvious one, or weights that are
            quantised in a way that is not read.
    """
    path = Path(path)
    if not path.is_dir():
        if path.name.startswith(STEMS):
            refuse_declared(path.parent, "the expert")
        return (without_extras(with_scales(read_header(path))),)
    folders = [path / name for name in COMPONENTS if name != "vae" and (path / name).is_dir()]
    try:
        found = [file for folder in (folders or [path]) for file in component_files(folder)]
    except UserError as error:
        raise ExpertError(str(error), path=str(path)) from error
    if not found:
        raise ExpertError(f"{path} holds no safetensors file", path=str(path))
    for folder in {file.parent: None for file in found}:
        refuse_declared(folder, "the expert")
    return tuple(without_extras(with_scales(read_header(file))) for file in found)


def read_expert(path: Path | str, base: BaseIndex, kind: str | None = None) -> ExpertDelta:
    """Read an expert into canonical deltas against ``base``.

    Args:
        path: a ``.safetensors`` file, or a diffusers folder for a full fine-tune.
        base: the base pipeline the expert is read against (names, shapes, and for a checkpoint the weights).
        kind: the kind it should be, as its node in the graph says; None accepts any.

    Raises:
        ExpertError: anything about the file that is not exactly understood; the message names file and keys.
    """
    files = expert_files(path)
    fmt, found = detect(files[0])
    if kind is not None and kind != found:
        raise expert_error(files[0], f"is a {found}, not the {kind} it was said to be")
    infos = fmt.targets(files, base)
    missing = check_shapes(files[0], infos, base)
    deltas = fmt.read(files, base)
    notes = notes_of(fmt, files, base)
    return ExpertDelta(Path(path), fmt.name, found, fmt.rank(files[0]), dict(sorted(deltas.items())), missing, notes)


def notes_of(fmt: Format, files: Sequence[Header], base: BaseIndex) -> tuple[str, ...]:
    """What its user should know of an expert: what is left out of its files, and what its format decided."""
    left_out = [(key, why) for header in files for key, why in header.left_out.items()]
    return (*sentences(left_out), *fmt.notes(files, base))


def check_shapes(header: Header, infos: Mapping[str, TargetInfo], base: BaseIndex) -> tuple[str, ...]:
    """The targets the base lacks. Raises ExpertError for targets it has in another shape (another family's expert)."""
    wrong: list[str] = []
    missing: list[str] = []
    for target, info in sorted(infos.items()):
        shape = base.shape(target)
        if shape is None:
            missing.append(target)
        elif not _fits(shape, info):
            wrong.append(target)
    if wrong:
        info, shape = infos[wrong[0]], base.shape(wrong[0])
        keys = tuple(key for target in wrong for key in infos[target].keys)
        what = (
            f"does not fit this base (another family?): {wrong[0]} is {shape}, its delta {info.rows} x {info.columns}"
        )
        raise expert_error(header, what, keys)
    return tuple(missing)


def _fits(shape: tuple[int, ...], info: TargetInfo) -> bool:
    return bool(shape) and (shape[0], math.prod(shape[1:])) == (info.rows, info.columns)
