"""Whether a diffusers folder is whole: what its listing names is there and can be read. Headers and JSON files only.

It is looked at whenever a base is named, so that damage is told before weights are hashed or anything is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import BaseMissing, ExpertError, UserError
from ..files.header import read_header
from .index import COMPONENTS, DENOISERS, component_files
from .locations import LISTING

MEND = "Copy or download it whole again."
_MAX_JSON = 4 * 2**20
"""Vocabularies of some tokenizers are longer; those are left to whoever opens them."""
_NOT_LOADED = frozenset({"safety_checker"})
_CONFIGS = ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json")
_NO_VOCABULARY = frozenset({"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"})


def check(folder: Path, mend: str = MEND) -> None:
    """Refuse a pipeline folder that is not whole.

    Args:
        folder: the pipeline's.
        mend: what to do then, as a sentence.

    Raises:
        BaseMissing: a part that its listing names is missing, or a file is damaged; the message names it.
    """
    try:
        wrong = next(_faults(folder), "")
    except OSError as error:
        wrong = f"{error.filename or folder} cannot be read ({error.strerror or error})"
    if wrong:
        raise BaseMissing(f"The base in {folder} is damaged: {wrong}. {mend}")


def is_whole(folder: Path) -> bool:
    """Whether nothing is missing or damaged in a pipeline folder."""
    try:
        check(folder)
    except BaseMissing:
        return False
    return True


def _faults(folder: Path) -> Iterator[str]:
    """What is wrong with a pipeline folder."""
    listing, wrong = _object(folder / LISTING)
    yield from wrong
    yield from _class_faults(folder / LISTING, listing)
    named = {
        key: value
        for key, value in listing.items()
        if isinstance(value, list) and len(value) == 2 and value[0] is not None and key not in _NOT_LOADED
    }
    configured = any((folder / part / "config.json").is_file() for part in named)
    for part in named:
        if Path(part).name != part or not (folder / part).is_dir():
            yield f"{LISTING} names {part[:80]!r}, and the folder {folder / part[:80]} is missing"
        yield from _part_faults(folder / part, configured)
    for part in DENOISERS:
        if part not in named:
            yield from _weight_faults(folder / part)


def _class_faults(path: Path, listing: dict[str, Any]) -> Iterator[str]:
    """Whether diffusers knows the pipeline's class."""
    said = listing.get("_class_name")
    if said is None and listing:
        yield f"{path} does not say its _class_name"
    elif said is not None and not isinstance(said, str):
        yield f"the _class_name in {path} is no name of a pipeline"
    elif said and not _is_known(said):
        yield f"{path} names the pipeline {said[:80]!r}, which the diffusers that is installed here does not know"


def _is_known(name: str) -> bool:
    """Whether diffusers lists a class. Its list is read as text, because importing it takes seconds."""
    found = find_spec("diffusers")
    if found is None or found.origin is None:
        return True
    return name.isidentifier() and f'"{name}"' in Path(found.origin).read_text(encoding="utf-8")


def _part_faults(folder: Path, configured: bool) -> Iterator[str]:
    """What is wrong with a part that the listing names; ``configured``: whether models of this pipeline say their
    shape in a config.json, so that each of them must.
    """
    inside = {path.name for path in folder.iterdir()}
    for name in _CONFIGS:
        if name in inside:
            yield from _object(folder / name)[1]
    if folder.name.startswith("scheduler") and "scheduler_config.json" not in inside:
        yield f"{folder / 'scheduler_config.json'} is missing"
    if folder.name.startswith("tokenizer"):
        if not inside - _NO_VOCABULARY:
            yield f"{folder} holds no vocabulary of a tokenizer"
        if "tokenizer.json" in inside and (folder / "tokenizer.json").stat().st_size <= _MAX_JSON:
            yield from _object(folder / "tokenizer.json")[1]
    if folder.name in COMPONENTS:
        if configured and "config.json" not in inside:
            yield f"{folder / 'config.json'} is missing"
        yield from _weight_faults(folder, needed=True)


def _weight_faults(folder: Path, *, needed: bool = False) -> Iterator[str]:
    """What is wrong with a model's weights, by their headers."""
    try:
        files = component_files(folder)
        for file in files:
            read_header(file)
    except (ExpertError, UserError) as error:
        yield str(error).rstrip(".")
        return
    if needed and not files:
        yield f"the weights of its {folder.name} are missing: there is no .safetensors file in {folder}"


def _object(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The JSON object in a file, and what is wrong with it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, [f"{path} is missing"]
    except (ValueError, RecursionError):
        return {}, [f"{path} cannot be read as JSON"]
    return (found, []) if isinstance(found, dict) else ({}, [f"{path} is not a JSON object"])
