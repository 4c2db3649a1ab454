"""Asking one critic everything, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pydantic import JsonValue

from ...scoring.protocol import Prefers
from ...scoring.request import WHOLE, Wanted
from .eyes_answers import Asked
from .eyes_figures import Figures, Said, choices, figures
from .eyes_images import Listed
from .eyes_questions import Batch, Pair
from .eyes_report import BOTH, GROUPS, WANTED, Measured
from .suite import Progress

Answer = tuple[Listed, str, bool, Said]
"""The image's line, facet, whether it is a decoy's, answer."""


def is_three(wanted: Sequence[Wanted]) -> bool:
    """Whether so much is wanted that it takes three experts."""
    return len(wanted) >= 3


def _in(group: str, aimed: Collection[str], *listed: Listed) -> bool:
    """Whether images are of a group of the report."""
    if group == "all":
        return True
    return all(is_three(one.wanted) and (group == "three" or one.arm in aimed) for one in listed)


def measured(
    asked: Asked,
    fits: bool,
    batches: Sequence[Batch],
    pairs: Sequence[Pair],
    aimed: Collection[str] = (),
    on_progress: Progress | None = None,
) -> Measured:
    """Ask what was not asked yet, then count. ``aimed`` names the arms whose images were meant to be right.

    Raises:
        DiffGraphError: the critic refuses one image after the other.
    """
    total = len(batches) + len(pairs)
    for number, batch in enumerate(batches, 1):
        asked.ask(batch.shown, batch.wanted)
        asked.ask(batch.shown, batch.decoys)
        if on_progress is not None and number % 50 == 0:
            on_progress(number, total, f"asking {asked.name}")
    chosen: list[tuple[Pair, float]] = []
    for number, pair in enumerate(pairs, len(batches) + 1):
        if (p := asked.prefers(pair.first, pair.second, pair.wanted)) is not None:
            chosen.append((pair, _right(p, pair.first_is_better)))
        if on_progress is not None and number % 50 == 0:
            on_progress(number, total, f"asking {asked.name} to choose")
    answers = [answer for batch in batches for answer in _answers(asked, batch)]
    by_group = {
        group: [(pair, right) for pair, right in chosen if _in(group, aimed, pair.first.listed, pair.second.listed)]
        for group in GROUPS
    }
    shares = {
        group: share
        for group, some in by_group.items()
        if (share := choices([(pair.first.listed.item, right) for pair, right in some])) is not None
    }
    return Measured(
        fits=fits,
        facets=_figures(answers, aimed),
        pairs=shares,
        choices={group: len(some) for group, some in by_group.items()},
        chooses=isinstance(asked.critic, Prefers),
        refused=asked.refused,
        rows=[_row(asked.name, *answer) for answer in answers],
    )


def _right(p: float, first_is_better: bool) -> float:
    return 0.5 if p == 0.5 else float((p > 0.5) == first_is_better)


def _answers(asked: Asked, batch: Batch) -> Iterator[Answer]:
    """What was said of each text of which the truth is known; of the whole prompt the score is what was said."""
    for one, truth in zip(batch.shown, batch.truths, strict=True):
        item = one.listed.item
        for questions, decoy in ((batch.wanted, False), (batch.decoys, True)):
            given = asked.said(one, questions)
            if given is None:
                continue
            for want in questions:
                if want in truth and want.text in given.facets:
                    yield one.listed, want.facet, decoy, Said(item, given.facets[want.text], truth[want])
            if not decoy and all(w in truth for w in questions):
                yield one.listed, WHOLE, False, Said(item, given.score, all(truth[w] for w in questions))


def _figures(answers: Sequence[Answer], aimed: Collection[str]) -> dict[tuple[str, str, str], Figures]:
    facets = list(dict.fromkeys(facet for _, facet, _, _ in answers))
    found = {}
    for group in GROUPS:
        for questions in (WANTED, BOTH):
            for facet in facets:
                some = [
                    said
                    for listed, of, decoy, said in answers
                    if of == facet and (questions == BOTH or not decoy) and _in(group, aimed, listed)
                ]
                if (one := figures(some)) is not None:
                    found[group, questions, facet] = one
    return found


def _row(name: str, listed: Listed, facet: str, decoy: bool, said: Said) -> dict[str, JsonValue]:
    return {
        "critic": name, "item": said.item, "facet": facet, "decoy": decoy, "image": listed.image,
        "p": round(said.p, 6), "shown": said.true,
    }  # fmt: skip
