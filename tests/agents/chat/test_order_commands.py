"""Orders in the chat: they hold until they are taken back, and what cannot be is a line."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffgraph.settings import Settings

_spec = importlib.util.spec_from_file_location("diffgraph_tests_repl", Path(__file__).with_name("test_repl.py"))
assert _spec is not None
assert _spec.loader is not None
_repl = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_repl)
say = _repl.say


def test_orders_hold_until_they_are_taken_back(make_settings: Callable[..., Settings]) -> None:
    lines = ("/steps 3", "/expert sea-life:0.6", "/without starry", "/method ties", "/seed 4", "/n 2", "/orders")
    text = say(make_settings(), *lines, "pizza", "/clear expert", "/clear", "/orders")
    assert "world/sea-life × 0.60" in text
    rows = {"steps": "3", "expert": "sea-life:0.6", "without": "starry", "method": "ties", "seed": "4", "images": "2"}
    for what, value in rows.items():
        assert f"{what:<9} {value}" in text
    assert text.rstrip().endswith("Nothing is ordered.")
    after = text.split("/clear", 1)[-1].rsplit("index.html", 1)[1]
    assert "expert    sea-life" not in after


def test_what_cannot_be_ordered_is_a_line_and_changes_nothing(make_settings: Callable[..., Settings]) -> None:
    text = say(
        make_settings(), "/steps 0", "/steps x", "/size big", "/sampler eulr", "/method tis", "/vae /nowhere",
        "/expert", "/without sea-lif", "/clear siz", "/base nowhere", "/expert world/sea-life:99", "/orders",
    )  # fmt: skip
    for piece in ("from 1 to 1000", "832x1216", "euler", "ties", "no VAE at", "/expert takes", "world/sea-life",
                  "Did you mean size?", "beyond ±10"):  # fmt: skip
        assert piece in text
    assert text.rstrip().endswith("Nothing is ordered.")


def test_an_order_that_the_base_cannot_obey_is_named_with_every_prompt(make_settings: Callable[..., Settings]) -> None:
    text = say(make_settings(), "/negative hats", "/plan octopus", "/negative", "/plan octopus")
    first, second = text.split("Nothing is ordered.")
    assert "not obeyed: negative hats" in first
    assert "not obeyed" not in second


def test_another_base_is_drawn_with(make_settings: Callable[..., Settings], pico: Callable[[str], Any]) -> None:
    text = say(make_settings(critic="none"), "/base", f"/base {pico('sd15').base}", "/size 64x64", "a red fox")
    assert "stable-diffusion-v1-5" in text
    assert "unjudged" in text
