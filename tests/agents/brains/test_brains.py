"""One machine, two brains; and what a brain's server may do wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from diffgraph.agents.brains import brain as brains
from diffgraph.agents.brains.offline import OfflineBrain
from diffgraph.agents.brains.offline import revise as revised
from diffgraph.agents.runs.generate import generate
from diffgraph.agents.runs.result import RunResult
from diffgraph.agents.state import Round
from diffgraph.bases.profile import PlannerRules
from diffgraph.errors import UserError
from diffgraph.settings import Settings
from diffgraph.tools.context import Context
from diffgraph.tools.propose_plan import method_names
from diffgraph.tools.results import ActivationResult

PROMPT = "octopus, blueprint style"


class Server:
    """An OpenAI-compatible chat server on loopback. It answers as the offline brain would, from the request alone."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        self.broken_arguments = 0
        self.failures = 0
        self.usage: dict[str, Any] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.requests.append({"path": self.path, "key": self.headers.get("authorization"), **body})
                status, outer.failures = 503 if outer.failures > 0 else outer.status, outer.failures - 1
                answer = {"error": {"message": "no"}} if status != 200 else outer.answer(body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("retry-after", "0.01")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        said = (
            OfflineBrain().bind(tools=body["tools"]).invoke([_message(m, body["messages"]) for m in body["messages"]])
        )
        calls = [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["args"])}}
            for c in said.tool_calls
        ]
        if calls and self.broken_arguments:
            self.broken_arguments -= 1
            calls[0]["function"]["arguments"] = '{"prompt": "oct'
        message = {"role": "assistant", "content": said.text or None, "tool_calls": calls or None}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
            **({"usage": self.usage} if self.usage else {}),
        }


def _message(m: dict[str, Any], everything: list[dict[str, Any]]) -> Any:
    if m["role"] == "system":
        return SystemMessage(m["content"])
    if m["role"] == "user":
        return HumanMessage(m["content"])
    if m["role"] == "tool":
        named = {c["id"]: c["function"]["name"] for a in everything for c in a.get("tool_calls") or []}
        failed = not m["content"].startswith(("{", "["))
        return ToolMessage(
            m["content"],
            tool_call_id=m["tool_call_id"],
            name=named[m["tool_call_id"]],
            status="error" if failed else "success",
        )
    return AIMessage(m["content"] or "")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def through(
    server: Server, monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> Callable[..., RunResult]:
    """Runs a prompt with a brain behind the server."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)

    def run(prompt: str, **changes: Any) -> RunResult:
        return generate(prompt, settings=make_settings(brain="openai:scripted", **changes), seed=1, compare=False)

    return run


def visited(result: RunResult) -> list[str]:
    return [e.node for e in result.trace if e.kind == "node"]


@pytest.mark.parametrize("prompt", [PROMPT, "tax law"])
def test_two_brains_pass_through_the_same_nodes(
    through: Callable[..., RunResult],
    server: Server,
    make_settings: Callable[..., Settings],
    prompt: str,
    tmp_path: Any,
) -> None:
    theirs = through(prompt)
    ours = generate(prompt, settings=make_settings(), seed=1, compare=False)
    assert visited(theirs) == visited(ours)
    assert theirs.plan == ours.plan
    assert theirs.status == ours.status
    assert [p.read_bytes() for p in theirs.images] == [p.read_bytes() for p in ours.images]
    first = server.requests[0]
    assert first["path"] == "/v1/chat/completions"
    assert first["model"] == "scripted"
    tools = {t["function"]["name"]: t["function"] for t in first["tools"]}
    assert set(tools) == {"activate_experts", "ask_scout", "check_plan", "propose_plan", "search_experts"}
    assert tools["activate_experts"]["parameters"]["required"] == ["prompt"]
    system = first["messages"][0]["content"]
    assert "not follow it" in system


def test_arguments_that_are_no_json_go_back_to_the_model(through: Callable[..., RunResult], server: Server) -> None:
    server.broken_arguments = 1
    result = through(PROMPT)
    assert result.status == "accepted"
    told = [m["content"] for m in server.requests[1]["messages"] if m["role"] == "tool"]
    assert "not valid JSON" in told[0]


@pytest.mark.parametrize(
    ("status", "message", "calls"),
    [
        (400, "error", 2),  # a conversation that is too long may be followed by one that is not
        (401, "refuses the key", 1),
        (404, "error", 1),
        (429, "asks to wait 0.01 s", 2),
        (500, "error", 2),
        (503, "asks to wait 0.01 s", 2),
    ],
)
def test_where_a_server_fails_the_run_goes_on(
    through: Callable[..., RunResult], server: Server, status: int, message: str, calls: int
) -> None:
    server.status = status
    result = through("pizza", brain_retries=0)
    assert result.status == "accepted"
    assert any(message in note for note in result.notes)
    assert "offline brain took the rest of the run" in result.notes[-1]
    assert len(server.requests) == calls
    assert sum(e.kind == "brain failed" for e in result.trace) == calls
    assert json.loads((result.run_dir / "result.json").read_text())["notes"] == list(result.notes)


def test_a_server_that_recovers_is_asked_again(through: Callable[..., RunResult], server: Server) -> None:
    server.failures = 1
    result = through(PROMPT, brain_retries=0)
    assert result.status == "accepted"
    assert len(server.requests) > 2
    assert len(result.notes) == 1
    assert "took this step of the planner" in result.notes[0]


def test_a_failed_call_is_repeated_as_often_as_the_settings_say(
    through: Callable[..., RunResult], server: Server
) -> None:
    server.failures = 1
    result = through(PROMPT, brain_retries=1)
    assert result.notes == ()


def test_no_server_is_a_note(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    result = generate("pizza", settings=make_settings(brain="openai:x", brain_retries=0), compare=False)
    assert result.status == "accepted"
    assert "cannot be reached" in result.notes[0]


def test_tokens_are_counted_where_the_server_tells_them(through: Callable[..., RunResult], server: Server) -> None:
    result = through(PROMPT)
    assert result.tokens is not None
    assert (result.tokens.read, result.tokens.written) == (len(server.requests), len(server.requests))
    assert result.to_json()["tokens"] == {"read": len(server.requests), "written": len(server.requests)}
    server.usage = {}
    assert "tokens" not in through(PROMPT).to_json()


def test_the_limit_of_an_answer_is_sent(through: Callable[..., RunResult], server: Server) -> None:
    through("pizza", brain_max_tokens=77)
    assert server.requests[0].get("max_completion_tokens", server.requests[0].get("max_tokens")) == 77


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai:gpt-5-mini", "OPENAI_API_KEY"),
        ("openai:", "needs a model"),
        ("offlin", "offline"),
        ("gemini:x", "no brain 'gemini'"),
    ],
)
def test_a_brain_that_cannot_be_made(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        brains.make(Settings(brain=name))


def test_a_key_is_used_and_not_written_anywhere(
    through: Callable[..., RunResult], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    result = through("pizza")
    assert server.requests[0]["key"] == "Bearer sk-very-secret"
    for path in result.run_dir.iterdir():
        assert b"sk-very-secret" not in path.read_bytes()


def test_a_chat_model_that_somebody_brings_fails_as_politely(ctx: Context, server: Server) -> None:
    server.status = 503
    brought = ChatOpenAI(model="x", base_url=server.url, api_key=SecretStr("none"), max_retries=0)
    result = generate("pizza", context=ctx, brain=brought, compare=False)
    assert result.status == "accepted"
    assert "asks to wait 0.01 s" in result.notes[0]


def test_brains_register_once() -> None:
    assert isinstance(brains.make(Settings(brain="offline")), OfflineBrain)
    with pytest.raises(ValueError, match="two brains"):
        brains.brain("offline")(lambda rest, settings: OfflineBrain())


ACTIVATION: dict[str, Any] = {
    "facets": [
        {"facet": "subject", "trigger": "octopus", "skill": "octopus", "by": "a"},
        {"facet": "style", "trigger": "blueprint style", "skill": "blueprint", "by": "b"},
    ],
    "experts": [{"id": "a", "weight": 1.0}, {"id": "b", "weight": 1.0}],
}


RULES = PlannerRules()


def revise(
    activation: dict[str, Any], rounds: list[dict[str, Any]], methods: list[str], refused: set[str]
) -> dict[str, Any]:
    """The move as the tool call that the offline brain makes of it."""
    filled = {"read": "", "prompt": "", "uncovered": [], "rejected": []}
    experts = [{"facet": "subject", "trigger": e["id"]} | e for e in activation["experts"]]
    facets = [{"text": f["trigger"]} | f for f in activation["facets"]]
    known = ActivationResult.model_validate(filled | {"experts": experts, "facets": facets})
    before = tuple(Round.model_validate(r) for r in rounds)
    return revised(known, before, methods, refused).model_dump(mode="json", exclude_unset=True)


def _round(args: dict[str, Any], score: float, facets: dict[str, float]) -> dict[str, Any]:
    experts = args.get("experts") or [{"id": e["id"], "weight": e["weight"]} for e in ACTIVATION["experts"]]
    return {
        "plan_id": "p",
        "guidance": 1.0,
        "findings": [],
        "decision": "revise",
        "images": [],
        "experts": [{"facet": "subject"} | e for e in experts],
        "method": args.get("method", "linear"),
        "seed": args.get("seed", 0),
        "unsaid": "" if args.get("say", True) else "blueprint style",
        "score": score,
        "facets": facets,
    }


def _weights(this: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": e["id"], "weight": e["weight"]} for e in this["experts"]]


def test_revision_changes_seed_then_weights_then_methods_and_never_repeats() -> None:
    weak = {"octopus": 0.1, "blueprint style": 0.9}
    methods = ["linear", "ties"]
    assert revise(ACTIVATION, [], methods, set()) == {}
    assert revise(ACTIVATION, [], methods, {"b"}) == {"experts": [{"id": "a"}]}  # at the planner's own weight
    rounds = [_round({}, 0.2, weak)]
    for _ in range(12):
        rounds.append(_round(revise(ACTIVATION, rounds, methods, set()), 0.1, weak))
    even = [{"id": "a", "weight": 1.0}, {"id": "b", "weight": 1.0}]
    towards_the_weak = [{"id": "a", "weight": 1.25}, {"id": "b", "weight": 0.8}]
    began = [(_weights(r), r["seed"] > 0, not r["unsaid"], r["method"]) for r in rounds[1 : RULES.seeds_first + 3]]
    assert began == [
        *[(even, True, True, "linear")] * RULES.seeds_first,
        (towards_the_weak, False, True, "linear"),
        (even, False, True, "ties"),
    ]
    plans = [json.dumps([r["experts"], r["method"], r["seed"], not r["unsaid"]]) for r in rounds]
    assert len(set(plans)) == len(plans)
    assert all(0.2 <= e["weight"] <= 1.6 for r in rounds for e in r["experts"])


def test_a_better_seed_is_where_revision_goes_on() -> None:
    """And what its prompt leaves out stays left out."""
    rounds = [_round({"say": False}, 0.2, {"octopus": 0.1, "blueprint style": 0.9})]
    rounds.append(_round(revise(ACTIVATION, rounds, ["linear"], set()), 0.6, {"octopus": 0.5, "blueprint style": 0.9}))
    third = revise(ACTIVATION, rounds, ["linear"], set())
    assert (third["seed"], third["say"]) == (2 * rounds[1]["seed"], False)


def test_the_methods_to_turn_to_are_registered_and_tried_in_their_order() -> None:
    """From linear: np_lora and magnitude_balanced, in place of what comes first by name."""
    assert set(RULES.next_methods) <= set(method_names())
    rounds = [_round({}, 0.2, {"octopus": 0.1, "blueprint style": 0.9})]
    for _ in range(RULES.seeds_first + 7):
        args = revise(ACTIVATION, rounds, method_names(), set())
        rounds.append(_round(args, 0.1, {}))
    others = list(dict.fromkeys(r["method"] for r in rounds if r["method"] != "linear"))
    assert others == ["np_lora", "magnitude_balanced"]
    # A better round by one of them is where the next moves start from, and the methods go on after it.
    rounds = [_round({"method": "np_lora"}, 0.4, {})]
    for _ in range(RULES.seeds_first + 7):
        rounds.append(_round(revise(ACTIVATION, rounds, method_names(), set()), 0.1, {}))
    assert list(dict.fromkeys(r["method"] for r in rounds)) == ["np_lora", "magnitude_balanced", "ties"]


def test_a_lone_expert_is_never_merged_by_another_method() -> None:
    """What a method makes of one expert is that expert, so another one would draw the same image."""
    alone = {**ACTIVATION, "experts": ACTIVATION["experts"][:1]}
    rounds = [{**_round({}, 0.2, {}), "experts": [{"id": "a", "facet": "subject", "weight": 1.0}]}]
    for _ in range(RULES.seeds_first + 7):
        rounds.append(_round(revise(alone, rounds, method_names(), set()), 0.1, {}))
    assert {r["method"] for r in rounds} == {"linear"}


def test_a_subject_that_the_base_draws_lowers_every_expert() -> None:
    base = {
        **ACTIVATION,
        "facets": [{**ACTIVATION["facets"][0], "by": "base"}, ACTIVATION["facets"][1]],
        "experts": ACTIVATION["experts"][1:],
    }
    rounds = [
        {
            **_round({}, 0.2, {"octopus": 0.1, "blueprint style": 0.9}),
            "experts": [{"id": "b", "facet": "style", "weight": 1.0}],
        }
    ]
    for _ in range(RULES.seeds_first):
        args = revise(base, rounds, ["linear"], set())
        assert args["experts"] == _weights(rounds[0])
        rounds.append(_round({**args, "experts": rounds[0]["experts"]}, 0.1, {}))
    assert revise(base, rounds, ["linear"], set())["experts"] == [{"id": "b", "weight": 0.8}]


def test_the_offline_brain_without_tools_says_so(ctx: Context) -> None:
    assert "nothing for me" in str(OfflineBrain().invoke("hello").text)
