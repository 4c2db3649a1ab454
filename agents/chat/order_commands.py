"""Orders in the chat: they hold for every prompt until they are taken back; a prompt's own orders give way to them."""

from __future__ import annotations

from typing import Literal, cast

from ...errors import UserError
from ...graph.reading.request import Orders
from ...graph.reading.said_orders import Said, in_words, orders_of
from ...plugins import closest
from ...terminal import styled
from ...tools.naming import called
from ...tools.obeying import refuse_impossible
from .commands import command, show_expert
from .session import Session

_FIELDS: dict[str, tuple[str, ...]] = {
    "negative": ("negative",), "size": ("width", "height", "aspect"), "steps": ("steps",), "guidance": ("guidance",),
    "sampler": ("sampler",), "clip-skip": ("clip_skip",), "vae": ("vae",), "method": ("method",),
    "expert": ("experts",), "without": ("without",),
}  # fmt: skip
"""Command -> the fields of `Orders` that it sets."""
_One = Literal["negative", "size", "steps", "guidance", "sampler", "clip_skip", "vae", "method"]


def _sets(word: str, name: _One, what: str) -> None:
    """Register ``/word VALUE``; without a value it takes the order back."""

    @command(f"/{word}", what)
    def set_order(session: Session, rest: str) -> None:
        _take(
            session,
            _cleared(session.orders, word) if not rest else _said(session.orders, word, cast(Said, {name: rest})),
        )


def _said(before: Orders, word: str, said: Said) -> Orders:
    return orders_of(said).over(_cleared(before, word))


def _cleared(orders: Orders, word: str) -> Orders:
    unsaid = Orders()
    return orders.model_copy(update={field: getattr(unsaid, field) for field in _FIELDS[word]})


def _take(session: Session, orders: Orders) -> None:
    """Let these orders hold from here on, and show them. Raises UserError for what is not there; nothing changes."""
    refuse_impossible(session.ctx, orders)
    session.orders = orders
    show_orders(session, "")


_sets("negative", "negative", "what images are not to show: /negative blurred, text")
_sets("size", "size", "832x1216, 16:9, portrait, landscape, square: /size portrait")
_sets("steps", "steps", "sampling steps: /steps 28")
_sets("guidance", "guidance", "guidance scale: /guidance 5.5")
_sets("sampler", "sampler", "sampler: /sampler Euler a")
_sets("clip-skip", "clip_skip", "which of CLIP's layers, from the end: /clip-skip 2")
_sets("vae", "vae", "another VAE: /vae FILE")
_sets("method", "method", "merge method: /method ties")


@command("/expert", "show an expert and merge it from here on: /expert ID:0.7")
def order_expert(session: Session, rest: str) -> None:
    if not rest:
        raise UserError("/expert takes an expert's id, with a weight or not: /expert ID:0.7. /experts lists them.")
    made = orders_of({"experts": [rest]})
    order = made.experts[0]
    kept = tuple(e for e in session.orders.experts if e.name.casefold() != order.name.casefold())
    orders = session.orders.model_copy(update={"experts": (*kept, order)})
    refuse_impossible(session.ctx, orders)
    expert = called(session.ctx, order.text)[0] or called(session.ctx, order.name)[0]
    if expert is not None:
        show_expert(session, expert.id)
    _take(session, orders)


@command("/without", "never merge an expert: /without ID")
def rule_out(session: Session, rest: str) -> None:
    if not rest:
        raise UserError("/without takes an expert's id: /without ID. /experts lists them.")
    _take(session, orders_of({"without": [rest]}).over(session.orders))


@command("/base", "draw with another base: /base NAME")
def use_base(session: Session, rest: str) -> None:
    if rest:
        session.use_base(rest)
    profile = session.ctx.profile
    session.console.print(f"base {profile.name}: {profile.title or profile.where}")


@command("/orders", "what is ordered")
def show_orders(session: Session, rest: str) -> None:
    rows = list(in_words(session.orders))
    rows += [("seed", str(session.seed))] if session.seed is not None else []
    rows += [("images", str(session.n))] if session.n is not None else []
    for what, value in rows:
        session.console.print(styled("  ", (f"{what:<9}", "bold"), f" {value}"))
    if not rows:
        session.console.print("Nothing is ordered.")


@command("/clear", "take orders back: /clear, or one of them: /clear size")
def clear(session: Session, rest: str) -> None:
    word = rest.removeprefix("/").casefold()
    if word and word not in (*_FIELDS, "seed", "n"):
        near = closest(word, [*_FIELDS, "seed", "n"], n=1)
        hint = f"Did you mean {near[0]}?" if near else "/orders shows what is ordered."
        raise UserError(f"Nothing that can be ordered is called {word[:40]!r}. {hint}")
    if word in ("", "seed"):
        session.seed = None
    if word in ("", "n"):
        session.n = None
    if word in _FIELDS:
        session.orders = _cleared(session.orders, word)
    elif not word:
        session.orders = Orders()
    show_orders(session, "")
