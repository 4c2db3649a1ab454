"""A Chroma server that dies or answers nonsense in the middle, and a disk that is full: a sentence, no traceback."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server

import httpx
import pytest

from diffgraph.errors import ExternalError, UserError
from diffgraph.files.disk_errors import disk_sentence, sqlite_sentence
from diffgraph.graph.relations.relation import Relation
from diffgraph.graph.store import chroma
from diffgraph.graph.store.graph_store import GraphStore

EDGE = Relation(a="world/a", b="world/b", kind="overlap", value=0.1)


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def real_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real Chroma server."""
    port, folder = free_port(), tmp_path_factory.mktemp("server")
    program = Path(sys.executable).with_name("chroma")
    command = [program, "run", "--host", "127.0.0.1", "--port", str(port), "--path", folder]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _ in range(300):
            try:
                httpx.get(f"http://127.0.0.1:{port}/api/v2/heartbeat")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield port
        server.kill()


class Between(ThreadingHTTPServer):
    """Stands between a client and the real server, and spoils what comes back as `mode` says."""

    daemon_threads = True
    mode = "honest"
    real_port = 0


class Spoiler(BaseHTTPRequestHandler):
    server: Between
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = f"http://127.0.0.1:{self.server.real_port}{self.path}"
        real = httpx.request(self.command, url, content=body, headers={"Content-Type": "application/json"})
        status, said, promised = {
            "honest": (real.status_code, real.content, len(real.content)),
            "gateway": (502, b"<html>bad gateway \x1b[31m</html>" * 1000, 31_000),
            "page": (200, b"<html>log in</html>", 19),
            "empty": (200, b"", 0),
            "cut": (200, b'{"a', 9000),
            "chroma": (500, b'{"error": "InternalError", "message": "out of memory"}', 54),
            "silent": (200, b"", 9000),
        }[self.server.mode]
        self.send_response(status)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(said)
        if self.server.mode == "silent":
            time.sleep(1.5)
        self.close_connection = len(said) != promised

    do_GET = do_POST = do_DELETE = do_PUT = answer

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def between(real_port: int) -> Iterator[Between]:
    with Between(("127.0.0.1", 0), Spoiler) as server:
        server.real_port = real_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("mode", ["gateway", "page", "empty", "cut", "chroma", "silent"])
def test_a_server_that_fails_is_a_sentence_and_may_come_back(
    between: Between, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(chroma, "SERVER_SECONDS", 0.5)
    with GraphStore(tmp_path, url=f"http://127.0.0.1:{between.server_port}") as store:
        store.put_relation(EDGE)
        between.mode = mode
        for act in (store.relations, store.experts, lambda: store.put_relation(EDGE.model_copy(update={"value": 0.2}))):
            with pytest.raises(ExternalError, match="The Chroma server at") as told:
                act()
            assert len(str(told.value)) < 600
        between.mode = "honest"
        assert len(store.relations()) == 1


def test_a_server_that_never_answered_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExternalError, match="No Chroma server answers"):
        GraphStore(tmp_path, url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match="must look like"):
        GraphStore(tmp_path, url="http://127.0.0.1:port")


def test_a_bug_of_ours_is_not_laid_on_the_server(between: Between, tmp_path: Path) -> None:
    with GraphStore(tmp_path, url=f"http://127.0.0.1:{between.server_port}") as store:
        with pytest.raises(ZeroDivisionError):
            store._database.read(lambda c: 1 / 0)
        with pytest.raises(ValueError, match="ours"), store._database.writing():
            raise ValueError("ours")


def test_a_full_disk_is_told() -> None:
    assert disk_sentence(OSError(28, "No space left on device", "/x")) == (
        "The disk is full (/x). What was finished is kept. Free some space, or set DIFFGRAPH_HOME to another folder."
    )
    assert disk_sentence(OSError(9, "Bad file descriptor")) is None
    full = Exception("error returned from database: (code: 13) database or disk is full")
    assert "The disk is full (/graph)" in str(sqlite_sentence(full, "/graph"))
    assert sqlite_sentence(Exception("no such table"), "/graph") is None
