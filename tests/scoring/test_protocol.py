"""Which critic is meant: the base's, one by name, or none; and what a critic is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from diffgraph.bases.profile import BaseProfile
from diffgraph.errors import UserError
from diffgraph.scoring import metrics, protocol
from diffgraph.scoring.protocol import CriticSetup
from diffgraph.scoring.request import Verdict, Wanted


def profile(folder: Path, critic: str = "") -> BaseProfile:
    return BaseProfile(name="mine", where=str(folder), ref="folder:mine", title="my base", critic=critic)


class Bare:
    """A critic that does no more than it must."""

    identity = "bare"

    def fits(self, base: BaseProfile) -> bool:
        return base.name == "mine"

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        return [Verdict(score=1.0) for _ in images]


@pytest.mark.parametrize(
    ("setting", "brings", "fallback", "meant"),
    [
        ("auto", "own:x", "other", "own:x"),
        ("auto", "", "other", "other"),
        (" named:a:b ", "own:x", "other", "named:a:b"),
        ("", "own", "", "own"),
    ],
)
def test_a_setting_means_a_critic(tmp_path: Path, setting: str, brings: str, fallback: str, meant: str) -> None:
    assert protocol.named(setting, profile(tmp_path, brings), fallback) == meant


def test_nobody_may_judge_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"my base brings no critic.*DIFFGRAPH_CRITIC.*world"):
        protocol.named("auto", profile(tmp_path))
    with pytest.raises(UserError, match="DIFFGRAPH_CRITIC is none"):
        protocol.named("none", profile(tmp_path, "own"))


def test_critics_by_name_and_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[CriticSetup] = []

    def maker(setup: CriticSetup) -> Bare:
        made.append(setup)
        return Bare()

    monkeypatch.setitem(protocol._CRITICS._items, "bare", maker)
    found = protocol.make("bare:http://host:1/v1", CriticSetup(profile(tmp_path), device="cuda"))
    assert isinstance(found, protocol.Critic)
    assert (made[0].argument, made[0].device) == ("http://host:1/v1", "cuda")
    with pytest.raises(UserError, match="no critic 'bear'; did you mean bare"):
        protocol.make("bear", made[0])


@pytest.mark.parametrize("name", ["auto", "none"])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no critic can be called"):
        protocol.critic(name)


def test_a_critic_need_not_embed() -> None:
    assert isinstance(Bare(), protocol.Critic)
    assert not isinstance(Bare(), protocol.Prefers)
    assert protocol.embedded(Bare(), [Image.new("RGB", (2, 2))]) is None


def test_a_metric_by_name_and_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    class Width:
        def __init__(self, argument: str) -> None:
            self.factor = float(argument or 1)

        def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
            return [image.width * self.factor for image in images]

    monkeypatch.setitem(metrics._METRICS._items, "width", Width)
    assert metrics.make("width:2").measure([Image.new("RGB", (3, 1))], ["x"]) == [6.0]
    with pytest.raises(UserError, match="did you mean width"):
        metrics.make("wdth")
