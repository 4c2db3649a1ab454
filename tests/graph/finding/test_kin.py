"""What pictures on one page show, experts like it draw, too."""

from __future__ import annotations

import pytest

from diffgraph.graph.experts.expert import Expert, SourceRef
from diffgraph.graph.finding.asked import Asked
from diffgraph.graph.finding.candidates import candidates
from diffgraph.graph.finding.index import WordIndex
from diffgraph.graph.finding.kin import ALSO, kin_of
from diffgraph.graph.finding.rarity import PLAIN

PROMPT = "a furry animal with tufted ears above basalt cliffs"


def expert(name: str, **said: object) -> Expert:
    facts: dict[str, object] = {
        "id": name, "title": name, "sha256": "0" * 64, "base_family": "sd15", "kind": "lora", "size_bytes": 1,
        "ref": SourceRef(source="folder", repo=name, revision="1", file=f"{name}.safetensors"),
    }  # fmt: skip
    return Expert.model_validate({**facts, **said})


SHOWN = expert("Caracal portraits", tags=("caracal",), examples=("tufted ears, basalt cliffs, dusk", "a caracal"))
KIN = expert("Sitting caracal", tags=("wild",))
OTHERS = tuple(expert(f"Teapot {n}", tags=("porcelain",), examples=(f"teapot {n} on linen",)) for n in range(6))


@pytest.fixture
def index() -> WordIndex:
    made = WordIndex(None)
    made.clear()
    made.put((SHOWN, KIN, *OTHERS))
    return made


def kin(index: WordIndex, prompt: str = PROMPT, family: str = "sd15") -> list[str]:
    return [one.id for one in index.look_up(kin_of(Asked(prompt, PLAIN), index, family).found)]


def test_an_expert_is_found_by_the_pictures_of_one_like_it(index: WordIndex) -> None:
    assert kin(index) == [KIN.id]
    assert kin(index, "a lighthouse at noon") == []
    assert kin(index, "") == []
    assert kin(index, family="sdxl") == []


def test_pictures_for_another_base_tell_as_well(index: WordIndex) -> None:
    index.put([SHOWN.model_copy(update={"base_family": "sdxl"})])
    assert kin(index) == [KIN.id]


def test_nobody_is_their_own_kin(index: WordIndex) -> None:
    found = kin_of(Asked(PROMPT, PLAIN), index, "sd15")
    likeness = {one.id: found.likeness(one) for one in index.look_up(index.numbers([SHOWN.id, KIN.id]).values())}
    assert likeness[SHOWN.id] == pytest.approx(0)
    assert likeness[KIN.id] > 1e-3


def test_what_is_changed_or_gone_is_forgotten(index: WordIndex) -> None:
    index.put([SHOWN.model_copy(update={"examples": ("another picture",)})])
    assert kin(index) == []
    index.put([SHOWN])
    index.remove([SHOWN.id])
    assert kin(index) == []
    index.put([SHOWN, KIN.model_copy(update={"off": True})])
    assert kin(index) == []


def test_kin_is_a_reason(index: WordIndex) -> None:
    class Graph:
        words = index

        def nearest(self, text: str, family: str, k: int) -> list[str]:
            raise AssertionError("the embedding model is not asked")

        cosines = nearest

    (found,) = [c for c in candidates(PROMPT, Graph(), "sd15", meaning=False) if c.id == KIN.id]
    assert found.why == ("experts like it have example prompts like this one",)


def test_they_are_few(index: WordIndex) -> None:
    index.put(expert(f"Caracal {n}") for n in range(40))
    assert len(kin(index)) == ALSO
