"""Scouting folders from the command line: once, again, on and on; and what a user says of an expert."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from diffgraph.cli import scouting
from diffgraph.cli.main import app
from diffgraph.errors import UserError
from diffgraph.settings import Settings

UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def lora(path: Path, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    down, up = np.full((2, 768), value, np.float16), np.ones((320, 2), np.float16)
    save_file({f"{UNET}.lora_down.weight": down, f"{UNET}.lora_up.weight": up}, path)


@pytest.fixture
def loras(tmp_path: Path, pico: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFFGRAPH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIFFGRAPH_BASE", str(pico("sd15").base))
    folder = tmp_path / "loras"
    lora(folder / "neon.safetensors", 1)
    (folder / "neon.json").write_text('{"activation text": "neon glow style", "preferred weight": 0.7}')
    (folder / "cut.safetensors").write_bytes(b"\x10")
    return folder


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def answer(*words: str | Path) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_flat_folder_once_and_again(loras: Path) -> None:
    first = answer("scout", loras)
    assert first["registered"] == ["folder/neon"]
    assert [Path(one["repo"]).name for one in first["refused"]] == ["cut.safetensors"]
    again = answer("scout", loras)
    assert (again["registered"], again["refused"], again["unchanged"], again["refused_before"]) == ([], [], 2, 1)
    assert "2 unchanged (1 of them refused: diffgraph scout --refused)" in run("scout", loras).stdout
    for where in ((), (loras,)):
        (told,) = answer("scout", *where, "--refused")["refused"]
        assert "1 bytes long" in told["why"]
    assert answer("scout", "huggingface", "--refused")["refused"] == []
    assert "cut.safetensors: " in run("scout", "--refused").stdout
    lora(loras / "ink.safetensors", 2)
    assert answer("scout", f"folder:{loras}")["registered"] == ["folder/ink"]
    lora(loras / "clay.safetensors", 3)
    assert answer("scout", loras / "clay.safetensors")["registered"] == ["folder/clay"]


def test_what_the_user_says_is_kept(loras: Path) -> None:
    answer("scout", loras)
    shown = answer("expert", "folder/neon")
    assert (shown["expert"]["weight"], shown["expert"]["triggers"]) == (0.7, [["neon glow style"]])
    said = answer(
        "expert", "folder/neon", "--trigger", "blue neon, rain", "--facet", "Style", "--weight", "0.4", "--off"
    )
    assert said["own_words"] == {"triggers": [["blue neon", "rain"]], "facet": "style", "weight": 0.4, "off": True}
    (loras / "neon.json").write_text('{"activation text": "other", "preferred weight": 1.0, "negative text": "day"}')
    assert answer("scout", loras)["changed"] == ["folder/neon"]
    (listed,) = answer("experts")["experts"]
    assert (listed["weight"], listed["triggers"], listed["off"]) == (0.4, [["blue neon", "rain"]], True)
    assert listed["negative"] == "day"
    assert "off" in run("experts").stdout
    assert answer("expert", "folder/neon", "--on", "--negative", "noon")["expert"]["off"] is False
    page = run("expert", "folder/neon").stdout
    assert "blue neon, rain" in page
    assert "you say" in page
    assert answer("expert", "folder/neon", "--forget")["expert"]["triggers"] == [["other"]]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--facet", "styl"), "Did you mean style?"),
        (("--weight", "nan"), "will not do"),
        (("--weight", "1000"), "will not do"),
    ],
)
def test_what_cannot_be_said(loras: Path, words: tuple[str, str], sentence: str) -> None:
    answer("scout", loras)
    done = run("expert", "folder/neon", *words)
    assert (done.exit_code, sentence in done.stderr) == (2, True)


def test_a_path_to_nothing_is_named(loras: Path) -> None:
    done = run("scout", loras / "absent")
    assert done.exit_code == 2
    assert "There is no folder or file" in done.stderr
    done = run("scout", loras, "--watch", "--limit", "3")
    assert (done.exit_code, "--limit" in done.stderr) == (2, True)


def test_watching_takes_in_what_comes_and_ends_politely(loras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scouting, "SETTLE_SECONDS", 0.05)
    looks: list[int] = []
    once = scouting._look

    def look(*arguments: Any, **options: Any) -> Any:
        found = once(*arguments, **options)
        looks.append(len(found.registered))
        return found

    def other() -> None:
        until = time.monotonic() + 30
        while not looks and time.monotonic() < until:
            time.sleep(0.05)
        lora(loras / "ink.safetensors", 2)
        while len(looks) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(scouting, "_look", look)
    thread = threading.Thread(target=other)
    thread.start()
    before = signal.getsignal(signal.SIGINT)
    done, stopped = scouting.run(Settings.load(), str(loras), "", None, 0.1)
    thread.join()
    assert (looks, stopped) == ([1, 1], True)
    assert [expert.id for expert in done.registered] == ["folder/neon", "folder/ink"]
    assert signal.getsignal(signal.SIGINT) is before
    assert scouting.sentence(done, looked_on=True).startswith("2 new, 1 refused")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("1h", 3600), ("1d", 86400), ("2", 2)])
def test_times_to_wait(text: str, seconds: float) -> None:
    assert scouting.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1h", "0s", "1000d", "1e9s"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="no time to wait"):
        scouting.seconds(text)
