"""Which ecosystem a base belongs to, and what its denoiser predicts: from names, hashes, metadata and configurations.

The architecture says what can be merged and is read off weights; the ecosystem says what works well together and how it
is sampled ("pony", "lightning", "noobai-v"), and nothing in the shapes of the weights tells it. What is told plainly
goes first: a configuration that the makers wrote, tensors that are there to say something (NoobAI's empty ``v_pred``
and ``ztsnr``), metadata of the header, then hashes of the great releases, then names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import ExpertError, UserError
from ..files.header import Header, read_header
from .key import denoiser_files
from .pipeline_config import PipelineConfig, read_json
from .profile import Family, Frozen

_MAX_TEXT = 400
"""Characters of a name or a line of metadata that are looked at; strangers wrote them."""
FLOWS = frozenset(
    {"auraflow", "chroma", "flux1", "flux2", "hidream", "lumina2", "qwen_image", "sana", "sd3", "z_image"}
)
"""Architectures whose denoisers follow a flow."""
_NAMED = ("modelspec.title", "modelspec.architecture", "modelspec.merged_from", "merged_from", "ss_sd_model_name",
          "ss_output_name", "ss_base_model_version")  # fmt: skip
"""Lines of a header's metadata in which a base is named."""
# (architectures, what a name says, ecosystem). First match wins: what was distilled decides how a base is sampled, so
# it goes before what a base was trained on. Names are compared in lower case with dashes for blanks, dots kept.
_RULES: tuple[tuple[frozenset[str], re.Pattern[str], str], ...] = tuple(
    (frozenset(architectures.split()), re.compile(pattern), ecosystem)
    for architectures, pattern, ecosystem in (
        ("sdxl sd15 qwen_image", r"lightning", "lightning"),
        ("sdxl sd15 flux1", r"(?<![a-z])hyper(?![a-z]|-?real)|hyper-?(sd|flux|\d+-?step)", "hyper"),
        ("sdxl", r"(^|/)sd-?xl-?turbo", "turbo"),
        ("sd21", r"sd-?turbo", "turbo"),
        ("sdxl", r"(?<![a-z])turbo|turbo(?![a-z])", "turbo-merge"),
        ("sdxl sd15", r"(?<![a-z])lcm(?![a-z])|-lcm", "lcm"),
        ("sdxl", r"noob(-?ai)?(?![a-z])|noob-?ai|noobxl", "noobai"),
        ("sdxl", r"illustrious|(?<![a-z])ilxl(?![a-z])", "illustrious"),
        ("sdxl", r"(?<![a-z])pony(?!-?tail)|(?<![a-z])pdxl(?![a-z])", "pony"),
        ("sdxl", r"playground-?v?2\.5", "playground"),
        ("sd3", r"3[.-]?5-?large-?turbo", "3.5-large-turbo"),
        ("sd3", r"3[.-]?5-?large", "3.5-large"),
        ("sd3", r"3[.-]?5-?medium", "3.5-medium"),
        ("flux1", r"kontext", "kontext"),
        ("flux1", r"krea", "krea"),
        ("flux1", r"schnell", "schnell"),
        ("flux2", r"klein.*base|base.*klein", "klein-base"),
        ("flux2", r"klein", "klein"),
        ("z_image", r"turbo", "turbo"),
        ("chroma", r"flash", "flash"),
        ("hidream", r"(?<![a-z])fast(?![a-z])", "fast"),
        ("hidream", r"(?<![a-z])dev(?![a-z])", "dev"),
        ("sana", r"sprint", "sprint"),
        ("sana", r"(?<!\d)512-?px", "512"),
        ("sana", r"(?<!\d)(2048|2k)(-?px)?(?![a-z\d])", "2k"),
        ("sana", r"(?<!\d)(4096|4k)(-?px)?(?![a-z\d])", "4k"),
        ("auraflow", r"(?<![a-z])pony(?!-?tail)", "pony"),
    )
)
_HASHES: tuple[tuple[str, str, str], ...] = (
    ("67ab2fd8ec439a89", "sdxl", "pony"),
    ("6681e8e4b134c81f", "sdxl", "noobai"),
    ("ea349eeae87ca8d2", "sdxl", "noobai-v"),
)
"""Beginnings of the sha256 of releases that are renamed often: (digits, architecture, ecosystem)."""
_FEWEST_DIGITS = 10
_FEW_STEPS = frozenset({"flash", "hyper", "lcm", "lightning", "turbo", "turbo-merge"})
"""Ecosystems whose names say for how many steps they were distilled ("4step")."""
_STEPS = re.compile(r"(?<!\d)(\d{1,2})-?steps?(?![a-z])")
_VELOCITY = re.compile(r"v-?pred|-v-?param")
_PURE_NOISE = re.compile(r"(?<![a-z])z(t|ero-?terminal-?)?-?snr(?![a-z])")
_FROM_PURE_NOISE = frozenset(
    f"{name}Scheduler"
    for name in ("DDIM", "DDPM", "DPMSolverMultistep", "EulerAncestralDiscrete", "EulerDiscrete", "UniPCMultistep")
)
"""Schedulers that can begin at pure noise."""
ORIGIN = "single_file.json"
"""In a folder that a single file was converted into: what the file was called, and what it said of itself."""


class Ecosystem(Frozen):
    """What a base works well with, and how it is sampled.

    Attributes:
        name: the ecosystem ("pony"); "" is the architecture's plain release.
        prediction: what the denoiser predicts; "" if nothing tells.
        zero_terminal_snr: whether it begins at pure noise; None if nothing tells.
        steps: for how many steps it was distilled, if its name says so; else 0.
        by: what told the name, in a word or two ("its name"); "" for the plain release.
    """

    name: str = ""
    prediction: Literal["", "epsilon", "v_prediction", "flow"] = ""
    zero_terminal_snr: bool | None = None
    steps: int = 0
    by: str = ""


@dataclass(frozen=True)
class Evidence:
    """What is known of a base beside its weights.

    Attributes:
        architecture: as read off its weights.
        names: what it is called: file, folder, id on the Hub.
        hashes: sha256 of its files, whole or the beginning.
        config: the JSON files of its folder.
        headers: of its weight files.
        metadata: of a file that it was converted from.
    """

    architecture: str
    names: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    config: PipelineConfig = field(default_factory=PipelineConfig)
    headers: tuple[Header, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def said(self) -> tuple[str, ...]:
        """Names and lines of metadata, in lower case with dashes."""
        lines = [said.get(key, "") for said in self._lines for key in _NAMED]
        return tuple(re.sub(r"[_\s]+", "-", line[:_MAX_TEXT]).casefold() for line in (*self.names, *lines) if line)

    @property
    def _lines(self) -> tuple[Mapping[str, str], ...]:
        return (*(header.metadata for header in self.headers), self.metadata)

    def keyed(self, name: str) -> bool:
        """Whether a file has a tensor of that name, which only says something."""
        return any(name in header.tensors for header in self.headers)

    def told(self, *keys: str) -> str:
        """The first of these lines of metadata that is there, in lower case."""
        found = (said.get(key, "") for said in self._lines for key in keys)
        return next(filter(None, found), "")[:_MAX_TEXT].strip().casefold()


def ecosystem_of(evidence: Evidence) -> Ecosystem:
    """The ecosystem of a base."""
    prediction = _prediction(evidence)
    name, by = _name(evidence)
    if name == "noobai-v":
        prediction = "v_prediction"
    elif name == "noobai" and prediction == "v_prediction":
        name = "noobai-v"
    elif not name and prediction == "v_prediction":
        name, by = "v", by or "what it predicts"
    steps = next((int(found[1]) for text in evidence.said if (found := _STEPS.search(text))), 0)
    return Ecosystem(
        name=name,
        prediction=prediction,
        zero_terminal_snr=_pure_noise(evidence, prediction),
        steps=steps if name in _FEW_STEPS else 0,
        by=by,
    )


def ecosystem_of_folder(folder: Path, architecture: str, *, names: Iterable[str] = ()) -> Ecosystem:
    """The ecosystem of a diffusers folder.

    Args:
        folder: the pipeline's; one that a single file was converted into says what that file was called.
        architecture: what it is.
        names: what it is called elsewhere, its id on the Hub.
    """
    headers: list[Header] = []
    with suppress(ExpertError, UserError, OSError):  # a damaged base is told of by whoever reads its weights
        headers = [read_header(file) for file in denoiser_files(folder)[:1]]
    origin = read_json(folder / ORIGIN)
    said = origin.get("metadata")
    metadata = {k: v for k, v in said.items() if isinstance(v, str)} if isinstance(said, dict) else {}
    file = origin.get("name")
    called = (*names, *((Path(file).stem,) if isinstance(file, str) else ()), folder.name)
    return ecosystem_of(
        Evidence(
            architecture,
            names=tuple(filter(None, called)),
            config=PipelineConfig.open(folder),
            headers=tuple(headers),
            metadata=metadata,
        )
    )


def drawn_so(family: Family, found: Ecosystem) -> dict[str, Any]:
    """What a family's values become for a base of that ecosystem: what it predicts, for how many steps it was made."""
    changes: dict[str, Any] = {"ecosystem": found.name}
    if found.prediction:
        changes["prediction"] = found.prediction
    if found.zero_terminal_snr is not None:
        changes["zero_terminal_snr"] = found.zero_terminal_snr
    if found.steps:
        changes["steps"] = found.steps
    return changes


def scheduler_changes(config: Mapping[str, Any], found: Ecosystem, family: Family) -> dict[str, Any]:
    """What must be changed in a scheduler's configuration for a base to be sampled as it was trained; mostly nothing.

    A scheduler that cannot begin at pure noise is replaced: ``_class_name`` is among the changes then.
    """
    prediction = found.prediction or family.prediction
    if prediction not in ("epsilon", "v_prediction") or "EDM" in str(config.get("_class_name", "")):
        return {}
    changes: dict[str, Any] = {}
    if prediction == "v_prediction" and config.get("prediction_type", "epsilon") != prediction:
        changes["prediction_type"] = prediction
    pure = found.zero_terminal_snr if found.zero_terminal_snr is not None else family.zero_terminal_snr
    if pure and prediction == "v_prediction":
        if config.get("rescale_betas_zero_snr") is not True:
            changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        if config.get("_class_name") not in _FROM_PURE_NOISE:
            changes["_class_name"] = "EulerDiscreteScheduler"
    return changes


def _name(evidence: Evidence) -> tuple[str, str]:
    """(ecosystem, what told it)."""
    if found := _by_config(evidence):
        return found, "its configuration"
    for digits, architecture, name in _HASHES:
        if architecture == evidence.architecture and any(_same(digits, each) for each in evidence.hashes):
            return name, "its hash"
    for architectures, pattern, name in _RULES:
        if evidence.architecture in architectures and any(pattern.search(text) for text in evidence.said):
            return name, "its name"
    return _by_shape(evidence)


def _same(digits: str, sha256: str) -> bool:
    short = sha256.casefold()[: len(digits)]
    return len(short) >= _FEWEST_DIGITS and digits.startswith(short)


def _by_config(evidence: Evidence) -> str:
    """What the makers wrote into the JSON files."""
    listing, denoiser, scheduler = evidence.config.listing, evidence.config.denoiser, evidence.config.scheduler
    pipeline, own = str(listing.get("_class_name", "")), str(scheduler.get("_class_name", ""))
    match evidence.architecture:
        case "flux1":
            if "Kontext" in pipeline:
                return "kontext"
            return "schnell" if denoiser.get("guidance_embeds") is False else ""
        case "flux2" if "Klein" in pipeline:
            return "klein" if listing.get("is_distilled") is True else "klein-base"
        case "sana":
            sides = {16: "512", 64: "2k", 128: "4k"}
            side = denoiser.get("sample_size")
            return "sprint" if "Sprint" in pipeline else sides.get(side, "") if isinstance(side, int) else ""
        case "sdxl" if own.startswith("EDM"):
            return "playground"
        case "sdxl" | "sd15" if own in ("LCMScheduler", "TCDScheduler"):
            return "lcm" if own == "LCMScheduler" else "hyper"
        case "sd3" if denoiser.get("dual_attention_layers"):
            return "3.5-medium"
    return ""


def _by_shape(evidence: Evidence) -> tuple[str, str]:
    """What is left where no name says anything: parts that a variant has or lacks, the shift of its own scheduler."""
    keys = {key for header in evidence.headers for key in header.tensors}
    match evidence.architecture:
        case "flux1" | "flux2" if keys and not any(_GUIDED.search(key) for key in keys):
            return ("schnell" if evidence.architecture == "flux1" else "klein"), "its weights"
        case "sd3" if any(_DUAL.search(key) for key in keys):
            return "3.5-medium", "its weights"
        case "sd3" if any(_DEEP.search(key) for key in keys):
            return "3.5-large", "its weights"
        case "z_image" if evidence.config.scheduler.get("shift") == 3.0:
            return "turbo", "its configuration"
    return "", ""


_GUIDED = re.compile(r"guidance_(in|embedder)")
_DUAL = re.compile(r"transformer_blocks\.\d+\.attn2\.|joint_blocks\.\d+\.x_block\.attn2\.")
_DEEP = re.compile(r"(transformer|joint)_blocks\.(2[4-9]|3\d)\.")


def _prediction(evidence: Evidence) -> Literal["", "epsilon", "v_prediction", "flow"]:
    if evidence.architecture in FLOWS:
        return "flow"
    scheduler = evidence.config.scheduler.get("prediction_type")
    told = evidence.told("modelspec.prediction_type")
    if scheduler == "v_prediction" or evidence.keyed("v_pred") or told in ("v", "v_prediction"):
        return "v_prediction"
    if evidence.told("ss_v_parameterization") == "true" or any(_VELOCITY.search(text) for text in evidence.said):
        return "v_prediction"
    if evidence.architecture == "sd21" and any(re.search(r"768(?!x)", text) for text in evidence.said):
        return "epsilon" if scheduler == "epsilon" else "v_prediction"
    return "epsilon" if "epsilon" in (scheduler, told) else ""


def _pure_noise(evidence: Evidence, prediction: str) -> bool | None:
    if evidence.config.scheduler.get("rescale_betas_zero_snr") is True or evidence.keyed("ztsnr"):
        return True
    if evidence.told("ss_zero_terminal_snr") == "true" or any(_PURE_NOISE.search(text) for text in evidence.said):
        return True
    # The tensors are there to say something: one without the other says that, too.
    return False if prediction == "v_prediction" and evidence.keyed("v_pred") else None
