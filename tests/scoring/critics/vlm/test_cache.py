"""What a model answered is not asked twice, and it is asked only so much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffgraph.errors import BudgetExceeded, ExternalError
from diffgraph.scoring.critics.vlm.backend import Backend
from diffgraph.scoring.critics.vlm.cache import Answers, Remembered


class Counting(Backend):
    """Says the brightness, and keeps what it was asked."""

    title = "counting"
    pairs = True

    def __init__(self, identity: str = "one") -> None:
        self.name = identity
        self.asked: list[str] = []

    @property
    def identity(self) -> str:
        return self.name

    def answers(self, asked: Sequence[tuple[Image.Image, str]]) -> np.ndarray[Any, Any]:
        self.asked += [question for _, question in asked]
        return np.asarray([np.nan if "?" not in q else float(np.asarray(i).mean() / 255) for i, q in asked])

    def first_probability(self, a: Image.Image, b: Image.Image, question: str) -> float:
        self.asked.append(question)
        return 0.25

    def describe(self, image: Image.Image, questions: Sequence[str]) -> list[str]:
        return ["something" for _ in questions]


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (level,) * 3)


def test_an_answer_is_asked_once_by_whoever_asks(tmp_path: Path) -> None:
    model = Counting()
    first = Remembered(model, Answers(tmp_path / "deep" / "a.sqlite"), 100)
    found = first.yes_probabilities([grey(0), grey(255), grey(255)], ["a?", "b?"])
    assert found.tolist() == [[0, 0], [1, 1], [1, 1]]
    assert sorted(model.asked) == ["a?", "a?", "b?", "b?"], "two equal images are one"
    again = Remembered(model, Answers(tmp_path / "deep" / "a.sqlite"), 0)
    assert again.yes_probabilities([grey(255), grey(0)], ["b?", "a?"]).tolist() == [[1, 1], [0, 0]]
    assert len(model.asked) == 4


def test_another_model_image_or_question_is_asked(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "a.sqlite")
    Remembered(Counting(), kept, 9).yes_probabilities([grey(5)], ["a?"])
    for identity, level, question in (("two", 5, "a?"), ("one", 6, "a?"), ("one", 5, "b?")):
        model = Counting(identity)
        Remembered(model, kept, 9).yes_probabilities([grey(level)], [question])
        assert model.asked == [question]


def test_a_choice_is_kept_by_its_order(tmp_path: Path) -> None:
    model = Counting()
    critic = Remembered(model, Answers(tmp_path / "a.sqlite"), 9)
    for a, b in ((1, 2), (2, 1), (1, 2)):
        assert critic.first_probability(grey(a), grey(b), "which?") == 0.25
    assert len(model.asked) == 2


def test_no_answer_is_not_kept(tmp_path: Path) -> None:
    model = Counting()
    critic = Remembered(model, Answers(tmp_path / "a.sqlite"), 9)
    for _ in range(2):
        assert np.isnan(critic.yes_probabilities([grey(1)], ["well"])).all()
    assert model.asked == ["well", "well"]


def test_the_budget_ends_politely_and_what_was_answered_stays(tmp_path: Path) -> None:
    critic = Remembered(Counting(), Answers(tmp_path / "a.sqlite"), 3)
    critic.yes_probabilities([grey(1)], ["a?", "b?"])
    with pytest.raises(BudgetExceeded, match=r"asked 3 questions, and one more .* 3 that DIFFGRAPH_CRITIC_QUESTIONS"):
        critic.yes_probabilities([grey(2)], ["a?", "b?"])
    assert critic.yes_probabilities([grey(1)], ["a?"]).shape == (1, 1)


def test_a_budget_under_a_single_images_questions_gets_there_all_the_same(tmp_path: Path) -> None:
    runs = 0
    while True:
        critic = Remembered(Counting(), Answers(tmp_path / "a.sqlite"), 2)
        try:
            found = critic.yes_probabilities([grey(51)], ["a?", "b?", "c?", "d?", "e?"])
            break
        except BudgetExceeded:
            runs += 1
            assert runs < 5, "run it again to go on, it says"
    assert found == pytest.approx(0.2)
    assert runs == 2


def test_what_was_answered_before_a_failure_is_not_asked_again(tmp_path: Path) -> None:
    class Dying(Counting):
        def answers(self, asked: Sequence[tuple[Image.Image, str]]) -> np.ndarray[Any, Any]:
            if len(self.asked) >= 128:
                raise ExternalError("the server is gone")
            return super().answers(asked)

    questions, second = [f"{number}?" for number in range(200)], Counting()
    with pytest.raises(ExternalError):
        Remembered(Dying(), Answers(tmp_path / "a.sqlite"), 1000).yes_probabilities([grey(1)], questions)
    Remembered(second, Answers(tmp_path / "a.sqlite"), 1000).yes_probabilities([grey(1)], questions)
    assert second.asked == questions[128:]


def test_the_file_is_bounded_and_keeps_what_is_used(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "a.sqlite", most=100)
    kept.put({"first": 0.5})
    kept.put({f"old{n}": 0.1 for n in range(99)})
    kept.get(["first"])
    kept.put({"new": 0.9})
    assert kept.get(["first", "new"]) == {"first": 0.5, "new": 0.9}
    assert len(kept.get([f"old{n}" for n in range(99)])) == 88


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_damaged_file_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    kept = Answers(path)
    assert kept.get(["x"]) == {}
    assert "begun anew" in caplog.text
    kept.put({"x": 0.5})
    assert kept.get(["x"]) == {"x": 0.5}


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    critic = Remembered(Counting(), Answers(tmp_path / "file" / "a.sqlite"), 9)
    assert critic.yes_probabilities([grey(255)], ["a?"]).tolist() == [[1.0]]
    assert "not used" in caplog.text
