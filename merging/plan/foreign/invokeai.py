"""InvokeAI: ``invokeai_metadata`` (3 and later), ``sd-metadata`` (2), ``Dream`` (1)."""

from __future__ import annotations

import re

from .image_text import ImageTexts
from .reader import reader
from .recipe import MAX_EXPERTS, ForeignBase, ForeignExpert, ForeignRecipe, extras_of, weight
from .values import hashes, integer, name, number, text

_READ = frozenset(
    {
        "positive_prompt", "negative_prompt", "width", "height", "seed", "cfg_scale", "steps", "scheduler", "model",
        "loras", "clip_skip", "guidance", "app_version", "generation_mode", "rand_device", "metadata_version", "type",
        "id",
    }
)  # fmt: skip
_OLD_READ = frozenset({"prompt", "steps", "cfg_scale", "seed", "width", "height", "sampler", "type"})
_OPTION = re.compile(r" -(S|s|W|H|C|A)[ =]?([\w.+-]{1,40})")


@reader("invokeai", title="InvokeAI", order=40)
def read(texts: ImageTexts) -> ForeignRecipe | None:
    """The recipe of the latest kind that is there."""
    if (said := texts.document("invokeai_metadata")) is not None:
        return _of_metadata(said)
    if (said := texts.document("sd-metadata")) is not None and isinstance(image := said.get("image"), dict):
        return _of_old(said, image)
    for key in ("Dream", "dream"):
        if texts[key].strip():
            return _of_dream(texts[key])
    return None


def _of_metadata(said: dict[str, object]) -> ForeignRecipe:
    called, sums = _model(said.get("model"))
    skip = integer(said.get("clip_skip"))
    listed = said.get("loras")
    experts = [_lora(entry) for entry in (listed[:MAX_EXPERTS] if isinstance(listed, list) else [])]
    return ForeignRecipe(
        tool="InvokeAI",
        tool_version=name(said.get("app_version")),
        prompt=text(said.get("positive_prompt")),
        negative_prompt=text(said.get("negative_prompt")),
        seed=integer(said.get("seed")),
        steps=integer(said.get("steps")),
        guidance=number(said.get("cfg_scale")),
        distilled_guidance=number(said.get("guidance")),
        sampler=name(said.get("scheduler")),
        width=integer(said.get("width")),
        height=integer(said.get("height")),
        clip_skip=skip + 1 if skip is not None else None,  # it counts the layers that are left out
        base=ForeignBase(name=called, hashes=sums),
        experts=tuple(one for one in experts if one is not None),
        extras=extras_of(said, _READ),
    )


def _model(value: object) -> tuple[str, tuple[str, ...]]:
    """(name, hashes) of a model as version 4 ("name", "hash") or version 3 ("model_name") writes it."""
    if not isinstance(value, dict):
        return name(value), ()
    return name(value.get("name") or value.get("model_name")), hashes(value.get("hash"))


def _lora(entry: object) -> ForeignExpert | None:
    if not isinstance(entry, dict):
        return None
    called, sums = _model(entry.get("model") or entry.get("lora"))
    strength = weight(entry.get("weight"))
    return ForeignExpert(name=called, hashes=sums, weight=strength) if called or sums else None


def _of_old(said: dict[str, object], image: dict[str, object]) -> ForeignRecipe:
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        parts = [part.get("prompt") if isinstance(part, dict) else part for part in prompt[:64]]
        prompt = ", ".join(filter(None, (text(part) for part in parts)))
    wanted, unwanted = _brackets(text(prompt))
    return ForeignRecipe(
        tool="InvokeAI",
        tool_version=name(said.get("app_version")),
        prompt=wanted,
        negative_prompt=unwanted,
        seed=integer(image.get("seed")),
        steps=integer(image.get("steps")),
        guidance=number(image.get("cfg_scale")),
        sampler=name(image.get("sampler")),
        width=integer(image.get("width")),
        height=integer(image.get("height")),
        base=ForeignBase(name=name(said.get("model_weights")), hashes=hashes(said.get("model_hash"))),
        extras=extras_of(image, _OLD_READ),
    )


def _of_dream(written: str) -> ForeignRecipe:
    """``"prompt" -s 30 -S 42 -W 512 -H 512 -C 7.5 -A k_lms``"""
    line = text(written)
    if line.startswith('"'):
        prompt, _, options = line[1:].rpartition('"')
    else:
        at = line.find(" -")
        prompt, options = (line[:at], line[at:]) if at >= 0 else (line, "")
    said: dict[str, str] = dict(reversed(_OPTION.findall(f" {options.strip()}")[:40]))
    wanted, unwanted = _brackets(prompt)
    return ForeignRecipe(
        tool="InvokeAI",
        prompt=wanted,
        negative_prompt=unwanted,
        seed=integer(said.get("S")),
        steps=integer(said.get("s")),
        guidance=number(said.get("C")),
        sampler=name(said.get("A")),
        width=integer(said.get("W")),
        height=integer(said.get("H")),
    )


def _brackets(prompt: str) -> tuple[str, str]:
    """(prompt, negative prompt): what stands in square brackets is not wanted."""
    wanted: list[str] = []
    unwanted: list[str] = []
    for at, part in enumerate(prompt.split("[")):
        inside, closed, after = part.partition("]")
        if at and closed:
            unwanted.append(inside.strip())
            wanted.append(after)
        else:
            wanted.append(f"[{part}" if at else part)
    return " ".join("".join(wanted).split()), ", ".join(filter(None, unwanted))
