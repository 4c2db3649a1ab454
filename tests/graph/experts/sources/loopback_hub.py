"""A server on loopback that speaks the Hub's API, and misbehaves as it is told to."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from safetensors.numpy import save

SHA = "c" * 40
CARD = (
    b"---\nbase_model: runwayml/stable-diffusion-v1-5\nlicense: other\nlicense_name: house\ntags: [style]\n---\n# Ink\n"
)


def lora(rank: int = 4) -> bytes:
    """A LoRA of Stable Diffusion 1.5 as kohya's scripts write it."""
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    down, up = np.ones((rank, 768), np.float16), np.ones((320, rank), np.float16)
    return save({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})


def big_lora(seed: int = 0, blocks: int = 400) -> bytes:
    """A LoRA with as many tensors as people's have, more than a megabyte long."""
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_{}_attn2_to_k"
    sides = {"down": np.full((2, 768), seed, np.float16), "up": np.ones((320, 2), np.float16)}
    tensors = {f"{stem.format(n)}.lora_{side}.weight": values for n in range(blocks) for side, values in sides.items()}
    return save(tensors)


class Hub(ThreadingHTTPServer):
    """Repositories as ``{repo: {path: bytes}}``.

    Attributes:
        lies: replaces a file's content. bodies: the body of an answer.
        status: the whole answer below a path; once: the same, as often as it is listed there.
        later_pages: the answer of all pages of the list but the first. page: rows of one.
        rows: adds to a repository's row of the list. shas: its revision. renamed: old name -> new one.
        bad_tokens: are refused. tokens: Authorization headers that came.
    """

    daemon_threads = True

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that has read enough hangs up: that is no error of the server's."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.lies: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}
        self.status: dict[str, tuple[int, dict[str, str]]] = {}
        self.once: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.bodies: dict[str, bytes] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.shas: dict[str, str] = {}
        self.renamed: dict[str, str] = {}
        self.bad_tokens: set[str] = set()
        self.page = 100
        self.later_pages: tuple[int, dict[str, str]] | None = None
        self.tokens: set[str] = set()
        self.log: list[str] = []
        self.sent = 0
        self.no_ranges = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        self.server.log.append(f"{self.command} {self.path}")

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.server.sent += len(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, parts = self.server, urlsplit(self.path)
        hub.tokens.update(self.headers.get_all("Authorization", []))
        if self.headers.get("Authorization", "").removeprefix("Bearer ") in hub.bad_tokens:
            body = json.dumps({"error": "Invalid username or password."}).encode()
            return self._answer(401, body, {"X-Error-Message": "Invalid username or password."})
        for prefix, answers in hub.once.items():
            if parts.path.startswith(prefix) and answers:
                status, headers = answers.pop(0)
                return self._answer(status, b"{}", headers)
        for prefix, (status, headers) in hub.status.items():
            if parts.path.startswith(prefix):
                return self._answer(status, b"{}", headers)
        if parts.path in hub.bodies:
            return self._answer(200, hub.bodies[parts.path], {"Content-Type": "text/html"})
        if parts.path == "/api/models":
            return self._list(parse_qs(parts.query), parts.query)
        for old, new in hub.renamed.items():
            if parts.path.startswith(f"/api/models/{old}"):
                return self._answer(307, b"", {"Location": parts.path.replace(old, new, 1)})
        if found := re.fullmatch(r"/api/models/(.+?)(?:/revision/(\w+))?", parts.path):
            return self._info(found[1])
        if found := re.fullmatch(r"/(.+)/resolve/(\w+)/(.+)", parts.path):
            return self._file(found[1], found[3])
        return self._answer(404, b"{}", {})

    def _list(self, query: dict[str, list[str]], raw: str) -> None:
        hub = self.server
        found = [r for r in sorted({*hub.repos, *hub.renamed}) if query.get("search", [""])[0] in r]
        cursor = query.get("cursor", ["0"])[0]
        if not cursor.isdigit():
            return self._answer(400, b'{"error": "Invalid cursor"}', {})
        start = int(cursor)
        if start and hub.later_pages:
            return self._answer(hub.later_pages[0], b"{}", hub.later_pages[1])
        row = {"createdAt": "2025-03-04T00:00:00.000Z", "tags": ["lora"], "downloads": 7}
        page = found[start : start + hub.page]
        rows = [{"id": r, **row, **self._revision(r), **hub.rows.get(r, {})} for r in page]
        headers = {"Content-Type": "application/json"}
        if start + hub.page < len(found):
            rest = re.sub(r"&?cursor=[^&]*", "", raw)
            headers["Link"] = f'<https://huggingface.co/api/models?{rest}&cursor={start + hub.page}>; rel="next"'
        return self._answer(200, json.dumps(rows).encode(), headers)

    def _revision(self, repo: str) -> dict[str, str]:
        return {"sha": self.server.shas.get(repo, SHA)}

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _info(self, repo: str) -> None:
        if repo not in self.server.repos:
            return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        files = []
        for path, data in self.server.repos[repo].items():
            size = self.server.sizes.get(path, len(data))
            row: dict[str, Any] = {"rfilename": path, "size": size, "blobId": "b" * 40}
            if path.endswith(".safetensors"):
                row["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 134}
            files.append(row)
        return self._json(
            {"id": repo, **self._revision(repo), "createdAt": "2025-03-04T00:00:00.000Z", "siblings": files}
        )

    def _file(self, repo: str, path: str) -> None:
        data = self.server.repos.get(repo, {}).get(path)
        if data is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": SHA, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        data = self.server.lies.get(path, data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", ""))
        if wanted and not self.server.no_ranges:
            start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            return self._answer(206, data[start : end + 1], headers)
        return self._answer(200, data, headers)


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """The server, answering in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
