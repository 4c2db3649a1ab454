"""Experts that a prompt names and that may not be used are told, on both sorts of base."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from diffgraph.evals.bench.graph_scale import FAMILY, Drawn, generated
from diffgraph.graph.experts.expert import Expert
from diffgraph.graph.experts.own_words import OwnWords
from diffgraph.graph.selection.shortlist import WHOLE_UP_TO
from diffgraph.graph.selection.solver import activate
from diffgraph.graph.store.graph_store import GraphStore

SOME = list(generated(WHOLE_UP_TO + 20))


def called(expert: Expert, id: str, word: str, **change: object) -> Expert:
    own = {"id": id, "title": word, "triggers": ((word,),), "skills": (), "sha256": id.encode().hex().ljust(64, "0")}
    return expert.model_copy(update={**own, **change})


@pytest.fixture(params=[0, len(SOME)], ids=["few", "many"])
def store(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[GraphStore]:
    with GraphStore(tmp_path / "graph", Drawn()) as made:  # type: ignore[operator]
        made.add_experts(SOME[: request.param])
        made.add_experts(
            [
                called(SOME[0], "folder/fox", "fox", off=True),
                called(SOME[0], "folder/zorblax", "zorblax style", missing=True),
                called(SOME[0], "folder/quibbly", "quibbly", base_family="flux1"),
                called(SOME[0], "folder/girl", "girl", off=True),
            ]
        )
        yield made


def test_who_is_named_and_may_not_be_used_is_told(store: GraphStore) -> None:
    found = activate("a girl and a fox, zorblax style, quibbly", store, FAMILY, vocabulary="open")
    told = dict(found.rejected)
    assert found.experts == ()
    assert told["folder/fox"] == "the prompt names it, but it is switched off: diffgraph expert folder/fox --on"
    assert "gone" in told["folder/zorblax"]
    assert told["folder/quibbly"] == f"is made for base family flux1, not {FAMILY}"
    assert "folder/girl" not in told, "a word of half of all prompts names nobody"


def test_what_the_words_do_not_say_is_not_told(store: GraphStore) -> None:
    found = activate("a lighthouse, without a fox, (zorblax style:0)", store, FAMILY, vocabulary="open")
    assert not {"folder/fox", "folder/zorblax", "folder/quibbly"} & set(dict(found.rejected))


def test_one_that_is_switched_on_again_is_found(store: GraphStore) -> None:
    store.say("folder/fox", OwnWords(off=False))
    found = activate("a fox", store, FAMILY, vocabulary="open")
    assert "switched off" not in dict(found.rejected).get("folder/fox", "")


def test_one_for_another_base_is_not_told_where_one_for_this_has_its_name(store: GraphStore) -> None:
    store.add_expert(called(SOME[0], "folder/quibbly_here", "quibbly"))
    found = activate("quibbly, a fox", store, FAMILY, vocabulary="open")
    assert "folder/quibbly_here" in {e.id for e in found.experts}
    assert set(dict(found.rejected)) & {"folder/quibbly", "folder/fox"} == {"folder/fox"}


def test_a_closed_base_tells_of_its_own_only(store: GraphStore) -> None:
    told = dict(activate("a fox, quibbly", store, FAMILY).rejected)
    assert "switched off" in told["folder/fox"]
