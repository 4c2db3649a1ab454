"""One request from prompt to run folder: :func:`generate`, :func:`plan`, :func:`resume`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver

from ...errors import ToolFailed, ToolRetry, UserError
from ...merging.plan.merge_plan import MergePlan
from ...settings import Settings, user_path
from ...tools.activate_experts import ActivateArgs, activate_experts
from ...tools.context import Context, Job
from ...tools.events import Emit, silent
from ...tools.propose_plan import ProposeArgs, propose_plan
from .. import answer
from ..brains.brain import make
from ..machine import build, steps_limit
from ..state import AnswerScores, Request, State, loaded
from . import folder
from .checkpoints import checkpointer
from .result import PlannedRequest, RunRequest, RunResult, read_request, read_result


def generate(
    prompt: str,
    *,
    n: int = 1,
    seed: int = 0,
    settings: Settings | None = None,
    out: Path | None = None,
    on_event: Emit | None = None,
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
        request = Request(prompt=prompt, n=n, seed=seed, compare=compare, run_dir=str(run_dir))
        asked = RunRequest(**request, thread=uuid.uuid4().hex, brain=settings.brain)
        folder.write_json(run_dir / folder.REQUEST, asked.model_dump(mode="json"))
        return _run(ctx, run_dir, asked.thread, request, on_event, mind)


def resume(
    run_dir: Path,
    *,
    settings: Settings | None = None,
    on_event: Emit | None = None,
    context: Context | None = None,
    brain: BaseChatModel | None = None,
) -> RunResult:
    """Go on with a run that was interrupted, from its last checkpoint; nothing that was done is done again.

    A run that had ended is returned as it is.

    Raises:
        UserError: no run there, one of a later version, or its checkpoints are gone.
    """
    run_dir = user_path(run_dir)
    request = read_request(run_dir)
    settings = context.settings if context is not None else settings or Settings.load()
    mind = brain if brain is not None else make(settings)
    with _opened(context, settings) as ctx:
        return _run(ctx, run_dir, request.thread, None, on_event, mind)


def plan(
    prompt: str, *, n: int = 1, seed: int = 0, settings: Settings | None = None, context: Context | None = None
) -> PlannedRequest:
    """What :func:`generate` would merge for a prompt, by the solver, without a run, a brain or torch.

    Its ``plan`` is None if nothing can be drawn.
    """
    prompt, n, seed = answer.checked_prompt(prompt), answer.checked_n(n), answer.checked_seed(seed)
    settings = context.settings if context is not None else settings or Settings.load()
    with _opened(context, settings) as ctx:
        try:
            activation = activate_experts(ctx.with_job(Job(prompt=prompt, n=n, seed=seed)), ActivateArgs(prompt=prompt))
            made: MergePlan | None = None
            if activation.plannable:
                job = Job(prompt=prompt, n=n, seed=seed, activation=activation)
                made = ctx.load_plan(propose_plan(ctx.with_job(job), ProposeArgs()).plan_id)
        except (ToolRetry, ToolFailed) as error:
            raise UserError(str(error)) from error
    return PlannedRequest(
        plan=made,
        prompt=activation.prompt,
        facets=activation.facets,
        experts=activation.experts,
        uncovered=activation.uncovered,
        left_to_base=activation.left_to_base,
        rejected=activation.rejected,
        excluded=activation.excluded,
        unmet=activation.unmet,
    )


@contextmanager
def _opened(context: Context | None, settings: Settings) -> Iterator[Context]:
    if context is not None:
        yield context.for_request()
    else:
        with Context.open(settings) as ctx:
            yield ctx


def _run(
    ctx: Context,
    run_dir: Path,
    thread: str,
    request: Request | None,
    on_event: Emit | None,
    brain: BaseChatModel,
) -> RunResult:
    trace = folder.Trace(run_dir / folder.TRACE, on_event or silent)
    ctx = ctx.with_emit(trace)
    with checkpointer(ctx.settings) as saver:
        machine = build(ctx, saver, brain)
        config: Any = {"configurable": {"thread_id": thread}, "recursion_limit": steps_limit(ctx)}
        if request is None and not _goes_on(saver, config, run_dir):
            return read_result(run_dir)
        try:
            # "sync": a step's checkpoint is on disk before the next step starts, so a crash repeats at most one step.
            state = loaded(machine.invoke(cast(Request, request), config, durability="sync"))
        except BaseException as error:
            ctx.say("interrupted", f"{type(error).__name__}: {error}", folder=str(run_dir))
            raise
    result = _result(ctx, run_dir, state)
    folder.write_json(run_dir / folder.RESULT, result.to_json())
    return result


def _goes_on(saver: BaseCheckpointSaver[Any], config: Any, run_dir: Path) -> bool:
    """Whether there are checkpoints to go on from; False where a run that had ended lost them.

    Raises:
        UserError: they are gone before the end, or cannot be read by this version.
    """
    found = saver.get_tuple(config)
    if found is not None:
        loaded(found.checkpoint["channel_values"])
        return True
    if (run_dir / folder.RESULT).is_file():
        return False
    raise UserError(f"The checkpoints of {run_dir} are gone, so it cannot be resumed. Run the prompt again.")


def _result(ctx: Context, run_dir: Path, state: State) -> RunResult:
    trace = folder.read_trace(run_dir / folder.TRACE)
    return RunResult(
        run_dir=run_dir,
        plan=_plan(ctx, run_dir, state.plan_id) if state.plan_id else None,
        images=tuple(run_dir / name for name in state.images),
        scores=state.scores if isinstance(state.scores, AnswerScores) else None,
        uncovered=state.uncovered,
        timings=folder.timings(trace),
        trace=tuple(trace),
        status=state.status or "no image",
        message=state.message,
        notes=state.notes,
        facets=state.activation.facets if state.activation else (),
        activation=state.activation,
        comparison=state.comparison,
        rounds=state.rounds,
        tokens=state.tokens,
    )


def _plan(ctx: Context, run_dir: Path, plan_id: str) -> MergePlan | None:
    try:
        return ctx.load_plan(plan_id)
    except ToolRetry:
        kept = run_dir / "plan.json"  # the home's plans were tidied away since
        return MergePlan.load(kept) if kept.is_file() else None
