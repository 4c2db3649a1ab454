"""What a user orders beside the words, put into a plan: seed, sampler, size, method, VAE; what cannot be is named.

Experts that are ordered by name are in `ordered_experts`.
"""

from __future__ import annotations

import math
from typing import TypeVar

from ..errors import DiffGraphError, PlanError, UserError
from ..graph.reading.order_sheet import listed
from ..graph.reading.request import Orders, Unmet
from ..graph.reading.split import split
from ..merging.methods.method import make
from ..merging.plan.drawable import Drawability, drawability
from ..merging.plan.foreign.values import fold
from ..merging.plan.merge_plan import Method, PlanVae, Sampler
from ..merging.plan.prompt_fit import clip_skip_problem, text_side
from ..merging.plan.samplers import DEFAULT, canonical, problem, understood
from ..merging.plan.samplers import split as sampler_and_spacing
from ..merging.plan.size_fit import area_size, fitting
from ..merging.plan.vae import pin_vae
from .context import Context
from .ordered_experts import lost_orders, refuse_unknown
from .results import ActivationResult

STEP = 64
"""Sides of an image that is ordered by its format are multiples of this, in pixels."""
MULTIPLE = 8
"""Sides are multiples of this where a base's files do not tell."""
NO_TEXT = "this base draws only what it lists, and writes no text"
_T = TypeVar("_T")
_Answer = tuple[_T | None, str]
"""(what a plan holds of an order, None: nothing; why that is not what was ordered, "" if it is)."""


def refuse_impossible(ctx: Context, orders: Orders) -> None:
    """Raise UserError, with what could be said in its place, for orders that name what is not there."""
    refuse_unknown(ctx, orders)
    try:
        if orders.method:
            make(Method(name=orders.method))
        if orders.sampler:
            canonical(orders.sampler)
    except PlanError as error:
        raise UserError(f"{str(error)[:1].upper()}{str(error)[1:]}") from error
    if orders.vae:
        pin_vae(orders.vae)


def sampled(ctx: Context, sampler: Sampler, orders: Orders) -> Sampler:
    """A sampler with what is ordered of it and possible: its name, steps, guidance, size, layers of CLIP."""
    width, height = _size(ctx, orders)[0] or (None, None)
    ordered = {
        "name": _sampler(ctx, orders)[0],
        "steps": orders.steps,
        "guidance": _guidance(ctx, orders)[0],
        "width": width,
        "height": height,
        "clip_skip": _clip_skip(ctx, orders)[0],
    }
    changed = {name: value for name, value in ordered.items() if value is not None}
    return sampler.model_copy(update=changed) if changed else sampler


def seeded(ctx: Context, orders: Orders) -> int:
    """The first seed: the request's, else the one that the prompt orders."""
    return orders.seed if orders.seed is not None and ctx.job.seed == 0 else ctx.job.seed


def decoded_by(ctx: Context, orders: Orders) -> PlanVae | None:
    """The VAE that is ordered, pinned; None if none is, or it is not here."""
    return _vae(orders)[0]


def negative(ctx: Context, activation: ActivationResult) -> str:
    """What the plan rules out: what is ordered so, and the prompt's exclusions, where the base takes a negative prompt
    in a user's own words.
    """
    weighed = {thing.casefold() for _, thing in listed(activation.orders.negative)}
    said = [activation.orders.negative, *(one for one in activation.excluded if one.casefold() not in weighed)]
    return "" if why_no_negative(ctx, activation.orders) else ", ".join(dict.fromkeys(one for one in said if one))


def unmet(ctx: Context, activation: ActivationResult) -> tuple[Unmet, ...]:
    """Orders that this base or graph cannot obey, each with the reason."""
    orders = activation.orders
    named = [*orders.not_possible, *lost_orders(ctx, activation)]
    clip_skip, guidance = f"clip skip {orders.clip_skip}", f"guidance {orders.guidance or 0:g}"
    reasons = {
        _sized(orders): _size(ctx, orders)[1],
        f"sampler {orders.sampler}": _sampler(ctx, orders)[1],
        guidance: _guidance(ctx, orders)[1],
        clip_skip: _clip_skip(ctx, orders)[1],
        f"vae {orders.vae}": _vae(orders)[1],
        f"model {orders.model}": _model(ctx, orders),
    }
    named += [Unmet(text=text, why=why) for text, why in reasons.items() if why]
    if orders.images is not None and orders.images != ctx.job.n:
        named.append(Unmet(text=f"{orders.images} images", why="say how many with -n"))
    named += [Unmet(text=text[:300], why=NO_TEXT) for text in unwritten(ctx, activation.read)]
    why = why_no_negative(ctx, orders)
    if why and orders.negative:
        named.append(Unmet(text=f"negative {orders.negative}", why=why))
    if why and activation.excluded and ctx.profile.vocabulary == "open":
        named.append(Unmet(text=", ".join(activation.excluded), why=why))
    return tuple(named)


def unwritten(ctx: Context, read: str) -> tuple[str, ...]:
    """The text, with its quotation marks, that the image is to show and a base of closed vocabulary cannot write.
    ``read`` stands for the words where the job has none.
    """
    if ctx.profile.vocabulary == "open":
        return ()
    parts = split(ctx.job.prompt or read).parts
    return tuple(dict.fromkeys(part.text.strip() for part in parts if part.kind == "quoted"))


def why_no_negative(ctx: Context, orders: Orders) -> str:
    """Why the base takes no negative prompt here, "" if it does."""
    if ctx.profile.vocabulary == "closed":
        return "this base draws only what it lists, so it takes no negative prompt"
    if not ctx.profile.negative_prompt:
        return "this base takes no negative prompt"
    guidance = ctx.sampler().guidance if orders.guidance is None else orders.guidance
    if guidance <= 1:
        return f"a negative prompt acts through guidance, and a scale of {guidance:g} is none"
    return ""


def _size(ctx: Context, orders: Orders) -> _Answer[tuple[int | None, int | None]]:
    if orders.width is None and orders.height is None and orders.aspect is None:
        return None, ""
    native = ctx.profile.sizes[0] if ctx.profile.sizes else None
    if ctx.profile.vocabulary == "closed":
        own = f"{native.width}x{native.height}" if native else "its own size"
        same = native and orders.aspect is None and (orders.width, orders.height) == (native.width, native.height)
        return None, "" if same else f"this base draws {own} only"
    if orders.width is None and orders.height is None and orders.aspect is not None:
        if native is None:
            return None, "the size that this base is made for is not known: say one like 832x1216"
        wide, high = orders.aspect
        unit = math.sqrt(native.width * native.height / (wide * high))
        sides = (max(STEP, round(side * unit / STEP) * STEP) for side in (wide, high))
        return _fitted(drawability(ctx.machinery.index.path), next(sides), next(sides)), ""
    can = drawability(ctx.machinery.index.path)
    fitted = _fitted(can, orders.width, orders.height)
    if fitted == (orders.width, orders.height):
        return fitted, ""
    drawn = "x".join(str(side) for side in fitted if side is not None)
    why = "images have one area only" if can.one_area else f"sides are multiples of {can.multiple or MULTIPLE}"
    return fitted, f"{why} on this base: {drawn} is drawn"


def _fitted(can: Drawability, width: int | None, height: int | None) -> tuple[int | None, int | None]:
    """The nearest size that a base draws."""
    multiple = can.multiple or MULTIPLE
    if can.one_area is not None and width and height:
        return area_size(width, height, can.one_area, multiple)
    return (None if width is None else fitting(width, multiple)), (
        None if height is None else fitting(height, multiple)
    )


def _sized(orders: Orders) -> str:
    if orders.width is not None or orders.height is not None:
        return f"size {orders.width or 'any'}x{orders.height or 'any'}"
    return f"size {orders.aspect[0]}:{orders.aspect[1]}" if orders.aspect else "size"


def _sampler(ctx: Context, orders: Orders) -> _Answer[str]:
    if not orders.sampler:
        return None, ""
    own, why = drawability(ctx.machinery.index.path).scheduler, ""
    try:
        name = canonical(orders.sampler)
        bare = sampler_and_spacing(name)[0]
    except PlanError as error:
        name = bare = understood(orders.sampler).name
        why = str(error)
    wrong = why or (problem(name, own) if own is not None else "")
    if not wrong:
        return name, ""
    if bare in ("", DEFAULT) or (own is not None and problem(bare, own)):
        return None, wrong
    return bare, f"{wrong}; {bare} is drawn with its own spacing"


def _guidance(ctx: Context, orders: Orders) -> _Answer[float]:
    if orders.guidance is not None and ctx.profile.guidance_kind == "none":
        return None, "this base was trained to draw without a guidance scale"
    return orders.guidance, ""


def _clip_skip(ctx: Context, orders: Orders) -> _Answer[int]:
    side = text_side(ctx.machinery.index.path) if orders.clip_skip is not None else None
    why = clip_skip_problem(side.clip_layers, side.weighs, orders.clip_skip) if side is not None else ""
    return (None, why) if why else (orders.clip_skip, "")


def _vae(orders: Orders) -> _Answer[PlanVae]:
    if not orders.vae:
        return None, ""
    try:
        return pin_vae(orders.vae), ""
    except DiffGraphError as error:
        return None, str(error)


def _model(ctx: Context, orders: Orders) -> str:
    """Why the base that a prompt names is not drawn with, "" if it is."""
    here = {fold(one) for one in (ctx.profile.name, ctx.profile.ref.partition(":")[2], ctx.profile.folder.name)}
    if not orders.model or fold(orders.model) in here:
        return ""
    return f"the base in force is {ctx.profile.name}: order another with --base"
