"""A vision server on loopback whose right answers are known: P(yes) is the image's mean brightness, 0 to 1.

It speaks OpenAI's chat completions as far as a critic needs them, and misbehaves on demand, as servers do.
"""

from __future__ import annotations

import base64
import io
import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

SPELLINGS = {"Yes": 0.7, " yes": 0.2, "YES": 0.1}, {"No": 0.6, "no": 0.3, " NO": 0.1}
Json = dict[str, Any]


@dataclass
class Ways:
    """How the server behaves.

    Attributes:
        key: the bearer token that it wants; "" wants none.
        logprobs: "told", "left out", "refused" (status 400), or "neither": told, but neither yes nor no is among them.
        schema: whether it takes a ``response_format``.
        images: so many a request.
        old_limit: whether it takes ``max_tokens``.
        failing: statuses of the next answers, with headers, before it answers properly; ``told`` is what it says then.
        body: sent in place of every answer.
        slow: seconds before an answer; ``drip``: seconds between two bytes of it.
        bad_side: an image of this width gets ``bad_status``.
        seen: what stands under every key of a structured answer but a number.
    """

    key: str = ""
    logprobs: str = "told"
    schema: bool = True
    images: int = 2
    old_limit: bool = True
    failing: list[tuple[int, Json]] = field(default_factory=list)
    told: str = "as was asked for"
    body: bytes | None = None
    slow: float = 0.0
    drip: float = 0.0
    bad_side: int = 0
    bad_status: int = 400
    seen: str = "a grey square"
    models: list[str] = field(default_factory=lambda: ["bright"])
    asked: list[Json] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serving(ways: Ways) -> Iterator[Ways]:
    """The server at ``ways.url`` while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"ways": ways}))
    server.daemon_threads = True
    ways.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield ways
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def brightness(image: Image.Image) -> float:
    """Mean grey value of an image, 0 to 1."""
    return float(np.asarray(image.convert("L"), np.float64).mean() / 255)


class _Handler(BaseHTTPRequestHandler):
    ways: Ways

    def log_message(self, *args: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.ways.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.ways.lock:
            self.ways.asked.append(body)
            self.ways.at_once += 1
            self.ways.most_at_once = max(self.ways.most_at_once, self.ways.at_once)
            failure = self.ways.failing.pop(0) if self.ways.failing else None
        try:
            time.sleep(self.ways.slow)
            if failure is not None:
                self._send(failure[0], {"error": {"message": self.ways.told}}, failure[1])
            else:
                self._answer(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # whoever asked has left
        finally:
            with self.ways.lock:
                self.ways.at_once -= 1

    def _answer(self, body: Json) -> None:
        ways = self.ways
        if ways.body is not None:
            return self._raw(200, ways.body)
        if ways.key and self.headers.get("authorization") != f"Bearer {ways.key}":
            return self._send(401, {"error": {"message": "Incorrect API key provided"}})
        if body["model"] != "bright":
            return self._send(404, {"error": {"message": f"The model {body['model']} does not exist."}})
        images = [_image(part) for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
        if len(images) > ways.images or any(image.width == ways.bad_side for image in images):
            return self._send(ways.bad_status, {"error": {"message": "At most so many images, none of that width."}})
        if "max_tokens" in body and not ways.old_limit:
            return self._send(400, {"error": {"message": "Unsupported parameter: 'max_tokens'."}})
        schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
        if (schema and not ways.schema) or (body.get("logprobs") and ways.logprobs == "refused"):
            return self._send(400, {"error": {"message": "This is not supported."}})
        return self._send(200, self._completion(body, images, schema))

    def _completion(self, body: Json, images: list[Image.Image], schema: Json | None) -> Json:
        p = brightness(images[0])
        words, (for_yes, for_no) = ("Yes", "No"), SPELLINGS
        if len(images) == 2:  # which is brighter
            p = p / max(1e-9, p + brightness(images[1]))
            words, for_yes, for_no = ("1", "2"), {"1": 1.0}, {"2": 1.0}
        text = words[0] if p >= 0.5 else words[1]
        if schema:
            text = json.dumps({key: self._value(key, kind, p) for key, kind in schema["properties"].items()})
        elif "0 (surely not)" in body["messages"][-1]["content"][-1]["text"]:
            text = f"I would say {10 * p:.2f}."
        choice: Json = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        if body.get("logprobs") and self.ways.logprobs in ("told", "neither"):
            q = min(max(p, 1e-6), 1 - 1e-6)
            shares = {word: q * share for word, share in for_yes.items()} | {
                word: (1 - q) * share for word, share in for_no.items()
            }
            if self.ways.logprobs == "neither":
                shares, choice["message"]["content"] = {"<think>": 0.9, "The": 0.1}, "<think>"
            ranked = sorted(shares.items(), key=lambda pair: -pair[1])
            # a twentieth of the whole goes to other words, as it does in real models
            top = [{"token": t, "bytes": list(t.encode()), "logprob": math.log(0.95 * s)} for t, s in ranked]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        return {"id": "c", "object": "chat.completion", "model": "bright", "choices": [choice]}

    def _value(self, key: str, kind: Json, p: float) -> object:
        if kind["type"] == "number":
            return round(10 * p, 2)
        if kind["type"] == "integer":
            return 1 if p >= 0.5 else 2
        return self.ways.seen

    def _send(self, status: int, body: Json, headers: Json | None = None) -> None:
        self._raw(status, json.dumps(body).encode(), headers)

    def _raw(self, status: int, data: bytes, headers: Json | None = None) -> None:
        self.send_response(status)
        for name, value in (
            {"content-type": "application/json", "content-length": len(data)} | (headers or {})
        ).items():
            self.send_header(name, str(value))
        self.end_headers()
        if not self.ways.drip:
            self.wfile.write(data)
            return
        for byte in data:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(self.ways.drip)


def _image(part: Json) -> Image.Image:
    data = part["image_url"]["url"].removeprefix("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(data)))
