"""How often the facet that is read from a page's words is the one that people gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...graph.embedding import Embedder
from ...graph.experts.expert import MAX_DESCRIPTION
from ...graph.experts.registration import skill_text
from ...graph.experts.skills import made_skills
from ...graph.experts.words.facet_by_meaning import learnt_facet
from ...graph.experts.words.plain import clean
from ...graph.experts.words.triggers import flat, groups
from ..stats import Estimate, bootstrap
from .wild_data import Page, facet_of_page, without_category

_AS_LABELLED = {"pose": "concept", "action": "concept", "lighting": "style", "quality": "utility"}
"""Ours are finer or called otherwise than the labels'."""


class Said(NamedTuple):
    """What registration hears of a page; the category's own word is left out of the tags."""

    text: str
    title: str
    tags: tuple[str, ...]
    triggers: tuple[str, ...]
    description: str


def accuracy(pages: Sequence[Page], embedder: Embedder) -> Estimate | None:
    """The share of labelled pages whose facet is read as labelled; None where no page is labelled.

    On pages that the weights of `learnt_facet` were learnt from it comes out too good (docs/numbers.md).
    """
    right = [float(_named(read_facet(page, embedder)) == as_labelled(page)) for page in pages]
    return bootstrap(right) if right else None


def as_labelled(page: Page) -> str:
    """The facet that people gave a page, in the labels' words."""
    return _named(str(facet_of_page(page)))


def given_facet(label: str) -> str:
    """The facet of ours that a label of theirs stands for."""
    return "quality" if label == "utility" else label


def _named(facet: str) -> str:
    return _AS_LABELLED.get(facet, facet)


def said_of(page: Page) -> Said:
    """A page's words as registration reads them."""
    tags, triggers = without_category(page), groups(page.calls)
    title, told = clean(page.name, 120), clean(page.description or "", MAX_DESCRIPTION)
    text = skill_text(title, ", ".join(tags[:6]), made_skills(title, triggers, tags=tags, description=told))
    return Said(text, title, tuple(tags), tuple(flat(triggers)), told)


def read_facet(page: Page, embedder: Embedder) -> str:
    """The facet as registration reads it where no tag names one."""
    return learnt_facet(*said_of(page), embedder)
