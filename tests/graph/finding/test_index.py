"""The index of words: what is said of experts finds them, changes are taken in one by one, and it heals itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from diffgraph.errors import ExternalError
from diffgraph.graph.experts.expert import Expert, Skill, SourceRef
from diffgraph.graph.finding.candidates import candidates
from diffgraph.graph.finding.index import WordIndex
from diffgraph.graph.finding.rarity import PLAIN, Rarity
from diffgraph.graph.finding.terms import squashed, terms, words_of_prompt
from diffgraph.graph.store.graph_store import GraphStore


def expert(name: str, **said: object) -> Expert:
    stem = name.replace(" ", "_")
    facts: dict[str, object] = {
        "id": f"folder/{stem}", "title": name, "sha256": "0" * 64, "base_family": "sd15", "kind": "lora",
        "ref": SourceRef(source="folder", repo=stem, revision="1", file=f"{stem}.safetensors"), "size_bytes": 1,
    }  # fmt: skip
    return Expert.model_validate({**facts, **said})


SHELF = (
    expert(
        "Pallas's cat", triggers=(("tusuncat",),), tags=("animals", "manul"), description="A wild cat of the steppe"
    ),
    expert("Embroidery", triggers=(("embroidery",),), tags=("thread",)),
    expert("Retro Anime", triggers=(("retro anime", "1990s anime"),), file_names=("RetroAnimeV3",)),
    expert("Capybara", triggers=(("capybara",),), popularity=9000),
    expert("Detail Tweaker", description="more details, best quality, masterpiece"),
    expert("SDXL cat", triggers=(("sdxlcat",),), base_family="sdxl"),
)


def found(prompt: str, index: WordIndex, family: str = "sd15") -> list[str]:
    class Graph:
        words = index

        def nearest(self, text: str, family: str, k: int) -> list[str]:
            raise AssertionError("the embedding model is not asked")

        cosines = nearest

    return [c.id for c in candidates(prompt, Graph(), family, meaning=False)]


@pytest.fixture
def index() -> WordIndex:
    made = WordIndex(None)
    made.clear()
    made.put(SHELF)
    return made


@pytest.mark.parametrize(
    ("prompt", "first"),
    [
        ("masterpiece, best quality, a close up of a tusuncat near a tree", "folder/Pallas's_cat"),
        ("Embroidery sunflower", "folder/Embroidery"),
        ("retroanime, 1girl", "folder/Retro_Anime"),
        ("1girl, <lora:x:0.8>, (1990s anime:1.2)", "folder/Retro_Anime"),
        ("capybarain the river", "folder/Capybara"),
        ("a manul", "folder/Pallas's_cat"),
    ],
)
def test_what_is_said_finds_it(index: WordIndex, prompt: str, first: str) -> None:
    assert found(prompt, index)[0] == first


def test_words_of_half_of_all_prompts_find_nobody(index: WordIndex) -> None:
    assert "folder/Detail_Tweaker" not in found("masterpiece, best quality, a capybara", index)[:1]
    assert found("1girl, solo, looking at viewer", index) == []


def test_families_stand_apart(index: WordIndex) -> None:
    assert found("sdxlcat", index) == []
    assert found("sdxlcat", index, "sdxl") == ["folder/SDXL_cat"]
    assert found("sdxlcat", index, "flux") == []
    assert index.families() == ["sd15", "sdxl"]


def test_a_changed_a_switched_off_and_a_removed_expert(index: WordIndex) -> None:
    index.put([expert("Capybara", triggers=(("hydrochoerus",),))])
    assert found("hydrochoerus", index) == ["folder/Capybara"]
    index.put([expert("Capybara", triggers=(("hydrochoerus",),), off=True)])
    assert found("hydrochoerus", index) == []
    assert index.count() == len(SHELF)
    index.remove(["folder/Capybara", "nobody"])
    assert index.count() == len(SHELF) - 1
    assert index.size("sd15") == 4


def test_example_prompts_tell_which_words_are_common(index: WordIndex) -> None:
    assert index.prompt_counts(["zeppelin"]) == ({}, 0)
    airship = expert("Airship", examples=("a zeppelin, zeppelin over hills", "zeppelin"))
    index.put([airship])
    assert index.prompt_counts(["zeppelin", "hill"]) == ({"zeppelin": 2, "hill": 1}, 2)
    index.put([airship.model_copy(update={"examples": ("hills",)})])
    assert index.prompt_counts(["zeppelin", "hill"]) == ({"zeppelin": 0, "hill": 1}, 1)
    assert Rarity({"zeppelin": 40}, 400)("zeppelin") < PLAIN("zeppelin")
    assert PLAIN("masterpiece") < PLAIN("castle") < PLAIN("tusuncat")


def test_terms() -> None:
    assert terms("Cats, NEON_lights") == ("cat", "neon", "light")
    assert terms("PixelArtV2", name=True) == ("pixel", "art", "v", "2")
    assert terms("兔狲爷") == ("兔狲", "狲爷")
    assert words_of_prompt("a <lora:x:0.8> (fox:1.2)").split() == ["a", "(fox", ")"]
    assert squashed("Pixel_Art-v2") == "pixelart"
    assert squashed("ab") == ""


def test_a_hostile_word_is_data(index: WordIndex) -> None:
    assert found('"; DROP TABLE experts; -- NEAR( tusuncat* " OR', index) == ["folder/Pallas's_cat"]
    assert len(found("tusuncat " * 20_000, index)) == 1


def test_the_graph_keeps_it_and_makes_it_anew_where_it_is_gone(tmp_path: Path) -> None:
    with GraphStore(tmp_path) as store:
        store.add_experts(SHELF)
        assert store.words.count() == len(SHELF)
        assert candidates("a tusuncat", store, "sd15", meaning=False)[0].called
        (why, *_) = candidates("a tusuncat", store, "sd15", meaning=False)[0].why
        assert why == "its trigger 'tusuncat' is in the prompt"
    for path in tmp_path.glob("words.sqlite3*"):
        path.unlink()
    with GraphStore(tmp_path) as store:
        assert store.words.ids("sd15", "lora") == sorted(e.id for e in SHELF if e.base_family == "sd15")
        with pytest.raises(KeyError), store.words.unfinished():
            raise KeyError("the process ends in the middle of a change")
    with GraphStore(tmp_path) as store:
        assert store.words.whole
        assert store.words.count() == len(SHELF)


def test_an_index_of_another_version_is_made_anew(tmp_path: Path) -> None:
    with GraphStore(tmp_path) as store:
        store.add_experts(SHELF)
    old = sqlite3.connect(tmp_path / "words.sqlite3")
    with old:
        old.execute("UPDATE state SET value = '0' WHERE name = 'version'")
        old.execute("DROP TABLE names")
        old.execute("CREATE TABLE names (quite TEXT, another TEXT)")
    old.close()
    with GraphStore(tmp_path) as store:
        assert candidates("a tusuncat", store, "sd15", meaning=False)[0].id == "folder/Pallas's_cat"
        assert store.words.whole


def test_a_file_that_is_no_index_is_told(tmp_path: Path) -> None:
    (tmp_path / "words.sqlite3").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(ExternalError, match="made anew"):
        WordIndex(tmp_path / "words.sqlite3")
    assert sqlite3.sqlite_version_info >= (3, 34)


def test_meaning_finds_what_no_word_names(tmp_path: Path) -> None:
    with GraphStore(tmp_path) as store:
        store.add_experts([e.model_copy(update={"text": e.title}) for e in SHELF])
        assert "folder/Capybara" in [c.id for c in candidates("the biggest rodent of South America", store, "sd15")]


def test_skills_of_cards_are_triggers(index: WordIndex) -> None:
    skill = Skill(facet="style", name="blueprint", trigger="blueprint style", aliases=("cyanotype",))
    index.put([expert("Draughtsman", skills=(skill,))])
    assert found("an owl, blueprint style", index)[0] == "folder/Draughtsman"
    assert found("a cyanotype of an owl", index)[0] == "folder/Draughtsman"
