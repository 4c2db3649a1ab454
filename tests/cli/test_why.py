"""Why these experts, and which were passed over: told by ``plan`` and ``/why``, of files as people have them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from diffgraph.agents.chat.repl import chat
from diffgraph.cli.main import app
from diffgraph.settings import Settings
from diffgraph.terminal import CleanConsole

UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
PAGES: dict[str, tuple[str, list[str], list[str], int]] = {
    "caracalPortraits_v10": ("Caracal Portraits", ["crcl, tufted ears"], ["animal", "caracal"], 768),
    "zorblaxStyle": ("Zorblax Style [LoCon]", ["zorblax style"], ["style", "ink"], 768),
    "saberFate_v2": ("Saber (Fate/stay night)", [r"saber \(fate\), blue dress"], ["character", "anime"], 768),
    "quibblyOutfit": ("Quibbly Outfit", ["quibbly outfit"], ["clothing"], 768),
    "morvanXL": ("Morvan XL", ["morvan"], ["style"], 2048),
}  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path, pico: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A flat folder of LoRAs with what Civitai says of each beside it."""
    monkeypatch.setenv("DIFFGRAPH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIFFGRAPH_BASE", str(pico("sd15").base))
    folder = tmp_path / "loras"
    folder.mkdir()
    for number, (name, (title, words, tags, width)) in enumerate(PAGES.items(), 1):
        down, up = np.full((2, width), number, np.float16), np.ones((320, 2), np.float16)
        save_file({f"{UNET}.lora_down.weight": down, f"{UNET}.lora_up.weight": up}, folder / f"{name}.safetensors")
        model = {"name": title, "tags": tags, "type": "LORA", "nsfw": False}
        page = {"id": number, "modelId": number, "trainedWords": words, "baseModel": "SD 1.5", "model": model}
        (folder / f"{name}.civitai.info").write_text(json.dumps(page), encoding="utf-8")
    assert run("scout", folder).exit_code == 0
    assert run("expert", "folder/quibblyOutfit", "--off").exit_code == 0
    return folder


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


PROMPT = "a caracal with tufted ears in zorblax style, quibbly outfit, morvan"


def test_every_expert_says_why_and_who_was_passed_over_too(shelf: Path) -> None:
    found = json.loads(run("plan", PROMPT, "--json").stdout)
    taken = {one["id"]: one for one in found["experts"]}
    assert set(taken) == {"folder/caracalPortraits_v10", "folder/zorblaxStyle"}
    assert all(one["why"] for one in taken.values())
    told = {one["id"]: one["why"] for one in found["rejected"]}
    assert "switched off" in told["folder/quibblyOutfit"]
    assert "sdxl" in told["folder/morvanXL"]
    assert all(told.values())
    page = " ".join(run("plan", PROMPT).stdout.split())
    assert page.count("because ") == len(taken)
    assert "left out folder/quibblyOutfit: the prompt names it, but it is switched off" in page


def test_the_chat_says_the_same(shelf: Path) -> None:
    out, lines = io.StringIO(), [f"/why {PROMPT}", "/quit"]
    chat(Settings.load(), console=CleanConsole(file=out, width=300), read=lambda sign: lines.pop(0))
    said = out.getvalue()
    assert "folder/zorblaxStyle × 0.80: it draws 'zorblax style'" in said
    assert "passed over folder/quibblyOutfit: the prompt names it, but it is switched off" in said


@pytest.mark.parametrize("typed", [r"saber \(fate\), forest", "saber (fate), forest", "saber_(fate), forest"])
def test_a_name_with_brackets_is_called_however_it_is_typed(shelf: Path, typed: str) -> None:
    found = json.loads(run("plan", typed, "--json").stdout)
    assert [one["id"] for one in found["experts"]] == ["folder/saberFate_v2"]
    assert found["prompt"] == f"blue dress, {typed}"


def test_a_trigger_with_brackets_is_put_in_escaped(shelf: Path) -> None:
    found = json.loads(run("plan", "a girl <lora:saberFate_v2:0.7>", "--json").stdout)
    assert found["prompt"] == r"saber \(fate\), blue dress, a girl"
    assert "because it was ordered" in run("plan", "a girl <lora:saberFate_v2:0.7>").stdout
