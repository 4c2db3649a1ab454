"""What a user orders beside the words, put into a plan: seed, sampler, weights of experts; what cannot be is named."""

from __future__ import annotations

import math
import re

from ..graph.experts.expert import Expert
from ..graph.reading.request import ExpertOrder, Orders, Unmet
from ..merging.plan.merge_plan import Sampler
from .context import Context
from .naming import called
from .results import ActivationResult

MOST_WEIGHT = 2.0
STEP = 64
"""Sides of an image that is ordered by its format are multiples of this, in pixels."""


def sampled(ctx: Context, sampler: Sampler, orders: Orders) -> Sampler:
    """A sampler with the steps, guidance and size that are ordered and possible."""
    ordered = {"steps": orders.steps, "guidance": orders.guidance}
    if ctx.profile.vocabulary == "open":
        ordered |= dict(zip(("width", "height"), _size(ctx, orders), strict=True))
    changed = {name: value for name, value in ordered.items() if value is not None}
    return sampler.model_copy(update=changed) if changed else sampler


def _size(ctx: Context, orders: Orders) -> tuple[int | None, int | None]:
    if orders.width or orders.height or orders.aspect is None or not ctx.profile.sizes:
        return _whole(orders.width), _whole(orders.height)
    native = ctx.profile.sizes[0]
    wide, high = orders.aspect
    unit = math.sqrt(native.width * native.height / (wide * high))
    return max(STEP, round(wide * unit / STEP) * STEP), max(STEP, round(high * unit / STEP) * STEP)


def _whole(side: int | None) -> int | None:
    return None if side is None else max(8, side // 8 * 8)


def seeded(ctx: Context, orders: Orders) -> int:
    """The first seed: the request's, else the ordered one."""
    return orders.seed if orders.seed is not None and ctx.job.seed == 0 else ctx.job.seed


def negative(ctx: Context, activation: ActivationResult) -> str:
    """What the plan rules out: the prompt's exclusions where the base takes a negative prompt in a user's own words."""
    fits = ctx.profile.negative_prompt and ctx.profile.vocabulary == "open"
    return ", ".join(activation.excluded) if fits else ""


def ordered_experts(ctx: Context, activation: ActivationResult) -> dict[str, tuple[float | None, str]]:
    """Expert's id -> (weight, trigger) of all that are ordered by name and can be had here."""
    found: dict[str, tuple[float | None, str]] = {}
    for order in activation.orders.experts:
        expert = _meant(ctx, activation, order)
        if expert is not None:
            found[expert.id] = (order.weight, expert.skills[0].trigger if len(expert.skills) == 1 else "")
    return found


def _meant(ctx: Context, activation: ActivationResult, order: ExpertOrder) -> Expert | None:
    """The one expert of the family that an order names by its file or its repository, if it can be taken."""
    if activation.vocabulary == "open":
        named, _ = called(ctx, order.name)
        return named if named is not None and named.id in {e.id for e in activation.experts if e.ordered} else None
    if order.weight is not None and not 0 < order.weight <= MOST_WEIGHT:
        return None
    meant = [e for e in ctx.store.experts(ctx.family) if _key(order.name) in _keys(e)]
    if len(meant) != 1:
        return None
    expert = meant[0]
    if expert.id in {e.id for e in activation.experts}:
        return expert
    measured = [c for c in ctx.store.calibrations(expert.id) if c.expert_sha256 == expert.sha256]
    return expert if len(expert.skills) == 1 and measured and measured[-1].usable else None


def _keys(expert: Expert) -> set[str]:
    return {_key(expert.id), _key(expert.id.rpartition("/")[2]), _key(expert.title), _key(expert.ref.file)}


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold().removesuffix(".safetensors"))


def unmet(ctx: Context, activation: ActivationResult) -> tuple[Unmet, ...]:
    """Orders that this base or graph cannot obey, each with the reason."""
    orders = activation.orders
    named = list(orders.not_possible)
    for order in orders.experts:
        if _meant(ctx, activation, order) is None:
            why = "no expert here that may be used is called so"
            if activation.vocabulary == "open":
                why = called(ctx, order.name)[1] or "with weight 0 it is not used"
            named.append(Unmet(text=order.text, why=why))
    closed = ctx.profile.vocabulary == "closed"
    if closed and (orders.width or orders.height or orders.aspect):
        native = ctx.profile.sizes[0] if ctx.profile.sizes else None
        size = f"{native.width}x{native.height}" if native else "its own size"
        named.append(Unmet(text="size", why=f"this base draws {size} only"))
    for text, said in (("sampler", orders.sampler), ("model", orders.model), ("vae", orders.vae)):
        if said:
            named.append(Unmet(text=f"{text} {said}", why="is chosen by settings, not in the prompt"))
    if orders.clip_skip is not None:
        named.append(Unmet(text=f"clip skip {orders.clip_skip}", why="is not done here"))
    if orders.images is not None and orders.images != ctx.job.n:
        named.append(Unmet(text=f"{orders.images} images", why="say how many with -n"))
    if activation.excluded and not negative(ctx, activation) and not closed:
        named.append(Unmet(text=", ".join(activation.excluded), why="this base takes no negative prompt"))
    return tuple(named)
