"""Folders as people have them: what is registered, under what words, and what a second look finds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from diffgraph.errors import ExpertError, UserError
from diffgraph.files.payload_hash import HashMemo
from diffgraph.graph.experts.expert import Expert
from diffgraph.graph.experts.own_words import OwnWords
from diffgraph.graph.experts.scan import Report, scan
from diffgraph.graph.experts.scouted import Scouted
from diffgraph.graph.experts.sources.folder import Folder
from diffgraph.graph.store.graph_store import GraphStore

from .weights import language_adapter, lora, save, video_lora

CARD = "---\nbase_model: runwayml/stable-diffusion-v1-5\nlicense: mit\ninstance_prompt: pixfox\n---\n# A fox\n"


class Home:
    """A graph and what is remembered beside it."""

    def __init__(self, root: Path) -> None:
        self.store = GraphStore(root / "graph")
        self.scouted = Scouted(root / "scouted.sqlite")
        self.sums = HashMemo(root / "sums.json")
        self.told: list[tuple[str, str]] = []

    def look(self, folder: Path, **options: int) -> Report:
        return scan(
            Folder(folder), self.store, self.scouted, self.sums, tell=lambda *what: self.told.append(what), **options
        )

    def ids(self) -> list[str]:
        return [expert.id for expert in self.store.experts()]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.store.close()


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    folder = tmp_path / "loras"
    folder.mkdir()
    return folder


def reasons(found: Report) -> dict[str, str]:
    return {Path(one.place).name: one.why for one in found.refused}


def test_loose_files_and_repositories_in_any_mix(home: Home, loras: Path) -> None:
    lora(loras / "neon.safetensors", 1)
    lora(loras / "styles" / "deep" / "ink.SAFETENSORS", 2)
    lora(loras / "fox" / "pytorch_lora_weights.safetensors", 3)
    (loras / "fox" / "README.md").write_text(CARD, encoding="utf-8")
    lora(loras / "bare" / "pytorch_lora_weights.safetensors", 4)
    lora(loras / "pipe" / "unet" / "pytorch_lora_weights.safetensors", 5)
    found = home.look(loras)
    assert not found.refused
    ids = [expert.id for expert in found.new]
    assert {"folder/neon", "folder/ink"} <= set(ids)
    assert [e.title for e in found.new if "pytorch" in e.ref.file] == ["A fox", "pipe-" + ids[1][-6:], "bare"]
    fox = next(e for e in found.new if e.title == "A fox")
    assert (fox.id[:11], fox.triggers, fox.licence) == ("folder/fox-", (("pixfox",),), "mit")
    assert {e.base_family for e in found.new} == {"sd15"}
    for expert in found.new:
        assert Folder().fetch(expert.ref).is_file()


def test_a_readme_among_many_loose_files_is_no_card_of_theirs(home: Home, loras: Path) -> None:
    (loras / "README.md").write_text("# My loras\n\nTrigger words: nothing\n", encoding="utf-8")
    for number in range(3):
        lora(loras / f"l{number}.safetensors", number)
    assert [e.title for e in home.look(loras).new] == ["l0", "l1", "l2"]


def test_odd_files_are_told_and_passed_over(home: Home, loras: Path, tmp_path: Path) -> None:
    lora(loras / "good.safetensors")
    (loras / "empty.safetensors").write_bytes(b"")
    whole = lora(tmp_path / "x.safetensors", 9).read_bytes()
    (loras / "cut.safetensors").write_bytes(whole[:-100])
    (loras / "page.safetensors").write_text("<!DOCTYPE html><html></html>", encoding="utf-8")
    (loras / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    (loras / "a.safetensors").mkdir()
    (loras / "gone.safetensors").symlink_to(tmp_path / "nowhere.safetensors")
    (loras / "out.safetensors").symlink_to(tmp_path / "x.safetensors")
    (loras / "pickle.ckpt").write_bytes(b"PK\x03\x04")
    save(loras / "vae.safetensors", {"encoder.conv_in.weight": np.ones((4, 4))})
    save(loras / "optimizer" / "state.safetensors", {"state.0.exp_avg": np.ones((4, 4))})
    language_adapter(loras / "llama.safetensors")
    video_lora(loras / "dance.safetensors")
    found = home.look(loras)
    assert [e.id for e in found.new] == ["folder/good"]
    why = reasons(found)
    assert set(why) == {
        *("empty.safetensors", "cut.safetensors", "page.safetensors", "pointer.safetensors", "a.safetensors"),
        *("gone.safetensors", "out.safetensors", "pickle.ckpt", "vae.safetensors", "state.safetensors"),
        *("llama.safetensors", "dance.safetensors"),
    }
    assert "cut off" in why["cut.safetensors"]
    assert "error page" in why["page.safetensors"]
    assert "Git LFS" in why["pointer.safetensors"]
    assert "language model" in why["llama.safetensors"]
    assert "video model Wan" in why["dance.safetensors"]
    assert "leads out" in why["out.safetensors"]
    assert "pickle" in why["pickle.ckpt"]
    again = home.look(loras)
    assert not again.anything
    assert (again.unchanged, again.refused_before) == (13, 12)
    assert len(home.scouted.refused("folder")) == 12


def test_odd_files_of_a_repository_leave_its_expert_alone(home: Home, loras: Path) -> None:
    lora(loras / "fox" / "fox.safetensors")
    (loras / "fox" / "README.md").write_text(CARD, encoding="utf-8")
    save(loras / "fox" / "optimizer" / "state.safetensors", {"state.0.exp_avg": np.ones((4, 4))})
    found = home.look(loras)
    (fox,) = found.new
    assert (fox.triggers, "/" in fox.id.removeprefix("folder/")) == ((("pixfox",),), False)
    assert list(reasons(found)) == ["state.safetensors"]


def test_links_never_lead_out(home: Home, loras: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("---\ninstance_prompt: secret\n---\n# Secret\n", encoding="utf-8")
    lora(loras / "fox" / "fox.safetensors")
    (loras / "fox" / "README.md").symlink_to(secret)
    elsewhere = lora(tmp_path / "elsewhere" / "far.safetensors", 2).parent
    (loras / "away").symlink_to(elsewhere)
    (loras / "again.safetensors").symlink_to(loras / "fox" / "fox.safetensors")
    found = home.look(loras)
    (fox,) = found.new
    assert (fox.title, fox.triggers, "secret" in fox.model_dump_json().casefold()) == ("fox", (), False)
    assert set(reasons(found)) == {"README.md", "away"}
    assert [one.expert for one in found.same] == [fox.id]


def test_a_second_look_sees_what_is_new_changed_moved_and_gone(home: Home, loras: Path) -> None:
    lora(loras / "neon.safetensors", 1)
    lora(loras / "ink.safetensors", 2)
    lora(loras / "clay.safetensors", 3)
    lora(loras / "wood.safetensors", 4)
    assert len(home.look(loras).new) == 4
    home.store.say("folder/ink", OwnWords(triggers=(("ink wash",),), weight=0.6))
    lora(loras / "fresh.safetensors", 5)
    (loras / "neon.json").write_text('{"activation text": "neon glow", "preferred weight": 0.7}', encoding="utf-8")
    (loras / "styles").mkdir()
    (loras / "ink.safetensors").rename(loras / "styles" / "eastern.safetensors")
    (loras / "clay.safetensors").unlink()
    lora(loras / "wood.safetensors", 6)
    before = home.store.expert("folder/wood")
    found = home.look(loras)
    assert [e.id for e in found.new] == ["folder/fresh"]
    assert sorted(found.changed) == ["folder/neon", "folder/wood"]
    assert (found.moved, found.missing, found.unchanged) == (("folder/ink",), ("folder/clay",), 0)
    neon, ink, wood = (home.store.expert(f"folder/{name}") for name in ("neon", "ink", "wood"))
    assert (neon.triggers, neon.weight) == ((("neon glow",),), 0.7)
    assert (ink.ref.file, ink.triggers, ink.weight) == ("styles/eastern.safetensors", (("ink wash",),), 0.6)
    assert wood.sha256 != before.sha256
    assert home.store.expert("folder/clay").missing
    assert "folder/clay" not in {e.id for e in home.store.view("sd15").experts}
    lora(loras / "back" / "clay2.safetensors", 3)
    assert home.look(loras).moved == ("folder/clay",)
    assert not home.store.expert("folder/clay").missing
    assert not home.look(loras).anything


def test_nothing_is_read_twice_unless_it_changed(home: Home, loras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        lora(loras / f"l{number}.safetensors", number)
    lora(loras / "fox" / "fox.safetensors", 7)
    (loras / "fox" / "README.md").write_text(CARD, encoding="utf-8")
    home.look(loras)

    def never(*_: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("diffgraph.graph.experts.scan.read_header", never)
    monkeypatch.setattr("diffgraph.graph.experts.sources.folder.read_header", never)
    monkeypatch.setattr("diffgraph.graph.experts.sources.folder.file_sha256", never)
    assert home.look(loras).unchanged == 4


def test_the_same_bytes_twice_are_one_expert_with_both_places(home: Home, loras: Path) -> None:
    lora(loras / "a.safetensors")
    shutil.copy(loras / "a.safetensors", loras / "b.safetensors")
    (loras / "b.json").write_text('{"activation text": "words"}', encoding="utf-8")
    found = home.look(loras)
    (one,) = found.new
    assert (one.ref.file, one.triggers) == ("b.safetensors", (("words",),))  # who has words goes first
    kept = home.store.expert(one.id)
    assert [place.rpartition(":")[2] for place in kept.also_at] == ["a.safetensors"]
    (loras / "b.safetensors").unlink()
    after = home.look(loras)
    assert (after.moved, after.missing) == ((one.id,), ())
    moved = home.store.expert(one.id)
    assert (moved.ref.file, moved.also_at) == ("a.safetensors", ())


def test_another_root_over_the_same_files_changes_nothing(home: Home, loras: Path) -> None:
    lora(loras / "styles" / "neon.safetensors")
    home.look(loras)
    found = home.look(loras / "styles")
    assert not found.new
    assert not found.same
    assert not home.look(loras).anything
    assert home.ids() == ["folder/neon"]


def test_names_twice_and_names_that_are_none(home: Home, loras: Path) -> None:
    lora(loras / "neon.safetensors", 1)
    lora(loras / "styles" / "neon.safetensors", 2)
    lora(loras / "more" / "styles" / "neon.safetensors", 3)
    lora(loras / "墨心 v1.safetensors", 4)
    lora(loras / "@@@.safetensors", 5)
    os.rename(lora(loras / "x.safetensors", 6), os.fsencode(loras) + b"/\xff\xfe.safetensors")
    found = home.look(loras)
    assert len({e.id for e in found.new}) == 5
    assert {"folder/neon", "folder/styles/neon", "folder/墨心-v1"} <= {e.id for e in found.new}
    assert ["UTF-8" in why for why in reasons(found).values()] == [True]


def test_a_limit_and_a_stop_leave_the_rest_for_another_look(home: Home, loras: Path) -> None:
    for number in range(5):
        lora(loras / f"l{number}.safetensors", number)
    first = home.look(loras, limit=2)
    assert (len(first.new), first.rest, first.missing) == (2, True, ())
    stopped = iter([False, False, False, True])
    second = scan(
        Folder(loras), home.store, home.scouted, home.sums, tell=lambda *_: None, stopped=lambda: next(stopped)
    )
    assert (len(second.new), second.rest) == (1, True)
    third = home.look(loras)
    assert (len(third.new), third.unchanged, third.rest) == (2, 3, False)


def test_what_is_killed_on_the_way_goes_on(home: Home, loras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffgraph.graph.experts.scan.BATCH", 2)
    for number in range(5):
        lora(loras / f"l{number}.safetensors", number)
    calls = iter(range(9))

    def stop(kind: str, text: str) -> None:
        if kind == "registered" and next(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(Folder(loras), home.store, home.scouted, home.sums, tell=stop)
    found = home.look(loras)
    assert len(home.ids()) == 5
    assert found.unchanged >= 3


def test_a_graph_made_anew_is_filled_again(home: Home, loras: Path, tmp_path: Path) -> None:
    lora(loras / "neon.safetensors")
    home.look(loras)
    with GraphStore(tmp_path / "other") as store:
        found = scan(Folder(loras), store, home.scouted, home.sums, tell=lambda *_: None)
        assert [e.id for e in found.new] == ["folder/neon"]


def test_a_sidecar_that_cannot_be_read_is_told_and_the_file_registered(home: Home, loras: Path) -> None:
    lora(loras / "neon.safetensors")
    (loras / "neon.civitai.info").write_text("{not json", encoding="utf-8")
    (loras / "neon.json").write_text(json.dumps({"activation text": "glow"}), encoding="utf-8")
    found = home.look(loras)
    assert [e.triggers for e in found.new] == [(("glow",),)]
    assert "no JSON" in reasons(found)["neon.civitai.info"]


def test_one_file_can_be_named_alone(home: Home, loras: Path) -> None:
    lora(loras / "a.safetensors", 1)
    lora(loras / "b.safetensors", 2)
    home.look(loras)
    lora(loras / "c.safetensors", 3)
    (loras / "a.safetensors").unlink()
    found = home.look(loras / "c.safetensors")
    assert ([e.id for e in found.new], found.missing) == (["folder/c"], ())
    with pytest.raises(UserError, match="not a folder"):
        home.look(loras / "none")


def test_a_repository_that_moved_keeps_its_id_and_one_whose_card_changed_its_words(home: Home, loras: Path) -> None:
    lora(loras / "fox" / "fox.safetensors")
    card = loras / "fox" / "README.md"
    card.write_text(CARD, encoding="utf-8")
    (fox,) = home.look(loras).new
    card.write_text(CARD.replace("pixfox", "redfox"), encoding="utf-8")
    assert home.look(loras).changed == (fox.id,)
    assert home.store.expert(fox.id).triggers == (("redfox",),)
    (loras / "fox").rename(loras / "animals")
    assert home.look(loras).moved == (fox.id,)
    assert Folder().fetch(home.store.expert(fox.id).ref).is_file()
    assert not home.look(loras).anything


def test_several_files_of_one_card(home: Home, loras: Path) -> None:
    """A trigger is for the files that are called so; steps of one training are one and the same."""
    for folder, names in (("mixed", ("pixfox", "redowl")), ("steps", ("wolf-000010", "wolf-000020", "wolf"))):
        for number, name in enumerate(names):
            lora(loras / folder / f"{name}.safetensors", number + 10 * len(names))
        (loras / folder / "README.md").write_text(CARD, encoding="utf-8")
    found = {Path(e.ref.file).stem: e for e in home.look(loras).new}
    assert {name: found[name].triggers for name in ("pixfox", "redowl")} == {"pixfox": (("pixfox",),), "redowl": ()}
    assert {found[name].triggers for name in ("wolf-000010", "wolf-000020", "wolf")} == {(("pixfox",),)}
    assert found["redowl"].skills[0].name == "redowl"


def test_a_file_that_broke_is_not_chosen_any_more(home: Home, loras: Path) -> None:
    path = lora(loras / "neon.safetensors")
    home.look(loras)
    path.write_bytes(path.read_bytes()[:-50])
    found = home.look(loras)
    assert (found.missing, len(found.refused)) == (("folder/neon",), 1)
    lora(loras / "neon.safetensors")
    assert home.look(loras).changed == ("folder/neon",)
    assert home.store.expert("folder/neon").usable


def test_what_may_not_be_registered_is_asked_for_again(home: Home, loras: Path) -> None:
    lora(loras / "own.safetensors")

    def none(made: list[Expert]) -> list[Expert]:
        raise ExpertError("these are the weights of the base itself")

    def look(keep: Callable[[list[Expert]], list[Expert]]) -> Report:
        return scan(Folder(loras), home.store, home.scouted, home.sums, tell=lambda *_: None, keep=keep)

    assert "base itself" in reasons(look(none))["own.safetensors"]
    assert [e.id for e in look(lambda made: made).new] == ["folder/own"]


def test_what_is_not_safe_for_work_is_off_until_its_user_says_otherwise(home: Home, loras: Path) -> None:
    lora(loras / "x.safetensors")
    (loras / "x.civitai.info").write_text(json.dumps({"modelId": 1, "model": {"name": "X", "nsfw": True}}))
    (found,) = home.look(loras).new
    assert (found.nsfw, found.off) == (True, True)
    home.store.say(found.id, OwnWords(off=False))
    (loras / "x.json").write_text('{"activation text": "x"}', encoding="utf-8")
    home.look(loras)
    assert home.store.expert(found.id).usable


def test_hostile_words_are_bounded_and_clean(home: Home, loras: Path) -> None:
    long = "y\x1b[31m\u202e" * 7_000
    lora(loras / "x.safetensors", meta={"modelspec.title": long, "ss_output_name": long, "ss_sd_model_name": long})
    page = {"modelId": 1, "trainedWords": [long] * 99, "baseModel": long, "description": long,
            "model": {"name": long, "tags": [long] * 99, "description": long},
            "images": [{"meta": {"prompt": long}}] * 99}  # fmt: skip
    (loras / "x.civitai.info").write_text(json.dumps(page), encoding="utf-8")
    (found,) = home.look(loras).new
    text = found.model_dump_json()
    assert len(text) < 20_000
    assert not {"\x1b", "\u202e"} & set(text)
    assert "\\u001b" not in text


def test_weights_in_several_files_are_told_what_to_do(home: Home, loras: Path) -> None:
    lora(loras / "ink.safetensors")
    for part in (1, 2):
        lora(loras / f"mix-0000{part}-of-00002.safetensors", part + 1)
        lora(loras / "tune" / "unet" / f"diffusion_pytorch_model-0000{part}-of-00002.safetensors", part + 3)
        lora(loras / "fox" / f"big-0000{part}-of-00002.safetensors", part + 5)
    lora(loras / "fox" / "fox.safetensors", 9)
    (loras / "fox" / "README.md").write_text(CARD)
    found = home.look(loras)
    assert [expert.ref.file for expert in found.new] == ["fox.safetensors", "ink.safetensors"]
    told = reasons(found)
    assert len(told) == 5
    assert all("base add" in why and "max_shard_size" in why for why in told.values())
    assert home.look(loras).refused == ()


def test_one_repository_can_be_named_alone(home: Home, loras: Path) -> None:
    """By its own folder it is what it is among others: one repository, with its card, remembered."""
    for name in ("fox", "owl"):
        lora(loras / name / "pytorch_lora_weights.safetensors", len(home.ids()) + ord(name[0]))
        (loras / name / "README.md").write_text(f"# A {name}\n\nTrigger words: `pix{name}`\n")
    (expert,) = home.look(loras / "fox").new
    assert (expert.title, expert.triggers) == ("A fox", (("pixfox",),))
    found = home.look(loras)
    assert ([e.title for e in found.new], found.changed, found.moved) == (["A owl"], (), ())
    again = home.look(loras / "owl")
    assert (again.unchanged, again.changed, again.missing) == (1, (), ())
