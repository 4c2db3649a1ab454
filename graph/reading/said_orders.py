"""Orders that are said one by one, as options, chat commands or keyword arguments, put into one `Orders`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypedDict

from ...errors import UserError
from .order_sheet import BOUNDS, LEAST_PIXELS, MOST_PIXELS, NUMBER
from .orders import strengths
from .request import ExpertOrder, Orders
from .spoken_orders import SHAPES

MOST_TEXT = 8000
"""Characters of what is said in one order."""
MOST_WEIGHT = 10.0
_WEIGHTS = re.compile(rf"(?::(?:(?:te|clip|unet|model)=)?{NUMBER}){{1,2}}$")


class Said(TypedDict, total=False):
    """What may be ordered, each as a person writes it; None: not ordered.

    ``size`` is "832x1216", (832, 1216), "16:9" or "portrait"; ``experts`` are "NAME", "NAME:0.7" or "NAME:0.5:0.7" (the
    text encoders' weight first), or name -> weight.
    """

    negative: str | None
    size: str | tuple[int, int] | None
    steps: int | str | None
    guidance: float | str | None
    sampler: str | None
    clip_skip: int | str | None
    vae: str | None
    experts: Iterable[str] | Mapping[str, float] | None
    without: Iterable[str] | None
    method: str | None


def orders_of(said: Said) -> Orders:
    """What is said, as orders.

    Raises:
        UserError: a value that cannot be, with what could be in its place.
    """
    found: dict[str, object] = {}
    for name in ("steps", "guidance", "clip_skip"):
        if (value := said.get(name)) is not None:
            found[name] = bounded(name, value)
    for name in ("sampler", "method", "vae"):
        if word := str(said.get(name) or "").strip():
            found[name] = _short(word, name)
    if (negative := said.get("negative")) is not None:
        found["negative"] = " ".join(_short(negative, "negative").split())
    if (size := said.get("size")) is not None:
        found |= size_of(size)
    listed = said.get("experts") or ()
    if isinstance(listed, Mapping):
        listed = [f"{name}:{weight:.8f}" for name, weight in listed.items()]
    found["experts"] = tuple(expert_of(one) for one in _each(listed, "experts"))
    found["without"] = tuple(_short(one.strip(), "without") for one in _each(said.get("without") or (), "without"))
    return Orders.model_validate(found)


def bounded(name: str, value: object) -> float | int:
    """A number within its bounds. Raises UserError that names them."""
    low, high, whole = BOUNDS[name]
    try:
        number = float(str(value)) if not isinstance(value, bool) else float("nan")
    except ValueError:
        number = float("nan")
    if not low <= number <= high or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise UserError(f"{_called(name)} is {kind} from {low:g} to {high:.10g}, not {str(value)[:40]!r}.")
    return int(number) if whole else number


def size_of(said: str | tuple[int, int]) -> dict[str, object]:
    """The fields of `Orders` for a size: width and height, or a format. Raises UserError with examples."""
    text = "x".join(map(str, said)) if isinstance(said, tuple) else " ".join(str(said).casefold().split())
    if text in SHAPES:
        return {"aspect": SHAPES[text]}
    sides = re.fullmatch(r"(\d{1,6})\s?(?:px)?\s?[x×*]\s?(\d{1,6})\s?(?:px)?", text)
    if sides and all(LEAST_PIXELS <= int(n) <= MOST_PIXELS for n in sides.groups()):
        return {"width": int(sides[1]), "height": int(sides[2])}
    if sides:
        raise UserError(f"A side of an image has {LEAST_PIXELS} to {MOST_PIXELS} pixels, so {text[:40]!r} cannot be.")
    ratio = re.fullmatch(r"(\d{1,3})\s?[:/]\s?(\d{1,3})", text)
    if ratio and 0 < int(ratio[1]) <= 8 * int(ratio[2]) and int(ratio[2]) <= 8 * int(ratio[1]):
        return {"aspect": (int(ratio[1]), int(ratio[2]))}
    raise UserError(
        f"{text[:40]!r} is no size: say 832x1216, a format up to 8:1 like 16:9, or one of {', '.join(SHAPES)}."
    )


def expert_of(said: str) -> ExpertOrder:
    """The order in "NAME", "NAME:0.7" or "NAME:0.5:0.7". Raises UserError for no name, or a weight beyond ±10."""
    text = _short(said.strip(), "expert")
    found = _WEIGHTS.search(text)
    name = text[: found.start()] if found else text
    weight, text_weight = strengths(found[0][1:].split(":")) if found else (None, None)
    if not name.strip():
        raise UserError(f"{said!r} names no expert: say NAME, or NAME:0.7.")
    if any(one is not None and abs(one) > MOST_WEIGHT for one in (weight, text_weight)):
        raise UserError(f"The weight in {text!r} is beyond ±{MOST_WEIGHT:g}: say one like {name}:0.7.")
    return ExpertOrder(kind="expert", name=name.strip(), weight=weight, text_weight=text_weight, text=text)


def _each(said: Iterable[str], name: str) -> list[str]:
    """The texts of a list; a text alone is a list of one."""
    texts = [said] if isinstance(said, str) else list(said)
    for one in texts:
        if not isinstance(one, str) or not one.strip():
            raise UserError(f"{_called(name)} must be texts, such as an expert's id, not {one!r}.")
    return texts


def _short(text: str, name: str) -> str:
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise UserError(f"{_called(name)} is a text of at most {MOST_TEXT} characters.")
    return "".join(c if c.isprintable() else " " for c in text)


def _called(name: str) -> str:
    return name.replace("_", " ").capitalize()


def in_words(orders: Orders) -> tuple[tuple[str, str], ...]:
    """(what, value) of all that is ordered, as a person says it, in the order of `Said`."""
    rows: list[tuple[str, str]] = [("negative", orders.negative)]
    if orders.width is not None or orders.height is not None:
        rows.append(("size", f"{orders.width or 'any'}x{orders.height or 'any'}"))
    elif orders.aspect is not None:
        rows.append(("size", f"{orders.aspect[0]}:{orders.aspect[1]}"))
    numbers = ("seed", "images", "steps", "guidance", "clip_skip")
    rows += [(n.replace("_", " "), f"{v:.12g}") for n in numbers if (v := getattr(orders, n)) is not None]
    rows += [(name, getattr(orders, name)) for name in ("sampler", "vae", "model", "method")]
    for order in orders.experts:
        weights = [w for w in (order.text_weight, order.weight) if w is not None]
        rows.append(("expert", ":".join([order.name, *(f"{w:g}" for w in weights)])))
    rows += [("without", name) for name in orders.without]
    return tuple((what, value) for what, value in rows if value)
