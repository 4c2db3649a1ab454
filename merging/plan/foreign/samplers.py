"""Other programs' words for samplers, and ours. Imports no torch, so the names that plans know are repeated here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "ddim": "DDIM",
        "ddpm": "DDPM",
        "deis": "DEIS",
        "dpmpp_2m": "DPM++ 2M",
        "dpmpp_2s": "DPM++ 2S",
        "euler": "Euler",
        "euler_a": "Euler a",
        "heun": "Heun",
        "lms": "LMS",
        "pndm": "PLMS",
        "unipc": "UniPC",
    }
)
"""A plan's name for a sampler -> A1111's."""
_OTHER_WORDS = MappingProxyType(
    {
        "eulerancestral": "euler_a", "pndm": "pndm", "plms": "pndm", "unipcbh2": "unipc", "k_heun": "heun",
        "dpmppm": "dpmpp_2m", "dpmpps": "dpmpp_2s", "eulerdiscrete": "euler", "ddimscheduler": "ddim",
    }
)  # fmt: skip
_OWN = frozenset({"", "default", "automatic", "undefined", "auto", "none"})
"""Words that leave the choice to the program."""
_SCHEDULES = (
    "karras", "exponential", "polyexponential", "sgm uniform", "ddim uniform", "kl optimal", "align your steps",
    "simple", "normal", "beta", "turbo", "uniform", "automatic",
)  # fmt: skip
PLAIN_SCHEDULES = frozenset({"", "automatic", "normal", "default", "discrete"})
"""Spacings of the steps that are what a sampler does by itself."""


@dataclass(frozen=True)
class SamplerWord:
    """A program's word, understood.

    Attributes:
        known: whether it is understood at all.
        name: as a plan has it; "default" for a word that leaves the choice to the program, "" if not understood.
        schedule: how the steps are spaced, where the word says so ("karras").
    """

    known: bool
    name: str
    schedule: str


def understood(word: str) -> SamplerWord:
    """What a sampler's name in A1111, ComfyUI, InvokeAI, Fooocus, NovelAI or SwarmUI means."""
    plain = " ".join(re.sub(r"[_\-]", " ", word[:80].lower().replace("++", "pp")).split())
    schedule = ""
    if plain.startswith("k "):
        plain = plain[2:]
    for ending in _SCHEDULES:
        if plain.endswith(f" {ending}"):
            plain, schedule = plain[: -len(ending) - 1], ending
            break
    if plain.endswith(" k") and not schedule:
        plain, schedule = plain[:-2], "karras"
    key = plain.replace(" ", "")
    if key in _OWN:
        return SamplerWord(True, "default", schedule)
    ours = _BY_KEY.get(key) or _OTHER_WORDS.get(key, "")
    return SamplerWord(bool(ours), ours, schedule)


def written(ours: str) -> str:
    """A1111's name for a plan's sampler; the plan's own where A1111 has none."""
    return NAMES.get(ours, ours)


_BY_KEY = {
    re.sub(r"[_\s]", "", spelled.lower().replace("++", "pp")): ours
    for ours, theirs in NAMES.items()
    for spelled in (ours, theirs)
}
