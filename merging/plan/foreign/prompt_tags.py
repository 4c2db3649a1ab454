"""Tags in a prompt that call experts: ``<lora:name:weight>`` as A1111 reads it, ``embedding:name`` as ComfyUI does."""

from __future__ import annotations

import re

from .recipe import MAX_EXPERTS, ExpertKind, ForeignExpert, weight
from .values import name, stem

_TAG = re.compile(r"<(lora|lyco|lycoris|hypernet):([^<>:]{1,300})((?::[^<>:]{0,60}){0,6})>", re.I)
_EMBEDDING = re.compile(r"\bembedding:([\w.\-\\/]{1,200})", re.I)
_KINDS: dict[str, ExpertKind] = {"hypernet": "hypernetwork"}


def without_tags(prompt: str) -> tuple[str, tuple[ForeignExpert, ...]]:
    """The prompt without its tags, and the experts that they call.

    The first number is the weight on text encoders and denoiser alike; a second one is the denoiser's alone
    (``te=`` and ``unet=`` say so by name). Without a number it is 1.
    """
    found = [_expert(match) for match in _TAG.finditer(prompt)][:MAX_EXPERTS]
    if not found:
        return prompt, ()
    bare = _TAG.sub("", prompt)
    return "\n".join(" ".join(line.split()) for line in bare.split("\n")).strip(), tuple(found)


def _expert(match: re.Match[str]) -> ForeignExpert:
    positional: list[float | None] = []
    named: dict[str, float | None] = {}
    for argument in match[3].split(":")[1:]:
        key, equals, value = argument.partition("=")
        if equals:
            named[key.strip().lower()] = weight(value)
        else:
            positional.append(weight(argument))
    first = named.get("te", positional[0] if positional else None)
    encoders = 1.0 if first is None else first
    second = named.get("unet", positional[1] if len(positional) > 1 else None)
    denoiser = encoders if second is None else second
    kind = _KINDS.get(match[1].lower(), "lora")
    clip = None if encoders == denoiser else encoders
    return ForeignExpert(name=name(match[2]), kind=kind, weight=denoiser, clip_weight=clip)


def embeddings(*prompts: str) -> tuple[ForeignExpert, ...]:
    """The textual inversions that ComfyUI's prompts name; they stay in the prompt, where they act."""
    named = (stem(match[1].rstrip(".")) for prompt in prompts for match in _EMBEDDING.finditer(prompt))
    kept = [one for one in dict.fromkeys(named) if one][:MAX_EXPERTS]
    return tuple(ForeignExpert(name=name(one), kind="textual_inversion") for one in kept)
