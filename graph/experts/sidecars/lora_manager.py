"""``NAME.metadata.json`` of ComfyUI-Lora-Manager: the user's notes and strengths, and Civitai's version inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..said import USER, Said
from ..words.plain import clean, listed, mapping, number, plain, texts
from ..words.triggers import groups, in_text
from . import Document, sidecar
from .civitai_info import NSFW_FROM, of_version

_TRUST = USER - 5  # whoever has A1111's file as well edited that by hand; this one is mostly fetched
_KEYS = frozenset(("civitai", "model_name", "usage_tips", "file_name", "base_model", "from_civitai", "preview_url"))


@sidecar("lora_manager", ".metadata.json")
def read(found: Document) -> Said | None:
    """A document with one of its fields."""
    data = found.data
    if len(_KEYS.intersection(data)) < 2 and not isinstance(data.get("civitai"), dict):
        return None
    page = of_version(mapping(data.get("civitai")), by=found.name, stem=found.stem, trust=_TRUST)
    notes = plain(data.get("notes"), 600)
    own = {
        "title": clean(data.get("model_name"), 120),
        "description": " ".join(p for p in (notes, plain(data.get("modelDescription"), 1_200)) if p)[:1_900],
        "triggers": page.triggers or groups(listed(data.get("trainedWords"))) or in_text(notes),
        "tags": texts(data.get("tags")),
        "file_names": texts([data.get("file_name")], 200),
        "base_model": clean(data.get("base_model"), 60),
        "sha256": clean(data.get("sha256"), 64).casefold(),
        "off": True if data.get("exclude") is True else None,
        **_strengths(data.get("usage_tips")),
    }
    if page.nsfw is None and (level := number(data.get("preview_nsfw_level"))) is not None:
        own["nsfw"] = True if level >= 2 * NSFW_FROM else None
    return page.model_copy(update={name: value for name, value in own.items() if value not in ("", (), None)})


def _strengths(tips: object) -> dict[str, float | None]:
    """The strengths that the user noted; they stand as JSON in a string."""
    if isinstance(tips, str) and len(tips) < 10_000:
        try:
            tips = json.loads(tips or "{}")
        except (ValueError, RecursionError):
            tips = {}
    if not isinstance(tips, Mapping):
        return {}
    low, high = _weight(tips, "strength_min"), _weight(tips, "strength_max")
    weight = _weight(tips, "strength")
    if weight is None and low is not None and high is not None:
        weight = round((low + high) / 2, 3)
    found = {"weight": weight, "clip_weight": _weight(tips, "clip_strength"), "weight_min": low, "weight_max": high}
    return found if weight is not None else {}


def _weight(tips: Mapping[str, Any], name: str) -> float | None:
    found = number(tips.get(name))
    return found if found is not None and abs(found) <= 20 else None
