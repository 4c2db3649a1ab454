"""One request from prompt to run folder: :func:`generate`, :func:`plan`, :func:`resume`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver

from ...errors import ToolFailed, ToolRetry, UserError
from ...merging.plan.merge_plan import MergePlan
from ...settings import Settings
from ...tools.context import Context, Job
from ...tools.tool import call
from .. import answer
from ..brains.brain import make
from ..machine import build, steps_limit
from ..state import Request, State
from . import folder
from .checkpoints import checkpointer

OnEvent = Callable[[dict[str, Any]], None]
"""Called with each event: ``{"t": seconds, "kind", "text", …}``."""


@dataclass(frozen=True)
class RunResult:
    """How a request ended.

    Attributes:
        run_dir: the run folder; ``index.html`` in it explains everything.
        plan: the plan of the images, None if there are none. Where several were asked for and rounds differ, the plan
            of most of them; each image's own is in its file, and its id in ``scores``.
        images: their files, in the order in which they were asked for.
        scores: the critic's: ``{"score", "facets": {text: probability}, "images": [...]}``; empty if there are none.
        uncovered: parts of the prompt that the images do not try to show.
        timings: seconds in each node, ``first_image`` and ``total``.
        trace: all events.
        status: "accepted", "best effort", "uncovered" or "no image".
        message: the same as a sentence.
        notes: what failed or was replaced on the way.
        activation: how the prompt was read.
        comparison: what the base alone and each expert alone made of it.
        rounds: every round's plan, score and findings.
    """

    run_dir: Path
    plan: MergePlan | None
    images: list[Path]
    scores: dict[str, Any]
    uncovered: list[str]
    timings: dict[str, float]
    trace: list[dict[str, Any]]
    status: str
    message: str = ""
    notes: list[str] = field(default_factory=list)
    activation: dict[str, Any] = field(default_factory=dict)
    comparison: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """The page that explains the run."""
        return self.run_dir / folder.PAGE

    def to_json(self) -> dict[str, Any]:
        """One JSON document: plan, uncovered facets, images, scores, timings, status."""
        return {
            "status": self.status,
            "message": self.message,
            "notes": self.notes,
            "run_dir": str(self.run_dir),
            "page": str(self.page),
            "plan_id": self.plan.plan_id if self.plan else None,
            "plan": self.plan.model_dump(mode="json") if self.plan else None,
            "facets": self.activation.get("facets", []),
            "uncovered": self.uncovered,
            "images": [str(path) for path in self.images],
            "scores": self.scores,
            "comparison": self.comparison,
            "rounds": self.rounds,
            "timings": self.timings,
        }


def generate(
    prompt: str,
    *,
    n: int = 1,
    seed: int = 0,
    settings: Settings | None = None,
    out: Path | None = None,
    on_event: OnEvent | None = None,
    compare: bool = True,
    context: Context | None = None,
    brain: BaseChatModel | None = None,
) -> RunResult:
    """Draw a prompt: plan, merge, sample, judge, revise; everything lands in a run folder.

    Args:
        prompt: what to draw.
        n: how many images; their seeds are ``seed, seed + 1, …``.
        settings: where and how; read from the environment if None.
        out: the run folder; None takes a fresh one under ``settings.root / "runs"``.
        on_event: told of everything that happens, while it happens.
        compare: also draw the base alone and each expert alone (after the images are written).
        context: an open context to use again, so that base, critic and graph are loaded once for many requests.
        brain: a chat model to use instead of the one that the settings name.

    Raises:
        UserError: an empty or overlong prompt, a missing world or key, a home that cannot be written.
        ExternalError: the brain's server failed. The run can be taken up again with :func:`resume`.
    """
    prompt, n, seed = answer.checked_prompt(prompt), answer.checked_n(n), answer.checked_seed(seed)
    settings = context.settings if context is not None else settings or Settings.load()
    mind = brain if brain is not None else make(settings)
    with _opened(context, settings) as ctx:
        run_dir = folder.given(Path(out)) if out is not None else folder.new(settings.root, prompt)
        request = {"prompt": prompt, "n": n, "seed": seed, "compare": compare, "run_dir": str(run_dir)}
        thread = uuid.uuid4().hex
        folder.write_json(run_dir / folder.REQUEST, {**request, "thread": thread, "brain": settings.brain})
        return _run(ctx, run_dir, thread, request, on_event, mind)


def resume(
    run_dir: Path,
    *,
    settings: Settings | None = None,
    on_event: OnEvent | None = None,
    context: Context | None = None,
    brain: BaseChatModel | None = None,
) -> RunResult:
    """Go on with a run that was interrupted, from its last checkpoint; nothing that was done is done again.

    A run that had ended is returned as it is.

    Raises:
        UserError: no run there, or its checkpoints are gone.
    """
    run_dir = Path(run_dir).expanduser().absolute()
    request = folder.read_json(run_dir / folder.REQUEST)
    settings = context.settings if context is not None else settings or Settings.load()
    mind = brain if brain is not None else make(settings)
    with _opened(context, settings) as ctx:
        return _run(ctx, run_dir, str(request.get("thread", "")), None, on_event, mind)


def plan(
    prompt: str, *, n: int = 1, seed: int = 0, settings: Settings | None = None, context: Context | None = None
) -> dict[str, Any]:
    """What :func:`generate` would merge for a prompt, by the solver, without a run, a brain or torch.

    Returns:
        ``{"plan_id", "plan", "facets", "experts", "uncovered", "rejected", "prompt"}``; ``plan`` is None if nothing
        can be drawn.
    """
    prompt, n, seed = answer.checked_prompt(prompt), answer.checked_n(n), answer.checked_seed(seed)
    settings = context.settings if context is not None else settings or Settings.load()
    with _opened(context, settings) as ctx:
        try:
            activation = call(ctx, "activate_experts", {"prompt": prompt})
            made: MergePlan | None = None
            if activation["facets"]:
                job = Job(prompt=prompt, n=n, seed=seed, activation=activation)
                made = ctx.load_plan(call(ctx.with_job(job), "propose_plan", {})["plan_id"])
        except (ToolRetry, ToolFailed) as error:
            raise UserError(str(error)) from error
    keys = ("prompt", "facets", "experts", "uncovered", "rejected")
    found = {key: activation[key] for key in keys}
    return {"plan_id": made.plan_id if made else None, "plan": made.model_dump(mode="json") if made else None, **found}


@contextmanager
def _opened(context: Context | None, settings: Settings) -> Iterator[Context]:
    if context is not None:
        yield context
    else:
        with Context.open(settings) as ctx:
            yield ctx


def _run(
    ctx: Context,
    run_dir: Path,
    thread: str,
    request: dict[str, Any] | None,
    on_event: OnEvent | None,
    brain: BaseChatModel,
) -> RunResult:
    trace = folder.Trace(run_dir / folder.TRACE, on_event)
    ctx = ctx.with_emit(trace)
    with checkpointer(ctx.settings) as saver:
        machine = build(ctx, saver, brain)
        config: Any = {"configurable": {"thread_id": thread}, "recursion_limit": steps_limit(ctx)}
        if request is None:
            _must_exist(saver, config, run_dir)
        try:
            # "sync": a step's checkpoint is on disk before the next step starts, so a crash repeats at most one step.
            state = cast(State, machine.invoke(cast(Request, request), config, durability="sync"))
        except BaseException as error:
            ctx.say("interrupted", f"{type(error).__name__}: {error}", folder=str(run_dir))
            raise
    result = _result(run_dir, state)
    folder.write_json(run_dir / folder.RESULT, result.to_json())
    return result


def _must_exist(saver: BaseCheckpointSaver[Any], config: Any, run_dir: Path) -> None:
    if saver.get_tuple(config) is None:
        raise UserError(f"The checkpoints of {run_dir} are gone, so it cannot be resumed. Run the prompt again.")


def _result(run_dir: Path, state: State) -> RunResult:
    plan_file = run_dir / "plan.json"
    trace = folder.read_trace(run_dir / folder.TRACE)
    return RunResult(
        run_dir=run_dir,
        plan=MergePlan.load(plan_file) if state.get("plan_id") and plan_file.is_file() else None,
        images=[run_dir / name for name in state.get("images", [])],
        scores=dict(state.get("scores") or {}),
        uncovered=list(state.get("uncovered", [])),
        timings=folder.timings(trace),
        trace=trace,
        status=state.get("status", "no image"),
        message=state.get("message", ""),
        notes=list(state.get("notes", [])),
        activation=dict(state.get("activation") or {}),
        comparison=list(state.get("comparison", [])),
        rounds=[dict(r) for r in state.get("rounds", [])],
    )
