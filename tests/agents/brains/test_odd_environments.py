"""Addresses, keys, proxies and certificates that cannot be: a sentence that names the variables, never a traceback."""

from __future__ import annotations

import time

import pytest

from diffgraph.agents.brains import brain
from diffgraph.agents.brains.brain import ask
from diffgraph.agents.brains.failure import BrainFailed
from diffgraph.agents.brains.messages import Human
from diffgraph.agents.completions.body import message_of
from diffgraph.errors import UserError
from diffgraph.settings import Settings

ODD = [
    {"OPENAI_BASE_URL": "http://[::1"},
    {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1\n"},
    {"OPENAI_BASE_URL": "http://127.0.0.1:9/\x1b[31m"},
    {"OPENAI_BASE_URL": "http://\u202e/v1"},
    {"OPENAI_BASE_URL": f"http://a{'.' * 300}/v1"},
    {"OPENAI_BASE_URL": "no address at all"},
    {"OPENAI_API_KEY": "k\u00e9y"},
    {"OPENAI_API_KEY": "k\udcffy"},
    {"OPENAI_ORG_ID": "\u00e9"},
    {"SSL_CERT_FILE": "/nonexistent"},
    {"ALL_PROXY": "socks5://127.0.0.1:1"},
    {"ALL_PROXY": "nonsense"},
    {"OPENAI_PROXY": "nonsense"},
    {"DIFFGRAPH_BRAIN": "openai:\udcff"},
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: "".join(f"{k}={v[:24]!r}" for k, v in odd.items()))
def test_what_cannot_be_is_a_sentence(odd: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    usual = {"DIFFGRAPH_BRAIN": "openai:x", "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    for name, value in {**usual, **odd}.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load(brain_retries=0, brain_timeout=5)
    with pytest.raises((UserError, BrainFailed)) as told:
        ask(brain.make(settings), [], [Human(content="octopus")], settings.brain_timeout)
    assert "OPENAI_" in str(told.value)


def test_a_million_calls_in_an_answer_cost_little() -> None:
    body = b'{"choices":[{"message":{"tool_calls":[' + b"{}," * 1_000_000 + b"{}]}}]}"
    start = time.process_time()
    message = message_of(body)
    assert len(message.tool_calls) + len(message.invalid_tool_calls) <= 1000
    assert time.process_time() - start < 60


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e12", "0", "-1"])
def test_a_deadline_is_of_this_world(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRAPH_BRAIN_TIMEOUT", seconds)
    with pytest.raises(UserError, match="DIFFGRAPH_BRAIN_TIMEOUT"):
        Settings.load()
