"""Models that score images, by folder or Hub id: where their files are, what they are by content, how they are read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..bases import hub
from ..errors import UserError
from ..files.hashing import file_sha256
from ..settings import user_path

_DECIDES = (".safetensors", ".json", ".txt", ".model")
_ON_HUB = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_NOT_READ = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)
"""What transformers raises for a folder that holds no such model, or a damaged one."""


def folder(said: str, what: str, example: str) -> Path:
    """The folder that a setting names: a path, or an id on the Hub, whose files are fetched unless they are here.

    Args:
        said: PATH_OR_ID as somebody typed it; an id may end in ``@REVISION``.
        what: what is named, for messages ("clip_score").
        example: a model that would do.

    Raises:
        UserError: nothing is said, or there is no such folder or repository.
        ExternalError: the Hub fails.
    """
    said = said.strip()
    if not said:
        raise UserError(f"Say which model {what} is to use, a folder or an id on the Hub: {what}:{example}")
    path = user_path(said)
    if path.is_dir():
        return path
    found = _ON_HUB.fullmatch(said)
    if found is None or path.exists():
        raise UserError(f"{said[:200]} is no folder with a model. Name one, or an id on the Hub: {what}:{example}")
    return hub.model(found["repo"], found["revision"] or "")


def identity(where: Path) -> str:
    """Hash of the folder's weights and of all that decides how they are used. Raises UserError if there are none."""
    files = sorted(path for path in where.glob("*") if path.suffix in _DECIDES and path.is_file())
    if not any(path.suffix == ".safetensors" for path in files):
        raise UserError(f"{where} holds no model: there is no .safetensors file in it.")
    return hashlib.sha256("".join(f"{p.name}\n{file_sha256(p)}\n" for p in files).encode()).hexdigest()


@contextmanager
def reading(where: Path, kind: str) -> Iterator[None]:
    """Turn what transformers raises for a folder into one sentence; ``kind`` says what it should hold."""
    try:
        yield
    except _NOT_READ as error:
        raise UserError(
            f"{where} cannot be read as {kind}: {' '.join(str(error).split())[:300]}. It must be a folder as "
            "transformers' save_pretrained writes it, weights (.safetensors) and processor both."
        ) from error


def loaded(auto: Any, where: Path, device: str) -> Any:
    """A model of a transformers class from a folder, in float32, ready to be asked. No code of the folder runs.

    Raises:
        UserError: the folder lacks weights of it, which transformers would fill with numbers drawn by lot.
    """
    import torch

    with quietly():
        found, told = auto.from_pretrained(
            where, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    whole(where, [key for key in told["missing_keys"] if "pooler" not in key])  # nothing here asks a pooler
    return found.eval().to(device)


def whole(where: Path, missing: Iterable[str]) -> None:
    """Raises UserError if weights are missing from a model's folder."""
    if lacking := sorted(missing):
        raise UserError(
            f"{where} lacks {len(lacking)} of the model's weights ({lacking[0][:100]}, …), so what it says would mean "
            "nothing. Get the whole model."
        )


@contextmanager
def quietly() -> Iterator[None]:
    """Without the bars that transformers draws on the terminal."""
    from transformers.utils import logging

    shows = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shows:
            logging.enable_progress_bar()


def image_processor(where: Path) -> Any:
    """How the model wants its images. By PIL on every machine: another way of resizing gives other numbers."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(where, backend="pil", local_files_only=True, trust_remote_code=False)


def device() -> str:
    """Where metrics run: the GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
