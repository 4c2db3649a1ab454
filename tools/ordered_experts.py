"""Which experts a user orders or rules out by name. They need no calibration, and no brain changes what is ordered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import UserError
from ..graph.experts.expert import Expert
from ..graph.reading.request import ExpertOrder, Orders, Unmet
from ..graph.selection.activation import ActiveExpert
from ..merging.plan.merge_plan import PlanExpert
from .component_weights import apart
from .context import Context
from .naming import called
from .results import ActivationResult

OUTSIDE = "expert"
"""The kind of an order that was given outside the prompt."""
MISSING = "no expert here that may be used is called so"


def ordered_by_id(ctx: Context, orders: Orders) -> Mapping[str, ExpertOrder]:
    """Expert's id -> the order, of all that are here and not ruled out; of two orders for one expert the last holds."""
    out = ruled_out(ctx, orders)
    found = ((called(ctx, order.name)[0], order) for order in _whole(ctx, orders.experts))
    return {expert.id: order for expert, order in found if expert is not None and expert.id not in out}


def ruled_out(ctx: Context, orders: Orders) -> frozenset[str]:
    """Ids of the experts that are not to be used, and of their copies: those of ``without``, and those at weight 0."""
    off = [order.name for order in _whole(ctx, orders.experts) if order.weight == 0.0 and not order.text_weight]
    sums = {expert.sha256 for name in (*orders.without, *off) if (expert := called(ctx, name)[0]) is not None}
    return frozenset(expert.id for expert in ctx.store.with_files(sums))


def refuse_unknown(ctx: Context, orders: Orders) -> None:
    """Raise UserError, with the closest names, for an expert ordered or ruled out that is not in the graph."""
    experts = _whole(ctx, orders.experts)
    for name in (*(order.name for order in experts), *orders.without):
        expert, why = called(ctx, name)
        if expert is None:
            raise UserError(f"The expert {name[:120]!r} cannot be had: {why}" + ("" if why.endswith("?") else "."))
    out = ruled_out(ctx, orders)
    both = [o.name for o in experts if o.weight != 0.0 and (expert := called(ctx, o.name)[0]) and expert.id in out]
    if both:
        raise UserError(f"The expert {both[0]!r} is both ordered and ruled out: say one of the two.")


def laid_on(ctx: Context, activation: ActivationResult, orders: Orders) -> ActivationResult:
    """What was read under a user's orders: the experts that are ordered stand in it, at the ordered weights.

    A base of closed vocabulary must be told what to draw, so a tag in its prompts takes only an expert of one skill
    that was found to work, or one that the words ask for; what is ordered outside the prompt is taken as it is.
    """
    activation = activation.model_copy(update={"orders": orders})
    if activation.vocabulary == "open":
        return activation
    active = {expert.id: expert for expert in activation.experts}
    taken: dict[str, tuple[Expert, ExpertOrder]] = {}
    for i, order in ordered_by_id(ctx, orders).items():
        expert = ctx.store.expert(i)
        if i in active or order.kind == OUTSIDE or _speaks(ctx, expert):
            taken[i] = (expert, order)
    alone = len({*active, *taken}) == 1
    laid = {i: _laid(ctx, *taken[i], active.get(i), alone=alone) for i in taken}
    return activation.model_copy(update={"experts": tuple(e for _, e in sorted({**active, **laid}.items()))})


def lost_orders(ctx: Context, activation: ActivationResult) -> list[Unmet]:
    """The orders for experts that come to nothing, or to less than was ordered, each with the reason."""
    lost: list[Unmet] = []
    taken = {expert.id for expert in activation.experts if expert.ordered}
    out = ruled_out(ctx, activation.orders)
    for order in _whole(ctx, activation.orders.experts):
        expert, why = called(ctx, order.name)
        if expert is None or expert.id not in {*taken, *out}:
            lost.append(Unmet(text=order.text, why=why or MISSING))
        elif expert.id in taken and apart(ctx.machinery.index, order.weight or 1.0, order.text_weight) is None:
            why = f"this base has no text encoder that is merged, so {order.text_weight:g} has no effect"
            lost.append(Unmet(text=order.text, why=why))
    return lost


def plan_entry(ctx: Context, expert: Expert, order: ActiveExpert) -> PlanExpert:
    """What a plan holds of an expert that is ordered: the ordered weights to the letter."""
    index = ctx.machinery.index
    weight, components = apart(index, order.weight, order.text_weight) or (order.weight, {})
    return PlanExpert(
        id=expert.id, ref=str(expert.ref), sha256=expert.sha256, weight=weight, facet=order.facet,
        trigger=order.trigger, components=components,
    )  # fmt: skip


def _whole(ctx: Context, orders: Iterable[ExpertOrder]) -> list[ExpertOrder]:
    """Orders as they are meant where ids end like weights: "folder/ink:2" and "folder/ink:2:0.5" of "folder/ink:2"."""
    given = list(orders)
    ids = set(ctx.store.some(i for o in given for i in (o.text, o.text.rpartition(":")[0]) if i))
    read: list[ExpertOrder] = []
    for order in given:
        head, _, last = order.text.rpartition(":")
        if order.text in ids:
            order = order.model_copy(update={"name": order.text, "weight": None, "text_weight": None})
        elif head in ids and order.text_weight is not None:
            order = order.model_copy(update={"name": head, "weight": float(last), "text_weight": None})
        read.append(order)
    return read


def _speaks(ctx: Context, expert: Expert) -> bool:
    """Whether an expert has one skill and was found to have it."""
    measured = [c for c in ctx.store.calibrations(expert.id) if c.expert_sha256 == expert.sha256]
    return len(expert.skills) == 1 and bool(measured) and measured[-1].usable


def _laid(
    ctx: Context, expert: Expert, order: ExpertOrder, active: ActiveExpert | None, *, alone: bool
) -> ActiveExpert:
    weight = order.weight
    if weight is None:
        found = [c for c in ctx.store.calibrations(expert.id) if c.expert_sha256 == expert.sha256 and c.usable]
        known = active.weight if active else found[-1].best_weight if found else 1.0
        weight = known if alone else min(1.0, known)
    update = {"weight": weight, "text_weight": order.text_weight, "ordered": True}
    if active is not None:
        return active.model_copy(update=update)
    pushes = weight > 0 or (order.text_weight or 0.0) > 0
    one = len(expert.skills) == 1 or expert.kind == "textual_inversion"
    said = expert.skills[0] if one and pushes else None
    facet = expert.skills[0].facet if expert.skills else ""
    trigger = said.trigger if said else ""
    new = ActiveExpert(id=expert.id, facet=facet, trigger=trigger, triggers=(trigger,) if trigger else ())
    return new.model_copy(update=update)
