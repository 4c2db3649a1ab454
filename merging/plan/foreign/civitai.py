"""Civitai's way to name what an image used: lists of resources by model version, and AIR names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .recipe import MAX_EXPERTS, ExpertKind, ForeignBase, ForeignExpert, weight
from .values import hashes, integer, name

_AIR = re.compile(r"urn:air:([\w-]{1,40}):([\w-]{1,40}):civitai:(\d{1,12})(?:@(\d{1,12}))?")
_KINDS: dict[str, ExpertKind] = {
    "lora": "lora",
    "locon": "lora",
    "dora": "lora",
    "lycoris": "lora",
    "embed": "textual_inversion",
    "embedding": "textual_inversion",
    "textualinversion": "textual_inversion",
    "hypernet": "hypernetwork",
    "hypernetwork": "hypernetwork",
}
_BASES = frozenset({"checkpoint", "model"})


def version(number: int | None) -> str:
    """Where a model version may be had."""
    return f"Civitai model version {number}" if number else ""


def place(air: str) -> str:
    """Where what an AIR names may be had; "" for any other text."""
    found = _AIR.search(air[:300])
    if not found:
        return ""
    return version(int(found[4])) if found[4] else f"Civitai model {int(found[3])}"


def resources(listed: object, kinds: Mapping[int, str] | None = None) -> tuple[ForeignBase, tuple[ForeignExpert, ...]]:
    """The base and the experts of a list of resources; what is neither (a VAE, an upscaler) is left out.

    Args:
        listed: ``[{"type": "lora", "modelVersionId": 1, "modelName": "…", "weight": 0.8, "hash": "…", "air": "…"}]``.
        kinds: model version -> type, for lists whose entries do not say it.
    """
    base, experts = ForeignBase(), []
    for entry in listed[:MAX_EXPERTS] if isinstance(listed, list) else []:
        if not isinstance(entry, dict):
            continue
        air = name(entry.get("air"))
        found = _AIR.search(air)
        number = integer(entry.get("modelVersionId")) or (int(found[4]) if found and found[4] else None)
        kind = (
            name(entry.get("type")).lower() or (kinds or {}).get(number or 0, "") or (found[2].lower() if found else "")
        )
        where = version(number) or place(air)
        called = name(entry.get("modelName") or entry.get("name"))
        sums = hashes(entry.get("hash"), entry.get("modelHash"))
        if kind in _BASES:
            base = base if base.said else ForeignBase(name=called, hashes=sums, where=where)
        elif kind in _KINDS and (called or where or sums):
            strength = weight(entry.get("weight", entry.get("strength")))
            experts.append(ForeignExpert(name=called, kind=_KINDS[kind], hashes=sums, weight=strength, where=where))
    return base, tuple(experts)


def airs(listed: object) -> dict[int, str]:
    """Model version -> type, from a list of AIR names."""
    texts = [name(one) for one in listed[:MAX_EXPERTS]] if isinstance(listed, list) else []
    found = [match for one in texts if (match := _AIR.search(one)) and match[4]]
    return {int(match[4]): match[2].lower() for match in found}
