"""What a brain's server may send: never a traceback, whoever is asked; and what is stored of it stays small."""

from __future__ import annotations

import importlib.util
import io
import json
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diffgraph.agents import agent
from diffgraph.agents.brains.answers import MAX_ARGUMENTS, MAX_CALLS, MAX_TEXT
from diffgraph.agents.chat.repl import chat
from diffgraph.agents.runs.generate import generate
from diffgraph.agents.runs.result import RunResult
from diffgraph.settings import Settings
from diffgraph.terminal import CleanConsole
from diffgraph.tools.context import Context


def _beside(name: str) -> ModuleType:
    full = f"diffgraph_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


servers = _beside("odd_server")
Odd, completion, listed = servers.Odd, servers.completion, servers.listed

# -- bodies that hold no answer: the run goes on by the offline brain, and says so

NO_ANSWER: dict[str, Any] = {
    "empty body": Odd(b""),
    "blanks": Odd(b" \n\t "),
    "null": Odd(b"null"),
    "a list": Odd(b"[]"),
    "a list of answers": Odd(b"[" + completion({"content": "hi"}) + b"]"),
    "a number": Odd(b"42"),
    "a string": Odd(b'"hello"'),
    "a web page": Odd(b"<!doctype html><html><body>Sign in</body></html>", headers={"content-type": "text/html"}),
    "plain text": Odd(b"upstream timed out", headers={"content-type": "text/plain"}),
    "error text with 200": Odd(b'{"error": "model not loaded"}'),
    "error object with 200": Odd(b'{"error": {"message": "overloaded", "code": 529}}'),
    "error list with 200": Odd(b'{"error": [1, 2]}'),
    "detail with 200": Odd(b'{"detail": "Not Found"}'),
    "an empty object": Odd(b"{}"),
    "choices empty": Odd(b'{"choices": []}'),
    "choices null": Odd(b'{"choices": null}'),
    "choices an object": Odd(b'{"choices": {"0": {}}}'),
    "choices a text": Odd(b'{"choices": "none"}'),
    "choice null": Odd(b'{"choices": [null]}'),
    "choice a list": Odd(b'{"choices": [[]]}'),
    "choice empty": Odd(b'{"choices": [{}]}'),
    "message null": Odd(completion(None)),
    "message a text": Odd(completion("use octopus")),
    "message a list": Odd(completion([])),
    "a delta, as streams have": Odd(b'{"choices": [{"delta": {"content": "hi"}}]}'),
    "a stream": Odd(
        b'data: {"choices": [{"delta": {}}]}\n\ndata: [DONE]\n\n', headers={"content-type": "text/event-stream"}
    ),
    "cut short": Odd(completion({"content": "hello"})[:-9]),
    "two documents": Odd(completion({"content": "hello"}) * 2),
    "100,000 deep": Odd(b"[" * 100_000),
    "half a UTF-8 letter": Odd(b'{"choices": "\xe2\x82'),
    "6 MB": Odd(b'{"choices": "' + b"x" * 6_000_000 + b'"}'),
    "said to be compressed": Odd(completion({"content": "x"}), headers={"content-encoding": "gzip"}),
    "connection cut": Odd(completion({"content": "x" * 500}), cut=200),
    "204": Odd(b"", status=204),
    "a redirect to itself": Odd(b"", status=302, headers={"location": "/v1/chat/completions"}),
    "400 context length": Odd(b'{"error": {"message": "maximum context length is 2048 tokens"}}', status=400),
    "401": Odd(b"{}", status=401),
    "402": Odd(b"pay", status=402),
    "404 html": Odd(b"<html>not here</html>", status=404),
    "413": Odd(b"", status=413),
    "422 list": Odd(b'[{"loc": ["body"]}]', status=422),
    "429 in a million seconds": Odd(b"{}", status=429, headers={"retry-after": "9" * 400}),
    "429 at a date": Odd(b"{}", status=429, headers={"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}),
    "429 after nan": Odd(b"{}", status=429, headers={"retry-after": "nan"}),
    "500 html": Odd(b"<html>oops</html>", status=500),
    "503": Odd(b"{}", status=503, headers={"retry-after": "7"}),
    "599": Odd(b"\xff\xfe", status=599),
}


def message(made: Any) -> Any:
    """An odd message, made from the right calls."""
    return Odd(lambda calls: completion(made(calls) if callable(made) else made))


def entry(change: Callable[[str, dict[str, Any]], Any]) -> Any:
    """Odd entries in the list of calls, each made from the right name and arguments."""
    return message(lambda calls: {"content": None, "tool_calls": [change(*c) for c in calls] or None})


def raw(arguments: Any) -> Any:
    """Right names with odd arguments."""
    return entry(lambda name, args: {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}})


def function(**changes: Any) -> Any:
    """Right calls whose function entry is changed."""
    return entry(lambda name, args: {"id": "c", "function": {"name": name, "arguments": json.dumps(args)} | changes})


DEEP = '{"params": ' + '{"a": ' * 400 + "1" + "}" * 401

# -- answers that can be read and are of no use: they go back to the brain, which is replaced when it does nothing else

NO_USE: dict[str, Any] = {
    "content null, calls null": message({"content": None, "tool_calls": None}),
    "no content, no calls": message({}),
    "content a number": message({"content": 7}),
    "content an object": message({"content": {"text": "hi"}}),
    "content odd parts": message({"content": [None, 3, {"type": "image"}, {"text": 5}, "a", {"text": "b"}]}),
    "content of 1 MB": message({"content": "x" * 1_000_000}),
    "content with a lone surrogate": message({"content": "\ud800 octopus \udfff"}),
    "content with NUL and escape codes": message({"content": "\0\x1b[2J\x1b]0;gone\x07"}),
    "a role nobody knows": message({"role": "wizard", "content": "hm"}),
    "a refusal": message({"content": None, "refusal": "I cannot."}),
    "only thoughts": message({"content": "<think>" + "hm " * 3000, "reasoning_content": "hm"}),
    "calls a text": message({"content": None, "tool_calls": "activate_experts"}),
    "calls an empty object": message({"content": None, "tool_calls": {}}),
    "calls null entries": message({"content": None, "tool_calls": [None, [], 3, "x"]}),
    "call empty": message({"content": None, "tool_calls": [{}]}),
    "function null": entry(lambda name, args: {"id": "c", "function": None}),
    "function a text": entry(lambda name, args: {"id": "c", "function": name}),
    "name a number": function(name=7),
    "name null": function(name=None),
    "name empty": function(name=""),
    "name of 1 MB": function(name="n" * 1_000_000),
    "name with escape codes": function(name="\x1b[31mactivate_experts"),
    "name with a lone surrogate": function(name="\ud83d"),
    "name of a tool nobody has": function(name="rm_rf"),
    "name of another agent's tool": function(name="merge_and_sample"),
    "arguments a list": raw([1, 2]),
    "arguments a number": raw(7),
    "arguments true": raw(True),
    "arguments the text of a list": raw("[1]"),
    "arguments the text of a text": raw('"octopus"'),
    "arguments cut short": raw('{"prompt": "oct'),
    "arguments NaN": raw('{"prompt": NaN}'),
    "arguments Infinity": raw('{"guidance": Infinity}'),
    "arguments 1e999": raw('{"guidance": 1e999}'),
    "arguments 10^30": raw('{"seed": 1000000000000000000000000000000}'),
    "arguments of 5,000 digits": raw('{"seed": ' + "9" * 5000 + "}"),
    "arguments 400 deep": raw(DEEP),
    "arguments 100,000 deep": raw('{"a":' * 100_000),
    "arguments 400 deep, as an object": raw(json.loads(DEEP)),
    "arguments of 1 MB": raw(json.dumps({"prompt": "x" * 1_000_000})),
    "arguments with 20,000 keys": raw(json.dumps({f"k{i}": 0 for i in range(20_000)})),
    "arguments with a lone surrogate": raw('{"prompt": "\\ud800", "query": "\\udfff"}'),
    "arguments with NUL": raw('{"prompt": "pizza\\u0000"}'),
    "arguments of the wrong types": raw('{"prompt": 7, "query": [], "plan_id": {}, "skills": "x", "decision": null}'),
    "arguments with a key that is no name": raw('{"": 1, "__class__": 2, "prompt ": 3}'),
}

# -- answers in another form than OpenAI's that mean the right calls: they are understood


def text(form: Callable[[str, str], str], around: str = "{}") -> Any:
    """The right calls written into the content."""

    def made(calls: Any) -> Any:
        written = "".join(form(name, json.dumps(args)) for name, args in calls)
        return {"content": around.format(written) if written else "Done.", "tool_calls": None}

    return message(made)


def whole(**changes: Any) -> Any:
    return Odd(lambda calls: completion({"content": None, "tool_calls": listed(calls)}, **changes))


UNDERSTOOD: dict[str, Any] = {
    "arguments as an object": entry(lambda name, args: {"id": "c", "function": {"name": name, "arguments": args}}),
    "arguments encoded twice": entry(
        lambda name, args: {"id": "c", "function": {"name": name, "arguments": json.dumps(json.dumps(args))}}
    ),
    "arguments called parameters": entry(
        lambda name, args: {"id": "c", "function": {"name": name, "parameters": json.dumps(args)}}
    ),
    "arguments with blanks around": entry(
        lambda name, args: {"id": "c", "function": {"name": name, "arguments": f"\n {json.dumps(args)} \n"}}
    ),
    "a call without the wrapper": entry(lambda name, args: {"name": name, "arguments": args}),
    "one call, not in a list": message(lambda calls: {"content": None, "tool_calls": (listed(calls) or [None])[0]}),
    "as before there were several": message(
        lambda calls: {"function_call": {"name": calls[0][0], "arguments": json.dumps(calls[0][1])} if calls else None}
    ),
    "ids missing": message(lambda calls: {"tool_calls": listed(calls, id=None)}),
    "ids numbers": message(lambda calls: {"tool_calls": listed(calls, id=7)}),
    "ids the same": message(lambda calls: {"tool_calls": listed(calls, id="x")}),
    "ids of 1 MB": message(lambda calls: {"tool_calls": listed(calls, id="i" * 1_000_000)}),
    "ids with a lone surrogate": message(lambda calls: {"tool_calls": listed(calls, id="\ud800")}),
    "type nonsense": message(lambda calls: {"tool_calls": listed(calls, type=7)}),
    "content beside calls": message(lambda calls: {"content": "Let me see.", "tool_calls": listed(calls)}),
    "usage nonsense": whole(usage={"prompt_tokens": -3, "completion_tokens": "many", "total_tokens": 10**40}),
    "usage a list": whole(usage=[1, 2]),
    "created a text, model null": whole(created="now", model=None, object=3, id=[]),
    "a mark before the text": Odd(lambda calls: b"\xef\xbb\xbf" + completion({"tool_calls": listed(calls)})),
    "no content type": Odd(lambda calls: completion({"tool_calls": listed(calls)}), headers={"content-type": ""}),
    "another content type": Odd(
        lambda calls: completion({"tool_calls": listed(calls)}), headers={"content-type": "text/html"}
    ),
    "hermes": text(lambda name, args: f'<tool_call>\n{{"name": "{name}", "arguments": {args}}}\n</tool_call>'),
    "hermes, never closed": text(
        lambda name, args: f'I will look.\n<tool_call>{{"name": "{name}", "arguments": {args}}}'
    ),
    "after thoughts": text(lambda name, args: f'<think>hm</think>{{"name": "{name}", "arguments": {args}}}'),
    "an object": text(lambda name, args: f'{{"name": "{name}", "parameters": {args}}}'),
    "a fence": text(lambda name, args: f'Sure!\n```json\n{{"name": "{name}", "arguments": {args}}}\n```\n'),
    "a fence without a language": text(lambda name, args: f'```\n{{"tool": "{name}", "args": {args}}}\n```'),
    "mistral": text(lambda name, args: f'[TOOL_CALLS] [{{"name": "{name}", "arguments": {args}}}]'),
    "llama": text(lambda name, args: f"<function={name}>{args}</function>"),
    "python tag": text(lambda name, args: f'<|python_tag|>{{"name": "{name}", "parameters": {args}}}'),
    "an OpenAI answer in the text": text(
        lambda name, args: f'{{"tool_calls": [{{"function": {{"name": "{name}", "arguments": {json.dumps(args)}}}}}]}}'
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    made = servers.OddServer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(shared_world: Path, scouted_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """One context for all, so that images are drawn once."""
    import shutil

    home = Path(shutil.copytree(scouted_home, tmp_path_factory.mktemp("odd") / "home"))
    settings = Settings(
        base=f"world:{shared_world}", home=home, steps=2, device="cpu", sure=0.8, brain="openai:odd",
        brain_retries=0, brain_timeout=20, step_budget=10,
    )  # fmt: skip
    with Context.open(settings) as ctx:
        yield ctx


EVERYONE = ("planner", "scout", "critic")
PROMPT = "octopus, impasto style"
"""For which the planner asks the scout."""


@pytest.fixture
def run(server: Any, shared: Context, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunResult]:
    """A request in which agents are answered oddly each time that they ask."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)

    def request(odd: Any, *victims: str) -> RunResult:
        server.odd, server.victims, server.asked, server.requests = odd, victims, [], []
        return generate(PROMPT, context=shared, compare=False)

    return request


def ended_well(result: RunResult) -> None:
    assert (result.status, len(result.images)) == ("uncovered", 1)
    assert result.page.is_file()
    said = (result.run_dir / "result.json").read_text(encoding="utf-8") + "".join(e.text for e in result.trace)
    assert "\0" not in said
    assert len(said) < 60_000


@pytest.mark.parametrize("odd", NO_ANSWER.values(), ids=NO_ANSWER)
def test_without_an_answer_the_offline_brain_goes_on(
    run: Any, server: Any, odd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "MAX_FAILURES", 1000)  # so that every agent is tried in one run
    result = run(odd, *EVERYONE)
    ended_well(result)
    for_good = len(server.asked) == 1
    assert set(server.asked) == ({"planner"} if for_good else {*EVERYONE})
    for name in server.asked:
        assert any("The brain" in note and f"of the {name}" in note for note in result.notes)
    offline = [e for e in result.trace if e.kind == "tool" and not e.text.startswith("search")]
    assert len(offline) >= 6


@pytest.mark.parametrize("victim", EVERYONE)
def test_a_server_that_fails_for_good_is_left_alone(run: Any, server: Any, victim: str) -> None:
    result = run(NO_ANSWER["401"], victim)
    ended_well(result)
    assert server.asked == [victim]


@pytest.mark.parametrize("victims", [("planner",), ("scout", "critic")], ids=["planner", "scout and critic"])
@pytest.mark.parametrize("odd", NO_USE.values(), ids=NO_USE)
def test_an_answer_of_no_use_goes_back_and_ends_in_time(run: Any, server: Any, odd: Any, victims: Any) -> None:
    result = run(odd, *victims)
    ended_well(result)
    assert set(server.asked) == set(victims)
    assert all(server.asked.count(victim) <= 10 for victim in victims)


@pytest.mark.parametrize("odd", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_other_forms_of_the_right_calls_are_understood(run: Any, server: Any, odd: Any) -> None:
    result = run(odd, *EVERYONE)
    ended_well(result)
    assert result.notes == ()
    assert [e for e in result.trace if e.kind == "tool failed"] == []
    assert [e.agent for e in result.trace if e.kind == "brain"] == server.asked
    assert set(server.asked) == {*EVERYONE}


def test_retry_after_is_shown(run: Any) -> None:
    assert any("asks to wait 7 s" in note for note in run(NO_ANSWER["503"], "planner").notes)


def test_the_reason_is_shown(run: Any) -> None:
    for name, reason in (("400 context length", "maximum context length"), ("error text with 200", "model not loaded")):
        assert any(reason in note for note in run(NO_ANSWER[name], "planner").notes)


@pytest.mark.parametrize("name", ["a web page", "choices empty", "401", "connection cut"])
def test_no_brain_ends_a_chat(
    server: Any, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.odd, server.victims, server.asked, server.requests = NO_ANSWER[name], EVERYONE, [], []
    lines = iter(["octopus", "/seed 7", "/quit"])
    said = io.StringIO()
    chat(
        make_settings(brain="openai:odd", brain_retries=0),
        console=CleanConsole(file=said, width=200),
        read=lambda sign: next(lines),
    )
    assert "offline brain took" in said.getvalue()
    assert "accepted" in said.getvalue()
    assert "seed 7" in said.getvalue()


# -- bounds


@pytest.mark.parametrize("victim", EVERYONE)
@pytest.mark.parametrize("slow_headers", [False, True])
def test_a_byte_now_and_then_does_not_hold_a_run(
    run: Any, shared: Context, victim: str, slow_headers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pause is long, so that no timeout between bytes would end it."""
    monkeypatch.setitem(shared.settings.__dict__, "brain_timeout", 0.7)
    start = time.monotonic()
    result = run(Odd(completion({"content": "x" * 2000}), pause=0.05, slow_headers=slow_headers), victim)
    ended_well(result)
    assert any("BRAIN_TIMEOUT" in note for note in result.notes)
    assert time.monotonic() - start < 60  # 100 s and more if somebody waited for the end


def test_only_so_many_calls_of_an_answer_are_taken(run: Any, server: Any) -> None:
    calls = [("search_experts", {"query": f"skill {i}"}) for i in range(500)]
    result = run(Odd(completion({"tool_calls": listed(calls)})), "planner")
    ended_well(result)
    assert sum(e.kind == "tool" for e in result.trace if e.agent == "planner") == MAX_CALLS * len(server.asked)
    last = server.requests[1]["messages"]
    assert sum(m["role"] == "tool" for m in last) == MAX_CALLS
    assert "492 were not" in last[-1]["content"]


def _stored(ctx: Context) -> int:
    """Bytes of all checkpoints, and of what was written to the log that becomes them."""
    with sqlite3.connect(ctx.settings.root / "checkpoints.sqlite") as connection:
        (states,) = connection.execute("SELECT COALESCE(SUM(LENGTH(checkpoint)), 0) FROM checkpoints").fetchone()
        (writes,) = connection.execute("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM writes").fetchone()
    connection.close()
    return int(states + writes)


@pytest.mark.parametrize("victim", EVERYONE)
@pytest.mark.parametrize("size", [MAX_ARGUMENTS - 200, 1_000_000])
def test_long_answers_are_cut_before_they_are_kept(run: Any, shared: Context, victim: str, size: int) -> None:
    """Every step, in the text and in the arguments of many calls, just within the bounds and far beyond."""
    call = {"id": "c", "function": {"name": "search_experts", "arguments": json.dumps({"query": "x" * size})}}
    odd = Odd(completion({"content": "y" * size, "tool_calls": [call] * 4}))
    before = _stored(shared)
    tracemalloc.start()
    result = run(odd, victim)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    ended_well(result)
    assert _stored(shared) - before < 2_500_000
    assert peak < 120_000_000
    assert sum(p.stat().st_size for p in result.run_dir.iterdir()) < 400_000
    assert all(len(m["content"] or "") <= MAX_TEXT for m in _said(shared, result) if m["role"] == "ai")


def _said(ctx: Context, result: RunResult) -> list[dict[str, Any]]:
    from diffgraph.agents.runs.checkpoints import checkpointer
    from diffgraph.agents.runs.result import read_request

    thread: Any = {"configurable": {"thread_id": read_request(result.run_dir).thread}}
    with checkpointer(ctx.settings) as saver:
        states = [c.checkpoint["channel_values"] for c in saver.list(thread)]
    return [m for state in states for m in state.get("messages", [])]


def test_there_are_many() -> None:
    assert len(NO_ANSWER) + len(NO_USE) + len(UNDERSTOOD) >= 60
