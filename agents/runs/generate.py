"""One request from prompt to run folder: :func:`generate`, :func:`plan`, :func:`resume`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, cast

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver

from ...errors import ToolFailed, ToolRetry, UserError
from ...graph.reading.request import Orders, Part
from ...graph.reading.said_orders import Said, orders_of
from ...graph.reading.split import split
from ...merging.plan.merge_plan import MergePlan
from ...settings import Settings, user_path
from ...tools.activate_experts import ActivateArgs, activate_experts
from ...tools.check_plan import problems_here, unread_words
from ...tools.context import Context, Job
from ...tools.events import Emit, silent
from ...tools.obeying import NO_TEXT, refuse_impossible
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
    n: int | None = None,
    seed: int | None = None,
    orders: Orders | None = None,
    base: str | None = None,
    settings: Settings | None = None,
    out: Path | None = None,
    on_event: Emit | None = None,
    compare: bool = True,
    context: Context | None = None,
    brain: BaseChatModel | None = None,
    first_seed: int = 0,
    **said: Unpack[Said],
) -> RunResult:
    """Draw a prompt: plan, merge, sample, judge, revise; everything lands in a run folder.

    Args:
        prompt: what to draw.
        n: how many images; their seeds are ``seed, seed + 1, …``. None: as many as the prompt says, else one.
        seed: of the first image; no round of the run changes it. None: what the prompt says, else ``first_seed``, and
            later rounds may try others.
        orders: what is ordered beside the words; it wins over what is ordered in the prompt.
        base: a base by name, folder, file or id on the Hub, instead of the one that the settings name.
        settings: where and how; read from the environment if None.
        out: the run folder; None takes a fresh one under ``settings.root / "runs"``.
        on_event: told of everything that happens, while it happens.
        compare: also draw the base alone and each expert alone (after the images are written).
        context: an open context to use again, so that base, critic and graph are loaded once for many requests.
        brain: a chat model to use instead of the one that the settings name.
        said: orders one by one, laid over ``orders``: ``negative="blurred", size="832x1216", experts=["ink:0.7"]``
            and the like (`Said`).

    Raises:
        UserError: an empty or overlong prompt, an order that names what is not there, a missing world or key, a home
            that cannot be written.
        ExternalError: the brain's server failed. The run can be taken up again with :func:`resume`.
    """
    asked = _asked(prompt, n, seed, orders_of(said).over(orders or Orders()), first_seed)
    settings = _settings(context, settings, base)
    mind = brain if brain is not None else make(settings)
    with _opened(context, settings) as ctx:
        refuse_impossible(ctx, asked.orders)
        run_dir = folder.given(Path(out)) if out is not None else folder.new(settings.root, asked.prompt)
        begun = {"run_dir": str(run_dir), "compare": compare, "thread": uuid.uuid4().hex, "brain": settings.brain}
        asked = asked.model_copy(update={**begun, "base": settings.base or ""})
        folder.write_json(run_dir / folder.REQUEST, asked.model_dump(mode="json"))
        return _run(ctx, run_dir, asked.thread, _begun(asked), on_event, mind)


def _asked(prompt: str, n: int | None, seed: int | None, orders: Orders, first_seed: int) -> RunRequest:
    """A request whose number of images and first seed are settled: said outright, else in the prompt, else by default.

    Raises:
        UserError: a prompt, number or seed that cannot be.
    """
    prompt = answer.checked_prompt(prompt)
    said: dict[str, int] = {}
    if n is not None:
        said["images"] = answer.checked_n(n)
    if seed is not None:
        said["seed"] = answer.checked_seed(seed)
    orders = orders.model_copy(update=said)
    whole = orders.over(split(prompt).orders)
    return RunRequest(
        prompt=prompt,
        n=answer.checked_n(whole.images or 1),
        seed=answer.checked_seed(first_seed if whole.seed is None else whole.seed),
        orders=orders,
    )


def _begun(asked: RunRequest) -> Request:
    """What the machine is given of a request."""
    orders = asked.orders.model_dump(mode="json")
    return Request(
        prompt=asked.prompt,
        n=asked.n,
        seed=asked.seed,
        compare=asked.compare,
        run_dir=asked.run_dir,
        orders=orders,
    )


def _settings(context: Context | None, settings: Settings | None, base: str | None) -> Settings:
    """The settings in force, with the base that is named. Raises UserError if an open context has another one."""
    if context is None:
        settings = settings or Settings.load()
        return settings.model_copy(update={"base": base}) if base is not None else settings
    if base is not None and base != context.settings.base:
        raise UserError(f"The open context is over the base {context.settings.base!r}: open another for {base!r}.")
    return context.settings


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
    settings = _settings(context, settings, request.base or None)
    mind = brain if brain is not None else make(settings)
    with _opened(context, settings) as ctx:
        return _run(ctx, run_dir, request.thread, None, on_event, mind)


def plan(
    prompt: str,
    *,
    n: int | None = None,
    seed: int | None = None,
    orders: Orders | None = None,
    base: str | None = None,
    settings: Settings | None = None,
    context: Context | None = None,
    **said: Unpack[Said],
) -> PlannedRequest:
    """What :func:`generate` would merge for a prompt, by the solver, without a run, a brain or torch.

    Its ``plan`` is None if nothing can be drawn. Arguments and errors are those of `generate`.
    """
    asked = _asked(prompt, n, seed, orders_of(said).over(orders or Orders()), 0)
    with _opened(context, _settings(context, settings, base)) as ctx:
        refuse_impossible(ctx, asked.orders)
        job = Job(prompt=asked.prompt, n=asked.n, seed=asked.seed, orders=asked.orders)
        try:
            activation = activate_experts(ctx.with_job(job), ActivateArgs(prompt=asked.prompt))
            made: MergePlan | None = None
            if activation.plannable:
                ctx = ctx.with_job(replace(job, activation=activation))
                made = ctx.load_plan(propose_plan(ctx, ProposeArgs()).plan_id)
        except (ToolRetry, ToolFailed) as error:
            raise UserError(str(error)) from error
        notes = () if made is None else (*unread_words(ctx, made), *_left_out_by_a_run(ctx, made))
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
        orders=activation.orders,
        notes=notes,
        aside=_aside(prompt, writes=activation.vocabulary == "open"),
    )


def _left_out_by_a_run(ctx: Context, made: MergePlan) -> tuple[str, ...]:
    """What a run will say of the plan's experts that cannot be merged, which it then does without."""
    return tuple(f"A run leaves {p.expert} out: {p.message}" for p in problems_here(ctx, made))


def _aside(prompt: str, *, writes: bool) -> tuple[Part, ...]:
    """The stretches of a prompt that are not sampled; text to write is among them where the base ``writes`` none."""
    parts = [part for part in split(prompt).parts if part.kind != "words" and not (writes and part.kind == "quoted")]
    return tuple(p.model_copy(update={"why": NO_TEXT}) if p.kind == "quoted" else p for p in parts)


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
        orders=state.activation.orders if state.activation else state.orders,
        unmet=state.activation.unmet if state.activation else (),
        left_to_base=state.activation.left_to_base if state.activation else (),
    )


def _plan(ctx: Context, run_dir: Path, plan_id: str) -> MergePlan | None:
    try:
        return ctx.load_plan(plan_id)
    except ToolRetry:
        kept = run_dir / "plan.json"  # the home's plans were tidied away since
        return MergePlan.load(kept) if kept.is_file() else None
