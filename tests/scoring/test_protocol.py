"""Which critic is meant: the base's, one by name, or none; and what a critic is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from diffgraph.bases.profile import BaseProfile
from diffgraph.errors import NoCritic, UserError
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


class Own(Bare):
    """A critic that a base brings, and that fits that base only."""

    identity = "own"


class Stranger(Bare):
    """A critic of another base."""

    identity = "stranger"

    def fits(self, base: BaseProfile) -> bool:
        return False


def _wants_an_argument(setup: CriticSetup) -> Bare:
    if not setup.argument:
        raise UserError("Say where it is.")
    return Bare()


@pytest.fixture
def critics(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol.names()  # what is there is loaded into what is put back, whichever test runs first
    known = {"bare": lambda setup: Bare(), "needy": _wants_an_argument, "own": lambda setup: Own()}
    monkeypatch.setattr(protocol._CRITICS, "_items", {"a-stranger": lambda setup: Stranger(), **known})
    monkeypatch.setattr(protocol, "names", lambda: sorted(["a-stranger", *known]))


@pytest.mark.parametrize(
    ("setting", "brings", "judges"),
    [("auto", "own", "own"), ("", "own", "own"), (" needy:x ", "own", "bare"), ("auto", "", "bare")],
)
def test_a_setting_means_a_critic_that_fits(
    tmp_path: Path, critics: None, setting: str, brings: str, judges: str
) -> None:
    assert protocol.fitting(setting, CriticSetup(profile(tmp_path, brings))).identity == judges


def test_one_that_is_named_and_does_not_fit_is_refused(tmp_path: Path, critics: None) -> None:
    with pytest.raises(
        UserError, match=r"critic a-stranger is not for what my base draws.*DIFFGRAPH_CRITIC"
    ) as refused:
        protocol.fitting("a-stranger", CriticSetup(profile(tmp_path)))
    assert not isinstance(refused.value, NoCritic)


def test_nobody_may_judge_is_a_sentence(tmp_path: Path) -> None:
    other = profile(tmp_path).model_copy(update={"ref": "folder:sdxl", "title": "my SDXL"})
    with pytest.raises(NoCritic, match=r"No critic here fits my SDXL.*DIFFGRAPH_CRITIC.*world"):
        protocol.fitting("auto", CriticSetup(other))
    with pytest.raises(NoCritic, match="DIFFGRAPH_CRITIC is none"):
        protocol.fitting("none", CriticSetup(profile(tmp_path, "own")))


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
