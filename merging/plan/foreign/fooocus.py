"""Fooocus: ``parameters`` as JSON, or as A1111 writes it, with ``fooocus_scheme`` beside it."""

from __future__ import annotations

import re

from .a1111 import recipe_of
from .image_text import ImageTexts
from .reader import reader
from .recipe import MAX_EXPERTS, ForeignBase, ForeignExpert, ForeignRecipe, extra, extras_of, weight
from .values import fold, hashes, integer, name, number, text

_SIZE = re.compile(r"\(?\s*(\d{1,6})\s*[,x×]\s*(\d{1,6})\s*\)?")
_MARKS = frozenset({"base_model", "base_model_hash", "full_prompt", "metadata_scheme", "adm_guidance", "performance"})
_READ = frozenset(
    {
        "prompt", "negative_prompt", "full_prompt", "full_negative_prompt", "seed", "steps", "guidance_scale",
        "resolution", "sampler", "scheduler", "base_model", "base_model_hash", "loras", "version", "metadata_scheme",
        "created_by", "clip_skip",
    }
)  # fmt: skip


@reader("fooocus", title="Fooocus", order=30)
def read(texts: ImageTexts) -> ForeignRecipe | None:
    """The recipe of either scheme."""
    scheme = name(texts["fooocus_scheme"]).lower()
    said = texts.document("parameters") or texts.document("comment")
    if said is not None and (scheme == "fooocus" or len(_MARKS & said.keys()) >= 2):
        return _of_json(said)
    if scheme == "a1111" and texts["parameters"]:
        return recipe_of(texts["parameters"], tool="Fooocus")
    return None


def _of_json(said: dict[str, object]) -> ForeignRecipe:
    size = _SIZE.fullmatch(name(said.get("resolution")))
    prompt, negative = (_whole(said, which) for which in ("prompt", "negative_prompt"))
    others = {key: value for key, value in said.items() if not key.startswith("lora_combined_")}
    asked = text(said.get("prompt"))
    extras = extras_of(others, _READ)
    if asked and asked != prompt:
        extras = (extra("prompt before styles", asked), *extras)
    return ForeignRecipe(
        tool="Fooocus",
        tool_version=name(said.get("version")),
        prompt=prompt,
        negative_prompt=negative,
        seed=integer(said.get("seed")),
        steps=integer(said.get("steps")),
        guidance=number(said.get("guidance_scale")),
        sampler=name(said.get("sampler")),
        scheduler=name(said.get("scheduler")),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        clip_skip=integer(said.get("clip_skip")),
        base=ForeignBase(name=name(said.get("base_model")), hashes=hashes(said.get("base_model_hash"))),
        experts=_experts(said),
        extras=extras,
    )


def _whole(said: dict[str, object], which: str) -> str:
    """The prompt with all that styles and the expansion added, which is what ran; else the one that was typed."""
    parts = said.get(f"full_{which}")
    if isinstance(parts, list):
        joined = ", ".join(filter(None, (text(part) for part in parts[:64])))
        if joined:
            return text(joined)
    return text(parts) or text(said.get(which))


def _experts(said: dict[str, object]) -> tuple[ForeignExpert, ...]:
    """``loras`` (name, weight, hash), and ``lora_combined_1`` (``name : weight``) where it names others."""
    found: dict[str, ForeignExpert] = {}
    listed = said.get("loras")
    for entry in listed[:MAX_EXPERTS] if isinstance(listed, list) else []:
        if isinstance(entry, list) and len(entry) >= 2 and name(entry[0]) not in ("", "None"):
            one = ForeignExpert(name=name(entry[0]), weight=weight(entry[1]), hashes=hashes(*entry[2:3]))
            found.setdefault(fold(one.name), one)
    for at in range(1, 65):
        called, colon, strength = name(said.get(f"lora_combined_{at}")).rpartition(" : ")
        if colon and called not in ("", "None"):
            found.setdefault(fold(called), ForeignExpert(name=called, weight=weight(strength)))
    return tuple(found.values())
