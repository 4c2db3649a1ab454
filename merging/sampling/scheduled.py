"""Sampling with a schedule: before each pass of the denoiser, its weights are made those of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ...errors import PlanError
from ..engine.engine import Engine
from ..plan.merge_plan import MergePlan
from ..plan.pinning import Locate
from ..plan.schedule import passes


class ScheduledDenoiser:
    """Holds an engine to a plan's schedule while a pipeline samples. Use as a context manager around one call of it.

    The denoiser's ``forward`` is stood in for, so that this works for every pipeline that calls its denoiser: each
    call first merges the plan of the step (`Engine.apply`, which recomputes only what changed), then runs. Where a
    step has several passes, each runs under its own plan and the outputs are averaged in float32; guidance is linear
    in them, so that is the average of the guidances, whichever way a pipeline batches its two halves. (With a
    guidance rescale, which is not linear, it is not; plans ask for none.)

    A plan without a schedule costs nothing: nothing is stood in for. Whatever interrupts the sampling, ``forward`` is
    put back and the base was never written to.
    """

    def __init__(self, engine: Engine, plan: MergePlan, locate: Locate) -> None:
        self._engine, self._plan, self._locate = engine, plan, locate
        self._denoiser: Any = getattr(engine.pipe, engine.base.denoiser)
        self._step = 0
        self._merged = ""

    def __enter__(self) -> ScheduledDenoiser:
        if self._plan.schedule is not None:
            self._own = self._denoiser.__dict__.get("forward")
            self._denoiser.forward = self._standing_in(self._denoiser.forward)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._plan.schedule is not None:
            del self._denoiser.forward
            if self._own is not None:
                self._denoiser.forward = self._own

    def next(self, step: int) -> None:
        """``step`` (from 0) is the one that the denoiser's coming calls belong to."""
        self._step = step

    def _standing_in(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            outputs = []
            for plan in passes(self._plan, self._step, len(self._engine.pipe.scheduler.timesteps)):
                self._merge(plan)
                outputs.append(forward(*args, **kwargs))
            return outputs[0] if len(outputs) == 1 else averaged(outputs)

        return run

    def _merge(self, plan: MergePlan) -> None:
        if plan.plan_id == self._merged:
            return
        # Tensors made under inference mode could not be touched outside it later.
        with torch.inference_mode(False), torch.no_grad():
            self._engine.apply(plan, self._locate)
        self._merged = plan.plan_id


def averaged(outputs: Sequence[Any]) -> Any:
    """The mean of a denoiser's outputs of several passes: ``(sample, …)`` or an object with ``.sample``.

    A sample is a tensor, or a list of them (one for each image). Raises PlanError for anything else.
    """
    first = outputs[0]
    if isinstance(first, tuple) and first:
        return (_mean([output[0] for output in outputs]), *first[1:])
    if hasattr(first, "sample"):
        return type(first)(sample=_mean([output.sample for output in outputs]))
    raise PlanError(f"a composite schedule cannot average what this base's denoiser returns ({type(first).__name__})")


def _mean(samples: Sequence[Any]) -> Any:
    if isinstance(samples[0], Tensor):
        return torch.stack([sample.to(torch.float32) for sample in samples]).mean(0).to(samples[0].dtype)
    if isinstance(samples[0], list):
        return [_mean(each) for each in zip(*samples, strict=True)]
    raise PlanError(f"a composite schedule cannot average samples of type {type(samples[0]).__name__}")
