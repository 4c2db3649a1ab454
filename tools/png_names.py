"""What other programs know a plan's files by, and a plan does not say: for the texts in an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..bases import known
from ..bases.pipeline_config import read_json
from ..errors import DiffGraphError
from ..merging.formats.detect import detect
from ..merging.formats.read import expert_files
from ..merging.plan.samplers import KINDS

if TYPE_CHECKING:
    from ..merging.plan.merge_plan import MergePlan
    from ..merging.plan.pinning import Locate
    from .context import Context

_NO_LORAS = frozenset({"checkpoint", "textual_inversion"})


class PngNames(NamedTuple):
    """Arguments of `save_png` of these names."""

    sums: dict[str, str]
    own: str
    graph: bool


def png_names(ctx: Context, plan: MergePlan, locate: Locate) -> PngNames:
    """Sums of the experts' tensors and of the base's own file; the base's own sampler; whether the experts are such as
    ComfyUI's LoRA loader loads.
    """
    from ..merging.sampling.a1111_text import payload_sums

    sums = payload_sums(plan, locate)
    entry = known.read(ctx.settings.root).get(ctx.profile.name)
    if entry is not None and entry.source is not None and entry.key == plan.base.sha256:
        sums[plan.base.sha256] = entry.source.sha256
    return PngNames(sums, own_sampler(ctx.machinery.base_dir), _are_loras(plan, locate))


def _are_loras(plan: MergePlan, locate: Locate) -> bool:
    try:
        return all(detect(expert_files(locate(one))[0])[1] not in _NO_LORAS for one in plan.experts)
    except (DiffGraphError, OSError):
        return False


def own_sampler(base: Path) -> str:
    """What plans call the sampler that a diffusers folder brings; "" where they have no name for it."""
    config = read_json(base / "scheduler" / "scheduler_config.json")
    called = str(config.get("_class_name", ""))
    name = next((name for name, kind in KINDS.items() if called in (kind.noise, kind.flow) and not kind.options), "")
    spacing = next((word for word in ("karras", "exponential", "beta") if config.get(f"use_{word}_sigmas") is True), "")
    return f"{name}_{spacing}" if name and spacing else name
