"""What the critic relies on, asked of vLLM itself: images as data URIs, the first token's logprobs, JSON held to a
schema, two images at once, and refusals that say why.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import openai
import pytest
from diffgraph_vllm import served, tiny_vlm

from diffgraph.scoring.critics.vlm.answers import MOST_LISTED, probability

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(served.LONG)]


def message(text: str, *uris: str) -> list[Any]:
    pictures = [{"type": "image_url", "image_url": {"url": one}} for one in uris]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}]


def ask(client: openai.OpenAI, messages: list[Any], **more: Any) -> Any:
    return client.chat.completions.create(model=served.NAME, messages=messages, temperature=0, **more).choices[0]


def test_the_first_token_has_logprobs(client: openai.OpenAI) -> None:
    for image, atom in zip(tiny_vlm.images(4), tiny_vlm.atoms(), strict=False):
        asked = message(tiny_vlm.asked(atom), tiny_vlm.uri(image))
        said = ask(client, asked, max_tokens=1, logprobs=True, top_logprobs=MOST_LISTED)
        (first,) = said.logprobs.content
        listed = [(one.token, one.logprob) for one in first.top_logprobs]
        assert len(listed) == MOST_LISTED
        assert sum(math.exp(logprob) for _, logprob in listed) <= 1 + 1e-4
        assert listed == sorted(listed, key=lambda pair: -pair[1])
        assert (p := probability(listed)) is not None
        assert 0 <= p <= 1


def test_json_is_held_to_its_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "seen": {"type": "string", "pattern": "^[a-z ]{1,12}$"},
            "sure": {"type": "boolean"},
            "grade": {"type": "integer", "minimum": 0, "maximum": 10},
        },
        "required": ["seen", "sure", "grade"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    (image,), (atom, *_) = tiny_vlm.images(1), tiny_vlm.atoms()
    said = ask(client, message(tiny_vlm.asked(atom), tiny_vlm.uri(image)), max_tokens=200, response_format=form)
    found = json.loads(said.message.content)
    assert set(found) == {"seen", "sure", "grade"}
    assert isinstance(found["sure"], bool)
    assert 0 <= found["grade"] <= 10
    assert 1 <= len(found["seen"]) <= 12


def test_two_images_at_once_and_no_third(client: openai.OpenAI) -> None:
    pictures = [tiny_vlm.uri(image) for image in tiny_vlm.images(3)]
    assert ask(client, message("Which? Answer 1 or 2.", *pictures[:2]), max_tokens=1).message.content is not None
    with pytest.raises(openai.BadRequestError, match="image"):
        ask(client, message("Which?", *pictures), max_tokens=1)


def test_what_it_refuses_and_why(client: openai.OpenAI) -> None:
    (image,), (atom, *_) = tiny_vlm.images(1), tiny_vlm.atoms()
    good = message(tiny_vlm.asked(atom), tiny_vlm.uri(image))
    with pytest.raises(openai.BadRequestError, match="logprobs"):
        ask(client, good, max_tokens=1, logprobs=True, top_logprobs=MOST_LISTED + 1)
    torn = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"torn" * 20).decode("ascii")
    with pytest.raises(openai.BadRequestError, match="image"):
        ask(client, message("What?", f"data:image/png;base64,{torn}"), max_tokens=1)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="nobody", messages=good, max_tokens=1)
    # It goes on serving.
    assert ask(client, good, max_tokens=1).message.content is not None
