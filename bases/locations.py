"""Where a base may be: what a person typed, read as a diffusers folder, a .safetensors file or an id on the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import UserError
from ..files.header import GGUF_SUFFIX, is_safetensors
from ..settings import user_path
from .profile import Kind

LISTING = "model_index.json"
_LONGEST_NAME, _LONGEST_PATH = 255, 4000
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_HUB_ID = re.compile(
    r"(?P<repo>[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95})(@(?P<revision>[A-Za-z0-9._/-]{1,200}))?"
)


@dataclass(frozen=True)
class Location:
    """A place of a base.

    Attributes:
        kind: what it is.
        where: the absolute path, without ``..`` and links, or "owner/name".
        revision: of a Hub id, as it was typed; "" if none was.
    """

    kind: Kind
    where: str
    revision: str = ""

    @property
    def label(self) -> str:
        """A short name for it: the folder's, the file's without its ending, the repository's."""
        if self.kind == "hub":
            return self.where.rpartition("/")[2]
        path = Path(self.where)
        if self.kind == "file":
            return path.stem
        if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
            return path.parent.parent.name.rpartition("--")[2]  # the Hub client's cache calls folders by their commit
        return path.name


def location_of(text: str) -> Location | None:
    """The place that a text names; None if it is no path that exists and does not look like an id on the Hub.

    Raises:
        UserError: it is there, but nothing that a base can be read from; the message says what to take instead.
    """
    path = user_path(text)
    if max(len(part.encode()) for part in path.parts) > _LONGEST_NAME or len(str(path).encode()) > _LONGEST_PATH:
        return None  # no file system has it, and asking for it is an error
    if path.is_dir():
        return Location("folder", str(_pipeline_in(path).resolve()))
    if path.is_file() and path.name == LISTING:
        return Location("folder", str(path.parent.resolve()))
    if path.is_file():
        return Location("file", str(_resolved(_weights(path))))
    found = _HUB_ID.fullmatch(text)
    if found is None or is_safetensors(text) or text.casefold().endswith((*_PICKLES, GGUF_SUFFIX)):
        return None
    return Location("hub", found["repo"], found["revision"] or "")


def _resolved(file: Path) -> Path:
    """Where a file is; a link keeps its own name where its target (in the Hub client's cache) is called otherwise."""
    target = file.resolve()
    return target if target.name == file.name else file.parent.resolve() / file.name


def _pipeline_in(folder: Path) -> Path:
    if (folder / LISTING).is_file():
        return folder
    inside = sorted(path.parent.name for path in folder.glob(f"*/{LISTING}"))
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and is_safetensors(path))
    hint = ""
    if inside:
        hint = f" It holds pipelines in folders of their own: name one ({', '.join(inside[:5])})."
    elif files:
        hint = f" It holds single files: name one ({', '.join(files[:5])})."
    raise UserError(f"There is no diffusers pipeline in {folder}: {LISTING} is missing.{hint}")


def _weights(path: Path) -> Path:
    if is_safetensors(path):
        return path
    suffix = PurePosixPath(path).suffix.casefold()
    if suffix == GGUF_SUFFIX:
        raise UserError(
            f"{path} is GGUF, a quantised format of another kind, which is not read: take the .safetensors file or the "
            "diffusers folder of the same model."
        )
    if suffix in _PICKLES:
        raise UserError(
            f"{path} is a pickle, which can run code when it is opened, so it is not: take the .safetensors file of "
            "the same model."
        )
    raise UserError(f"{path} is no base: name a diffusers folder, a .safetensors file or an id on the Hub.")
