"""What Civitai's documents say: which version and file is meant, what is the matter with it, what pictures tell.

Fields are as its API gives them (https://developer.civitai.com); any may be missing, null or of another type.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ....errors import ExpertError
from ....files.header import is_safetensors
from ..expert import MAX_DESCRIPTION
from ..said import Said
from ..sidecars.civitai_info import of_version
from ..words.plain import clean, count, listed, mapping, number, plain
from . import Listing, RepoFile

Document = Mapping[str, Any]
EMPTY_SHA256 = "e3b0c44298fc"
"""Begin of the sum of nothing, under which broken uploads are filed."""
_NO_WEIGHTS = frozenset(("training data", "vae", "config", "archive", "negative", "workflow"))
_OF_MODEL = (
    "name", "type", "nsfw", "nsfwLevel", "poi", "tags", "description",
    "allowNoCredit", "allowCommercialUse", "allowDerivatives", "allowDifferentLicense",
)  # fmt: skip
_SCANS = (("pickle", "pickleScanResult"), ("virus", "virusScanResult"))
_TAME = (1, 2, "None", "Soft", "PG", "PG13")
MOST_EXAMPLES = 16
MOST_WEIGHT = 2.0


def version_of(model: Document, version: str = "", bases: Sequence[str] = ()) -> Document | None:
    """One version of a model with the model inside it: by id, else the newest one (for one of ``bases``)."""
    for one in (mapping(v) for v in listed(model.get("modelVersions"))[:256]):
        wanted = clean(one.get("baseModel"), 60).casefold()
        if not count(one.get("id")) or (version and str(one["id"]) != version):
            continue
        if bases and not version and wanted not in {base.casefold() for base in bases}:
            continue
        inside = {name: model[name] for name in _OF_MODEL if model.get(name) is not None}
        stats = one.get("stats") or model.get("stats")
        return {**one, "model": {**inside, **mapping(one.get("model"))}, "modelId": model.get("id"), "stats": stats}
    return None


def listing_of(model: Document, bases: Sequence[str]) -> Listing | None:
    """A model as a row of a list; None if it is none, or has nothing for one of ``bases``."""
    identity = count(model.get("id"))
    if not identity:
        return None
    version = version_of(model, bases=bases)
    if version is None:
        if bases and listed(model.get("modelVersions")):
            return None
        return Listing(repo=str(identity), stamp="no version", outside="it has no published version")
    tags = [tag.get("name") if isinstance(tag, dict) else tag for tag in listed(model.get("tags"))[:64]]
    return Listing(
        repo=str(identity),
        created=clean(version.get("publishedAt") or version.get("createdAt"), 10),
        tags=tuple(text for text in map(clean, tags) if text),
        downloads=count(mapping(model.get("stats")).get("downloadCount")),
        revision=str(version["id"]),
        stamp=_stamp(version),
    )


def _stamp(version: Document) -> str:
    """Changes when there is reason to look at a version again: another one, published, scanned, no longer paid for."""
    file = weights_file(version) or {}
    parts = [
        version.get("id"),
        version.get("updatedAt"),
        version.get("availability"),
        *(file.get(k) for _, k in _SCANS),
    ]
    return clean("|".join("" if part is None else str(part) for part in parts), 200)


def weights_file(version: Document) -> Document | None:
    """The file of a version that is meant: safetensors before others, the primary one before others."""
    files = [mapping(one) for one in listed(version.get("files"))[:64]]
    files = [f for f in files if clean(f.get("name"), 300) and clean(f.get("type")).casefold() not in _NO_WEIGHTS]
    order = sorted(files, key=lambda f: (not is_safetensors(clean(f.get("name"), 300)), f.get("primary") is not True))
    return order[0] if order else None


def file_name(file: Document) -> str:
    """What a file is called, without any folder."""
    return re.split(r"[/\\]", clean(file.get("name"), 300))[-1].lstrip(".") or "model.safetensors"


def repo_file(file: Document) -> RepoFile:
    """A file as a repository lists it. Civitai counts in kilobytes, so its length is known to the nearest one only."""
    sha256 = digest(mapping(file.get("hashes")).get("SHA256"), 64)
    return RepoFile(path=file_name(file), size=int((number(file.get("sizeKB")) or 0) * 1024), sha256=sha256 or None)


def check_scans(file: Document, what: str) -> None:
    """Raise ExpertError for a file that a scan found something in, or that was not scanned yet."""
    for name, key in _SCANS:
        result = clean(file.get(key), 20)
        if result and result.casefold() != "success":
            raise ExpertError(f"Civitai's {name} scan of {what} says {result}: it is not opened.", path=what)


def digest(value: object, digits: int) -> str:
    """A sum in lower case hex, cut to ``digits``; empty for anything else, and for the sum of nothing."""
    text = clean(value, 80).casefold().removeprefix("0x")
    if len(text) < digits or not all(c in "0123456789abcdef" for c in text) or text.startswith(EMPTY_SHA256):
        return ""
    return text[:digits]


def said_of(version: Document, by: str, images: Iterable[Document] = ()) -> Said:
    """What a version's page says, together with what the pictures that were made with it tell.

    Their prompts become examples; where the author names no weight, the median of theirs is the weight.
    """
    file = weights_file(version) or {}
    stem = file_name(file).rpartition(".")[0]
    said = of_version({**version, "images": [], "files": [file]}, by=by, stem=stem)
    shown = [mapping(one) for one in (*listed(version.get("images"))[:32], *images)]
    metas = [(one, _meta(one)) for one in shown]
    prompts = [plain(meta.get("prompt"), 300) for one, meta in metas if said.nsfw or one.get("nsfwLevel", 1) in _TAME]
    examples = tuple(dict.fromkeys(prompt for prompt in prompts if prompt))[:MOST_EXAMPLES]
    weights = [w for _, meta in metas if (w := _weight(meta, version, file, stem)) is not None]
    changes: dict[str, Any] = {"examples": examples, "samples": len(examples)}
    if said.weight is None and weights:
        changes["weight"] = round(statistics.median(weights), 3)
    return said.model_copy(update={**changes, "description": said.description[:MAX_DESCRIPTION]})


def _meta(image: Document) -> Document:
    """How a picture was made; older answers hold it one level down."""
    meta = mapping(image.get("meta"))
    return mapping(meta.get("meta")) or meta


def _weight(meta: Document, version: Document, file: Document, stem: str) -> float | None:
    """The weight that a version had in a picture, told by its id, its hash, its name or an order in the prompt."""
    own = {digest(value, 10) for value in mapping(file.get("hashes")).values()} - {""}
    for row in (mapping(one) for one in listed(meta.get("civitaiResources"))[:64]):
        if row.get("modelVersionId") == version.get("id"):
            return _sane(row.get("weight"))
    for row in (mapping(one) for one in listed(meta.get("resources"))[:64]):
        named = clean(row.get("name"), 200).casefold() == stem.casefold() and stem
        if named or digest(row.get("hash"), 10) in own:
            return _sane(row.get("weight"))
    prompt = meta.get("prompt")
    if isinstance(prompt, str) and stem:
        order = re.search(rf"<lora:{re.escape(stem)}:(-?[\d.]{{1,6}})", prompt[:20_000], re.I)
        return _sane(order[1]) if order else None
    return None


def _sane(value: object) -> float | None:
    found = number(value)
    return found if found is not None and 0 < abs(found) <= MOST_WEIGHT else None
