"""On an open base only words that call for an expert bring it."""

from __future__ import annotations

import pytest

from diffgraph.graph.experts.expert import Expert, Skill, SourceRef
from diffgraph.graph.reading.read import read
from diffgraph.graph.reading.rules import NEUTRAL
from diffgraph.graph.reading.split import split
from diffgraph.graph.reading.vocabulary import Vocabulary
from diffgraph.graph.reading.words import tokenise
from diffgraph.graph.selection.called_for import called_for

SKILLS = (
    "subject:car", "subject:dog", "subject:hatsune miku", "subject:sks dog", "subject:fire truck", "subject:woman",
    "subject:apple", "subject:star", "subject:ball", "style:neon", "style:ink", "style:comic book", "style:watercolor",
    "style:pixel art", "style:blueprint", "style:ghibli", "style:old", "style:mosaic", "background:forest",
    "background:starry night", "lighting:rim lighting", "quality:masterpiece", "quality:photo",
)  # fmt: skip


def expert(written: str) -> Expert:
    """One skill, written ``style:neon``."""
    facet, _, name = written.partition(":")
    skill = Skill.model_validate({"facet": facet, "name": name, "trigger": name})
    repo = written.replace(":", "-").replace(" ", "-")
    ref = SourceRef(source="folder", repo=repo, revision="1", file="a.safetensors")
    return Expert(
        id=repo, title=name, ref=ref, sha256="0" * 64, base_family="sdxl", kind="lora", size_bytes=1, skills=(skill,)
    )


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.of([expert(skill) for skill in SKILLS])


def called(prompt: str, vocabulary: Vocabulary) -> set[str]:
    request = split(prompt)
    spans = read(request, vocabulary).spans
    tokens = tokenise(request.plain)
    return {s.name for s in spans if called_for(s, request.source, tokens, NEUTRAL)}


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a red car", {"car"}),
        ("a red ball", {"ball"}),
        ("a crystal ball", set()),
        ("a rock star on stage", set()),
        ("a disco, ball", {"ball"}),
        ("a car parked by the sea", {"car"}),
        ("a car drives along a road", {"car"}),
        ("a dog runs", {"dog"}),
        ("hatsune miku at a concert", {"hatsune miku"}),
        ("a photo of sks dog in a bucket", {"sks dog"}),
        ("a fox, pixel art", {"pixel art"}),
        ("pixel art style", {"pixel art"}),
        ("a fox in neon", {"neon"}),
        ("a fox, neon", {"neon"}),
        ("neon style fox", {"neon"}),
        ("a fox as a blueprint", {"blueprint"}),
        ("a comic book style fox", {"comic book"}),
        ("watercolor of a fox", {"watercolor"}),
        ("a mosaic of a fox", {"mosaic"}),
        ("ghibli fox", {"ghibli"}),
        ("a fox in a forest", {"forest"}),
        ("a starry night over the sea", {"starry night"}),
        ("portrait of a fox, rim lighting", {"rim lighting"}),
        ("ein Hund im Neon-Stil", {"dog", "neon"}),
        ("un chien au style aquarelle", {"dog", "watercolor"}),
        ("犬、アニメ調", {"dog"}),
    ],
)
def test_words_that_call(prompt: str, names: set[str], vocabulary: Vocabulary) -> None:
    assert called(prompt, vocabulary) == names


@pytest.mark.parametrize(
    "prompt",
    [
        "a carpet", "a car park at night", "a hot dog on a plate", "a neon sign above a bar", "a bottle of ink",
        "a man reading a comic book", "a man holding a blueprint", "a mosaic floor", "an old bus stop",
        "a star wars poster", "an apple pie", "a truck", "a photo of a woman", "masterpiece, a woman",
        'a sign that says "dog"', "a cat, no dogs", "anything but a car", "a fox, not in pixel art",
        "a fox without neon",
    ],
)  # fmt: skip
def test_words_in_passing_call_for_nobody(prompt: str, vocabulary: Vocabulary) -> None:
    assert called(prompt, vocabulary) == set()
