"""A hub looked through: whatever it does is told and counted, and nothing ends the look half-way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diffgraph.cli import scouting
from diffgraph.errors import AccessDenied, ExpertError, ExternalError, UserError
from diffgraph.graph.experts.remote_scan import scan_named, scan_remote
from diffgraph.graph.experts.scan import Report
from diffgraph.graph.experts.scouted import Scouted
from diffgraph.graph.experts.sources import Search
from diffgraph.graph.experts.sources.huggingface import HuggingFace
from diffgraph.graph.store.graph_store import GraphStore
from diffgraph.settings import Settings

from .sources.loopback_hub import CARD, Hub, big_lora, lora

Look = Callable[..., Report]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GraphStore]:
    with GraphStore(tmp_path / "graph") as made:
        yield made


@pytest.fixture
def look(hub: Hub, store: GraphStore, tmp_path: Path) -> Look:
    """A look by a process of its own: nothing but the home is carried over."""

    def look(query: str = "", *, limit: int = 200, base: str = "", token: str = "", **options: Any) -> Report:
        source = HuggingFace(endpoint=hub.url, cache_dir=tmp_path / "cache", token=token)
        search = Search(text=query, base=base)
        told = options.pop("told", [])
        options = {"patience": 5.0, **options}
        return scan_remote(
            source,
            store,
            Scouted(tmp_path / "scouted.sqlite"),
            search=search,
            limit=limit,
            tell=lambda *what: told.append(what),
            **options,
        )

    return look


def fill(hub: Hub, count: int) -> None:
    hub.repos.clear()
    for number in range(count):
        hub.repos[f"ana/no{number:03d}"] = {"README.md": CARD, "a.safetensors": lora(number % 7 + 1)}


def reasons(found: Report) -> dict[str, str]:
    return {one.place: one.why for one in found.refused}


def asked(hub: Hub) -> list[str]:
    """Requests since this was last asked, without the lists."""
    lines = [line for line in hub.log if "/api/models?" not in line]
    hub.log.clear()
    return lines


def test_every_page_is_read_and_the_second_look_asks_for_nothing(hub: Hub, look: Look) -> None:
    fill(hub, 12)
    hub.page = 5
    found = look()
    assert (len(found.new), found.unchanged, found.rest) == (12, 0, False)
    asked(hub)
    found = look()
    assert (len(found.new), found.unchanged) == (0, 12)
    assert asked(hub) == []


def test_only_what_changed_is_read_again(hub: Hub, look: Look) -> None:
    fill(hub, 4)
    look()
    hub.shas["ana/no002"] = "d" * 40
    hub.repos["ana/no002"]["a.safetensors"] = lora(8)
    asked(hub)
    found = look()
    assert (found.changed, found.new, found.unchanged) == (("huggingface/ana/no002",), (), 3)
    assert all("ana/no002" in line for line in asked(hub))
    assert look().unchanged == 4


def test_a_limit_counts_what_is_new_and_the_next_look_goes_on(hub: Hub, look: Look, store: GraphStore) -> None:
    fill(hub, 9)
    hub.page = 3
    for name in ("ana/no000", "ana/no001", "ana/no004"):
        hub.repos[name] = {"old.ckpt": b"x"}
    first = look(limit=2)
    assert (len(first.new), len(first.refused), first.rest) == (2, 2, True)
    hub.log.clear()
    second = look(limit=2)
    assert (len(second.new), second.rest) == (2, True)
    lists = [line for line in hub.log if "/api/models?" in line]
    assert [("cursor=" in line) for line in lists] == [False, True, True], "the first page, then where the last stopped"
    third = look()
    assert (len(third.new), third.rest) == (2, False)
    assert len(store.experts()) == 6
    assert look().refused_before == 3


def test_a_cursor_that_is_no_good_any_more_begins_anew(hub: Hub, look: Look, tmp_path: Path) -> None:
    fill(hub, 6)
    hub.page = 2
    look(limit=3)
    Scouted(tmp_path / "scouted.sqlite").keep_cursor("huggingface", f"{hub.url}\n{Search().key}", "cursor=stale")
    found = look()
    assert len(found.new) == 3


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (403, {"X-Error-Code": "GatedRepo"}, "gated"),
        (401, {"X-Error-Code": "GatedRepo"}, "gated"),
        (403, {}, "gated or private"),
        (401, {}, "private"),
        (404, {"X-Error-Code": "RepoNotFound"}, "not found"),
        (500, {}, "500"),
        (451, {}, "451"),
    ],
)
@pytest.mark.parametrize("where", ["/api/models/ana/no001", "/ana/no001/resolve"])
def test_one_that_cannot_be_had_is_told_remembered_and_passed_over(
    hub: Hub, look: Look, status: int, headers: dict[str, str], said: str, where: str
) -> None:
    fill(hub, 4)
    hub.status[where] = (status, headers)
    found = look()
    assert len(found.new) == 3
    assert said in reasons(found)["ana/no001"]
    asked(hub)
    found = look()
    assert (found.refused, found.refused_before, found.unchanged) == ((), 1, 4)
    assert asked(hub) == [], "not asked for again"
    hub.status.clear()
    hub.shas["ana/no001"] = "e" * 40
    assert [expert.id for expert in look().new] == ["huggingface/ana/no001"], "until it changes"


def test_refused_ones_are_asked_for_again_on_order_and_with_a_token(hub: Hub, look: Look) -> None:
    fill(hub, 2)
    hub.repos["ana/zz"] = {"old.ckpt": b"x"}
    hub.status["/api/models/ana/no001"] = (403, {"X-Error-Code": "GatedRepo"})
    look()
    hub.status.clear()
    assert len(look().new) == 0
    found = look(token="hf_good")
    assert ([e.id for e in found.new], found.refused_before) == (["huggingface/ana/no001"], 1)
    found = look(again=True)
    assert list(reasons(found)) == ["ana/zz"]


def test_odd_repositories_end_nothing(hub: Hub, look: Look) -> None:
    fill(hub, 1)
    good = lora()
    hub.repos |= {
        "a/empty": {},
        "a/cut": {"cut.safetensors": good},
        "a/page": {"page.safetensors": good},
        "a/yaml": {"README.md": b"---\n: [\n---\n", "a.safetensors": good},
        "a/big-card": {"README.md": b"x", "a.safetensors": good},
        "a/two": {
            "README.md": CARD,
            "a.safetensors": good,
            "optimizer/state.safetensors": b"\x08\0\0\0\0\0\0\0{}      ",
        },
        "a/.hidden": {"a.safetensors": good},
        "a/shards": {"unet/model-00001-of-00002.safetensors": good},
    }
    hub.lies["cut.safetensors"] = good[:40]
    hub.lies["page.safetensors"] = b"<html>busy</html>".ljust(len(good))
    hub.sizes["README.md"] = 0
    found = look()
    why = reasons(found)
    assert {"a/empty", "a/cut", "a/page", "a/shards", "a/two/optimizer/state.safetensors"} <= set(why)
    assert "web page" in why["a/page"]
    ids = {expert.id for expert in found.new}
    assert {"huggingface/a/two", "huggingface/ana/no000"} <= ids
    assert len(found.refused) + len(ids) >= 9


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"pipeline_tag": "text-generation"}, "text-generation"),
        ({"pipeline_tag": "text-to-video"}, "text-to-video"),
        ({"library_name": "peft", "tags": ["lora", "base_model:adapter:meta-llama/Llama-3-8B"]}, "language model"),
        ({"tags": ["lora", "image-to-video"]}, "image-to-video"),
    ],
)
def test_what_is_not_for_images_is_not_asked_for(hub: Hub, look: Look, row: dict[str, Any], said: str) -> None:
    fill(hub, 2)
    hub.rows["ana/no000"] = row
    found = look()
    assert said in reasons(found)["ana/no000"]
    assert len(found.new) == 1
    assert not any("no000" in line for line in asked(hub))


def test_peft_files_of_image_models_are_wanted(hub: Hub, look: Look) -> None:
    fill(hub, 1)
    tags = ["lora", "base_model:adapter:black-forest-labs/FLUX.1-dev"]
    hub.rows["ana/no000"] = {"library_name": "peft", "tags": tags}
    assert len(look().new) == 1


def test_only_for_one_base(hub: Hub, look: Look) -> None:
    fill(hub, 3)
    hub.rows["ana/no000"] = {"tags": ["lora", "base_model:adapter:stabilityai/stable-diffusion-xl-base-1.0"]}
    hub.rows["ana/no001"] = {"tags": ["lora", "base_model:runwayml/stable-diffusion-v1-5"]}
    found = look(base="sdxl")
    assert sorted(e.id for e in found.new) == ["huggingface/ana/no000", "huggingface/ana/no002"]
    hub.log.clear()
    look(base="runwayml/stable-diffusion-v1-5")
    assert any("filter=base_model%3Arunwayml" in line and "pipeline_tag=text-to-image" in line for line in hub.log)


def test_a_renamed_repository_is_registered_once(hub: Hub, look: Look) -> None:
    fill(hub, 1)
    hub.renamed["ana/before"] = "ana/no000"
    found = look()
    assert [e.id for e in found.new] == ["huggingface/ana/no000"]
    assert found.refused == ()
    asked(hub)
    assert look().unchanged == 2
    assert asked(hub) == []


def test_a_busy_hub_is_waited_for_and_told(hub: Hub, look: Look) -> None:
    fill(hub, 3)
    hub.once["/api/models/ana/no001"] = [(429, {"Retry-After": "0"})]
    hub.once["/ana/no002/resolve"] = [(503, {"Retry-After": "0.1"})]
    told: list[tuple[str, str]] = []
    found = look(told=told)
    assert (len(found.new), found.refused, found.ended) == (3, (), "")
    assert [kind for kind, _ in told].count("waiting") == 2
    hub.once["/api/models"] = [(503, {"Retry-After": "0"}), (429, {"Retry-After": "0"})]
    assert look().unchanged == 3


def test_waiting_has_a_budget_and_what_was_found_stays(hub: Hub, look: Look, store: GraphStore) -> None:
    fill(hub, 8)
    hub.page = 4
    for number in range(2, 8):
        hub.status[f"/api/models/ana/no{number:03d}"] = (429, {"Retry-After": "3600"})
    found = look()
    assert (len(found.new), found.rest) == (2, True)
    assert "3600 s" in found.ended
    assert len(found.refused) == 3
    hub.status.clear()
    assert (len(look().new), len(store.experts())) == (6, 8), "a busy hub is no reason to refuse anything for good"


def test_one_busy_repository_does_not_end_a_look(hub: Hub, look: Look) -> None:
    fill(hub, 3)
    hub.status["/api/models/ana/no000"] = (503, {"Retry-After": "900"})
    found = look()
    assert (len(found.new), found.ended) == (2, "")
    assert "503" in reasons(found)["ana/no000"]


def test_a_list_that_fails_later_keeps_what_was_found(hub: Hub, look: Look) -> None:
    fill(hub, 4)
    hub.page = 2
    hub.later_pages = (500, {})
    found = look()
    assert (len(found.new), found.rest) == (2, True)
    assert "500" in found.ended


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "over capacity"}', "over capacity"),
        (b"null", "null"),
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"[[[", "no JSON"),
        (b"{}", "something else"),
        (b"", "no JSON"),
    ],
)
def test_a_list_that_is_none_is_a_sentence(hub: Hub, look: Look, body: bytes, said: str) -> None:
    hub.bodies["/api/models"] = body
    with pytest.raises(ExternalError, match=said):
        look()


def test_rows_that_are_none_are_passed_over(hub: Hub, look: Look) -> None:
    hub.bodies["/api/models"] = (
        b'[null, 7, {}, {"id": null}, {"id": "ana/ink", "tags": [null, 5], "downloads": "many"}]'
    )
    assert [e.id for e in look().new] == ["huggingface/ana/ink"]


def test_a_bad_token_is_called_so_and_refuses_nothing(hub: Hub, look: Look, tmp_path: Path) -> None:
    hub.bad_tokens.add("hf_wrong")
    with pytest.raises(AccessDenied, match="refuses the token"):
        look(token="hf_wrong")
    assert Scouted(tmp_path / "scouted.sqlite").refused() == []
    assert isinstance(AccessDenied("x"), UserError)


def test_nobody_there(hub: Hub, store: GraphStore, tmp_path: Path) -> None:
    source = HuggingFace(endpoint="http://127.0.0.1:9", token="")
    with pytest.raises(ExternalError, match="network"):
        scan_remote(source, store, Scouted(tmp_path / "s.sqlite"), search=Search(), limit=5, tell=lambda *_: None)


def test_a_look_ends_politely_and_goes_on(hub: Hub, look: Look) -> None:
    fill(hub, 5)
    asked_for = itertools.count()
    found = look(stopped=lambda: next(asked_for) >= 2)
    assert (len(found.new), found.rest) == (2, True)
    assert len(look().new) == 3


def test_registration_costs_few_bytes(hub: Hub, look: Look) -> None:
    fill(hub, 0)
    for number in range(3):
        hub.repos[f"ana/big{number}"] = {"README.md": CARD, "a.safetensors": big_lora(number)}
    found = look()
    assert len(found.new) == 3
    assert hub.sent / 3 < 200_000 < len(big_lora(0))


@pytest.fixture
def look_at(hub: Hub, store: GraphStore, tmp_path: Path) -> Look:
    """One repository by name, by a process of its own."""

    def look_at(repo: str, patience: float = 5.0) -> Report:
        source = HuggingFace(endpoint=hub.url, cache_dir=tmp_path / "cache", token="")
        memory = Scouted(tmp_path / "scouted.sqlite")
        return scan_named(source, repo, store, memory, tell=lambda *_: None, patience=patience)

    return look_at


def test_one_that_is_named_is_remembered_as_those_of_a_list_are(hub: Hub, look: Look, look_at: Look) -> None:
    fill(hub, 3)
    assert [e.id for e in look_at("ana/no001").new] == ["huggingface/ana/no001"]
    assert (look_at("ana/no001").unchanged, look_at("ana/no001").new) == (1, ())
    asked(hub)
    found = look()
    assert (len(found.new), found.unchanged) == (2, 1)
    assert not [line for line in asked(hub) if "ana/no001" in line]
    hub.shas["ana/no001"] = "d" * 40
    hub.repos["ana/no001"]["a.safetensors"] = lora(8)
    assert look_at("ana/no001").changed == ("huggingface/ana/no001",)


def test_one_that_is_named_is_waited_for(hub: Hub, look_at: Look) -> None:
    hub.once["/api/models/ana/ink"] = [(429, {"Retry-After": "0"})]
    assert len(look_at("ana/ink").new) == 1
    hub.status["/api/models/ana/other"] = (503, {"Retry-After": "60"})
    with pytest.raises(ExternalError):
        look_at("ana/other")


@pytest.mark.parametrize(("repo", "kept"), [("ana/no001", "pickles"), ("ana/absent", "not found")])
def test_one_that_is_named_and_refused_is_an_error_and_remembered(
    hub: Hub, look: Look, look_at: Look, tmp_path: Path, repo: str, kept: str
) -> None:
    fill(hub, 3)
    hub.repos["ana/no001"] = {"old.ckpt": b"x"}
    for _ in range(2):  # it is asked for once more, each time that it is named
        with pytest.raises((ExpertError, UserError), match=kept):
            look_at(repo)
    ((_, seen),) = Scouted(tmp_path / "scouted.sqlite").refused()
    assert (seen.place, kept in seen.why) == (repo, True)
    hub.repos["ana/absent"] = {"README.md": CARD, "a.safetensors": lora(9)}
    assert len(look().new) == 3


def test_the_command_line_goes_the_same_way(
    hub: Hub, tmp_path: Path, pico: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRAPH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIFFGRAPH_BASE", str(pico("sd15").base))
    monkeypatch.setenv("DIFFGRAPH_HUGGINGFACE_ENDPOINT", hub.url)
    hub.once["/api/models/ana/ink"] = [(429, {"Retry-After": "0"})]
    hub.repos["ana/old"] = {"old.ckpt": b"x"}

    def look(repo: str) -> dict[str, Any]:
        return scouting.as_json(scouting.run(Settings.load(), f"huggingface:{repo}", Search(), None, None)[0])

    assert look("ana/ink")["registered"] == ["huggingface/ana/ink"]
    again = look("ana/ink")
    assert (again["registered"], again["unchanged"]) == ([], 1)
    with pytest.raises(ExpertError, match="pickles"):
        look("ana/old")
    (told,) = scouting.refused(Settings.load(), "huggingface")
    assert (told.repo, "pickles" in told.why) == ("ana/old", True)
