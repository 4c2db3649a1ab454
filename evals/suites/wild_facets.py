"""How often the facet that is read from a page's words is the one that people gave it."""

from __future__ import annotations

from collections.abc import Sequence

from ...graph.experts.words.facets import facet_of
from ...graph.experts.words.triggers import groups
from ..stats import Estimate, bootstrap
from .wild_data import Page, facet_of_page, without_category

_AS_LABELLED = {"pose": "concept", "action": "concept", "lighting": "style", "quality": "utility"}
"""Ours are finer or called otherwise than the labels'."""


def accuracy(pages: Sequence[Page]) -> Estimate | None:
    """The share of labelled pages whose facet is read as labelled; None where no page is labelled."""
    right = [float(_as_labelled(read_facet(page)) == _as_labelled(str(facet_of_page(page)))) for page in pages]
    return bootstrap(right) if right else None


def _as_labelled(facet: str) -> str:
    return _AS_LABELLED.get(facet, facet)


def read_facet(page: Page) -> str:
    """The facet as registration reads it, the category's own word left out."""
    words = tuple(word for group in groups(page.calls) for word in group)
    return facet_of(page.name, without_category(page), words, page.description or "")
