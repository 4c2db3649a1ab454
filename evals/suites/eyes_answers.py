"""What critics say of the images, kept by what decides an answer, so that nobody is asked twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ...errors import DiffGraphError
from ...scoring.protocol import Critic, Prefers, choice_identity
from ...scoring.request import Verdict, Wanted
from ..log import Lines
from .eyes_images import Shown

MOST_IN_A_ROW = 3
"""So many refusals one after the other are no bad images but a critic that does not work."""


class Given(BaseModel):
    """What a critic said of one image: a probability a text that it judges, and its score of them together."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    asked: tuple[Wanted, ...]
    facets: dict[str, float]
    score: float


class Chosen(BaseModel):
    """Which of two images a critic chose: the probability that the first is the better."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    asked: tuple[Wanted, ...]
    p: float


def _sure(verdict: Verdict) -> dict[str, float]:
    """What the critic measured: without the texts about which it got no answer."""
    return {text: p for text, p in verdict.facets.items() if text not in verdict.unsure}


class Asked:
    """One critic and all its answers so far.

    Attributes:
        name: what it is called in the report.
        refused: images that it could not judge, and why.
    """

    def __init__(self, name: str, critic: Critic, folder: Path) -> None:
        self.name, self.critic = name, critic
        self.refused: dict[str, str] = {}
        self._in_a_row = 0
        folder.mkdir(parents=True, exist_ok=True)
        own, choosing = (
            hashlib.sha256(text.encode()).hexdigest()[:16] for text in (critic.identity, choice_identity(critic))
        )
        self._given = Lines(folder / f"{own}.jsonl", Given)
        self._chosen = Lines(folder / f"{choosing}-pairs.jsonl", Chosen)
        self._known = {(g.sha256, g.asked): g for g in self._given.rows}
        self._choices = {(c.first, c.second, c.asked): c.p for c in self._chosen.rows}

    def said(self, one: Shown, wanted: Sequence[Wanted]) -> Given | None:
        """What it said before; None if it was never asked, or refused."""
        return self._known.get((one.sha256, tuple(wanted)))

    def ask(self, shown: Sequence[Shown], wanted: Sequence[Wanted]) -> None:
        """Ask for everything in ``wanted`` of images together. One that it refuses is remembered and passed over.

        Raises:
            DiffGraphError: it refuses one image after the other.
        """
        new = [s for s in shown if self.said(s, wanted) is None]
        if not new or not wanted:
            return
        try:
            verdicts = self.critic.score([s.image for s in new], wanted)
        except DiffGraphError as error:
            if len(new) > 1:
                for one in new:
                    self.ask([one], wanted)
                return
            self._refuse(new[0], error)
            return
        self._in_a_row = 0
        given = [
            Given(sha256=one.sha256, asked=tuple(wanted), facets=_sure(verdict), score=verdict.score)
            for one, verdict in zip(new, verdicts, strict=True)
        ]
        self._given.add(*(g for g, verdict in zip(given, verdicts, strict=True) if not verdict.unsure))
        self._known |= {(g.sha256, g.asked): g for g in given}

    def prefers(self, first: Shown, second: Shown, wanted: Sequence[Wanted]) -> float | None:
        """Probability that the first image is the better; by score where the critic cannot choose. None: no answer."""
        if not isinstance(self.critic, Prefers):
            a, b = self.said(first, wanted), self.said(second, wanted)
            return None if a is None or b is None else 0.5 + 0.5 * ((a.score > b.score) - (a.score < b.score))
        key = (first.sha256, second.sha256, tuple(wanted))
        if key not in self._choices:
            try:
                p = self.critic.prefer(first.image, second.image, wanted)
            except DiffGraphError as error:
                self._refuse(first, error)
                return None
            self._in_a_row = 0
            self._choices[key] = p
            self._chosen.add(Chosen(first=key[0], second=key[1], asked=key[2], p=p))
        return self._choices[key]

    def _refuse(self, one: Shown, error: DiffGraphError) -> None:
        self.refused[one.listed.image or one.sha256] = str(error)[:300]
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW:
            raise error
