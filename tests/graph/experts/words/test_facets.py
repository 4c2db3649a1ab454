"""Facets by rules: no single tag decides, and none is needed."""

from __future__ import annotations

import pytest

from diffgraph.graph.experts.words.facets import facet_of, named_facets


@pytest.mark.parametrize(
    ("title", "tags", "triggers", "description", "facet"),
    [
        ("Pixel Art XL", [], ["pixelartxl"], "", "style"),
        ("Ink wash", ["anime"], ["ink wash style"], "", "style"),
        ("Marin Kitagawa (My Dress-Up Darling)", ["anime", "marin kitagawa"], ["marin kitagawa"], "", "character"),
        ("Victorian ball gown", ["dress"], ["ballgown"], "A long dress with lace.", "clothing"),
        ("Ruined castle", ["scenery"], [], "A landscape with ruins.", "background"),
        ("Sitting on the floor", ["pose"], [], "", "pose"),
        ("Rim light", ["lighting"], [], "", "lighting"),
        ("Add more details", ["enhancer"], [], "Detail slider for any base.", "quality"),
        ("Octopus", [], ["octopus"], "", "subject"),
        ("Old robots", ["vehicle"], ["robot"], "", "subject"),
        ("fox", ["style", "character"], ["pixfox"], "an oil painting by an artist", "style"),
    ],
)
def test_what_is_said_is_weighed(
    title: str, tags: list[str], triggers: list[str], description: str, facet: str
) -> None:
    assert facet_of(title, tags, triggers, description) == facet


def test_categories_among_tags() -> None:
    assert named_facets(["Lora", "Style", "clothing", "styles"]) == ("style", "clothing")
