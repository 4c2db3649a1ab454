"""Merge plans into a live pipeline: pristine base, merged weights computed afresh, only what changed recomputed."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from itertools import compress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ...bases.index import COMPONENTS, BaseIndex, target_name
from ...errors import PlanError
from ..deltas.expert_delta import ExpertDelta
from ..formats.read import read_expert
from ..methods.method import Whole, make
from ..plan.coverage import coverage_problem
from ..plan.memory import Offload
from ..plan.merge_plan import MergePlan, PlanExpert
from ..plan.pinning import Locate, located, pin_base, pin_experts
from .arithmetic import exact_products, write_merged
from .base_weights import BaseWeights
from .batched_factors import grouped, packed
from .device import pick_device, pick_dtype
from .expert_cache import expert_cache
from .free_memory import available_bytes, uncollected
from .gpu_merge import GpuMerger, WeightSlot
from .merge_report import ExpertReport, MergeReport
from .merge_tasks import MergeTask, changed, tasks_of
from .merged_memory import MergedMemory
from .offloading import offload_pipeline
from .pipeline_loading import load_pipeline, without_warnings

_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class Engine:
    """One base pipeline on one device, and whatever plan is merged into it at the moment. Not thread-safe.

    Nothing ever writes to the base: a merged weight is computed from it afresh, into a slot of its own that the
    parameter is pointed at, and going back is pointing it at the base again. So no drift can build up, a switch
    allocates nothing, and what two plans share is not computed twice. A target's bits depend on its own recipe
    (method, experts, weights) alone, so after any number of switches they are those of a fresh process.

    Weights are merged, never attached as branches at sampling time: a branch multiplies the activations by both factors
    in every layer and step. For four LoRAs of rank 32 in SDXL at 1024 x 1024 that is 0.7 TFLOP and more a forward pass,
    where merging takes 0.57 TFLOP once; so merging is cheaper from the first step on.

    Args:
        base_dir: a diffusers pipeline folder.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: dtype of the pipeline's weights; deltas are added in float32 whatever it is.
        expert_cache_bytes: how much memory experts that were read may keep, the least recently used leave first; by
            default 1 GiB on the CPU, where the factors of a LoRA stay in its file (`files.mapped_file`) and count for
            little, and a quarter of what is free on a GPU once the base is there.
        base_in: "file" (CPU only) reads the base's weights from its files whenever they are needed, so that base and
            merged weights together take the memory of the base once; "memory" keeps them as they were loaded; "auto" is
            "file" on the CPU, where reading a mapped file is as fast, else "memory".
        offload: what leaves the device between its turns: "none", whole "model"s one at a time, or layers ("group").
            Weights are then kept, and merged, in the machine's memory.
        stacked: keep the factors of an expert in stacks (`batched_factors`) and merge by them; by default on CUDA only.

    Attributes:
        base: index of the base's parameters.
        pipe: the live diffusers pipeline.
        merged: id of the plan whose weights the pipeline has; "" for the base, and where a merge failed.

    Raises:
        UserError: no pipeline there, weights missing or damaged, unknown device or dtype.
    """

    def __init__(
        self,
        base_dir: Path | str,
        device: str = "auto",
        dtype: str | torch.dtype = "float32",
        *,
        expert_cache_bytes: int | None = None,
        base_in: Literal["auto", "file", "memory"] = "auto",
        stacked: bool | None = None,
        offload: Offload = "none",
    ) -> None:
        self.device, self.dtype = pick_device(device), pick_dtype(dtype)
        self.offload: Offload = offload
        home = self.device if offload == "none" else torch.device("cpu")
        self.base = BaseIndex.open(base_dir)
        self._memory = MergedMemory(home)
        if available_bytes() > 2 * (merging := _matrix_bytes(self.base, self.dtype)):
            self._memory.prepare(merging)  # while the base is loaded, which is mostly the work of one core
        self._merger = GpuMerger(home, self.dtype)
        # The loaders list every scale as a weight that they do not know; `_widen` sees to these.
        with without_warnings() if self.base.scaled else nullcontext():
            self.pipe: Any = load_pipeline(Path(base_dir), home, self.dtype)
        self._params: dict[str, torch.nn.Parameter] = {}
        for component in COMPONENTS:
            module = getattr(self.pipe, component, None)
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False).eval()
                self._params.update((target_name(component, n), p) for n, p in module.named_parameters())
        _widen(self._params, self.base, self.dtype)
        self._stacked = home.type == "cuda" if stacked is None else stacked
        mapped = home.type == "cpu" and not self._stacked if base_in == "auto" else base_in == "file"
        self._base_weights = BaseWeights(self._params, self.base, mapped=mapped)
        self._home = home
        self._at_home = {target: param.data for target, param in self._params.items()} if self.offload != "none" else {}
        self.merged = ""
        self._live: dict[str, MergeTask | None] = {}
        self._slots: dict[str, WeightSlot] = {}
        self._moved: set[str] = set()  # targets whose parameter is their merged weight's place
        budget = _room_for_experts(home) if expert_cache_bytes is None else expert_cache_bytes
        self._experts = expert_cache(budget)
        offload_pipeline(self.pipe, self.device, self.offload)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Target -> weight as it is now (base, or merged). Read only, and only until the next switch."""
        self._bring_home()
        return MappingProxyType({target: param.data for target, param in self._params.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of the pipeline's weights."""
        return sum(param.numel() * param.element_size() for param in self._params.values())

    @property
    def pristine(self) -> Mapping[str, Tensor]:
        """Target -> base weight. Read only."""
        return self._base_weights

    def apply(self, plan: MergePlan, locate: Locate, *, measure: bool = False) -> MergeReport:
        """Make the pipeline's weights those of ``plan``: all of them, or on any error none of them.

        Args:
            plan: the merge plan.
            locate: gives the local file (or diffusers folder) of an expert; its sha256 must be the plan's.
            measure: also measure the norms of the report, which takes about as long as the merge itself.

        Raises:
            PlanError: other base, other bytes, unknown method, an expert that is not fully applicable (unless the plan
                allows that) or that changes nothing, a pattern that matches no module, non-finite merged weights.
            ExpertError: an expert file that cannot be read exactly.
            UserError: the base's files were changed while it was in use.
        """
        start = time.perf_counter()
        pin_base(plan, self.base)
        self._base_weights.check()
        method = make(plan.method)
        active = pin_experts(plan)
        self._bring_home()
        with exact_products(), uncollected():
            experts = self._read_all(active, locate)
            reports = [_report(spec, expert, plan, measure) for spec, expert in zip(active, experts, strict=True)]
            wholes = [Whole(s.sha256, s.facet, s.weight, e.norm) for s, e in zip(active, experts, strict=True)]
            weights = method.weights(wholes)
            tasks = tasks_of(plan, method, active, experts, weights, self.base, self._params)
            todo = changed(tasks, {target: live.recipe for target, live in self._live.items() if live is not None})
            gone = sorted(set(self._live) - set(tasks))
            self.merged = ""
            self._switch(todo, gone)
            self.merged = plan.plan_id
            norm = self._norm() if measure else None
        for expert in experts:
            for source in expert.sources:
                source.release()
        return MergeReport(
            plan_id=plan.plan_id,
            method=plan.method.name,
            experts=tuple(reports),
            targets=len(tasks),
            recomputed=len(todo),
            restored=len(gone),
            delta_norm=norm,
            seconds=time.perf_counter() - start,
        )

    def reset(self) -> None:
        """Back to the base: no arithmetic, every parameter is pointed at its pristine tensor."""
        self.merged = ""
        self._bring_home()
        for target in sorted(self._live):
            self._restore(target)

    def fingerprint(self) -> str:
        """sha256 over the names and bytes of the pristine weights: equal as long as the base is untouched."""
        digest = hashlib.sha256()
        for target in sorted(self._base_weights):
            digest.update(target.encode())
            digest.update(self._base_weights[target].cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
            self._base_weights.release(target)
        return digest.hexdigest()

    def read(self, path: Path, sha256: str, kind: str | None = None) -> ExpertDelta:
        """An expert on this engine's device, from the cache if it was read before (by sha256)."""
        kept = self._experts.get(sha256)
        if kept is not None and all(source.unchanged() for source in kept.sources):
            return kept
        expert = read_expert(path, self.base, kind)
        if self._stacked:
            expert = replace(expert, deltas=packed(expert.deltas, self._home))
        elif self._home.type != "cpu":
            expert = replace(expert, deltas={t: delta.to(self._home) for t, delta in expert.deltas.items()})
        self._experts[sha256] = expert
        return expert

    def _read_all(self, specs: Sequence[PlanExpert], locate: Locate) -> list[ExpertDelta]:
        """All experts of a plan. While one is read, the files of those to come are hashed."""
        with ThreadPoolExecutor(max_workers=max(1, min(len(specs), os.cpu_count() or 1))) as pool:
            paths = pool.map(lambda spec: located(spec, locate), specs)
            return [self.read(path, spec.sha256) for path, spec in zip(paths, specs, strict=True)]

    def _switch(self, todo: Sequence[MergeTask], gone: Sequence[str]) -> None:
        """Merge some targets and put others back to the base. If anything stops this, everything is as it was."""
        before = {target: self._live.get(target) for target in (*gone, *(task.target for task in todo))}
        try:
            for target in gone:
                self._restore(target)
            self._write_all(todo)
        except BaseException:
            self._write_all([was for target, was in before.items() if was and self._live.get(target) is not was])
            for target, was in before.items():
                if was is None and target in self._live:
                    self._restore(target)
            raise

    def _write_all(self, tasks: Sequence[MergeTask]) -> None:
        """Merge some targets, each the same way whichever others there are."""
        for task in self._write_together(tasks) if self._stacked else tasks:
            self._write(task)

    def _norm(self) -> float:
        """Frobenius norm of all that is merged in now; that of a target is measured once for a recipe."""
        return math.sqrt(math.fsum(task.norm() ** 2 for task in self._live.values() if task is not None))

    def _write_together(self, tasks: Sequence[MergeTask]) -> list[MergeTask]:
        """Merge all targets whose parts lie in stacks; returns the tasks that are left to do one by one."""
        groups, left = grouped(tasks)
        work = []
        for group in groups:
            slots = [self._slot(task) for task in group.tasks]
            fits = group.stackable(self.dtype, [slot.norm for slot in slots])
            if not all(fits):
                left += [task for task, fit in zip(group.tasks, fits, strict=True) if not fit]
                group, slots = group.only(fits), list(compress(slots, fits))
            if slots:
                work.append((group, slots))
        done = {task.target: task for group, _ in work for task in group.tasks}
        self._live.update(dict.fromkeys(done))  # in doubt before they change, as in `_write`
        self._merger.write(work)
        for target in done.keys() - self._moved:
            self._point(target, self._slots[target].shaped)
        self._live.update(done)
        return left

    def _slot(self, task: MergeTask) -> WeightSlot:
        """Where a target's weight is merged, remembered."""
        if (slot := self._slots.get(task.target)) is None:
            target, shape = task.target, task.parts[0].delta.matrix_shape
            pristine = self._base_weights[target]
            norm = self._base_weights.norm(target, pristine)
            slot = self._slots[target] = WeightSlot.of(self._memory.of(target, pristine), pristine, shape, norm)
        return slot

    def _write(self, task: MergeTask) -> None:
        """Merge one target."""
        target = task.target
        pristine = self._base_weights[target]
        # In doubt before it changes: whatever interrupts this, a recipe on record is never wrong about its weight, and
        # the next plan either merges the target again or puts it back.
        self._live[target] = None
        out = self._memory.of(target, pristine)
        write_merged(out, pristine, task.delta(), self._base_weights.norm(target, pristine), target)
        self._base_weights.release(target)
        self._point(target, out)
        self._live[target] = task

    def _point(self, target: str, merged: Tensor) -> None:
        """Let a parameter be its merged weight, which has one slot for good."""
        if target not in self._moved:
            self._params[target].data = merged
            self._moved.add(target)
            if self._at_home:
                self._at_home[target] = merged

    def _restore(self, target: str) -> None:
        """Put one target back to the base."""
        self._live[target] = None
        self._moved.discard(target)
        self._params[target].data = self._base_weights[target]
        if self._at_home:
            self._at_home[target] = self._params[target].data
        del self._live[target]

    def _bring_home(self) -> None:
        """Point every parameter at its own tensor again, where offloading has put copies in their place.

        Hooks move a model to the device and back by copying, so after an image its parameters are strangers: what is
        merged into the slots would not reach them. Nothing has written to the copies; they can go.
        """
        for target, data in self._at_home.items():
            self._params[target].data = data


def _widen(params: Mapping[str, torch.nn.Parameter], base: BaseIndex, dtype: torch.dtype) -> None:
    """Give parameters that are stored in fp8 their values in the pipeline's dtype: loaders leave them as they are, and
    know of no scale that stands beside them.
    """
    for target, param in params.items():
        if target in base.scaled:
            param.data = base.tensor(target).to(dtype).to(param.device)
        elif param.dtype in _FP8:
            param.data = param.data.to(dtype)


def _matrix_bytes(base: BaseIndex, dtype: torch.dtype) -> int:
    """Bytes of the denoiser's matrices as merged weights: what nearly every expert changes; convolutions fewer do."""
    found = (info for target, (_, _, info) in base.params.items() if target.startswith(f"{base.denoiser}."))
    return dtype.itemsize * sum(info.numel for info in found if len(info.shape) == 2)


def _room_for_experts(device: torch.device) -> int:
    """Bytes that experts may keep on a device."""
    return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 2**30


def _report(spec: PlanExpert, expert: ExpertDelta, plan: MergePlan, measure: bool) -> ExpertReport:
    """What will be applied of an expert. Raises PlanError for partial coverage that is not allowed, or none at all."""
    if problem := coverage_problem(spec.id, tuple(expert.deltas), expert.missing, plan.allow_partial):
        raise PlanError(problem)
    if not any(delta.nonzero() for target, delta in expert.deltas.items() if target not in expert.missing):
        raise PlanError(f"expert {spec.id} changes nothing: its deltas are all zero")
    return ExpertReport(
        id=spec.id,
        kind=expert.kind,
        rank=expert.rank,
        weight=spec.weight,
        targets=len(expert.deltas) - len(expert.missing),
        missing=expert.missing,
        coverage=expert.coverage,
        energy_coverage=expert.energy_coverage if expert.missing else 1.0,
        norm=expert.norm() if measure else None,
        notes=expert.notes,
    )
