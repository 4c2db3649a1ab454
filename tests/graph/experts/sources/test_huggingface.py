"""The Hub source against a server on loopback that speaks the Hub's API; the client is the real one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from diffgraph.errors import ExpertError, ExternalError, UserError
from diffgraph.graph.experts.registration import register
from diffgraph.graph.experts.sources.huggingface import HuggingFace

from .loopback_hub import CARD, SHA, Hub, lora, running


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


def test_what_is_pinned_and_cached_needs_nobody(
    hub: Hub, source: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expert,) = register(source, "ana/ink")
    path = source.fetch(expert.ref)
    fresh = HuggingFace(endpoint=hub.url, cache_dir=tmp_path / "cache", token="")
    for prefix, answer in (("/", (429, {"Retry-After": "60"})), ("/", (404, {"X-Error-Code": "RepoNotFound"}))):
        hub.status[prefix] = answer
        hub.log.clear()
        assert fresh.fetch(expert.ref) == path
        assert fresh.header(expert.ref).size_bytes == len(lora())
        assert hub.log == []
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    offline = HuggingFace(endpoint="http://127.0.0.1:9", cache_dir=tmp_path / "cache", token="")
    assert offline.fetch(expert.ref) == path


def test_a_damaged_file_in_the_cache_is_fetched_anew(hub: Hub, source: HuggingFace) -> None:
    (expert,) = register(source, "ana/ink")
    path = source.fetch(expert.ref)
    for damage in (lora()[:-1] + b"\x07", b"cut"):
        path.resolve().write_bytes(damage)
        assert source.fetch(expert.ref).read_bytes() == lora()


def test_a_mirrors_storage_is_a_setting(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: HuggingFace
) -> None:
    (expert,) = register(source, "ana/ink")
    store = Hub()
    store.repos["ana/ink"] = hub.repos["ana/ink"]
    with running(store):
        there = store.url.replace("127.0.0.1", "localhost")
        hub.status["/ana/ink/resolve"] = (302, {"Location": f"{there}/ana/ink/resolve/{SHA}/ink.safetensors"})
        with pytest.raises(ExternalError, match="DIFFGRAPH_HUGGINGFACE_STORAGE"):
            source.header(expert.ref)
        monkeypatch.setenv("DIFFGRAPH_HUGGINGFACE_STORAGE", "cdn.example, localhost")
        monkeypatch.setenv("DIFFGRAPH_HUGGINGFACE_ENDPOINT", hub.url)
        mirror = HuggingFace(cache_dir=tmp_path / "mirror", token="hf_secret")
        assert mirror.header(expert.ref).size_bytes == len(lora())
        assert store.tokens == set(), "the token stays with the Hub"
        assert "Bearer hf_secret" in hub.tokens


def test_the_transfer_librarys_errors_are_sentences(
    hub: Hub, source: HuggingFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def breaks(*_: object, **__: object) -> str:
        raise RuntimeError("Data processing error: CAS service error : Reqwest error")

    (expert,) = register(source, "ana/ink")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", breaks)
    with pytest.raises(ExternalError, match=r"hf_xet.*CAS service.*HF_HUB_DISABLE_XET"):
        source.fetch(expert.ref)
