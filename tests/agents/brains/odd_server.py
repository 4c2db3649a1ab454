"""A chat-completions server on loopback that answers one agent oddly, and the others as the offline brain would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from diffgraph.agents.brains.offline import OfflineBrain

Call = tuple[str, dict[str, Any]]


class Odd:
    """An odd answer: a body, and how it is sent. ``body`` may be made from the calls that would be right."""

    def __init__(
        self,
        body: bytes | Callable[[list[Call]], bytes],
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        pause: float = 0.0,
        slow_headers: bool = False,
        cut: int = 0,
    ) -> None:
        self.body, self.status, self.headers = body, status, headers or {}
        self.pause, self.slow_headers, self.cut = pause, slow_headers, cut


class OddServer:
    """Attributes: ``victims`` are the agents that are answered with ``odd``; ``asked`` names whoever was, each time."""

    def __init__(self) -> None:
        self.victims: tuple[str, ...] = ()
        self.odd, self.asked = Odd(b""), list[str]()
        self.requests: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.answer(self, json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def log_message(self, *args: Any) -> None:
                pass

        class Http(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that hangs up

        self.http = Http(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def answer(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        offered = {tool["function"]["name"] for tool in asked["tools"]}
        agent = "planner" if "propose_plan" in offered else "critic" if "give_verdict" in offered else "scout"
        right = right_calls(asked)
        if agent not in self.victims:
            return send(handler, Odd(completion({"content": None, "tool_calls": listed(right)})), b"")
        self.asked.append(agent)
        self.requests.append(asked)
        body = self.odd.body(right) if callable(self.odd.body) else self.odd.body
        return send(handler, self.odd, body)


def send(handler: BaseHTTPRequestHandler, odd: Odd, body: bytes) -> None:
    body = body or (odd.body if isinstance(odd.body, bytes) else b"")
    if odd.slow_headers:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        for _ in range(200):
            handler.wfile.write(b"a")
            time.sleep(odd.pause)
        return
    handler.send_response(odd.status)
    for name, value in {"content-type": "application/json", "content-length": str(len(body)), **odd.headers}.items():
        if value:
            handler.send_header(name, value)
    handler.end_headers()
    if odd.pause:
        for i in range(len(body)):
            handler.wfile.write(body[i : i + 1])
            time.sleep(odd.pause)
    else:
        handler.wfile.write(body[: len(body) - odd.cut])


def right_calls(asked: dict[str, Any]) -> list[Call]:
    """What the offline brain would call."""
    messages = asked["messages"]
    said = OfflineBrain().bind(tools=asked["tools"]).invoke([_message(m, messages) for m in messages])
    return [(c["name"], c["args"]) for c in said.tool_calls]


def _message(m: dict[str, Any], everything: list[dict[str, Any]]) -> Any:
    if m["role"] == "system":
        return SystemMessage(m["content"])
    if m["role"] == "user":
        return HumanMessage(m["content"])
    if m["role"] == "tool":
        named = {c["id"]: c["function"]["name"] for a in everything for c in a.get("tool_calls") or []}
        failed = not m["content"].startswith(("{", "["))
        status: Any = "error" if failed else "success"
        return ToolMessage(m["content"], tool_call_id=m["tool_call_id"], name=named[m["tool_call_id"]], status=status)
    return AIMessage(m["content"] or "")


def listed(calls: list[Call], **changes: Any) -> list[dict[str, Any]] | None:
    """Calls as a server lists them, their entries changed as said."""
    made = [
        {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}, **changes}
        for i, (name, args) in enumerate(calls)
    ]
    return made or None


def completion(message: Any, **changes: Any) -> bytes:
    """The body of an answer with this message."""
    choice = {"index": 0, "message": {"role": "assistant", **message} if isinstance(message, dict) else message}
    data = {"id": "x", "object": "chat.completion", "created": 0, "model": "odd", "choices": [choice], **changes}
    return json.dumps(data).encode()
