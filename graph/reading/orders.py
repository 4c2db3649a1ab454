"""Orders as other programs write them: experts, weights, flags, prompt editing, a pasted block of parameters."""

from __future__ import annotations

import re

from .lone_orders import find_lone_orders
from .order_sheet import BOUNDS, NUMBER, OrderSheet, each, listed
from .request import Emphasis, ExpertOrder, Marked, Unmet
from .spoken_orders import find_spoken_orders

_TAG = re.compile(r"<([A-Za-z]{1,20}):([^<>\n]{1,200})>")
_UNCLOSED = re.compile(
    r"<(lora|lyco|lycoris|locon|loha|lokr|hypernet):([^<>\s,:|]{1,200}(?::[^<>\s,:|]{1,40}){0,3})", re.I
)
"""A tag whose ``>`` is missing ends at the first blank."""
_BROKEN = re.compile(r"<(?:lora|lyco|lycoris|locon|loha|lokr|hypernet)\s?:[^<>\n,|]{0,300}>?", re.I)
_STRENGTH = re.compile(rf"(?:(?:te|clip|unet|model)\s?=\s?)?{NUMBER}", re.I)
_EXPERTS = frozenset(["lora", "lyco", "lycoris", "locon", "loha", "lokr"])
_EMBEDDING = re.compile(rf"(?<!\w)embedding:([\w.-]{{1,100}})(?::({NUMBER}))?")
_INSIDE = r"(?:\\[()\[\]]|[^()\[\]<>\n]){1,400}?"
_NO_TIME = r"(?!(?<=\d):\d{2,4}\s?[)\]])"
"""A digit, a colon and two digits are a time or a verse ("at 10:30"), and no weight."""
WEIGHTED = re.compile(rf"(?<!\\)[(\[]({_INSIDE})\s?{_NO_TIME}:\s?({NUMBER})\s?[)\]]")
_NO_WEIGHT = re.compile(
    rf"(?<!\\)[(\[]({_INSIDE})\s?{_NO_TIME}:\s?([-+]?(?:\d[\w.+-]{{0,60}}|nan|inf|infinity))\s?[)\]]", re.I
)
_WILDCARD = re.compile(r"(?<!\w)__[\w/*.-]{1,100}?__(?!\w)")
_CHOICE = re.compile(r"\{(?:[\d-]{1,5}\$\$)?([^{}|\n]{0,200})((?:\|[^{}|\n]{0,200}){1,30})\}")
_EDITED = re.compile(rf"(?<!\\)\[([^\[\]:|\n]{{0,200}}):(?:([^\[\]:|\n]{{0,200}}):)?\s?({NUMBER})\s?\]")
_TURNS = re.compile(r"(?<!\\)\[([^\[\]|\n]{1,100}(?:\|[^\[\]|\n]{0,100}){1,8})\]")
_BARE_WEIGHT = re.compile(r"(?<=[^\W\d_]):(\d(?:\.\d{1,3})?)(?=\s*(?:[,;\n]|$))")
_PARTED = re.compile(r"(?<=\w)::(-?\d(?:\.\d{1,3})?)?(?!\w)")
_CHUNK = re.compile(r"(?<![\w-])(?:BREAK|AND|ADDCOMM|ADDBASE|ADDCOL|ADDROW)(?![\w-])")

_FLAG = re.compile(r"(?:(?<=\s)|^)(?:--|—|–)([A-Za-z][A-Za-z_-]{0,24})\b")
_NUMERIC = {
    "seed": "seed", "steps": "steps", "step": "steps", "cfg": "guidance", "cfg-scale": "guidance", "scale": "guidance",
    "guidance": "guidance", "guidance-scale": "guidance", "w": "width", "width": "width", "h": "height", "height":
    "height", "n": "images", "num": "images", "images": "images", "count": "images", "clip-skip": "clip_skip",
}  # fmt: skip
_NAMED = {"sampler": "sampler", "scheduler": "sampler", "model": "model", "ckpt": "model", "vae": "vae"}
_BARE_FLAGS = frozenset(
    ["tile", "fast", "relax", "turbo", "hd", "draft", "raw", "video", "test", "testp", "creative", "upbeta", "uplight",
     "stealth", "public"]
)  # fmt: skip
_MIDJOURNEY = _BARE_FLAGS | frozenset(
    ["v", "version", "niji", "style", "stylize", "s", "q", "quality", "chaos", "c", "weird", "iw", "cref", "cw", "sref",
     "sw", "oref", "ow", "repeat", "r", "stop", "same", "sameseed", "exp", "p", "profile", "personalize"]
)  # fmt: skip
_WITH_VALUE = (
    dict.fromkeys(_NUMERIC, "20") | dict.fromkeys(_NAMED, "a name")
    | dict.fromkeys(["ar", "aspect", "aspect-ratio"], "16:9") | dict.fromkeys(["size", "resolution", "res"], "832x1216")
)  # fmt: skip
_NEGATIVE = re.compile(r"(?:(?<=\s)|(?<=[.,;|])|^)negative(?:[ _-]prompt)?\s{0,2}[:=]\s{0,2}", re.I)
_POSITIVE = re.compile(r"^\s{0,4}(?:(?:positive[ _-])?prompt|positive)\s{0,2}:", re.I)
_BLOCK = re.compile(r"(?:(?<=\s)|^)Steps:\s{0,3}\d{1,5}\s{0,2},[^\n]{0,6000}")
_PAIR = re.compile(r'\s*([A-Za-z][\w /.()-]{0,60}?)\s*:\s*("(?:[^"\\]|\\.){0,2000}"|[^,]{0,400})(?:,|$)')
_BLOCK_KEYS = {
    "steps": "steps", "cfg scale": "guidance", "guidance": "guidance", "seed": "seed", "clip skip": "clip_skip",
    "sampler": "sampler", "model": "model", "vae": "vae",
}  # fmt: skip


def find_orders(marked: Marked, found: OrderSheet) -> None:
    """Mark every order in the text, and say in ``found`` what it asks for. Linear in the text's length."""
    for step in (_flags, _tags, _edits, _weights, _chunks, find_spoken_orders, find_lone_orders):
        step(marked, found)


def find_block(marked: Marked, found: OrderSheet) -> None:
    """Mark A1111's block: "Negative prompt: …" and "Steps: 20, Sampler: …, Seed: …" behind the prompt."""
    label = _POSITIVE.match(marked.free)
    if label:
        marked.mark("left out", label.start(), label.end(), "only says that a prompt follows")
    block = _BLOCK.search(marked.free)
    if block:
        marked.mark("order", block.start(), block.end())
        _pairs(block[0], block.start(), found)
    negatives = list(_NEGATIVE.finditer(marked.free))
    for match in reversed(negatives):
        end = block.start() if block and block.start() >= match.end() else len(marked.free)
        bar = marked.free.find("|||", match.end(), end)
        flag = _FLAG.search(marked.free, match.end(), end)
        end = min(e for e in (end, bar if bar >= 0 else end, flag.start() if flag else end))
        found.excluded += listed(marked.text, match.end(), end)
        found.weigh_negative(marked.text[match.end() : end])
        marked.mark("exclusion", match.start(), end)


def _pairs(block: str, at: int, found: OrderSheet) -> None:
    spacing = ""
    for pair in _PAIR.finditer(block):
        key, value = pair[1].casefold().strip(), pair[2].strip().strip('"')
        said = f"{pair[1]}: {pair[2].strip()}"
        size = re.fullmatch(r"(\d{1,5})\s?x\s?(\d{1,5})", value)
        name = _BLOCK_KEYS.get(key)
        if key == "size" and size:
            found.number(at, "width", size[1], said)
            found.number(at, "height", size[2], said)
        elif name in BOUNDS and re.fullmatch(NUMBER, value):
            found.number(at, str(name), value, said)
        elif name in ("sampler", "model", "vae"):
            found.set(at, str(name), value[:200], said)
        elif key == "schedule type":
            spacing = value[:40]
        else:
            found.unmet.append((at, Unmet(text=said[:300], why="tells how another image was made")))
    if spacing and spacing.casefold() != "automatic" and "sampler" in found.values:
        where, sampler, said = found.values["sampler"]
        found.values["sampler"] = (where, f"{sampler} {spacing}", said)


def _flags(marked: Marked, found: OrderSheet) -> None:
    """``--ar 16:9``, ``--no x``, ``--seed 42`` and Midjourney's own."""
    while (match := _FLAG.search(marked.free)) is not None:
        name = match[1].casefold().replace("_", "-")
        rest = marked.free[match.end() : match.end() + 400]
        _flag(marked, found, match, name, rest)
        if marked.free[match.start()] in "-—–":  # nothing was marked: never look at it again
            marked.mark("left out", match.start(), match.end(), "there is no such order")


def _flag(marked: Marked, found: OrderSheet, match: re.Match[str], name: str, rest: str) -> None:
    start, at = match.start(), match.end()
    value = re.match(r"[\s=:]{0,3}([^\s,|]{1,120})", rest)
    number = re.match(rf"[\s=:]{{0,3}}({NUMBER})(?![\w:])", rest)
    ratio = re.match(r"[\s=:]{0,3}(\d{1,9})\s?[:x/]\s?(\d{1,9})(?!\w)", rest)
    size = re.match(r"[\s=:]{0,3}(\d{1,9})\s?[x×*]\s?(\d{1,9})(?!\w)", rest)
    if name in ("no", "neg", "negative", "negative-prompt", "not"):
        end = at + (re.search(r"\s(?:--|—|–)[A-Za-z]|[|\n]|$", rest) or match).start()
        found.excluded += listed(marked.text, at, end)
        found.weigh_negative(marked.text[at:end])
        marked.mark("exclusion", start, end)
    elif name in ("ar", "aspect", "aspect-ratio") and ratio:
        found.aspect(start, int(ratio[1]), int(ratio[2]), match[0] + ratio[0])
        marked.mark("order", start, at + ratio.end())
    elif name in ("size", "resolution", "res") and size:
        found.size(start, size[1], size[2], match[0] + size[0])
        marked.mark("order", start, at + size.end())
    elif name in _NUMERIC and number:
        found.number(start, _NUMERIC[name], number[1], match[0] + number[0])
        marked.mark("order", start, at + number.end())
    elif name in _NAMED and value:
        found.set(start, _NAMED[name], value[1], match[0] + value[0])
        marked.mark("order", start, at + value.end())
    elif name in _WITH_VALUE:
        end = at + _value_end(rest)
        if name in _NUMERIC and value and end > at:
            found.number(start, _NUMERIC[name], value[1], marked.text[start:end])
        else:
            found.refuse(start, marked.text[start:end], f"--{match[1]} takes a value such as {_WITH_VALUE[name]}")
        marked.mark("order", start, end)
    elif name in _MIDJOURNEY:
        end = at + (value.end() if value and name not in _BARE_FLAGS and not value[1].startswith(("--", "—")) else 0)
        found.unmet.append((start, Unmet(text=marked.text[start:end], why="is an order of Midjourney's")))
        marked.mark("order", start, end)
    else:
        end = at + (number.end() if number else 0)
        marked.mark("left out", start, end, "there is no such order")


def _value_end(rest: str) -> int:
    """Where what stands behind a flag as its value ends, though it is none: a number, or all up to the next flag."""
    value = re.match(r"[\s=:]{0,3}(?!--|—|–)([^\s,|]{1,120})", rest)
    alone = value and re.match(r"\s*(?:$|[,|\n]|--|—|–)", rest[value.end() :])
    return value.end() if value and (alone or re.match(r"[-+.]?\d", value[1])) else 0


def _tags(marked: Marked, found: OrderSheet) -> None:
    def tag(match: re.Match[str]) -> None:
        kind, fields = match[1].casefold(), [f.strip() for f in match[2].split(":")]
        marked.mark("order", match.start(), match.end())
        if kind not in _EXPERTS:
            found.unmet.append(
                (match.start(), Unmet(text=match[0], why=f"there are no orders of the kind {kind!r} here"))
            )
            return
        first, second = strengths(fields[1:])
        order = ExpertOrder(kind=kind, name=fields[0], weight=first, text_weight=second, text=match[0])
        odd = [f for f in fields[1:] if not _STRENGTH.fullmatch(f)]
        if odd and fields[0]:
            found.refuse(match.start(), match[0], f"{', '.join(map(repr, odd))} is no weight: a number like 0.7 is one")
        if not fields[0] or any(w is not None and not abs(w) <= 10 for w in (first, second)):
            found.unmet.append((match.start(), Unmet(text=match[0], why="a weight is a number from -10 to 10")))
        else:
            found.experts.append((match.start(), order))

    def embedding(match: re.Match[str]) -> None:
        weight = float(match[2]) if match[2] else None
        order = ExpertOrder(kind="embedding", name=match[1], weight=weight, text=match[0])
        marked.mark("order", match.start(), match.end())
        found.experts.append((match.start(), order))

    def broken(match: re.Match[str]) -> None:
        found.refuse(match.start(), match[0], "names no expert: <lora:NAME:0.7> does")
        marked.mark("order", match.start(), match.end())

    each(_TAG, marked, tag)
    each(_UNCLOSED, marked, tag)
    each(_BROKEN, marked, broken)
    each(_EMBEDDING, marked, embedding)


def strengths(fields: list[str]) -> tuple[float | None, float | None]:
    """(weight, weight in the text encoder) of ``0.7``, which means both, and of ``0.5:0.7`` and ``te=0.5:unet=0.7``,
    as A1111 reads them: the text encoder's first.
    """
    named = {k.strip().casefold(): v for k, _, v in (f.partition("=") for f in fields if "=" in f)}
    bare = [float(f) for f in fields if re.fullmatch(NUMBER, f)]
    unet = next((float(named[k]) for k in ("unet", "model") if re.fullmatch(NUMBER, named.get(k, ""))), None)
    text = next((float(named[k]) for k in ("te", "clip") if re.fullmatch(NUMBER, named.get(k, ""))), None)
    return (
        unet if unet is not None else bare[min(1, len(bare) - 1)] if bare else None,
        text if text is not None else bare[0] if len(bare) > 1 else None,
    )


def _edits(marked: Marked, found: OrderSheet) -> None:
    """``[a:b:0.5]`` and ``[a|b]``: the words that the image ends with are drawn, the change over steps is not."""

    def edit(match: re.Match[str]) -> None:
        first, then = match[1], match[2]
        kept = (1, match[1]) if then is None or not then.strip() else (2, then)
        if not first.strip() and then is None:
            return
        found.unmet.append(
            (
                match.start(),
                Unmet(text=match[0], why=f"words cannot change while an image is drawn: {kept[1].strip()!r} is drawn"),
            )
        )
        marked.mark("order", match.start(), match.start(kept[0]), bar=False)
        marked.mark("order", match.end(kept[0]), match.end(), bar=False)

    def turns(match: re.Match[str]) -> None:
        end = match.start(1) + match[1].index("|")
        said = marked.text[match.start(1) : end].strip()
        found.unmet.append((match.start(), Unmet(text=match[0], why=f"words cannot take turns: {said!r} is drawn")))
        marked.mark("order", match.start(), match.start() + 1, bar=False)
        marked.mark("order", end, match.end(), bar=False)

    def wildcard(match: re.Match[str]) -> None:
        found.refuse(match.start(), match[0], "wildcards are not filled in here: type the words themselves")
        marked.mark("order", match.start(), match.end())

    def choice(match: re.Match[str]) -> None:
        why = f"nothing is chosen at random: {match[1].strip()!r} is drawn"
        found.refuse(match.start(), match[0], why)
        marked.mark("order", match.start(), match.start(1), bar=False)
        marked.mark("order", match.start(2), match.end(), bar=False)

    each(_WILDCARD, marked, wildcard)
    each(_CHOICE, marked, choice)
    each(_EDITED, marked, edit)
    each(_TURNS, marked, turns)


# -- weights of words: they stay in the prompt, only their signs are hidden from reading


def _weights(marked: Marked, found: OrderSheet) -> None:
    def unweighted(match: re.Match[str]) -> None:
        found.refuse(match.start(), match[0], f"{match[2]!r} is no weight from -10 to 10: the words are drawn without")
        marked.mark("order", match.start(), match.start(1), bar=False)
        marked.mark("order", match.end(1), match.end(), bar=False)

    def weighted(match: re.Match[str]) -> None:
        if abs(float(match[2])) > 10:
            unweighted(match)
            return
        found.emphasis.append((match.start(), Emphasis(text=match[1].strip(), weight=float(match[2]))))
        marked.blank(match.start(), match.start(1))
        marked.blank(match.end(1), match.end())

    def bare(match: re.Match[str]) -> None:
        start = max(marked.free.rfind(c, 0, match.start()) for c in ",;|\n") + 1
        found.emphasis.append(
            (start, Emphasis(text=marked.text[start : match.start()].strip(), weight=float(match[1])))
        )
        marked.blank(match.start(), match.end())

    def parted(match: re.Match[str]) -> None:
        found.unmet.append((match.start(), Unmet(text=match[0], why="is how Midjourney weighs parts of a prompt")))
        marked.mark("order", match.start(), match.end())

    each(WEIGHTED, marked, weighted)
    each(_NO_WEIGHT, marked, unweighted)
    _nested(marked, found)
    each(_PARTED, marked, parted)
    each(_BARE_WEIGHT, marked, bare)


def _nested(marked: Marked, found: OrderSheet) -> None:
    """``((word))`` and ``[word]``: A1111's 1.1 for each round bracket, its inverse for each square one."""
    depth: list[int] = []
    pairs: list[tuple[int, int]] = []
    for at, char in enumerate(marked.free):
        if at and marked.free[at - 1] == "\\":
            continue
        if char in "([":
            depth.append(at)
        elif char in ")]" and depth and marked.free[depth[-1]] == ("(" if char == ")" else "["):
            pairs.append((depth.pop(), at))
    square = {p for p in pairs if marked.free[p[0]] == "["}
    close = {end: start for start, end in pairs}
    opened = {start for start, _ in pairs}
    for start, end in pairs:
        inner = start + 1 in opened and close.get(end - 1) == start + 1
        outer = start - 1 in opened and close.get(end + 1) == start - 1
        if outer or not (inner or (start, end) in square):
            continue  # told with the outermost; a single round pair may just as well be prose
        weight, at, to = 1.0, start, end
        while at in opened and close.get(to) == at:
            weight *= 1 / 1.1 if marked.free[at] == "[" else 1.1
            at, to = at + 1, to - 1
        found.emphasis.append((start, Emphasis(text=marked.text[at : to + 1].strip(), weight=round(weight, 4))))
        marked.blank(start, at)
        marked.blank(to + 1, end + 1)


def _chunks(marked: Marked, found: OrderSheet) -> None:
    """BREAK and AND in capitals, unless all is in capitals."""
    if _CHUNK.sub("", marked.text).isupper():
        return

    def chunk(match: re.Match[str]) -> None:
        why = (
            "prompts are not drawn apart and added up"
            if match[0] == "AND"
            else "the prompt is not cut into chunks by hand"
        )
        found.unmet.append((match.start(), Unmet(text=match[0], why=why)))
        marked.mark("order", match.start(), match.end())

    each(_CHUNK, marked, chunk)
