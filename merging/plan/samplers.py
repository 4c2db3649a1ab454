"""The one table of samplers: what plans and other programs call them, and which bases each can draw on. No torch.

A plan names a sampler, and how its steps are spaced where that is not the base's own way: ``dpmpp_2m``,
``dpmpp_2m_karras``. Bases predict noise (or v) and take the samplers of column ``noise``, or follow a flow and take
those of column ``flow``; `merging.sampling.schedulers` builds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from ...errors import PlanError
from ...plugins import closest

Way = Literal["noise", "flow", "other"]
"""How a base is sampled: from noise that it predicts, along a flow, or in a way that no named sampler is for."""
DEFAULT = "default"
"""The name that leaves the base its own sampler."""
MAX_NAME = 80


@dataclass(frozen=True)
class SamplerKind:
    """A sampler.

    Attributes:
        said: A1111's name.
        noise, flow: the diffusers class for bases of either way; "" where it has none.
        options: what is set in that class's configuration.
        words: what other programs call it, without blanks and signs.
    """

    said: str
    noise: str = ""
    flow: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    words: tuple[str, ...] = ()


_DPM, _SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_SDE = MappingProxyType({"algorithm_type": "sde-dpmsolver++"})
_FLOW_EULER, _FLOW_HEUN = "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"
KINDS: Mapping[str, SamplerKind] = MappingProxyType(
    {
        "ddim": SamplerKind("DDIM", "DDIMScheduler", words=("ddimscheduler",)),
        "ddpm": SamplerKind("DDPM", "DDPMScheduler"),
        "deis": SamplerKind("DEIS", "DEISMultistepScheduler", "DEISMultistepScheduler"),
        "dpm2": SamplerKind("DPM2", "KDPM2DiscreteScheduler", words=("kdpm2",)),
        "dpm2_a": SamplerKind("DPM2 a", "KDPM2AncestralDiscreteScheduler", words=("dpm2ancestral", "kdpm2a")),
        "dpmpp_2m": SamplerKind("DPM++ 2M", _DPM, _DPM, words=("dpmppm",)),
        "dpmpp_2m_sde": SamplerKind("DPM++ 2M SDE", _DPM, _DPM, _SDE, ("dpmpp2msdegpu",)),
        "dpmpp_2s": SamplerKind("DPM++ 2S", _SINGLE, _SINGLE, {"lower_order_final": True}, ("dpmpps",)),
        "dpmpp_3m": SamplerKind("DPM++ 3M", _DPM, _DPM, {"solver_order": 3}),
        "dpmpp_3m_sde": SamplerKind("DPM++ 3M SDE", _DPM, _DPM, {**_SDE, "solver_order": 3}, ("dpmpp3msdegpu",)),
        "euler": SamplerKind("Euler", "EulerDiscreteScheduler", _FLOW_EULER, words=("eulerdiscrete", "flowmatcheuler")),
        "euler_a": SamplerKind("Euler a", "EulerAncestralDiscreteScheduler", words=("eulerancestral",)),
        "heun": SamplerKind("Heun", "HeunDiscreteScheduler", _FLOW_HEUN, words=("flowmatchheun",)),
        "lcm": SamplerKind("LCM", "LCMScheduler", "FlowMatchLCMScheduler"),
        "lms": SamplerKind("LMS", "LMSDiscreteScheduler"),
        "pndm": SamplerKind("PLMS", "PNDMScheduler", words=("plms",)),
        "sa_solver": SamplerKind("SA Solver", "SASolverScheduler"),
        "tcd": SamplerKind("TCD", "TCDScheduler"),
        "unipc": SamplerKind("UniPC", "UniPCMultistepScheduler", "UniPCMultistepScheduler", words=("unipcbh2",)),
    }
)
"""A plan's name for a sampler -> what it is."""
NAMES: Mapping[str, str] = MappingProxyType({name: kind.said for name, kind in KINDS.items()})
"""A plan's name for a sampler -> A1111's."""
BY_TIMES = frozenset({"ddim", "ddpm", "euler_a", "lcm", "pndm", "tcd"})
"""Samplers whose steps are spaced by times alone, not by noise levels (Karras and the like) on a base of noise."""
BY_LEVELS = frozenset({"dpmpp_2s"})
"""Samplers that know no other spacing by times than their own."""
FROM_PURE_NOISE = frozenset(
    {"ddim", "ddpm", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m", "dpmpp_3m_sde", "euler", "euler_a", "lcm", "tcd", "unipc"}
)
"""Samplers that can begin where nothing of the image is left, as bases of zero terminal SNR have to."""


@dataclass(frozen=True)
class Spacing:
    """How the steps of a sampler are spaced.

    Attributes:
        said: A1111's name.
        noise: what is set in a sampler's configuration on a base that predicts noise.
        flow: the same on a base that follows a flow; None where there is no such spacing.
        words: what other programs call it.
    """

    said: str
    noise: Mapping[str, object]
    flow: Mapping[str, object] | None = None
    words: tuple[str, ...] = ()


_TRAILING = MappingProxyType({"timestep_spacing": "trailing"})
SPACINGS: Mapping[str, Spacing] = MappingProxyType(
    {
        "karras": Spacing("Karras", {"use_karras_sigmas": True}, {"use_karras_sigmas": True}),
        "exponential": Spacing("Exponential", {"use_exponential_sigmas": True}, {"use_exponential_sigmas": True}),
        "beta": Spacing("Beta", {"use_beta_sigmas": True}, {"use_beta_sigmas": True}),
        # A flow's own spacing is even, which is what these two words ask for.
        "sgm_uniform": Spacing("SGM Uniform", _TRAILING, {}, ("trailing",)),
        "simple": Spacing("Simple", _TRAILING, {}),
        "ddim_uniform": Spacing("DDIM", {"timestep_spacing": "leading"}, None, ("leading",)),
        "linspace": Spacing("Uniform", {"timestep_spacing": "linspace"}, None, ("uniform",)),
    }
)
"""The end of a plan's name for a sampler -> how its steps are spaced."""
PLAIN_SCHEDULES = frozenset({"", "automatic", "normal", "default", "discrete"})
"""Spacings of the steps that are what a sampler does by itself."""
_FOREIGN_SPACINGS = ("polyexponential", "kl optimal", "align your steps", "turbo")
"""Spacings of other programs that are understood, and that no base here is drawn with."""
_OWN = frozenset({"", "default", "automatic", "undefined", "auto", "none"})
"""Words that leave the choice to the program."""


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
    """What a sampler's name in A1111, ComfyUI, InvokeAI, Fooocus, NovelAI, SwarmUI or a plan means."""
    plain = " ".join(re.sub(r"[_\-]", " ", word[:MAX_NAME].lower().replace("++", "pp")).split())
    schedule = ""
    if plain.startswith("k "):
        plain = plain[2:]
    if plain.replace(" ", "") not in _BY_KEY:
        for ending in _ENDINGS:
            if plain.endswith(f" {ending}"):
                plain, schedule = plain[: -len(ending) - 1], ending
                break
    if plain.endswith(" k") and not schedule:
        plain, schedule = plain[:-2], "karras"
    key = plain.replace(" ", "")
    if key in _OWN:
        return SamplerWord(True, DEFAULT, schedule)
    ours = _BY_KEY.get(key, "")
    return SamplerWord(bool(ours), ours, schedule)


def spacing_of(schedule: str) -> str | None:
    """A plan's word for a spacing in other programs' words: "" for a sampler's own, None where there is none here."""
    plain = " ".join(re.sub(r"[_\-]", " ", schedule[:MAX_NAME].lower()).split())
    return "" if plain in PLAIN_SCHEDULES else _SPACING_BY_WORD.get(plain)


def canonical(word: str) -> str:
    """A sampler as plans name it: ``DPM++ 2M Karras`` -> ``dpmpp_2m_karras``.

    Raises:
        PlanError: nobody's word, with the closest ones that are known.
    """
    found = understood(word)
    spacing = spacing_of(found.schedule)
    if not found.known:
        close = closest(word[:MAX_NAME].lower(), [*KINDS, DEFAULT], at_least=0.4) or [DEFAULT, *KINDS]
        raise PlanError(f"there is no sampler {word[:MAX_NAME]!r}; did you mean {', '.join(close)}?")
    if spacing is None:
        raise PlanError(
            f"the sampler {word[:MAX_NAME]!r} asks for the spacing {found.schedule!r}, which there is not here; there "
            f"are {', '.join(SPACINGS)}"
        )
    if found.name == DEFAULT and spacing:
        raise PlanError(
            f"a spacing of steps ({spacing}) needs a sampler that it belongs to, such as dpmpp_2m_{spacing}"
        )
    return f"{found.name}_{spacing}" if spacing else found.name


def split(name: str) -> tuple[str, str]:
    """(sampler, spacing) of a name, however it is written; "" for the sampler's own spacing.

    Raises:
        PlanError: as `canonical`.
    """
    found = canonical(name)
    for ending in SPACINGS:
        if found.endswith(f"_{ending}") and found not in KINDS:
            return found[: -len(ending) - 1], ending
    return found, ""


@dataclass(frozen=True)
class OwnScheduler:
    """What a base's own scheduler says of how the base is sampled.

    Attributes:
        name: its diffusers class.
        way: noise, flow or other.
        zero_snr: whether it begins at pure noise (``rescale_betas_zero_snr``).
    """

    name: str
    way: Way
    zero_snr: bool = False

    @classmethod
    def of(cls, name: str, config: Mapping[str, object]) -> OwnScheduler:
        """From a scheduler's class and configuration, as ``scheduler_config.json`` has them."""
        flow = name.startswith("FlowMatch") or config.get("use_flow_sigmas") is True
        if flow or config.get("prediction_type") == "flow_prediction":
            return cls(name, "flow")
        noise = name in _NOISE_CLASSES or ("beta_schedule" in config and "EDM" not in name)
        return cls(name, "noise" if noise else "other", config.get("rescale_betas_zero_snr") is True)


def possible(own: OwnScheduler) -> tuple[str, ...]:
    """The samplers that a base with this scheduler can be drawn with."""
    if own.way == "other":
        return (DEFAULT,)
    known = (name for name, kind in KINDS.items() if getattr(kind, own.way))
    return (DEFAULT, *(name for name in known if not own.zero_snr or name in FROM_PURE_NOISE))


def problem(name: str, own: OwnScheduler) -> str:
    """Why a base cannot be drawn with a sampler, as a sentence that names those it can; "" if it can."""
    try:
        sampler, spacing = split(name)
    except PlanError as error:
        return str(error)
    known, said = possible(own), name[:MAX_NAME]
    if sampler not in known:
        why = {
            "flow": "follows a flow",
            "noise": "predicts noise",
            "other": f"is drawn by a sampler of its own ({own.name})",
        }[own.way]
        if own.zero_snr and sampler not in FROM_PURE_NOISE:
            why = "begins at pure noise (zero terminal SNR)"
        return f"the sampler {said!r} is not for this base, which {why}; possible are {', '.join(known)}"
    if spacing and own.way == "flow" and SPACINGS[spacing].flow is None:
        fits = ", ".join(each for each, of in SPACINGS.items() if of.flow is not None)
        return (
            f"the spacing {spacing!r} of the sampler {said!r} is not for a base that follows a flow; possible: {fits}"
        )
    if own.way == "noise" and spacing in _BY_SIGMAS and sampler in BY_TIMES:
        fits = ", ".join(each for each in known if each != DEFAULT and each not in BY_TIMES)
        return f"the sampler {sampler!r} cannot space its steps as {spacing!r} asks; those that can are {fits}"
    if own.way == "noise" and spacing and spacing not in _BY_SIGMAS and sampler in BY_LEVELS:
        fits = ", ".join(each for each in known if each != DEFAULT and each not in BY_LEVELS)
        return f"the sampler {sampler!r} cannot space its steps as {spacing!r} asks; those that can are {fits}"
    return ""


def written(ours: str) -> str:
    """A1111's name for a plan's sampler; the plan's own where A1111 has none."""
    try:
        sampler, spacing = split(ours)
    except PlanError:
        return ours
    said = NAMES.get(sampler, ours)
    return f"{said} {SPACINGS[spacing].said}" if spacing else said


_BY_SIGMAS = frozenset({"karras", "exponential", "beta"})
_NOISE_CLASSES = frozenset(kind.noise for kind in KINDS.values())
_BY_KEY = {
    re.sub(r"[_\s]", "", spelled.lower().replace("++", "pp")): name
    for name, kind in KINDS.items()
    for spelled in (name, kind.said, *kind.words)
}
_SPACING_BY_WORD = {
    word.replace("_", " ").lower(): name for name, of in SPACINGS.items() for word in (name, of.said, *of.words)
}
_ENDINGS = sorted(
    {*_SPACING_BY_WORD, *_FOREIGN_SPACINGS, *(PLAIN_SCHEDULES - {""})}, key=lambda word: (-len(word), word)
)
