"""The solver alone, on hand-made graphs."""

from __future__ import annotations

from typing import Any

from diffgraph.graph.calibration.record import Calibration
from diffgraph.graph.experts.expert import Expert, Skill, SourceRef
from diffgraph.graph.reading.read import facets
from diffgraph.graph.reading.vocabulary import Vocabulary
from diffgraph.graph.relations.relation import Relation
from diffgraph.graph.selection.closed_vocabulary import solve
from diffgraph.graph.store.rows import View


def expert(name: str, *skills: str, sha: str = "", **more: Any) -> Expert:
    """Skills are written ``subject:crab`` or ``style:neon``."""
    made = []
    for skill in skills:
        facet, _, called = skill.partition(":")
        made.append(Skill(facet=facet, name=called, trigger=called if facet == "subject" else f"{called} {facet}"))
    ref = SourceRef(source="world", repo=name, revision="1", file="a.safetensors")
    return Expert(
        id=name, title=name, ref=ref, sha256=sha or name.ljust(64, "0"), base_family="emoji", kind="lora", size_bytes=1,
        skills=tuple(made), **more,
    )  # fmt: skip


def view(*experts: Expert, relations: tuple[Relation, ...] = (), verdicts: dict[str, Any] | None = None) -> View:
    """Everybody is calibrated and works, unless ``verdicts`` says otherwise (None: never calibrated)."""
    said = {e.id: "works" for e in experts} | (verdicts or {})
    calibrations = {
        e.id: Calibration(
            expert_id=e.id, expert_sha256=e.sha256, plan_context_hash="x", verdict=said[e.id], best_weight=0.8
        )
        for e in experts
        if said[e.id]
    }
    registered = {e.id: n for n, e in enumerate(experts)}
    return View("emoji", None, tuple(experts), (), registered, calibrations, relations, "stamp")


def chosen(prompt: str, graph: View) -> list[str]:
    vocabulary = Vocabulary.of(graph.experts, graph.base)
    return [e.id for e in solve(facets(prompt, vocabulary), vocabulary, graph).experts]


def test_one_expert_for_two_facets_beats_two() -> None:
    graph = view(expert("a", "subject:crab"), expert("b", "style:neon"), expert("both", "subject:crab", "style:neon"))
    assert chosen("crab, neon style", graph) == ["both"]


def test_working_beats_weak_beats_uncalibrated() -> None:
    crabs = [expert(n, "subject:crab") for n in ("a", "b", "c")]
    assert chosen("crab", view(*crabs, verdicts={"a": None, "b": "weak"})) == ["c"]
    assert chosen("crab", view(*crabs, verdicts={"a": None, "b": "weak", "c": "no effect"})) == ["b"]
    assert chosen("crab", view(*crabs, verdicts={"a": None, "b": "no effect", "c": "no effect"})) == ["a"]
    assert chosen("crab", view(*crabs, verdicts=dict.fromkeys("abc", "no effect"))) == []


def test_overlap_decides_between_equals() -> None:
    experts = (expert("crab", "subject:crab"), expert("n1", "style:neon"), expert("n2", "style:neon"))
    assert chosen("crab, neon style", view(*experts)) == ["crab", "n1"]
    overlap = Relation(a="crab", b="n1", kind="overlap", value=0.9)
    assert chosen("crab, neon style", view(*experts, relations=(overlap,))) == ["crab", "n2"]
    alike = Relation(a="crab", b="n1", kind="overlap", value=0.4)
    assert chosen("crab, neon style", view(*experts, relations=(alike,))) == ["crab", "n1"]


def test_an_adapter_is_better_company_than_a_checkpoint() -> None:
    whole = expert("a-neon", "style:neon").model_copy(update={"kind": "checkpoint"})
    graph = view(expert("crab", "subject:crab"), whole, expert("neon", "style:neon"))
    assert chosen("neon style", graph) == ["a-neon"]
    assert chosen("crab, neon style", graph) == ["crab", "neon"]
    assert chosen("crab, neon style", view(*graph.experts, verdicts={"neon": "weak"})) == ["a-neon", "crab"]


def test_the_original_among_copies() -> None:
    duplicate = Relation(a="a", b="b", kind="duplicate", value=1.0)
    first, second = expert("a", "subject:crab"), expert("b", "subject:crab")
    assert chosen("crab", view(first, second, relations=(duplicate,))) == ["a"]
    # The date speaks loudest, then the samples that a copy lacks, then who came first.
    dated = expert("a", "subject:crab", created="2026-05-01"), expert("b", "subject:crab", created="2025-01-01")
    assert chosen("crab", view(*dated, relations=(duplicate,))) == ["b"]
    shown = expert("a", "subject:crab"), expert("b", "subject:crab", samples=3)
    assert chosen("crab", view(*shown, relations=(duplicate,))) == ["b"]
    assert chosen("crab", view(second, first, relations=(duplicate,))) == ["b"]


def test_equal_files_are_copies_without_any_relation() -> None:
    twins = expert("b", "subject:crab", sha="7" * 64), expert("a", "subject:crab", sha="7" * 64)
    assert chosen("crab", view(*twins)) == ["b"]


def test_many_choices_stay_quick_and_deterministic() -> None:
    names = [f"thing{chr(97 + i)}" for i in range(8)]
    experts = [expert(f"{n}-{k}", f"subject:{n}") for n in names for k in range(6)]
    prompt = " and ".join(names)
    assert chosen(prompt, view(*experts)) == chosen(prompt, view(*experts)) == [f"{n}-0" for n in names]
