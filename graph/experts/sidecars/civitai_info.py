"""``NAME.civitai.info``: a model version as Civitai's interface gives it; other programs keep the same in theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..said import PAGE, Said
from ..words.licences import of_flags
from ..words.plain import clean, count, listed, mapping, number, plain, texts, without_markup
from ..words.triggers import groups, in_text
from ..words.weights import recommended
from . import Document, sidecar

NSFW_FROM = 4
"""Civitai's levels are bits: 1 PG, 2 PG-13, 4 R, 8 X, 16 XXX, 32 blocked."""
_BAD_SCANS = ("danger", "error")


@sidecar("civitai_info", ".civitai.info")
def read(found: Document) -> Said | None:
    """A version, with its model inside."""
    if not {"modelId", "trainedWords", "baseModel", "model", "files"}.intersection(found.data):
        return None
    return of_version(found.data, by=found.name, stem=found.stem)


def of_version(version: Mapping[str, Any], *, by: str, stem: str = "", trust: int = PAGE) -> Said:
    """What a version says.

    Args:
        version: Civitai's JSON object; anything in it may be missing or of another type.
        by: the witness.
        stem: the weight file's name without suffix, to tell which of the version's files it is.
        trust: how far the witness is trusted.
    """
    model = mapping(version.get("model"))
    file = _file(version, stem)
    hashes = mapping(file.get("hashes"))
    description = " ".join(
        p for p in (plain(model.get("description"), 1_200), plain(version.get("description"), 700)) if p
    )
    settings = mapping(version.get("settings"))
    advised = recommended(description)
    weight = number(settings.get("strength")) or (advised.weight if advised else None)
    images = [mapping(one) for one in listed(version.get("images"))[:32]]
    prompts = [plain(mapping(image.get("meta")).get("prompt"), 300) for image in images]
    return Said(
        by=by,
        trust=trust,
        title=_title(clean(model.get("name"), 120), clean(version.get("name"), 60)),
        description=description,
        triggers=groups(listed(version.get("trainedWords")))
        or in_text(without_markup(version.get("description")))
        or in_text(without_markup(model.get("description"))),
        tags=_tags(model.get("tags")) or _tags(version.get("tags")),
        file_names=texts([clean(file.get("name"), 200).removesuffix(".safetensors")], 200),
        weight=weight if weight and abs(weight) <= 20 else None,
        weight_min=_bounded(settings.get("minStrength")) or (advised.low if advised else None),
        weight_max=_bounded(settings.get("maxStrength")) or (advised.high if advised else None),
        examples=tuple(dict.fromkeys(prompt for prompt in prompts if prompt))[:16],
        samples=sum(1 for prompt in prompts if prompt),
        popularity=count(mapping(version.get("stats")).get("downloadCount")),
        base_model=clean(version.get("baseModel"), 60),
        licence=of_flags(model) or of_flags(version),
        created=clean(version.get("publishedAt") or version.get("createdAt"), 10),
        nsfw=_nsfw(version, model),
        origin=_origin(version, model),
        sha256=_hex(hashes.get("SHA256"), 64),
        autov3=_hex(hashes.get("AutoV3"), 12),
        warnings=_scans(file),
    )


def _title(model: str, version: str) -> str:
    plain_version = version.casefold().lstrip("v").replace(".", "").strip()
    return (
        model
        if not version or plain_version.isdigit() or version.casefold() in model.casefold()
        else f"{model}, {version}"
    )


def _tags(value: object) -> tuple[str, ...]:
    """Tags, which are strings or objects with a name."""
    return texts([one.get("name") if isinstance(one, dict) else one for one in listed(value)])


def _file(version: Mapping[str, Any], stem: str) -> Mapping[str, Any]:
    """The version's file that is meant: the one of that name, else the primary one, else the first."""
    files = [mapping(one) for one in listed(version.get("files"))[:64]]
    named = [one for one in files if stem and str(one.get("name", "")).rpartition(".")[0].casefold() == stem.casefold()]
    primary = [one for one in files if one.get("primary") is True]
    return (named or primary or files or [{}])[0]


def _nsfw(version: Mapping[str, Any], model: Mapping[str, Any]) -> bool | None:
    """What the page says: the model's flag, else a level from R up."""
    for said in (model.get("nsfw"), version.get("nsfw")):
        if isinstance(said, bool):
            return said
    level = number(version.get("nsfwLevel", model.get("nsfwLevel")))
    return None if level is None or level <= 0 else not int(level) & 1 and int(level) >= NSFW_FROM


def _origin(version: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    model_id, version_id = count(version.get("modelId") or model.get("id")), count(version.get("id"))
    return f"civitai:{model_id}@{version_id}" if model_id and version_id else ""


def _scans(file: Mapping[str, Any]) -> tuple[str, ...]:
    named = (("pickle", "pickleScanResult"), ("virus", "virusScanResult"))
    results = ((name, clean(file.get(key), 20)) for name, key in named)
    return tuple(f"Civitai's {name} scan says {said}" for name, said in results if said.casefold() in _BAD_SCANS)


def _bounded(value: object) -> float | None:
    found = number(value)
    return found if found is not None and abs(found) <= 20 else None


def _hex(value: object, digits: int) -> str:
    text = clean(value, 80).casefold().removeprefix("0x")
    return text[:digits] if len(text) >= digits and all(c in "0123456789abcdef" for c in text) else ""
