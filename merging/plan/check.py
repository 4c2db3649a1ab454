"""Is a plan going to work? Answered from file headers alone: no weights are read and torch is not imported."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ...bases.architecture import UNKNOWN
from ...bases.index import BaseIndex
from ...errors import DiffGraphError
from ..formats.detect import detect
from ..formats.read import check_shapes, expert_files, notes_of
from ..methods.method import MergeMethod, make
from .block_weights import BlockWeights
from .coverage import coverage_problem
from .drawable import drawing_problems
from .estimate import DeviceRates, Estimate, ExpertLoad, estimate
from .licence import OutputLicence, output_licence, parents_of
from .memory import Placement, Room, picked_dtype, place
from .merge_plan import MergePlan, PlanExpert
from .pinning import Locate, located, pin_base, pin_experts
from .prompt_fit import clip_skip_problem, prompt_notes, text_side
from .schedule import passes
from .vae import located_vae

Code = Literal[
    "base", "method", "schedule", "experts", "family", "file", "coverage", "blocks", "trigger", "weight", "overlap",
    "licence", "vae", "prompt", "clip_skip", "sampler", "size", "negative",
    "guidance",
]  # fmt: skip
OVERLAP = 0.5
"""Cosine of two experts' deltas from which they push the same weights the same way."""
HUGE = 4.0
"""A weight beyond this, either way, drowns the base in nearly every published expert."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(_Frozen):
    """One thing that is wrong (``fatal``) or odd about a plan. ``expert`` is an id, or "" for the plan itself."""

    code: Code
    message: str
    expert: str = ""
    fatal: bool = True


class ExpertCheck(_Frozen):
    """What the header of one expert says. ``coverage`` is the share of its targets that the base has, ``notes``
    what is decided about its file.
    """

    id: str
    kind: str
    rank: int | None
    targets: int
    missing: tuple[str, ...]
    coverage: float
    size_bytes: int
    notes: tuple[str, ...] = ()


class CheckReport(_Frozen):
    """The outcome: ``ok`` if nothing is fatal.

    ``targets`` counts the weights that the plan would change, ``modules`` those of each component, ``shared`` the
    weights that more than one expert changes. ``estimate`` is there if the device's rates were given, ``memory`` if
    it was told what is free.
    """

    plan_id: str
    ok: bool
    problems: tuple[Problem, ...]
    experts: tuple[ExpertCheck, ...]
    targets: int
    modules: dict[str, int] = {}
    shared: int = 0
    licence: OutputLicence | None = None
    estimate: Estimate | None = None
    memory: Placement | None = None

    def sentences(self) -> str:
        """The problems, one a line, fatal ones first."""
        ordered = sorted(self.problems, key=lambda p: not p.fatal)
        return "\n".join(problem.message for problem in ordered)


def check(
    plan: MergePlan,
    base: BaseIndex | Path,
    locate: Locate,
    *,
    families: Mapping[str, str] | None = None,
    overlaps: Mapping[tuple[str, str], float] | None = None,
    licences: Mapping[str, str] | None = None,
    rates: DeviceRates | None = None,
    dtype: str | None = None,
    room: Room | None = None,
    prompt_limit: int | None = None,
) -> CheckReport:
    """Check a plan against its base and its experts' files.

    Args:
        plan: the plan.
        base: the base, or its folder.
        locate: gives the local file of an expert.
        families: expert id -> base family as the graph knows it; compared with the plan's where given.
        overlaps: two expert ids -> cosine of their deltas, as the graph measured it.
        licences: expert id -> licence, "" -> the base's. The output's licence is told if given.
        rates: of the device that will merge. Memory and time are estimated if given.
        dtype: of the pipeline's weights, for that estimate; by default what the room gives, else float32.
        room: what is free on the device, and what is set; how the base would be held is told if given.
        prompt_limit: tokens that the base's longest text encoder reads, where its profile knows.

    Returns:
        Every problem found, not only the first. Raises UserError only where the base itself is missing.
    """
    index = base if isinstance(base, BaseIndex) else BaseIndex.open(base)
    method, problems = _of_the_plan(plan, index)
    checks: list[ExpertCheck] = []
    loads: list[ExpertLoad] = []
    touched: Counter[str] = Counter()
    for spec in plan.experts:
        found, targets, wrong = _expert(spec, plan, index, locate, families or {})
        problems += wrong
        touched.update(targets)
        if found is not None:
            checks.append(found)
            if targets:
                loads.append(_load(found, targets, index))
    problems += _overlapping(plan, overlaps or {})
    problems += _of_the_words(plan, index, prompt_limit)
    licence = None if licences is None else output_licence(parents_of(plan, licences))
    if licence is not None and (licence.problem or licence.unknown):
        problems.append(Problem(code="licence", message=licence.sentence(), fatal=False))
    dtype = dtype or ("float32" if room is None else picked_dtype(room))
    dense = method is None or not method.low_rank  # taken for dense where unsure: that only raises the estimate
    return CheckReport(
        plan_id=plan.plan_id,
        ok=not any(problem.fatal for problem in problems),
        problems=tuple(problems),
        experts=tuple(checks),
        targets=len(touched),
        modules=dict(sorted(Counter(target.partition(".")[0] for target in touched).items())),
        shared=sum(count > 1 for count in touched.values()),
        licence=licence,
        estimate=None if rates is None else estimate(index, loads, sorted(touched), dense, rates, dtype),
        memory=None if room is None else place(index, room, _values(touched, index)),
    )


def _of_the_plan(plan: MergePlan, index: BaseIndex) -> tuple[MergeMethod | None, list[Problem]]:
    """(the plan's method, what is wrong with the plan itself, whatever its experts' files say)."""
    method: MergeMethod | None = None
    problems: list[Problem] = []
    try:
        pin_base(plan, index)
    except DiffGraphError as error:
        problems.append(Problem(code="base", message=str(error)))
    try:
        method = make(plan.method)
    except DiffGraphError as error:
        problems.append(Problem(code="method", message=str(error)))
    else:
        problems += _of_the_schedule(plan)
    try:
        pin_experts(plan)
    except DiffGraphError as error:
        problems.append(Problem(code="experts", message=str(error)))
    if plan.vae is not None:
        try:
            located_vae(plan.vae)
        except DiffGraphError as error:
            problems.append(Problem(code="vae", message=str(error)))
    found = drawing_problems(plan, index.path)
    problems += [Problem(code=code, message=text, fatal=fatal) for code, text, fatal in found]
    return method, problems


def _of_the_words(plan: MergePlan, index: BaseIndex, limit: int | None) -> Iterable[Problem]:
    """What of the prompt will not be read or obeyed, and layers of CLIP that cannot be skipped."""
    try:
        for note in prompt_notes(index.path, plan.prompt, plan.negative_prompt, limit):
            yield Problem(code="prompt", message=note, fatal=False)
    except DiffGraphError as error:
        yield Problem(code="prompt", message=str(error), fatal=False)
    side = text_side(index.path)
    skip = plan.sampler.clip_skip
    if side is not None and (text := clip_skip_problem(side.clip_layers, side.weighs, skip)):
        yield Problem(code="clip_skip", message=text)


def _of_the_schedule(plan: MergePlan) -> list[Problem]:
    """A method whose parameters leave their range on the way (a ramp's knots are the extremes)."""
    if plan.schedule is None:
        return []
    steps = plan.sampler.steps
    for step in range(steps):
        try:
            for each in passes(plan, step, steps):
                make(each.method)
        except DiffGraphError as error:
            return [Problem(code="schedule", message=f"at step {step + 1} of {steps}: {error}")]
    return []


def _of_the_family(spec: PlanExpert, plan: MergePlan, families: Mapping[str, str], *, fits: bool) -> Iterable[Problem]:
    """Another family than the plan's: fatal, unless every weight that the file changes is there in its very shape.

    Names of families are told by cards and guessed from names; that everything fits is a fact.
    """
    family = families.get(spec.id)
    if family is None or family == plan.base.family or (fits and family == UNKNOWN):
        return
    message = f"expert {spec.id} is for base family {family}, the plan is for {plan.base.family}"
    if fits:
        message += "; every weight that it changes fits, so it is merged"
    yield Problem(code="family", message=message, expert=spec.id, fatal=not fits)


def _overlapping(plan: MergePlan, overlaps: Mapping[tuple[str, str], float]) -> Iterable[Problem]:
    """Pairs of experts that push the same weights the same way, as the graph measured them."""
    active = [expert for expert in plan.experts if expert.weight != 0.0]
    for one, two in itertools.combinations(active, 2):
        cosine = overlaps.get((one.id, two.id), overlaps.get((two.id, one.id), 0.0))
        if cosine >= OVERLAP and one.weight * two.weight > 0.0:
            message = (
                f"experts {one.id} and {two.id} push the same weights the same way (cosine {cosine:.2f}), so together "
                f"they act like weight {one.weight + two.weight:g} of one: lower them, or keep one"
            )
            yield Problem(code="overlap", message=message, fatal=False)


def _values(targets: Iterable[str], base: BaseIndex) -> int:
    """How many values some weights have together."""
    return sum(math.prod(base.shape(target) or ()) for target in targets)


def _load(found: ExpertCheck, targets: Iterable[str], base: BaseIndex) -> ExpertLoad:
    """What an expert costs: its factors at the rank its header shows, or full matrices where there is none."""
    delta_bytes = flops = 0
    for target in targets:
        shape = base.shape(target) or (1,)
        rows, columns = shape[0], math.prod(shape[1:])
        if found.rank is not None and columns > 1:
            delta_bytes += 4 * found.rank * (rows + columns)
            flops += 2 * found.rank * rows * columns
        else:
            delta_bytes += 4 * rows * columns
    return ExpertLoad(file_bytes=found.size_bytes, delta_bytes=delta_bytes, flops=flops)


def _expert(
    spec: PlanExpert, plan: MergePlan, base: BaseIndex, locate: Locate, families: Mapping[str, str]
) -> tuple[ExpertCheck | None, set[str], list[Problem]]:
    """(what its header says, the targets it would change, what is wrong with it)."""
    problems: list[Problem] = []
    if spec.weight == 0.0:
        message = f"expert {spec.id} has weight 0, so it is not used"
        problems.append(Problem(code="weight", message=message, expert=spec.id, fatal=False))
    if abs(spec.weight) > HUGE:
        message = f"expert {spec.id} has weight {spec.weight:g}; beyond {HUGE:g} little of the base is left"
        problems.append(Problem(code="weight", message=message, expert=spec.id, fatal=False))
    if spec.trigger and spec.trigger.lower() not in plan.prompt.lower():
        message = f"the trigger {spec.trigger!r} of expert {spec.id} is not in the prompt"
        problems.append(Problem(code="trigger", message=message, expert=spec.id, fatal=False))
    try:
        files = expert_files(located(spec, locate))
        fmt, kind = detect(files[0])
        infos = fmt.targets(files, base)
        missing = check_shapes(files[0], infos, base)
        notes = notes_of(fmt, files, base)
    except DiffGraphError as error:
        problems.append(Problem(code="file", message=f"expert {spec.id}: {error}", expert=spec.id))
        return None, set(), [*_of_the_family(spec, plan, families, fits=False), *problems]
    problems += _of_the_family(spec, plan, families, fits=bool(infos) and not missing)
    if text := coverage_problem(spec.id, tuple(infos), missing, plan.allow_partial):
        problems.append(Problem(code="coverage", message=text, expert=spec.id))
    for note in notes:
        problems.append(Problem(code="file", message=f"expert {spec.id}: {note}", expert=spec.id, fatal=False))
    targets = set(infos) - set(missing)
    try:
        blocks = BlockWeights(spec, base)
        targets = {target for target in targets if spec.weight * blocks.factor(target) != 0.0}
    except DiffGraphError as error:
        problems.append(Problem(code="blocks", message=str(error), expert=spec.id))
    found = ExpertCheck(
        id=spec.id,
        kind=kind,
        rank=fmt.rank(files[0]),
        targets=len(infos),
        missing=missing,
        coverage=1.0 - len(missing) / len(infos),
        size_bytes=sum(header.size_bytes for header in files),
        notes=notes,
    )
    return found, targets, problems
