"""The Hub source against a server on loopback that speaks the Hub's API; the client is the real one."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from safetensors.numpy import save

from diffgraph.errors import ExpertError, ExternalError, UserError
from diffgraph.graph.experts.registration import register
from diffgraph.graph.experts.sources.huggingface import HuggingFace

SHA = "c" * 40
CARD = (
    b"---\nbase_model: runwayml/stable-diffusion-v1-5\nlicense: other\nlicense_name: house\ntags: [style]\n---\n# Ink\n"
)


def lora(rank: int = 4) -> bytes:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    down, up = np.ones((rank, 768), np.float16), np.ones((320, rank), np.float16)
    return save({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})


class Hub(ThreadingHTTPServer):
    """Repositories as ``{repo: {path: bytes}}``; ``lies`` replaces a file's content, ``status`` the whole answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.lies: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}
        self.status: dict[str, tuple[int, dict[str, str]]] = {}
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
        for prefix, (status, headers) in hub.status.items():
            if parts.path.startswith(prefix):
                return self._answer(status, b"{}", headers)
        if parts.path == "/api/models":
            query = parse_qs(parts.query)
            found = [r for r in sorted(hub.repos) if query.get("search", [""])[0] in r]
            rows = [{"id": r, "createdAt": "2025-03-04T00:00:00.000Z", "tags": ["lora"], "downloads": 7} for r in found]
            return self._json(rows)
        if found := re.fullmatch(r"/api/models/(.+?)(?:/revision/(\w+))?", parts.path):
            return self._info(found[1])
        if found := re.fullmatch(r"/(.+)/resolve/(\w+)/(.+)", parts.path):
            return self._file(found[1], found[3])
        return self._answer(404, b"{}", {})

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
        return self._json({"id": repo, "sha": SHA, "createdAt": "2025-03-04T00:00:00.000Z", "siblings": files})

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


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    server = Hub()
    server.repos["ana/ink"] = {"README.md": CARD, "ink.safetensors": lora(), "extra.bin": b"x"}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    close_session()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def source(hub: Hub, tmp_path: Path) -> HuggingFace:
    return HuggingFace(endpoint=hub.url, cache_dir=tmp_path / "cache", token="")


def test_lists_registers_and_fetches(hub: Hub, source: HuggingFace) -> None:
    hub.repos["bo/other"] = {}
    assert [(x.repo, x.created, x.downloads) for x in source.list("ink")] == [("ana/ink", "2025-03-04", 7)]
    assert len(list(source.list())) == 2
    (expert,) = register(source, "ana/ink")
    assert (expert.id, expert.base_family, expert.rank, expert.licence, expert.created) == (
        "huggingface/ana/ink", "sd15", 4, "house", "2025-03-04",
    )  # fmt: skip
    assert expert.ref.revision == SHA
    assert not any("HEAD" in line for line in hub.log), "registration downloads no weights"
    path = source.fetch(expert.ref)
    assert path.read_bytes() == lora()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expert.sha256
    before = len([line for line in hub.log if line.startswith("GET") and "resolve" in line])
    assert source.fetch(expert.ref) == path
    assert len([line for line in hub.log if line.startswith("GET") and "resolve" in line]) == before


def test_only_the_header_of_a_large_file_is_read(hub: Hub, source: HuggingFace) -> None:
    big = save({"m.lora_down.weight": np.ones((4, 500_000), np.float16)})
    hub.repos["ana/big"] = {"big.safetensors": big}
    assert register(source, "ana/big")[0].rank == 4
    assert hub.sent < 250_000 < len(big)
    hub.no_ranges = True  # a proxy that ignores ranges sends everything; no more than needed is kept
    assert register(HuggingFace(endpoint=hub.url, token=""), "ana/big")[0].rank == 4


def test_a_header_longer_than_the_first_read(hub: Hub, source: HuggingFace) -> None:
    many = save({f"unet.block{i:05d}.attn.to_q.lora_A.weight": np.ones((2, 2), np.float16) for i in range(1500)})
    hub.repos["ana/many"] = {"many.safetensors": many}
    assert int.from_bytes(many[:8], "little") > 100_000
    assert register(source, "ana/many")[0].rank == 2


def test_several_files_are_several_experts(hub: Hub, source: HuggingFace) -> None:
    hub.repos["ana/two"] = {"README.md": CARD, "a.safetensors": lora(4), "b.safetensors": lora(8)}
    experts = register(source, "ana/two")
    assert [(e.id, e.rank) for e in experts] == [("huggingface/ana/two/a", 4), ("huggingface/ana/two/b", 8)]
    assert experts[0].sha256 != experts[1].sha256


def test_pickles_only(hub: Hub, source: HuggingFace) -> None:
    hub.repos["ana/old"] = {"pytorch_lora_weights.bin": b"\x80\x04"}
    with pytest.raises(ExpertError, match="only pickles"):
        register(source, "ana/old")


def test_bad_content_is_not_kept(hub: Hub, source: HuggingFace) -> None:
    (expert,) = register(source, "ana/ink")
    good = lora()
    for lie in (good[:-1] + b"\x07", b"<html>503</html>".ljust(len(good))):
        hub.lies["ink.safetensors"] = lie
        with pytest.raises(ExternalError, match="sha256"):
            source.fetch(expert.ref)
    hub.lies.clear()
    assert source.fetch(expert.ref).read_bytes() == good


def test_an_error_page_is_no_header(hub: Hub, source: HuggingFace) -> None:
    hub.lies["ink.safetensors"] = b"<html>busy</html>".ljust(2000)
    with pytest.raises(ExpertError, match="web page"):
        register(source, "ana/ink")


def test_sizes_are_bounded_before_a_download(hub: Hub, source: HuggingFace, tmp_path: Path) -> None:
    (expert,) = register(source, "ana/ink")
    small = HuggingFace(endpoint=hub.url, cache_dir=tmp_path / "cache", token="", max_file_bytes=10)
    with pytest.raises(UserError, match="allowed"):
        small.fetch(expert.ref)
    hub.sizes["README.md"] = 50_000_000
    with pytest.raises(ExpertError, match="larger"):
        HuggingFace(endpoint=hub.url, token="").card("ana/ink")


def test_gated_and_absent(hub: Hub, source: HuggingFace) -> None:
    hub.status["/api/models/meta/gated"] = (403, {"X-Error-Code": "GatedRepo"})
    with pytest.raises(UserError, match="gated"):
        register(source, "meta/gated")
    with pytest.raises(UserError, match="not found"):
        register(source, "nobody/nothing")
    with pytest.raises(UserError, match="not found"):
        register(source, "../../etc/passwd")
    (expert,) = register(source, "ana/ink")
    hub.status["/ana/ink/resolve"] = (401, {"X-Error-Code": "GatedRepo"})
    with pytest.raises(UserError, match="HF_TOKEN"):
        source.fetch(expert.ref)


@pytest.mark.parametrize("path", ["/api/models", "/api/models/ana/ink", "/ana/ink/resolve"])
def test_rate_limits_say_when_to_come_back(hub: Hub, source: HuggingFace, path: str) -> None:
    ref = register(source, "ana/ink")[0].ref
    hub.status[path] = (429, {"Retry-After": "37"})
    fresh = HuggingFace(endpoint=hub.url, token="")
    ask = {"/api/models": lambda: list(source.list()), "/api/models/ana/ink": lambda: fresh.info("ana/ink")}
    with pytest.raises(ExternalError, match="37 s") as caught:
        ask.get(path, lambda: source.fetch(ref))()
    assert caught.value.retry_after == 37


def test_failures_of_the_server(hub: Hub, source: HuggingFace) -> None:
    hub.status["/api/models/ana/ink"] = (500, {})
    with pytest.raises(ExternalError, match="500"):
        source.info("ana/ink")


def test_no_network(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(ExternalError, match="network"):
        HuggingFace(endpoint="http://127.0.0.1:9", token="").info("ana/ink")


def test_redirects_to_strangers_are_not_followed(hub: Hub, source: HuggingFace) -> None:
    (expert,) = register(source, "ana/ink")
    hub.status["/ana/ink/resolve"] = (
        302,
        {"Location": "https://evil.example/x", "X-Repo-Commit": SHA, "X-Linked-Etag": '"e"', "X-Linked-Size": "5"},
    )
    with pytest.raises(ExternalError, match=r"evil\.example"):
        source.fetch(expert.ref)
    with pytest.raises(ExternalError, match=r"evil\.example"):
        source.header(expert.ref)


def test_relative_redirects_are_followed_and_end(hub: Hub, source: HuggingFace) -> None:
    hub.repos["ana/renamed"] = hub.repos["ana/ink"]
    ref = register(source, "ana/ink")[0].ref
    hub.status["/ana/ink/resolve"] = (307, {"Location": f"/ana/renamed/resolve/{SHA}/ink.safetensors"})
    assert source.header(ref).size_bytes == len(lora())
    hub.status["/ana/renamed"] = (307, {"Location": f"/ana/ink/resolve/{SHA}/ink.safetensors"})
    with pytest.raises(ExternalError, match="without end"):
        source.header(ref)


def test_offline_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        HuggingFace(endpoint="http://127.0.0.1:9").info("ana/ink")
