"""NovelAI: JSON in ``Comment``, the prompt in ``Description`` too, the model in ``Source``."""

from __future__ import annotations

import re

from .image_text import ImageTexts, json_object
from .reader import reader
from .recipe import ForeignBase, ForeignRecipe, extra, extras_of
from .values import hashes, integer, name, number, text

_SOURCE = re.compile(r"(.{1,200}?)\s+([0-9A-Fa-f]{8})")
_READ = frozenset(
    {
        "prompt", "uc", "steps", "scale", "seed", "sampler", "noise_schedule", "width", "height", "v4_prompt",
        "v4_negative_prompt", "signed_hash", "request_type", "n_samples", "version", "controlnet_strength",
    }
)  # fmt: skip


@reader("novelai", title="NovelAI", order=50)
def read(texts: ImageTexts) -> ForeignRecipe | None:
    """The recipe in ``Comment``; in WebP the same texts lie in one JSON object."""
    said, source, software = texts.document("Comment"), texts["Source"], texts["Software"]
    outer = texts.document("parameters")
    if said is None and outer is not None and isinstance(outer.get("Comment"), str):
        said, source, software = json_object(text(outer["Comment"], 2**20)), name(outer.get("Source")), "NovelAI"
    if said is None or not (software.strip() == "NovelAI" or {"uc", "scale"} <= said.keys()):
        return None
    wanted, people = _caption(said.get("v4_prompt"))
    unwanted, _ = _caption(said.get("v4_negative_prompt"))
    found = _SOURCE.fullmatch(name(source))
    extras = extras_of(said, _READ)
    if people:
        extras = (extra("prompts of single characters", "; ".join(people)), *extras)
    return ForeignRecipe(
        tool="NovelAI",
        prompt=text(said.get("prompt")) or wanted or text(texts["Description"]),
        negative_prompt=text(said.get("uc")) or unwanted,
        seed=integer(said.get("seed")),
        steps=integer(said.get("steps")),
        guidance=number(said.get("scale")),
        sampler=name(said.get("sampler")),
        scheduler=name(said.get("noise_schedule")),
        width=integer(said.get("width")),
        height=integer(said.get("height")),
        base=ForeignBase(name=found[1], hashes=hashes(found[2])) if found else ForeignBase(name=name(source)),
        extras=extras,
    )


def _caption(value: object) -> tuple[str, list[str]]:
    """(prompt, prompts of single characters) as version 4 nests them."""
    caption = value.get("caption") if isinstance(value, dict) else None
    if not isinstance(caption, dict):
        return "", []
    people = caption.get("char_captions")
    listed = (
        [one.get("char_caption") for one in people[:16] if isinstance(one, dict)] if isinstance(people, list) else []
    )
    return text(caption.get("base_caption")), [said for one in listed if (said := text(one, 200))]
