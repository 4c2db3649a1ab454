"""Arms: ways of answering a prompt that an evaluation compares. A function with ``@arm("name", "what it is")`` is one.

An arm takes a few items at once, so that it can sample them in common batches, and yields an answer for each item and
seed. Controls get the canonical prompt and, where they need a choice of experts, the planner's own: they can only lose
by their weights, method or missing loop, not by misreading the prompt.
"""

from __future__ import annotations

import difflib
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from ...errors import UserError
from ...merging.methods.method import make, methods
from ...merging.plan.merge_plan import MergePlan, Method, PlanExpert
from ...tools.layout_share import beside
from ..suites.suite import Item, truth
from ..workbench import Bench


@dataclass(frozen=True)
class Answer:
    """One image of an arm for an item and a seed; ``made`` counts the images it sampled to get there.

    ``image`` is None where the arm gave none.
    """

    item: Item
    seed: int
    image: Image.Image | None
    plan: MergePlan
    made: int = 1


Run = Callable[[Bench, Sequence[Item], Sequence[int]], Iterator[Answer]]


@dataclass(frozen=True)
class Arm:
    """A registered arm; ``kind`` tells ours, controls and upper bounds apart in reports."""

    name: str
    title: str
    kind: str
    run: Run


METHOD = "method:"
TRIES = 3
"""Images that the arms which take the best of several make: more than ours makes on average, which stops at the first
that is surely good enough, or where another try brings nothing better. Reports show how many each arm made.
"""
_arms: dict[str, Arm] = {}


def arm(name: str, title: str, kind: str = "control") -> Callable[[Run], Run]:
    """Register an arm. A name twice is an error at import."""

    def add(run: Run) -> Run:
        if name in _arms:
            raise ValueError(f"two arms are called {name!r}")
        _arms[name] = Arm(name, title, kind, run)
        return run

    return add


def names() -> list[str]:
    """All arms in the order of this file."""
    return list(_arms)


def get(name: str) -> Arm:
    """An arm by name; ``method:NAME`` is that merge method on the right experts.

    Raises:
        UserError: unknown; the closest are named.
        PlanError: no such method.
    """
    if name.startswith(METHOD):
        return _by_method(name, Method(name=name.removeprefix(METHOD)))
    if name not in _arms:
        close = difflib.get_close_matches(name, _arms, n=3, cutoff=0.4) or names()
        raise UserError(f"There is no arm called {name!r}. Closest: {', '.join(close)}.")
    return _arms[name]


def expanded(wanted: Sequence[str]) -> list[str]:
    """The names with ``method:*`` spelled out as an arm for every registered merge method."""
    every = [METHOD + m for m in methods()]
    return list(dict.fromkeys(n for name in wanted for n in (every if name == METHOD + "*" else [name])))


def _by_method(name: str, method: Method) -> Arm:
    make(method)

    def run(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
        # What stands alone is the same by every method: the plain plan of it is drawn once for all arms.
        pins = [_as_planned(bench, i) for i in items]
        plans = [
            bench.plan(i, pinned, seeds, method if len(pinned) > 1 else Method())
            for i, pinned in zip(items, pins, strict=True)
        ]
        yield from _answers(bench, items, plans)

    return Arm(name, f"the right experts by {method.name}", "method", run)


def _as_planned(bench: Bench, item: Item) -> list[PlanExpert]:
    """The experts that the suite names, weighted as the planner does: in company at most 1, and beside a subject with
    their measured share in the coarsest blocks.
    """
    pins = [bench.pin(e, bench.best_weight(e), item) for e in item.experts]
    if len(pins) == 1:
        return pins
    return [beside(bench.ctx, p.model_copy(update={"weight": min(1.0, p.weight)}), pins) for p in pins]


def _right(bench: Bench, item: Item, seeds: Sequence[int], method: Method) -> MergePlan:
    """A plan of the experts that the suite names, at their calibrated weights."""
    return bench.plan(item, [bench.pin(e, bench.best_weight(e), item) for e in item.experts], seeds, method)


def _answers(bench: Bench, items: Sequence[Item], plans: Sequence[MergePlan]) -> Iterator[Answer]:
    """Render one plan an item; an answer for each of its seeds."""
    for item, plan, images in zip(items, plans, bench.render(plans), strict=True):
        for seed, image in zip(plan.seeds, images, strict=True):
            yield Answer(item, seed, image, plan)


def _tries(seeds: Sequence[int]) -> list[int]:
    """For each seed `TRIES`, the seed itself first."""
    return [seed + 1000 * t for seed in seeds for t in range(TRIES)]


def _best_of(bench: Bench, items: Sequence[Item], plans: Sequence[MergePlan], seeds: Sequence[int]) -> Iterator[Answer]:
    """For each seed the image of `_tries` that the critic scores highest, the earlier one on a tie."""
    n = TRIES
    for item, plan, images in zip(items, plans, bench.render(plans), strict=True):
        scores = [v.score for v in bench.critic.score(images, item.wanted)]
        for k, seed in enumerate(seeds):
            at = max(range(k * n, (k + 1) * n), key=lambda i: (scores[i], -i))
            yield Answer(item, seed, images[at], plan.model_copy(update={"seeds": (plan.seeds[at],)}), n)


def _chosen(bench: Bench, item: Item, seeds: Sequence[int]) -> tuple[PlanExpert, ...]:
    """The planner's choice of experts for an item (none where it finds nothing to draw)."""
    plan = bench.proposed(item, seeds)
    return plan.experts if plan is not None else ()


@arm("base", "base alone")
def base(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    yield from _answers(bench, items, [bench.plan(i, (), seeds) for i in items])


@arm("base_best_of_n", "base, best of three by the critic")
def base_best_of_n(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [bench.plan(i, (), _tries(seeds)) for i in items]
    yield from _best_of(bench, items, plans, seeds)


@arm("best_single", "best single expert by the critic")
def best_single(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    rows = [(i, bench.plan(i, (bench.pin(e, bench.best_weight(e), i),), seeds)) for i in items for e in i.experts]
    bare = [(i, bench.plan(i, (), seeds)) for i in items if not i.experts]
    best: dict[tuple[str, int], tuple[float, Answer]] = {}
    rendered = bench.render([p for _, p in rows + bare])
    for (item, plan), images in zip(rows + bare, rendered, strict=True):
        verdicts = bench.critic.score(images, item.wanted)
        for seed, image, verdict in zip(seeds, images, verdicts, strict=True):
            key = (item.id, seed)
            if key not in best or verdict.score > best[key][0]:
                made = max(1, len(item.experts))
                best[key] = (verdict.score, Answer(item, seed, image, plan, made))
    yield from (answer for _, answer in best.values())


@arm("random_experts", "as many experts as ours, chosen at random")
def random_experts(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans, owners = [], []
    known = sorted(bench.experts)
    for item in items:
        count = max(1, len(_chosen(bench, item, seeds)))
        for seed in seeds:
            draw = random.Random(hashlib.sha256(f"{item.id}|{seed}".encode()).digest())
            picked = draw.sample(known, min(count, len(known)))
            plans.append(bench.plan(item, _distinct([bench.pin(e, bench.best_weight(e)) for e in picked]), (seed,)))
            owners.append(item)
    yield from _answers(bench, owners, plans)


@arm("random_weights", "an expert of random weights")
def random_weights(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    expert = bench.pin(truth().decoys["random weights"], 1.0)
    yield from _answers(bench, items, [bench.plan(i, (expert,), seeds) for i in items])


@arm("uniform", "ours' experts at equal weights that sum to 1")
def uniform(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = []
    for item in items:
        chosen = _chosen(bench, item, seeds)
        even = [e.model_copy(update={"weight": 1.0 / len(chosen), "blocks": {}}) for e in chosen]
        plans.append(bench.plan(item, even, seeds))
    yield from _answers(bench, items, plans)


def _summed(bench: Bench, item: Item, seeds: Sequence[int], tries: Sequence[int]) -> MergePlan:
    """The planner's choice of experts, each at weight 1, summed exactly.

    A checkpoint among them has no factors to stack: its sum is `linear`'s.
    """
    whole = [e.model_copy(update={"weight": 1.0, "blocks": {}}) for e in _chosen(bench, item, seeds)]
    stacks = all(bench.experts[e.id].kind == "lora" for e in whole)
    return bench.plan(item, whole, tries, Method(name="concat_sum" if stacks else "linear"))


@arm("concat_sum", "ours' experts, exact sum at weight 1")
def concat_sum(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [_summed(bench, i, seeds, seeds) for i in items]
    yield from _answers(bench, items, plans)


@arm("concat_sum_best_of_n", "the exact sum, best of three by the critic")
def concat_sum_best_of_n(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [_summed(bench, i, seeds, _tries(seeds)) for i in items]
    yield from _best_of(bench, items, plans, seeds)


@arm("only_subject_said", "the right experts, the looks' triggers left out of the prompt", kind="bound")
def only_subject_said(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [_right(bench, i, seeds, Method(name=bench.ctx.settings.method)) for i in items]
    bare = [p.model_copy(update={"prompt": i.subject or p.prompt}) for i, p in zip(items, plans, strict=True)]
    yield from _answers(bench, items, bare)


@arm("oracle_choice", "the right experts at their calibrated weights", kind="bound")
def oracle_choice(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    method = Method(name=bench.ctx.settings.method)
    yield from _answers(bench, items, [_right(bench, i, seeds, method) for i in items])


@arm("joint_lora", "one LoRA trained on the true combinations", kind="bound")
def joint_lora(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    if bench.joint is None:
        raise UserError("The arm joint_lora needs the file of a jointly trained LoRA (--joint PATH).")
    expert = bench.pin_file("joint", bench.joint)
    yield from _answers(bench, items, [bench.plan(i, (expert,), seeds) for i in items])


@arm("ours_no_loop", "ours without the critic's loop", kind="ours")
def ours_no_loop(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [bench.proposed(i, seeds) or bench.plan(i, (), seeds) for i in items]
    yield from _answers(bench, items, plans)


@arm("ours", "ours: the whole machine", kind="ours")
def ours(bench: Bench, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    from .ours import answer

    for item in items:
        for seed in seeds:
            yield answer(bench, item, seed)


def _distinct(experts: Sequence[PlanExpert]) -> list[PlanExpert]:
    """Without experts whose file is another's: a merge refuses the same file twice."""
    return list({e.sha256: e for e in experts}.values())
