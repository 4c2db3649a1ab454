"""Choosing from a graph that is not read whole: what is wanted is found, said why, and merged at sane weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from diffgraph.evals.bench.graph_scale import FAMILY, Drawn, generated
from diffgraph.graph.calibration.record import Calibration
from diffgraph.graph.experts.expert import Expert
from diffgraph.graph.selection.activation import Activation, ActiveExpert
from diffgraph.graph.selection.open_vocabulary import SANE_SUM, damped
from diffgraph.graph.selection.shortlist import WHOLE_UP_TO
from diffgraph.graph.selection.solver import activate
from diffgraph.graph.store.graph_store import GraphStore

EVERYONE = list(generated(WHOLE_UP_TO + 60))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    with GraphStore(tmp_path_factory.mktemp("graph"), Drawn()) as made:
        made.add_experts(EVERYONE)
        yield made


def asked(store: GraphStore, *experts: Expert) -> Activation:
    names = " and ".join(e.triggers[0][0] for e in experts)
    return activate(f"a portrait of {names}, soft light", store, FAMILY, vocabulary="open")


def test_the_one_that_is_called_is_taken_and_told_why(store: GraphStore) -> None:
    found = asked(store, EVERYONE[7])
    assert found.experts[0].id == EVERYONE[7].id
    assert any("its trigger" in why for why in found.experts[0].why)
    assert found.experts[0].weight == 0.8
    assert found.prompt.count(EVERYONE[7].triggers[0][0]) == 1


def test_nobody_is_taken_where_nothing_calls(store: GraphStore) -> None:
    found = activate("a quiet lighthouse above the sea", store, FAMILY, vocabulary="open")
    assert found.experts == ()
    assert found.prompt == "a quiet lighthouse above the sea"


def test_what_was_measured_and_found_useless_is_passed_over(store: GraphStore) -> None:
    bad = EVERYONE[9]
    store.put_calibration(
        Calibration(expert_id=bad.id, expert_sha256=bad.sha256, plan_context_hash="c", verdict="no effect")
    )
    found = asked(store, bad)
    assert bad.id not in {e.id for e in found.experts}
    assert "no effect" in dict(found.rejected)[bad.id]


def test_an_order_and_an_exclusion_hold(store: GraphStore) -> None:
    out = EVERYONE[11]
    found = activate(f"a {out.triggers[0][0]}", store, FAMILY, vocabulary="open", without={out.id})
    assert out.id not in {e.id for e in found.experts}


def test_several_are_damped_and_what_was_measured_is_not() -> None:
    def one(name: str, weight: float, **said: bool) -> ActiveExpert:
        return ActiveExpert(
            id=name, facet="style", trigger=name, weight=weight, calibrated=said.get("calibrated", False)
        )

    free = damped((one("a", 0.8), one("b", 0.8), one("c", 0.8)))
    assert sum(e.weight for e in free) == pytest.approx(SANE_SUM, abs=0.01)
    mixed = damped((one("a", 1.0, calibrated=True), one("b", 0.8), one("c", 0.8)))
    assert [e.weight for e in mixed] == [1.0, 0.4, 0.4]
    assert damped((one("a", 0.8), one("b", 0.8))) == (one("a", 0.8), one("b", 0.8))
