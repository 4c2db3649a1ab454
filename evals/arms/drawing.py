"""What arms share: plans made into answers, the best of several tries, the planner's and the suite's experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import ExpertError, PlanError
from ...merging.plan.merge_plan import MergePlan, Method, PlanExpert
from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, Arm

TRIES = 3
"""Images that the arms which take the best of several make: more than ours makes on average, which stops at the first
that is surely good enough, or where another try brings nothing better. Reports show how many each arm made.
"""


@dataclass(frozen=True)
class Refused:
    """What an arm could not answer, because the merge was refused, and why."""

    item: Item
    seed: int
    why: str


def asked(evaluation: Evaluation, arm: Arm, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer | Refused]:
    """An arm's answers to a few items. If a merge is refused, item by item, so that only the guilty one is a miss."""
    try:
        found = list(arm.run(evaluation, items, seeds))
    except (PlanError, ExpertError) as error:
        if len(items) > 1:
            for item in items:
                yield from asked(evaluation, arm, [item], seeds)
            return
        yield from (Refused(items[0], seed, str(error)) for seed in seeds)
        return
    yield from found


def answers(evaluation: Evaluation, items: Sequence[Item], plans: Sequence[MergePlan]) -> Iterator[Answer]:
    """Render one plan an item; an answer for each of its seeds."""
    for item, plan, images in zip(items, plans, evaluation.render(plans), strict=True):
        for seed, image in zip(plan.seeds, images, strict=True):
            yield Answer(item, seed, image, plan)


def tries(seeds: Sequence[int], n: int = TRIES) -> list[int]:
    """For each seed ``n`` of them, the seed itself first."""
    return [seed + 1000 * t for seed in seeds for t in range(n)]


def best_of(
    evaluation: Evaluation, items: Sequence[Item], plans: Sequence[MergePlan], seeds: Sequence[int], n: int = TRIES
) -> Iterator[Answer]:
    """For each seed the image of its `tries` that the critic scores highest, the earlier one on a tie."""
    for item, plan, images in zip(items, plans, evaluation.render(plans), strict=True):
        scores = [v.score for v in evaluation.critic.score(images, item.wanted)]
        for k, seed in enumerate(seeds):
            at = max(range(k * n, (k + 1) * n), key=lambda i: (scores[i], -i))
            yield Answer(item, seed, images[at], plan.model_copy(update={"seeds": (plan.seeds[at],)}), n)


def chosen_by_planner(evaluation: Evaluation, item: Item, seeds: Sequence[int]) -> tuple[PlanExpert, ...]:
    """The planner's choice of experts for an item (none where it finds nothing to draw)."""
    plan = evaluation.proposed(item, seeds)
    return plan.experts if plan is not None else ()


def right(evaluation: Evaluation, item: Item, seeds: Sequence[int], method: Method) -> MergePlan:
    """A plan of the experts that the suite names, at their calibrated weights."""
    return evaluation.plan(
        item, [evaluation.pin(e, evaluation.best_weight(e), item) for e in item.experts], seeds, method
    )
