"""Arms of the family ``method``: the right experts, merged by each registered method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...merging.methods.method import make, methods
from ...merging.plan.merge_plan import Method, PlanExpert
from ...tools.layout_share import beside
from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, Arm, family
from .drawing import answers


@family("method", members=methods)
def by_method(name: str) -> Arm:
    """The right experts by the merge method of that name. Raises PlanError if there is none."""
    method = Method(name=name)
    make(method)

    def run(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
        # What stands alone is the same by every method: the plain plan of it is drawn once for all arms.
        pins = [_as_planned(evaluation, i) for i in items]
        plans = [
            evaluation.plan(i, pinned, seeds, method if len(pinned) > 1 else Method())
            for i, pinned in zip(items, pins, strict=True)
        ]
        yield from answers(evaluation, items, plans)

    return Arm(f"method:{name}", f"the right experts by {method.name}", "method", run)


def _as_planned(evaluation: Evaluation, item: Item) -> list[PlanExpert]:
    """The experts that the suite names, weighted as the planner does: in company at most 1, and beside a subject with
    their measured share in the coarsest blocks.
    """
    pins = [evaluation.pin(e, evaluation.best_weight(e), item) for e in item.experts]
    if len(pins) == 1:
        return pins
    return [beside(evaluation.ctx, p.model_copy(update={"weight": min(1.0, p.weight)}), pins) for p in pins]
