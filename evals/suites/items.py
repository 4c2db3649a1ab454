"""Prompts of image suites: one by one, or as grids of subjects, styles and backgrounds."""

from __future__ import annotations

import itertools

from pydantic import BaseModel, ConfigDict

from ...scoring.request import Wanted

FACETS = ("subject", "style", "background")


class Frozen(BaseModel):
    """Immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(Frozen):
    """One prompt of an image suite: ``prompt`` in a user's words, ``canonical`` in the base's own grammar."""

    id: str
    group: str
    prompt: str
    canonical: str
    subject: str | None = None
    style: str | None = None
    background: str | None = None
    experts: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[Wanted]:
        """What an image must show, in the order subject, style, background."""
        asked = ((f, getattr(self, f)) for f in FACETS)
        return [Wanted(facet=f, text=t) for f, t in asked if t is not None]


class Grid(Frozen):
    """All combinations of the lists; an empty list leaves the facet out of the prompts."""

    group: str
    subjects: tuple[str, ...]
    styles: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    experts: tuple[str, ...] = ()

    def items(self) -> list[Item]:
        out = []
        for s, t, b in itertools.product(self.subjects, self.styles or (None,), self.backgrounds or (None,)):
            words = [s, f"{t} style" if t else "", f"{b} background" if b else ""]
            text = ", ".join(w for w in words if w)
            slug = "_".join(w for w in (s, t, b) if w).replace(" ", "-")
            out.append(
                Item(
                    id=f"{self.group}/{slug}", group=self.group, prompt=text, canonical=text,
                    subject=s, style=t, background=b, experts=self.experts,
                )
            )  # fmt: skip
        return out
