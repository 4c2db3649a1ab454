"""The vision critic through vLLM: the same probabilities as in this process, verdicts, choices, and errors that are
sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffgraph_vllm import served, tiny_vlm
from PIL import Image

from diffgraph.agents.runs.generate import generate
from diffgraph.bases.profile import BaseProfile
from diffgraph.errors import ExternalError, UserError
from diffgraph.scoring import protocol
from diffgraph.scoring.critics.vlm.openai_server import OpenAIServer
from diffgraph.scoring.critics.vlm.wire import Wire
from diffgraph.scoring.request import Wanted, geometric_mean
from diffgraph.settings import Settings
from diffgraph.tools.context import Context
from diffgraph.world import world_dir

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(served.LONG)]
QUESTIONS = 200
SAME = 0.001
"""How far P may lie apart between two engines, both in float32."""
WORLD_ATOMS = [
    *(Wanted(facet="subject", text=text) for text in ("soccer ball", "octopus", "cat face", "bug")),
    *(Wanted(facet="style", text=text) for text in ("blueprint style", "neon style")),
    *(Wanted(facet="background", text=text) for text in ("starry night background", "brick wall background")),
]


@pytest.fixture
def at_server(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Makes the critic that a setting names, with the server's address in the environment and a home of its own."""
    monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", server.url)
    base = BaseProfile(name="any", ref="any", where="any")
    return lambda setting: protocol.make(setting, protocol.CriticSetup(base, home=tmp_path))


@pytest.fixture
def questions(model: Path) -> tuple[list[Image.Image], list[Wanted]]:
    """Images and atoms whose product is `QUESTIONS`: the tiny model's own, or samples of the world's experts."""
    if model == world_dir() / "scorers" / "vlm":
        atoms, samples = WORLD_ATOMS, sorted((world_dir() / "hub").glob("*/sample_*.png"))
        images = [Image.open(path).convert("RGB") for path in samples]
    else:
        atoms = tiny_vlm.atoms()[:8]
        images = tiny_vlm.images(QUESTIONS // len(atoms), seed=5)
    return images[: QUESTIONS // len(atoms)], atoms


def test_the_same_probabilities_as_in_this_process(
    at_server: Callable[[str], Any], model: Path, questions: tuple[list[Image.Image], list[Wanted]]
) -> None:
    images, atoms = questions
    there = at_server(f"vlm:openai:{served.NAME}").raw(images, atoms)
    here = at_server(f"vlm:local:{model}").raw(images, atoms)
    assert there.size == here.size == QUESTIONS
    assert not np.isnan(there).any()
    assert np.abs(there - here).max() <= SAME
    assert here.max() - here.min() > 0.2  # it does look at the images


def test_a_verdict_and_a_choice(
    at_server: Callable[[str], Any], server: Any, questions: tuple[list[Image.Image], list[Wanted]]
) -> None:
    images, atoms = questions
    critic = at_server(f"vlm:openai:{served.NAME}")
    verdicts = critic.score(images[:2], atoms)
    for verdict in verdicts:
        assert list(verdict.facets) == [atom.text for atom in atoms]
        assert verdict.score == pytest.approx(geometric_mean(verdict.facets.values()))
        assert verdict.by.startswith(f"{served.NAME} at 127.0.0.1:")
        assert {text for text, p in verdict.facets.items() if p < 0.5} >= set(verdict.seen)
        for text in verdict.seen.values():  # one JSON object, held to its schema
            assert re.fullmatch(r"[A-Za-z0-9 ,.'-]{1,60}", text)
    a, b = images[:2]
    first, second = critic.prefer(a, b, atoms), critic.prefer(b, a, atoms)
    assert 0 <= first <= 1
    assert first + second == pytest.approx(1.0, abs=2 * SAME)


def test_what_is_seen_instead_is_told_in_one_structured_answer(
    server: Any, questions: tuple[list[Image.Image], list[Wanted]]
) -> None:
    (image, *_), _ = questions
    told = OpenAIServer(served.NAME, Wire(server.url, timeout=300)).describe(image, ["What is it?", "Which colour?"])
    assert len(told) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9 ,.'-]{1,60}", text) for text in told)


def test_a_request_is_judged_by_it(at_server: Callable[[str], Any], pico: Callable[[str], Any], home: Path) -> None:
    settings = Settings(
        base=str(pico("sd15").base), home=home, steps=2, device="cpu", rounds=1, critic=f"vlm:openai:{served.NAME}"
    )
    with Context.open(settings) as ctx:
        result = generate("a red circle, 64x64", context=ctx, compare=False)
    assert result.status in ("accepted", "best effort")
    assert result.scores is not None
    (image,) = result.scores.images
    assert image.facets
    assert image.by.startswith(f"{served.NAME} at 127.0.0.1:")
    assert f"Judged by {image.by}" in result.page.read_text(encoding="utf-8")


@pytest.fixture
def wire(server: Any) -> Iterator[Wire]:
    made = Wire(server.url, timeout=300)
    yield made
    made.hang_up()


def sent(uri: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "Is it red?"}]
    return {"model": served.NAME, "messages": [{"role": "user", "content": content}], "max_tokens": 1} | more


def test_what_the_server_refuses_is_a_sentence(wire: Wire) -> None:
    good = tiny_vlm.uri(tiny_vlm.noise(1))
    with pytest.raises(ExternalError, match=r"at 127\.0\.0\.1:\d+ answered with an error \(400: .*logprobs"):
        wire.ask(sent(good, logprobs=True, top_logprobs=21))
    with pytest.raises(ExternalError, match=r"answered with an error \(400: .*image"):
        wire.ask(sent("data:image/png;base64,iVBORw0KGgp0b3Ju"))
    assert wire.ask(sent(good)).text is not None


def test_a_model_that_is_not_served_is_a_sentence(at_server: Callable[[str], Any]) -> None:
    with pytest.raises(UserError, match=rf"has no model 'nobody' .*It serves {served.NAME}\."):
        at_server("vlm:openai:nobody").score([tiny_vlm.noise(2)], tiny_vlm.atoms()[:1])
