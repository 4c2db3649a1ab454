"""Merge plans into a live pipeline: pristine base, merged weights computed afresh, only what changed recomputed."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import PlanError, UserError
from .base import COMPONENTS, BaseIndex, target_name
from .delta import Delta
from .formats import ExpertDelta, read_expert
from .identity import Locate, located, pin_base, pin_experts
from .methods import MergeMethod, Part, Whole, make
from .methods.registry import seed_of
from .plan import MergePlan, PlanExpert
from .report import ExpertReport, MergeReport, coverage_problem
from .weights import BlockWeights

_DTYPES = MappingProxyType({"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16})


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU. Raises UserError for a device that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"there is no device called {name!r}: use auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device that PyTorch can use; set DIFFGRAPH_DEVICE=cpu")
    return device


def pick_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A torch dtype by name. Raises UserError for any but float32, bfloat16, float16."""
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise UserError(f"{dtype!r} is no dtype for weights: use one of {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


@dataclass(frozen=True)
class _Live:
    """What a target currently holds: the recipe it was merged by, and the norm of the delta."""

    recipe: str
    norm: float


class Engine:
    """One base pipeline on one device, and whatever plan is merged into it at the moment. Not thread-safe.

    The tensors that the pipeline was loaded with are the base, and nothing ever writes to them: a merged weight is a
    new tensor that the parameter is pointed at, and going back is pointing it at the old one. So no copy of the base
    is kept, no drift can build up, and what two plans share is not computed twice.

    Args:
        base_dir: a diffusers pipeline folder.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: dtype of the pipeline's weights; deltas are added in float32 whatever it is.
        expert_cache_bytes: how much memory experts that were read may keep, the least recently used leave first.

    Attributes:
        base: index of the base's parameters.
        pipe: the live diffusers pipeline.

    Raises:
        UserError: no pipeline there, weights missing or damaged, unknown device or dtype.
    """

    def __init__(
        self,
        base_dir: Path | str,
        device: str = "auto",
        dtype: str | torch.dtype = "float32",
        *,
        expert_cache_bytes: int = 2**30,
    ) -> None:
        from .pipeline import load_pipeline

        self.device, self.dtype = pick_device(device), pick_dtype(dtype)
        self.base = BaseIndex.open(base_dir)
        self.pipe: Any = load_pipeline(Path(base_dir), self.device, self.dtype)
        self._params: dict[str, torch.nn.Parameter] = {}
        for component in COMPONENTS:
            module = getattr(self.pipe, component, None)
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False).eval()
                self._params.update((target_name(component, n), p) for n, p in module.named_parameters())
        self._pristine: Mapping[str, Tensor] = MappingProxyType({t: p.data for t, p in self._params.items()})
        self._live: dict[str, _Live] = {}
        self._experts: OrderedDict[str, ExpertDelta] = OrderedDict()
        self._budget = expert_cache_bytes

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Target -> weight as it is now (base, or merged). Read only."""
        return MappingProxyType({target: param.data for target, param in self._params.items()})

    @property
    def pristine(self) -> Mapping[str, Tensor]:
        """Target -> base weight. Read only."""
        return self._pristine

    def apply(self, plan: MergePlan, locate: Locate) -> MergeReport:
        """Make the pipeline's weights those of ``plan``: all of them, or on any error none of them.

        Args:
            plan: the merge plan.
            locate: gives the local file (or diffusers folder) of an expert; its sha256 must be the plan's.

        Raises:
            PlanError: other base, other bytes, unknown method, an expert that is not fully applicable (unless the plan
                allows that) or that changes nothing, a pattern that matches no module, non-finite merged weights.
            ExpertError: an expert file that cannot be read exactly.
        """
        start = time.perf_counter()
        pin_base(plan, self.base)
        method = make(plan.method)
        active = pin_experts(plan)
        experts = [self.read(located(spec, locate), spec.sha256) for spec in active]
        reports = [_report(spec, expert, plan) for spec, expert in zip(active, experts, strict=True)]
        wholes = [Whole(s.sha256, s.facet, s.weight, e.norm) for s, e in zip(active, experts, strict=True)]
        weights = method.weights(wholes)
        parts = self._parts(active, experts, weights)
        fresh, recipes = self._merge(plan, method, parts)
        gone = sorted(set(self._live) - set(recipes))
        for target in gone:
            self._point(target, self._pristine[target], None)
        for target, (tensor, live) in fresh.items():
            self._point(target, tensor, live)
        return MergeReport(
            plan_id=plan.plan_id,
            method=plan.method.name,
            experts=tuple(reports),
            targets=len(recipes),
            recomputed=len(fresh),
            restored=len(gone),
            delta_norm=math.sqrt(math.fsum(live.norm**2 for live in self._live.values())),
            seconds=time.perf_counter() - start,
        )

    def reset(self) -> None:
        """Back to the base: no arithmetic, every parameter is pointed at its pristine tensor."""
        for target in sorted(self._live):
            self._point(target, self._pristine[target], None)

    def fingerprint(self) -> str:
        """sha256 over the names and bytes of the pristine weights: equal as long as the base is untouched."""
        digest = hashlib.sha256()
        for target, tensor in sorted(self._pristine.items()):
            digest.update(target.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def read(self, path: Path, sha256: str, kind: str | None = None) -> ExpertDelta:
        """An expert on this engine's device, from the cache if it was read before (by sha256)."""
        if sha256 in self._experts:
            self._experts.move_to_end(sha256)
            return self._experts[sha256]
        expert = read_expert(path, self.base, kind)
        if self.device.type != "cpu":
            expert = replace(expert, deltas={t: delta.to(self.device) for t, delta in expert.deltas.items()})
        self._experts[sha256] = expert
        while len(self._experts) > 1 and sum(e.nbytes for e in self._experts.values()) > self._budget:
            self._experts.popitem(last=False)
        return expert

    def _parts(
        self, specs: Sequence[PlanExpert], experts: Sequence[ExpertDelta], weights: Sequence[float]
    ) -> dict[str, list[Part]]:
        """Target -> the parts of all experts that have a weight there, in order of their sha256."""
        out: dict[str, list[Part]] = {}
        for spec, expert, weight in zip(specs, experts, weights, strict=True):
            blocks = BlockWeights(spec, self.base)
            for target, delta in expert.deltas.items():
                if target in self._params and (at := weight * blocks.factor(target)) != 0.0:
                    out.setdefault(target, []).append(Part(spec.sha256, spec.facet, at, delta, expert.norm))
        return out

    def _merge(
        self, plan: MergePlan, method: MergeMethod, parts: Mapping[str, Sequence[Part]]
    ) -> tuple[dict[str, tuple[Tensor, _Live]], dict[str, str]]:
        """New tensors for the targets whose recipe changed, and the recipes of all targets of the plan."""
        head = plan.method.model_dump(mode="json")
        context = json.dumps(head, sort_keys=True)
        fresh: dict[str, tuple[Tensor, _Live]] = {}
        recipes: dict[str, str] = {}
        for target, some in parts.items():
            recipe = json.dumps([head, [(part.key, part.facet, part.weight) for part in some]])
            recipes[target] = recipe
            live = self._live.get(target)
            if live is not None and live.recipe == recipe:
                continue
            delta = method.merge(some, seed_of(context, target) if method.seeded else 0)
            assert delta is not None
            fresh[target] = self._merged(target, delta), _Live(recipe, delta.norm())
        return fresh, recipes

    def _merged(self, target: str, delta: Delta) -> Tensor:
        """base + delta in float32, cast to the pipeline's dtype; finite or PlanError."""
        pristine = self._pristine[target]
        merged = delta.added_to(pristine).to(pristine.dtype)
        if not bool(torch.isfinite(merged).all()):
            raise PlanError(f"the merged {target} has values that {pristine.dtype} cannot hold: lower the weights")
        return merged

    def _point(self, target: str, tensor: Tensor, live: _Live | None) -> None:
        # Marked before it changes: whatever interrupts this, a recipe on record is never wrong about its tensor, and
        # the next plan either recomputes the target or points it back.
        self._live[target] = _Live("in doubt", 0.0)
        self._params[target].data = tensor
        if live is None:
            del self._live[target]
        else:
            self._live[target] = live


def _report(spec: PlanExpert, expert: ExpertDelta, plan: MergePlan) -> ExpertReport:
    """What will be applied of an expert. Raises PlanError for partial coverage that is not allowed, or none at all."""
    norm = expert.norm()
    if problem := coverage_problem(spec.id, tuple(expert.deltas), expert.missing, plan.allow_partial):
        raise PlanError(problem)
    if norm == 0.0:
        raise PlanError(f"expert {spec.id} changes nothing: its deltas are all zero")
    return ExpertReport(
        id=spec.id,
        kind=expert.kind,
        rank=expert.rank,
        weight=spec.weight,
        targets=len(expert.deltas) - len(expert.missing),
        missing=expert.missing,
        coverage=expert.coverage,
        energy_coverage=expert.energy_coverage,
        norm=norm,
    )
