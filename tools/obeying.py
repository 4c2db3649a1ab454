"""What a user orders beside the words, put into a plan: seed, sampler, size, method, VAE; what cannot be is named.

Experts that are ordered by name are in `ordered_experts`.
"""

from __future__ import annotations

import math

from ..errors import PlanError, UserError
from ..graph.reading.request import Orders, Unmet
from ..merging.methods.method import make
from ..merging.plan.merge_plan import Method, Sampler
from .context import Context
from .ordered_experts import lost_orders, refuse_unknown
from .results import ActivationResult

STEP = 64
"""Sides of an image that is ordered by its format are multiples of this, in pixels."""
MULTIPLE = 8
"""Sides that are ordered in pixels are multiples of this."""


def refuse_impossible(ctx: Context, orders: Orders) -> None:
    """Raise UserError, with what could be said in its place, for orders that name what is not there."""
    refuse_unknown(ctx, orders)
    if orders.method:
        try:
            make(Method(name=orders.method))
        except PlanError as error:
            raise UserError(str(error)) from error


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
    return None if side is None else max(MULTIPLE, side // MULTIPLE * MULTIPLE)


def seeded(ctx: Context, orders: Orders) -> int:
    """The first seed: the request's, else the one that the prompt orders."""
    return orders.seed if orders.seed is not None and ctx.job.seed == 0 else ctx.job.seed


def negative(ctx: Context, activation: ActivationResult) -> str:
    """What the plan rules out: what is ordered so, and the prompt's exclusions, where the base takes a negative prompt
    in a user's own words.
    """
    fits = ctx.profile.negative_prompt and ctx.profile.vocabulary == "open"
    said = [activation.orders.negative, *activation.excluded]
    return ", ".join(dict.fromkeys(one for one in said if one)) if fits else ""


def unmet(ctx: Context, activation: ActivationResult) -> tuple[Unmet, ...]:
    """Orders that this base or graph cannot obey, each with the reason."""
    orders = activation.orders
    named = [*orders.not_possible, *lost_orders(ctx, activation)]
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
    if orders.negative and not negative(ctx, activation):
        named.append(Unmet(text=f"negative {orders.negative}", why="this base takes no negative prompt"))
    return tuple(named)
