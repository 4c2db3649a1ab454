"""Where the parts come from that a single file lacks: what is named, what is known, what lies beside it, the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import DiffGraphError, ExternalError, UserError
from ..files.header import read_header
from . import hub, known
from .architecture import family_of_header
from .key import denoiser_files
from .locations import LISTING, location_of
from .single_file import Contents, NotThese, convert

_MOST = 12
"""Folders that are tried; one of another size of the same architecture does not fit."""
_FIT = (
    "say --parts (or DIFFGRAPH_BASE_PARTS) with a diffusers folder or a Hub id of the same architecture, or make one "
    "known with `diffgraph base add`"
)


def assemble(
    file: Path, found: Contents, home: Path, out: Path, given: str, tell: Callable[[str], None]
) -> tuple[str, tuple[str, ...]]:
    """Write a file as a diffusers folder with the first parts that fit.

    Args:
        file: a .safetensors file.
        found: what it holds.
        home: DiffGraph's home, whose known bases may give parts.
        out: the folder to write.
        given: parts that are named: a known base, a diffusers folder, or an id on the Hub; "" looks around.
        tell: told what takes long.

    Returns:
        The parts' folder, and the components whose weights came from there.

    Raises:
        UserError: no parts fit; the message says what is missing and what to name.
    """
    reasons: list[str] = []
    for folder in [_given(given, home, tell)] if given else _around(file, found, home, reasons, tell):
        tell(f"converting {file.name} ({file.stat().st_size / 1e9:.2f} GB) once, with the parts in {folder}")
        try:
            return str(folder), convert(file, found, folder, out)
        except NotThese as error:
            reasons.append(str(error))
    kind = found.architecture or "no architecture that is known"
    why = f" {'; '.join(dict.fromkeys(reasons))}." if reasons else ""
    if given:
        raise UserError(f"{file} cannot be read with the parts in {given}:{why} Take parts of the same architecture.")
    raise UserError(
        f"{file} ({kind}) needs configs and tokenizers, and perhaps text encoders and a VAE, that nothing here has:"
        f"{why or ' no diffusers folder of its architecture is known.'} To go on, {_FIT}{_example(found)}."
    )


def _given(text: str, home: Path, tell: Callable[[str], None]) -> Path:
    """The folder of parts that are named."""
    if (entry := known.read(home).get(text)) is not None:
        return Path(entry.folder)
    location = location_of(text)
    if location is None or location.kind == "file":
        raise UserError(
            f"There are no parts in {text[:200]!r}: name a diffusers folder, a known base or an id on the Hub."
        )
    if location.kind == "folder":
        return Path(location.where)
    fetched = hub.fetch(location.where, location.revision, tell)
    if fetched.file is not None:
        raise UserError(f"{text} is a single file too: name a diffusers folder.")
    return fetched.folder


def _around(file: Path, found: Contents, home: Path, reasons: list[str], tell: Callable[[str], None]) -> Iterator[Path]:
    """Diffusers folders of the file's architecture: known, beside it, in the Hub's cache, and configs from the Hub."""
    places = [Path(base.folder) for base in known.read(home).bases]
    places += [p.parent for up in (file.parent, file.parent.parent) for p in sorted(up.glob(f"*/{LISTING}"))]
    places += [p.parent for p in sorted(hub.cache_folder().glob(f"models--*/snapshots/*/{LISTING}"))]
    tried = 0
    for folder in dict.fromkeys(places):
        if tried < _MOST and (folder / LISTING).is_file() and _alike(folder, found):
            tried += 1
            yield folder
    if repo := _usual(found):
        try:
            yield hub.configs(repo)
        except (UserError, ExternalError) as error:
            reasons.append(f"{repo}: {error}".rstrip("."))


def _alike(folder: Path, found: Contents) -> bool:
    """Whether a pipeline's denoiser may be of the file's architecture."""
    try:
        shown = next(filter(None, (family_of_header(read_header(f)) for f in denoiser_files(folder))), None)
    except DiffGraphError:
        return False
    return None in (shown, found.architecture) or shown == found.architecture


def _usual(found: Contents) -> str:
    """The repository whose configs diffusers takes for such a file; "" if it knows none."""
    if found.architecture is None:
        return ""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config

    try:
        return str(fetch_diffusers_config(dict(found.header.tensors))["pretrained_model_name_or_path"])
    except (KeyError, IndexError, AttributeError, TypeError, ValueError):
        return ""


def _example(found: Contents) -> str:
    usual = _usual(found)
    return f", e.g. --parts {usual}" if usual else ""
