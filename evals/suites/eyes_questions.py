"""What critics are asked of the images, and what is true: by whoever labelled them, else by the judge."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...scoring.request import Wanted, normal
from ..judges.protocol import Judge
from .eyes_images import Shown


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one prompt and seed: they are asked about together.

    Attributes:
        decoys: for each facet of what is wanted another text of it, which the prompt does not speak of.
        truths: for each image, wanted thing -> whether it shows it; what nobody knows is left out.
    """

    shown: tuple[Shown, ...]
    wanted: tuple[Wanted, ...]
    decoys: tuple[Wanted, ...]
    truths: tuple[Mapping[Wanted, bool], ...]


def batches(shown: Sequence[Shown], judge: Judge | None) -> Iterator[Batch]:
    """The images with their questions, in the order of their first appearance."""
    texts: dict[str, dict[str, str]] = {}
    for want in (w for s in shown for w in s.listed.wanted):
        texts.setdefault(want.facet, {}).setdefault(normal(want.text, want.facet), want.text)
    groups: dict[tuple[object, ...], list[Shown]] = {}
    for one in shown:
        groups.setdefault((one.listed.asked, one.listed.wanted), []).append(one)
    for some in groups.values():
        wanted, key = some[0].listed.wanted, "|".join(map(str, some[0].listed.asked))
        decoys = tuple(d for f in dict.fromkeys(w.facet for w in wanted) if (d := _decoy(f, wanted, texts[f], key)))
        yield Batch(tuple(some), wanted, decoys, _truths(some, [*wanted, *decoys], judge))


def _decoy(facet: str, wanted: Sequence[Wanted], texts: Mapping[str, str], key: str) -> Wanted | None:
    """A text of the facet drawn by lot; None where no prompt has another."""
    own = {normal(w.text, w.facet) for w in wanted}
    others = sorted(text for name, text in texts.items() if name not in own)
    if not others:
        return None
    draw = hashlib.sha256(f"{key}|{facet}".encode()).digest()
    return Wanted(facet=facet, text=others[int.from_bytes(draw[:8]) % len(others)])


def _truths(shown: Sequence[Shown], asked: Sequence[Wanted], judge: Judge | None) -> tuple[dict[Wanted, bool], ...]:
    truths: tuple[dict[Wanted, bool], ...] = tuple({} for _ in shown)
    for want in asked:
        unknown = []
        for i, one in enumerate(shown):
            if want.text in one.listed.truth:
                truths[i][want] = one.listed.truth[want.text]
            elif not one.listed.truth:
                unknown.append(i)
        if judge is None or not unknown:
            continue
        for i, said in zip(unknown, judge.judge([shown[i].image for i in unknown], [want]), strict=True):
            truths[i][want] = said.hits[want.facet]
    return truths


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images of one prompt of which one shows all that the other shows, and more."""

    first: Shown
    second: Shown
    wanted: tuple[Wanted, ...]
    first_is_better: bool


def pairs(asked: Sequence[Batch], most: int) -> list[Pair]:
    """At most so many pairs a prompt, drawn by lot, the better one first in half of them."""
    prompts: dict[tuple[str, tuple[Wanted, ...]], list[tuple[Shown, frozenset[Wanted]]]] = {}
    for batch in asked:
        for one, truth in zip(batch.shown, batch.truths, strict=True):
            if all(w in truth for w in batch.wanted):
                has = frozenset(w for w in batch.wanted if truth[w])
                prompts.setdefault((one.listed.item, batch.wanted), []).append((one, has))
    found = []
    for (_, wanted), images in prompts.items():
        told_apart = [(a, b) for a, b in itertools.permutations(images, 2) if a[1] > b[1]]
        drawn = sorted(((_lot(a[0], b[0]), a[0], b[0]) for a, b in told_apart), key=lambda row: row[0])
        for lot, good, bad in drawn[:most]:
            first_is_better = lot[-1] % 2 == 0
            first, second = (good, bad) if first_is_better else (bad, good)
            found.append(Pair(first, second, wanted, first_is_better))
    return found


def _lot(a: Shown, b: Shown) -> bytes:
    return hashlib.sha256(f"{a.sha256}|{b.sha256}".encode()).digest()
