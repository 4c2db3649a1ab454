"""``parameters``: the text by which A1111, Forge, Civitai and ComfyUI's loaders know how an image was made."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from urllib.parse import unquote

from ...errors import DiffGraphError, PlanError
from ...files.payload_hash import AUTOV3_DIGITS, HashMemo
from ..plan.foreign.values import stem
from ..plan.merge_plan import MergePlan, PlanExpert
from ..plan.pinning import Locate
from ..plan.samplers import DEFAULT, SPACINGS, split, written

AUTOV2_DIGITS = 10
"""So many hex digits of a file's sha256 name it on Civitai; A1111 writes as many for the base."""
_GENERIC = frozenset({"pytorch_lora_weights", "diffusion_pytorch_model", "adapter_model", "model", "lora", "weights"})
"""File names that say nothing: the repository's name is written in their place."""
MAX_SUMMED_BYTES = 4 * 2**30
"""Larger experts are whole denoisers, which no <lora:…> tag loads."""
_sums = HashMemo()


def payload_sums(plan: MergePlan, locate: Locate) -> dict[str, str]:
    """sha256 of an expert's file -> sha256 of its tensors alone, for experts that are one file and can be found."""
    found: dict[str, str] = {}
    for expert in plan.experts:
        try:
            path = locate(expert)
            if path.is_file() and path.stat().st_size <= MAX_SUMMED_BYTES and (digest := _sums.payload(path)):
                found[expert.sha256] = digest
        except (DiffGraphError, OSError):
            continue  # whoever merges it says what is wrong; here it only goes without this name
    return found


def parameters(
    plan: MergePlan, seed: int, size: tuple[int, int], sums: Mapping[str, str] | None = None, own: str = ""
) -> str:
    """The text that A1111 writes under ``parameters``: prompt, negative prompt, one line of ``Name: value`` pairs.

    Experts are named by file, as A1111 does, and by the sum that it and Civitai know them by: twelve digits of the
    tensors' sha256 (AutoV3) where ``sums`` has it, else ten of the file's (AutoV2). The base is named by the file that
    it was read from, if ``sums`` has that one's sha256. ``own`` is the base's own sampler as plans name it, for plans
    that leave the sampler to the base.
    """
    names = expert_names(plan)
    tags = "".join(f" <lora:{names[e.id]}:{_weights(e)}>" for e in plan.experts)
    lines = [_one_line(plan.prompt) + tags]
    if plan.negative_prompt:
        lines.append(f"Negative prompt: {_one_line(plan.negative_prompt)}")
    digests = {e.id: (sums or {}).get(e.sha256, "")[:AUTOV3_DIGITS] or e.sha256[:AUTOV2_DIGITS] for e in plan.experts}
    fields: dict[str, object] = {
        "Steps": plan.sampler.steps,
        **_sampler(own if own and plan.sampler.name == DEFAULT else plan.sampler.name),
        **_guidance(plan),
        "Seed": seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model hash": (sums or {}).get(plan.base.sha256, plan.base.sha256)[:AUTOV2_DIGITS],
        "Model": plan.base.ref.partition(":")[2] or plan.base.ref,
    }
    if plan.sampler.clip_skip is not None:
        fields["Clip skip"] = plan.sampler.clip_skip
    if plan.vae is not None:
        fields |= {"VAE hash": plan.vae.sha256[:AUTOV2_DIGITS], "VAE": PurePath(plan.vae.ref).name}
    if plan.experts:
        fields["Lora hashes"] = ", ".join(f"{names[e.id]}: {digests[e.id]}" for e in plan.experts)
    if plan.schedule is not None:
        fields["Schedule"] = json.dumps(plan.schedule.model_dump(mode="json"), sort_keys=True)
    fields |= {"Merge method": plan.method.name, "Plan": plan.plan_id[:16], "Version": f"DiffGraph {version()}"}
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in fields.items()))
    return "\n".join(lines)


def _sampler(name: str) -> dict[str, object]:
    """Sampler and spacing of the steps, in two fields as A1111 has them."""
    try:
        sampler, spacing = split(name)
    except PlanError:
        return {"Sampler": name}
    said: dict[str, object] = {"Sampler": written(sampler)}
    return said | {"Schedule type": SPACINGS[spacing].said} if spacing else said


def _guidance(plan: MergePlan) -> dict[str, object]:
    """The guidance scale; Forge tells FLUX's, which is an input of the model, apart from the other kind."""
    said: dict[str, object] = {"CFG scale": f"{plan.sampler.guidance:g}"}
    return {"CFG scale": 1, "Distilled CFG Scale": said["CFG scale"]} if plan.base.family == "flux1" else said


def expert_names(plan: MergePlan) -> dict[str, str]:
    """Expert id -> the name by which other programs find it: its file's, without the ending, unless that says nothing.

    Experts that would have the same name keep their ids.
    """
    names = {expert.id: _file_name(expert) for expert in plan.experts}
    often = Counter(name.lower() for name in names.values())
    return {key: name if often[name.lower()] == 1 else _sayable(key) for key, name in names.items()}


def _file_name(expert: PlanExpert) -> str:
    """The stem of the file in ``source:repository@revision:file``, else the end of the repository, else of the id."""
    _, source, rest = expert.ref.partition(":")
    repository, _, tail = rest.rpartition("@")
    file = tail.partition(":")[2]
    called = stem(file)
    if called.lower() in _GENERIC or not called:
        called = unquote(repository).rstrip("/").rpartition("/")[2]
    return _sayable(called if source and called else expert.id.rpartition("/")[2] or expert.id)


def _weights(expert: PlanExpert) -> str:
    """The numbers of a tag: one, or the text encoders' and the denoiser's where the plan tells them apart."""
    encoders, denoiser = (expert.weight * _factor(expert, one) for one in ("text_encoder", "unet"))
    return f"{denoiser:g}" if encoders == denoiser else f"{encoders:g}:{denoiser:g}"


def _factor(expert: PlanExpert, component: str) -> float:
    """What ``components`` says of a component; a transformer counts as the denoiser that it is."""
    for pattern, factor in sorted(expert.components.items(), key=lambda item: (-len(item[0]), item[0])):
        also = "transformer" if component == "unet" else component
        if fnmatch.fnmatchcase(component, pattern) or fnmatch.fnmatchcase(also, pattern):
            return factor
    return 1.0


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sayable(text: str) -> str:
    """A name as it may stand in a <lora:…> tag: no colon, comma or angle bracket."""
    return "".join("_" if c in ":,<>\n" else c for c in text)


def _quoted(value: str) -> str:
    """A1111 quotes values that hold a comma, colon or line break, as JSON strings."""
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ',:\n"') else value


@cache
def version(name: str = "diffgraph") -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
