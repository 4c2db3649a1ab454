"""Files of a folder that a hub knows by their sums, and a look at that hub: against Civitai on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffgraph.files.payload_hash import HashMemo
from diffgraph.graph.experts.enrich import Enriched, enrich
from diffgraph.graph.experts.own_words import OwnWords
from diffgraph.graph.experts.remote_scan import scan_remote
from diffgraph.graph.experts.scan import Report, scan
from diffgraph.graph.experts.scouted import Scouted
from diffgraph.graph.experts.sources import Search
from diffgraph.graph.experts.sources.civitai import Civitai as Source
from diffgraph.graph.experts.sources.folder import Folder
from diffgraph.graph.store.graph_store import GraphStore

from .sources.loopback_civitai import Civitai
from .sources.loopback_hub import big_lora, lora
from .weights import lora as lora_file


class Home:
    """A graph, what is remembered beside it, and a hub."""

    def __init__(self, root: Path, hub: Civitai) -> None:
        self.store = GraphStore(root / "graph")
        self.scouted = Scouted(root / "scouted.sqlite")
        self.sums = HashMemo(root / "sums.json")
        self.source = lambda: Source(host=hub.url, cache_dir=root / "kept")
        self.told: list[tuple[str, str]] = []

    def tell(self, kind: str, text: str) -> None:
        self.told.append((kind, text))

    def scan(self, folder: Path) -> Report:
        return scan(Folder(folder), self.store, self.scouted, self.sums, tell=self.tell)

    def enrich(self, **options: Any) -> Enriched:
        return enrich(self.source(), self.store, self.scouted, self.sums, tell=self.tell, patience=2, **options)

    def look(self, *, limit: int = 200, search: Search | None = None, **options: Any) -> Report:
        options = {"patience": 2.0, **options}
        wanted = search or Search()
        return scan_remote(
            self.source(), self.store, self.scouted, search=wanted, limit=limit, tell=self.tell, **options
        )


@pytest.fixture
def home(tmp_path: Path, civitai: Civitai, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("DIFFGRAPH_CIVITAI_STORAGE", "localhost")
    made = Home(tmp_path / "home", civitai)
    yield made
    made.store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files without a word beside them: two are published (one under another header), one is not."""
    loras = tmp_path / "loras"
    loras.mkdir()
    (loras / "a.safetensors").write_bytes(lora(1))
    lora_file(loras / "mine.safetensors", 0.25)
    return loras


def only(home: Home, name: str) -> Any:
    return next(e for e in home.store.experts() if e.ref.file == name)


def test_files_without_a_word_learn_what_their_page_says(home: Home, civitai: Civitai, folder: Path) -> None:
    home.scan(folder)
    assert only(home, "a.safetensors").triggers == ()
    before = {e.id for e in home.store.experts()}
    done = home.enrich()
    assert (len(done.known), done.unknown, len(done.changed)) == (1, 1, 1)
    found = only(home, "a.safetensors")
    assert (found.triggers, found.licence) == ((("pixfox", "pixel art"),), "civitai-by")
    assert (found.origin, found.popularity, found.title) == ("civitai:1@10", 21, "Pixel Fox 1")
    assert {e.id for e in home.store.experts()} == before
    civitai.asked()
    done = home.enrich()
    assert (done.known, done.before) == ((), 2)
    assert civitai.asked() == [], "a file is asked for once"
    civitai.add(9, (folder / "mine.safetensors").read_bytes())
    assert home.enrich(again=True).known == (only(home, "mine.safetensors").id,)


def test_what_is_learnt_survives_rescans_and_own_words_stand_above(home: Home, folder: Path) -> None:
    home.scan(folder)
    identity = only(home, "a.safetensors").id
    home.store.say(identity, OwnWords(triggers=(("my fox",),)))
    home.enrich()
    assert home.store.expert(identity).triggers == (("my fox",),)
    (folder / "a.json").write_text('{"preferred weight": 0.6}')
    home.scan(folder)
    found = home.store.expert(identity)
    assert (found.triggers, found.weight, found.popularity) == ((("my fox",),), 0.6, 21)
    home.store.say(identity, OwnWords())
    assert home.store.expert(identity).triggers == (("pixfox", "pixel art"),)


def test_a_hub_that_fails_midway_keeps_what_was_learnt(
    home: Home, civitai: Civitai, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffgraph.graph.experts.enrich.BATCH", 1)
    home.scan(folder)
    civitai.once["/api/v1/model-versions/by-hash"] = [(429, {"Retry-After": "0"}, b"")]
    path = "/api/v1/model-versions/by-hash"
    civitai.status[path] = (500, {}, b"{}")
    with pytest.raises(Exception, match="500"):
        home.enrich()
    civitai.status.clear()
    done = home.enrich()
    assert (len(done.known), done.ended) == (1, "")


def test_a_look_counts_everything_and_the_second_one_asks_for_lists_only(home: Home, civitai: Civitai) -> None:
    civitai.add(4, lora(4), file={"pickleScanResult": "Danger"})
    civitai.add(5, lora(5), file={"virusScanResult": "Pending"})
    civitai.add(6, b"<html>gone</html>".ljust(3000))
    civitai.add(7, lora(7), nsfw=True, nsfwLevel=16)
    civitai.models[8] = {"id": 8, "name": "x", "type": "LORA", "nsfwLevel": 1, "modelVersions": []}
    civitai.add(9, lora(1), file={"name": "old.pt"})
    civitai.status["/api/download/models/30"] = (403, {}, b'{"deadline": "2031-01-01T00:00:00.000Z"}')
    civitai.once["/api/download/models/20"] = [(429, {"Retry-After": "0"}, b""), (503, {"Retry-After": "0"}, b"")]
    civitai.empty_pages, civitai.repeats, civitai.page = 2, True, 2
    found = home.look()
    assert {e.id for e in found.new} == {"civitai/pixel-fox-1-10", "civitai/pixel-fox-2-20", "civitai/pixel-fox-7-70"}
    why = {one.place: one.why for one in found.refused}
    assert set(why) == {"3", "4", "5", "6", "8", "9"}
    for place, said in {"3": "early access", "4": "Danger", "5": "Pending", "6": "web page", "9": "pickles"}.items():
        assert said in why[place]
    civitai.asked()
    second = home.look()
    assert (second.new, second.refused, second.unchanged, second.refused_before) == ((), (), 9, 6)
    assert all("/api/v1/models?" in line for line in civitai.asked())
    civitai.models[5]["modelVersions"][0]["files"][0]["virusScanResult"] = "Success"
    civitai.models[1]["modelVersions"].insert(0, {**civitai.models[1]["modelVersions"][0], "id": 11, "name": "v2"})
    civitai.storage.files["11"] = lora(1)
    assert sorted(e.id for e in home.look().new) == ["civitai/pixel-fox-1-11", "civitai/pixel-fox-5-50"]


def test_bytes_of_a_look(home: Home, civitai: Civitai) -> None:
    civitai.models.clear()
    for number in range(1, 7):
        civitai.add(number, big_lora(number))
    found = home.look()
    assert len(found.new) == 6
    assert (civitai.sent + civitai.storage.sent) / 6 < 200_000
    civitai.sent = civitai.storage.sent = 0
    assert home.look().unchanged == 6
    assert civitai.storage.sent == 0
    assert civitai.sent / 6 < 10_000


def test_a_limit_and_the_next_look(home: Home, civitai: Civitai) -> None:
    for number in range(4, 9):
        civitai.add(number, lora(number))
    civitai.page = 2
    assert (len(home.look(limit=3).new), len(home.look(limit=3).new), len(home.look(limit=3).new)) == (3, 3, 2)


def test_folders_that_went(home: Home, folder: Path) -> None:
    home.scan(folder)
    shutil.rmtree(folder)
    done = home.enrich()
    assert (len(done.known), done.changed) == (1, ())
