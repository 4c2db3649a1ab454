"""A vision model behind a server whose right answers are known, and behind servers that misbehave."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from diffgraph_pico.vision_server import Ways, brightness, serving
from PIL import Image

from diffgraph.errors import AccessDenied, Busy, DiffGraphError, ExternalError, Unreachable, UserError
from diffgraph.scoring.critics.vlm.answers import NO, YES, probability
from diffgraph.scoring.critics.vlm.critic import VlmCritic
from diffgraph.scoring.critics.vlm.forms import FORMS, NoGrade
from diffgraph.scoring.critics.vlm.openai_server import OpenAIServer
from diffgraph.scoring.critics.vlm.settings import VlmSettings
from diffgraph.scoring.critics.vlm.wire import Choice, Wire
from diffgraph.scoring.request import Wanted

FOX = Wanted(facet="subject", text="red fox")
NEON = Wanted(facet="style", text="neon")
QUESTIONS = ["Does the image show a red fox?", "Is the image in neon style?"]
Start = Callable[..., Ways]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers that end with the test."""
    with ExitStack() as stack:
        yield lambda **ways: stack.enter_context(serving(Ways(**ways)))


def server(ways: Ways, model: str = "bright", key: str = "", timeout: float = 20.0, retries: int = 2) -> OpenAIServer:
    return OpenAIServer(model, Wire(ways.url, key, timeout=timeout, retries=retries), at_once=4)


def greys(*levels: int, side: int = 16) -> list[Image.Image]:
    return [Image.new("RGB", (side, side), (level,) * 3) for level in levels]


def noise(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(3)
    return [Image.fromarray((rng.random((24, 40, 3)) * rng.integers(20, 256)).astype(np.uint8)) for _ in range(count)]


def test_all_answers_are_right(start: Start) -> None:
    images = [*noise(20), *greys(0, 3, 127, 128, 250, 255)]
    ways = start()
    found = server(ways).yes_probabilities(images, QUESTIONS)
    assert found.shape == (26, 2)
    truth = np.array([brightness(image) for image in images])
    assert np.abs(found - truth[:, None]).max() < 0.01
    assert ways.most_at_once > 1, "questions go side by side"


def test_what_is_sent(start: Start) -> None:
    ways = start()
    server(ways).yes_probabilities(greys(10), QUESTIONS[:1])
    (asked,) = ways.asked
    (message,) = asked["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert message["content"][1]["text"] == "Does the image show a red fox? Answer yes or no."
    assert (message["role"], asked["max_tokens"], asked["logprobs"], asked["top_logprobs"]) == ("user", 1, True, 20)
    assert "response_format" not in asked


@pytest.mark.parametrize("logprobs", ["left out", "refused"])
@pytest.mark.parametrize("schema", [True, False])
def test_without_logprobs_the_model_grades_and_that_is_said(start: Start, logprobs: str, schema: bool) -> None:
    model = server(start(logprobs=logprobs, schema=schema))
    images = greys(0, 77, 255)
    verdicts = VlmCritic(model).score(images, [FOX])
    for verdict, image in zip(verdicts, images, strict=True):
        assert verdict.facets["red fox"] == pytest.approx(brightness(image), abs=0.01)
        assert "by grades of its own" in verdict.by


def test_a_server_of_todays_parameters_only(start: Start) -> None:
    ways = start(old_limit=False)
    found = server(ways).yes_probabilities(greys(40, 200), QUESTIONS)
    assert found[:, 0] == pytest.approx([40 / 255, 200 / 255], abs=0.01)
    assert sum("max_tokens" in asked for asked in ways.asked) == 1, "it is found out once"


@pytest.mark.parametrize(
    ("wrote", "means"),
    [
        ("8", 0.8), ("Score: **7**", 0.7), ("7,5", 0.75), ("8/10", 0.8), ("9 out of 10", 0.9),
        ("On a scale of 0 to 10, I'd say 8.", 0.8), ("From 0 (surely not) to 10 (surely): 9", 0.9),
        ("<think>two foxes, so 2?</think>\n9", 0.9), ('```json\n{"score": 3}\n```', 0.3), ("10", 1.0), ("0", 0.0),
    ],
)  # fmt: skip
def test_a_grade_is_read_as_it_is_meant(wrote: str, means: float) -> None:
    graded = FORMS[-1].read(Choice.model_validate({"message": {"content": wrote}}), YES, NO)
    assert graded == pytest.approx(means)


@pytest.mark.parametrize("wrote", ["", "eight", "-3", "85%", "11", "<think>1 2 3", "Yes"])
def test_what_is_no_grade_is_no_answer(wrote: str, start: Start) -> None:
    with pytest.raises(NoGrade):
        FORMS[-1].read(Choice.model_validate({"message": {"content": wrote}}), YES, NO)
    body = json.dumps({"choices": [{"message": {"content": wrote}}]}).encode()
    with pytest.raises(ExternalError, match=r"no grade from 0 to 10.*cannot be the critic"):
        server(start(body=body)).yes_probabilities(greys(9), QUESTIONS)


@pytest.mark.parametrize("token", ["Yes.", "yes,", "**Yes", "\nYes", '"Yes', "ĠYES", "▁yes"])
def test_a_word_with_its_marks_is_the_word(token: str) -> None:
    assert probability([(token, np.log(0.6)), ("No", np.log(0.2))]) == pytest.approx(0.75)


def test_a_server_that_tells_one_token_hides_the_other() -> None:
    assert probability([("Yes", np.log(0.6))]) == pytest.approx(0.6)
    assert probability([("no", np.log(0.7))]) == pytest.approx(0.3)
    assert probability([("Maybe", 0.0)]) is None


def test_probabilities_that_go_missing_on_the_way_are_unsure(start: Start) -> None:
    ways = start()
    critic = VlmCritic(server(ways))
    critic.score(greys(255), [FOX])
    ways.logprobs = "left out"
    (verdict,) = critic.score(greys(250), [FOX])
    assert verdict.facets == {"red fox": 0.5}
    assert critic.prefer(*greys(250, 3), [FOX]) == pytest.approx(0.5)


@pytest.mark.parametrize("logprobs", ["left out", "refused"])
def test_a_choice_may_be_the_first_question_of_a_process(start: Start, logprobs: str) -> None:
    model = server(start(logprobs=logprobs))
    assert [model.first_probability(*greys(9, 200), "Which?"), model.first_probability(*greys(200, 9), "Which?")] == [
        0,
        1,
    ]
    assert model.yes_probabilities(greys(51), QUESTIONS[:1])[0, 0] == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("status", [200, 400, 404, 422, 429, 500])
def test_no_message_tells_a_key_or_a_password(start: Start, status: int) -> None:
    ways = start()
    url = ways.url.replace("//", "//me:pass%20word@") + "?token=tokentoken"
    ways.told = "x" * 190 + " sk-secretsecret pass word tokentoken"
    ways.failing, ways.body = [(status, {})] * 9 if status != 200 else [], ways.told.lstrip("x").encode()
    model = OpenAIServer("bright", Wire(url, "sk-secretsecret", timeout=5, retries=0))
    with pytest.raises(DiffGraphError) as told:
        model.yes_probabilities(greys(1), QUESTIONS)
    for secret in ("secret", "pass%20", "pass word", "tokent"):
        assert secret not in str(told.value)


def test_neither_yes_nor_no_is_no_critic(start: Start) -> None:
    with pytest.raises(ExternalError, match=r"neither yes nor no but begins with '<think>'"):
        server(start(logprobs="neither")).yes_probabilities(greys(9), QUESTIONS)


def test_a_model_that_once_does_not_say_counts_as_unsure(start: Start) -> None:
    ways = start()
    critic = VlmCritic(server(ways))
    critic.score(greys(255), [FOX])
    ways.logprobs = "neither"
    (verdict,) = critic.score(greys(250), [FOX])
    assert verdict.facets == {"red fox": 0.5}
    assert "gave no answer about the subject 'red fox'" in verdict.findings[0]


def test_a_busy_server_is_waited_for(start: Start) -> None:
    ways = start(failing=[(429, {"Retry-After": "0.3"}), (503, {"Retry-After": "0.1"})])
    began = time.monotonic()
    found = server(ways).yes_probabilities(greys(51), QUESTIONS[:1])
    assert found[0, 0] == pytest.approx(0.2, abs=0.01)
    assert time.monotonic() - began >= 0.4


def test_a_server_that_asks_for_too_much_patience_is_left(start: Start) -> None:
    ways = start(failing=[(429, {"Retry-After": "3600"})])
    began = time.monotonic()
    with pytest.raises(Busy, match=r"asks to wait 3600 s") as told:
        server(ways).yes_probabilities(greys(51), QUESTIONS[:1])
    assert told.value.retry_after == 3600
    assert time.monotonic() - began < 5


def test_a_bad_key_is_called_so(start: Start) -> None:
    ways = start(key="right")
    with pytest.raises(AccessDenied, match=r"refuses the key.*DIFFGRAPH_CRITIC_KEY"):
        server(ways, key="wrong").yes_probabilities(greys(1), QUESTIONS)
    assert server(ways, key="right").yes_probabilities(greys(255), QUESTIONS[:1])[0, 0] > 0.99


def test_an_unknown_model_is_answered_with_those_that_are_served(start: Start) -> None:
    with pytest.raises(UserError, match=r"has no model 'dark'.*It serves bright"):
        server(start(), model="dark").yes_probabilities(greys(1), QUESTIONS)


@pytest.mark.parametrize("status", [500, 502])
def test_a_server_that_breaks_once_is_asked_again(start: Start, status: int) -> None:
    ways = start(failing=[(status, {"Retry-After": "0"})])
    assert server(ways).yes_probabilities(greys(102), QUESTIONS[:1])[0, 0] == pytest.approx(0.4, abs=0.01)


def test_a_server_that_breaks_always_is_a_sentence(start: Start) -> None:
    ways = start(failing=[(500, {})] * 99)
    with pytest.raises(ExternalError, match=r"answered with an error \(500: as was asked for\)"):
        server(ways, retries=0).yes_probabilities(greys(1), QUESTIONS)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>hello</html>", r"no answer: '<html>hello</html>'\. Does DIFFGRAPH_CRITIC_URL end in /v1\?"),
        (b"{", "no answer"),
        (b'{"choices": []}', "no answer"),
        (b"[" * 100_000, "no answer"),
        (b'{"choices": [{"message": null}]}', "no answer"),
        (b"\xff\x1b[31mred", "no answer: '\ufffdred'"),
        (b" " * (5 * 2**20), "more than 4 MiB"),
    ],
)
def test_garbage_is_a_sentence(start: Start, body: bytes, said: str) -> None:
    with pytest.raises(ExternalError, match=said):
        server(start(body=body)).yes_probabilities(greys(1), QUESTIONS)


@pytest.mark.parametrize("ways", [{"slow": 3.0}, {"drip": 0.1}])
def test_every_question_has_a_deadline(start: Start, ways: dict[str, float]) -> None:
    began = time.monotonic()
    with pytest.raises(ExternalError, match=r"within 0\.5 s \(DIFFGRAPH_CRITIC_TIMEOUT\)"):
        server(start(**ways), timeout=0.5).yes_probabilities(greys(1, 2, 3), QUESTIONS)
    assert time.monotonic() - began < 2.5


def test_nobody_there_is_a_sentence(start: Start) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 cannot be reached.*Is it running\?"):
        OpenAIServer("bright", Wire("http://127.0.0.1:9/v1", retries=0)).yes_probabilities(greys(1), QUESTIONS)


@pytest.mark.parametrize("url", ["", "nowhere", "ftp://host/v1", "http://", "file:///etc/passwd", "http://a\x00b/v1"])
def test_no_address_is_a_sentence(url: str) -> None:
    with pytest.raises(UserError, match="DIFFGRAPH_CRITIC_URL"):
        Wire(url)


@pytest.mark.parametrize("status", [400, 500])
def test_one_bad_image_never_ends_a_batch(start: Start, status: int) -> None:
    ways = start(bad_side=7, bad_status=status)
    images = [*greys(50, side=7), *greys(100, 200), *greys(50, side=7), *greys(250)]
    verdicts = VlmCritic(server(ways, retries=0)).score(images, [FOX, NEON])
    assert [v.facets["red fox"] for v in verdicts] == pytest.approx(
        [0.5, 100 / 255, 200 / 255, 0.5, 250 / 255], abs=0.01
    )
    assert "gave no answer" in verdicts[0].findings[0]
    assert [v.unsure for v in verdicts] == [("red fox", "neon"), (), (), ("red fox", "neon"), ()]
    assert "gave no answer" not in " ".join(verdicts[1].findings)


def test_a_verdict_says_what_is_missing_and_what_is_seen_instead(start: Start) -> None:
    critic = VlmCritic(server(start(seen="a \x1b[31mhouse\n\u202e on a hill " + "x" * 500)))
    dark, light = critic.score(greys(20, 250), [FOX, NEON])
    assert light.findings == ()
    assert light.score == pytest.approx(250 / 255, abs=0.01)
    assert dark.score == pytest.approx(20 / 255, abs=0.01)
    assert set(dark.seen) == {"red fox", "neon"}
    assert dark.seen["red fox"].startswith("a house on a hill xxx")
    assert len(dark.seen["red fox"]) <= 80
    assert dark.findings[0].startswith("The subject 'red fox' is hardly there (0.08); 'a house on a hill")
    assert dark.by.startswith("bright at 127.0.0.1:")


def test_what_is_seen_is_asked_once_an_image_and_may_fail(start: Start) -> None:
    ways = start()
    critic = VlmCritic(server(ways))
    critic.score(greys(20), [FOX, NEON])
    assert sum("response_format" in asked for asked in ways.asked) == 1
    ways.schema = False
    (verdict,) = critic.score(greys(21), [FOX])
    assert verdict.seen == {}
    assert verdict.findings == ("The subject 'red fox' is hardly there (0.08).",)


@pytest.mark.parametrize("logprobs", ["told", "left out"])
def test_a_choice_in_both_orders(start: Start, logprobs: str) -> None:
    critic = VlmCritic(server(start(logprobs=logprobs)))
    dark, light = greys(50, 150)
    critic.score([dark], [FOX])
    expected = 0.75 if logprobs == "told" else 1.0
    assert critic.prefer(light, dark, [FOX, NEON]) == pytest.approx(expected, abs=0.01)
    assert critic.prefer(dark, light, [FOX, NEON]) == pytest.approx(1 - expected, abs=0.01)
    assert critic.prefer(dark, dark, [FOX]) == pytest.approx(0.5, abs=0.01)


def test_a_server_of_single_images_prefers_by_odds(start: Start) -> None:
    critic = VlmCritic(server(start(images=1)))
    dark, light = greys(50, 150)
    a, b = 150 / 255, 50 / 255
    expected = a * (1 - b) / (a * (1 - b) + b * (1 - a))
    assert critic.prefer(light, dark, [FOX]) == pytest.approx(expected, abs=0.01)
    assert not critic.backend.pairs


def test_large_images_are_sent_smaller(start: Start) -> None:
    ways = start()
    server(ways).yes_probabilities([Image.new("L", (3000, 1500), 51)], QUESTIONS[:1])
    assert len(ways.asked[0]["messages"][0]["content"][0]["image_url"]["url"]) < 20_000


def test_settings_say_where_and_with_which_key(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = start(key="secret")

    def asked() -> float:
        found = OpenAIServer.of_settings("bright", VlmSettings.load()).yes_probabilities(greys(255), QUESTIONS[:1])
        return float(found[0, 0])

    monkeypatch.setenv("OPENAI_BASE_URL", ways.url)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert asked() > 0.99
    monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", ways.url + "/")
    with pytest.raises(AccessDenied):
        asked()  # the brain's key goes to the brain's server only
    monkeypatch.setenv("DIFFGRAPH_CRITIC_KEY", " secret ")
    assert asked() > 0.99
    assert "secret" not in repr(VlmSettings.load())


def test_every_failure_is_one_of_ours(start: Start) -> None:
    for status in (300, 400, 404, 418, 422, 451, 503):
        with pytest.raises(DiffGraphError) as told:
            server(start(failing=[(status, {})] * 20), retries=0).yes_probabilities(greys(1), QUESTIONS)
        assert str(status) in str(told.value)
