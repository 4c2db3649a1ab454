"""What a user says stands above what is found, and stays."""

from __future__ import annotations

from pathlib import Path

from diffgraph.graph.experts.expert import Expert, Skill, SourceRef
from diffgraph.graph.experts.own_words import OwnWords
from diffgraph.graph.store.graph_store import GraphStore


def found(**changes: object) -> Expert:
    skill = Skill(facet="subject", name="fox", trigger="pixfox")
    whole: dict[str, object] = {
        "id": "folder/fox", "title": "Fox", "ref": SourceRef(source="folder", repo="/x", revision="1", file="f"),
        "sha256": "a" * 64, "base_family": "sd15", "kind": "lora", "size_bytes": 1, "skills": (skill,), "weight": 0.9,
    }  # fmt: skip
    return Expert.model_validate({**whole, **changes})


def test_words_stand_through_a_rescan_and_can_be_taken_back(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "graph") as store:
        store.add_expert(found())
        said = store.say("folder/fox", OwnWords(triggers=(("red fox", "snow"),), facet="style", weight=0.4, off=True))
        assert (said.triggers, said.weight, said.off) == ((("red fox", "snow"),), 0.4, True)
        assert [(s.facet, s.name, s.trigger) for s in said.skills] == [("style", "red fox", "red fox, snow")]
        assert store.view("sd15").experts == ()
        store.add_expert(found(title="A fox", weight=0.7, licence="mit"))
        again = store.expert("folder/fox")
        assert (again.title, again.licence, again.weight, again.off) == ("A fox", "mit", 0.4, True)
        store.say("folder/fox", store.own_words("folder/fox").and_then(OwnWords(off=False)))
        assert [e.id for e in store.view("sd15").experts] == ["folder/fox"]
        assert store.expert("folder/fox").weight == 0.4
        assert store.as_found()[0].weight == 0.7
        assert store.say("folder/fox", OwnWords()) == found(title="A fox", weight=0.7, licence="mit")


def test_words_are_found_by_meaning_and_travel_in_exports(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "graph") as store:
        store.add_expert(found())
        store.say("folder/fox", OwnWords(triggers=(("oil painting style",),), facet="style"))
        assert store.search("oil painting", "sd15", "style")[0].expert_id == "folder/fox"
        assert store.search("fox", "sd15", "subject") == []
        store.export_jsonl(tmp_path / "graph.jsonl")
    with GraphStore(tmp_path / "other") as store:
        store.import_jsonl(tmp_path / "graph.jsonl")
        assert store.expert("folder/fox").triggers == (("oil painting style",),)
        assert store.as_found() == [found()]


def test_a_facet_alone_and_no_trigger_at_all(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "graph") as store:
        store.add_expert(found(skills=(Skill(facet="subject", name="fox", trigger="pixfox", aliases=("vixen",)),)))
        only = store.say("folder/fox", OwnWords(facet="character"))
        assert [(s.facet, s.trigger) for s in only.skills] == [("character", "pixfox")]
        none = store.say("folder/fox", OwnWords(triggers=()))
        assert [(s.name, s.trigger) for s in none.skills] == [("Fox", "")]
