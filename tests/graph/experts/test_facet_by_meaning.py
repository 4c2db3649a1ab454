"""The facet of an expert whose tags name none: its meaning and its cue words decide."""

from __future__ import annotations

import pytest

from diffgraph.graph.embedding import default_embedder
from diffgraph.graph.experts.words.facet_by_meaning import cues, learnt_facet
from diffgraph.graph.experts.words.facets import CUED


@pytest.mark.parametrize(
    ("title", "tags", "triggers", "description", "facet"),
    [
        ("Monet brush", ("painting", "impressionism"), (), "Paints in the manner of Claude Monet.", "style"),
        (
            "Rem (Re:Zero)",
            ("anime", "re:zero"),
            ("rem", "blue hair", "maid"),
            "The maid Rem from Re:Zero.",
            "character",
        ),
        ("Victorian gown", ("dress", "historical"), ("victorian gown",), "A long dress with lace.", "clothing"),
        ("Gothic cathedral interior", ("church", "scenery"), ("gothic cathedral",), "Halls and vaults.", "background"),
        ("Holding a sword over the shoulder", ("pose",), ("sword on shoulder",), "A pose.", "concept"),
    ],
)
def test_what_is_said_tells_the_facet(
    title: str, tags: tuple[str, ...], triggers: tuple[str, ...], description: str, facet: str
) -> None:
    text = ". ".join((title, ", ".join(tags), ", ".join(triggers)))
    assert learnt_facet(text, title, tags, triggers, description, default_embedder()) == facet


def test_nothing_said_is_still_an_answer() -> None:
    assert len(cues("", (), (), "")) == 4 * len(CUED) + 23
    assert learnt_facet("x", "", (), (), "", default_embedder()) in (*CUED, "quality")
