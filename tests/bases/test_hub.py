"""A base by its id on the Hub: a loopback server that speaks the Hub's API, and the Hub's own client."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffgraph.bases import hub as on_hub
from diffgraph.bases import known, registry
from diffgraph.bases.index import BaseIndex
from diffgraph.errors import ExternalError, UserError
from diffgraph.merging.engine.pipeline_loading import load_pipeline
from diffgraph.scoring import pretrained
from diffgraph.scoring.clip_model import ClipModel
from diffgraph.tests.pico import tiny_clip

TESTS = Path(__file__).parents[1]
REPO = "ana/tiny-sd15"


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"diffgraph_tests_of_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


server = _module(TESTS / "graph" / "experts" / "sources" / "loopback_hub.py")
files = _module(TESTS / "bases" / "single_files.py")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sd15: Path) -> Iterator[Any]:
    """A Hub with one pipeline, beside whose safetensors lie pickles, a variant and another program's files."""
    import threading

    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    made = server.Hub()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    repo = {p.relative_to(sd15).as_posix(): p.read_bytes() for p in sd15.rglob("*") if p.is_file()}
    weights = repo["unet/diffusion_pytorch_model.safetensors"]
    repo |= {
        "unet/diffusion_pytorch_model.bin": b"x", "unet/diffusion_pytorch_model.fp16.safetensors": weights,
        "unet/diffusion_flax_model.msgpack": b"x", "sd.ckpt": b"x", "sd.safetensors": weights, "README.md": b"# Tiny\n",
    }  # fmt: skip
    made.repos[REPO] = repo
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    close_session()
    made.shutdown()
    made.server_close()
    thread.join()


def test_an_id_is_downloaded_pinned_and_known(hub: Any, sd15: Path, tmp_path: Path) -> None:
    home, said = tmp_path / "home", []
    found = registry.chosen(REPO, home, tell=said.append)
    assert (found.kind, found.name, found.architecture) == ("hub", "tiny-sd15", "sd15")
    assert found.origin == f"{REPO}@{server.SHA}"
    assert found.ref == f"hub:{REPO}@{server.SHA}"
    asked = [line.partition("/resolve/")[2] for line in hub.log if "/resolve/" in line]
    assert not [line for line in asked if line.endswith((".bin", ".ckpt", ".msgpack", "sd.safetensors"))]
    assert not [line for line in asked if "fp16" in line]
    one, other = BaseIndex.open(found.folder), BaseIndex.open(sd15)
    assert one.sha256 == other.sha256 == found.key
    assert one.params.keys() == other.params.keys()
    assert load_pipeline(found.folder, torch.device("cpu"), torch.float32).unet.config.cross_attention_dim == 768
    (entry,) = known.read(home).bases
    assert (entry.revision, entry.where) == (server.SHA, REPO)


def test_what_is_known_needs_no_network(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    first = registry.chosen(REPO, home)
    before = len(hub.log)
    for named in (REPO, f"{REPO}@{server.SHA}", "tiny-sd15"):
        assert registry.chosen(named, home) == first
    assert len(hub.log) == before
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again = registry.chosen(REPO, tmp_path / "another home")
    assert (again.origin, again.key) == (first.origin, first.key)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        registry.chosen("ana/other", home)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub.status["/api"] = (503, {})
    assert registry.chosen(REPO, tmp_path / "third home").key == first.key


def test_a_model_that_scores_images_is_fetched_without_what_is_not_opened(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_clip.clip(tmp_path / "clip")
    repo = {p.name: p.read_bytes() for p in made.iterdir()}
    extra = ("pytorch_model.bin", "open_clip_model.safetensors", "model.fp16.safetensors", "onnx/model.safetensors")
    hub.repos["ana/clip"] = repo | dict.fromkeys(extra, b"x")
    folder = on_hub.model("ana/clip")
    assert {p.name for p in folder.iterdir()} == set(repo)
    assert pretrained.identity(folder) == pretrained.identity(made)
    assert ClipModel(folder).images([Image.new("RGB", (16, 16))]).shape == (1, 8)
    asked = len(hub.log)
    assert on_hub.model("ana/clip", server.SHA) == folder
    assert len(hub.log) == asked  # a commit never changes
    hub.status["/api"] = (503, {})
    assert on_hub.model("ana/clip") == folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert on_hub.model("ana/clip") == folder
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        on_hub.model("ana/other")


def test_a_model_of_pickles_is_refused(hub: Any) -> None:
    hub.repos["ana/old"] = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        on_hub.model("ana/old")


def test_a_repository_of_pickles_is_refused(hub: Any, tmp_path: Path) -> None:
    repo = hub.repos[REPO]
    del repo["unet/diffusion_pytorch_model.safetensors"], repo["unet/diffusion_pytorch_model.fp16.safetensors"]
    with pytest.raises(UserError, match=r"only pickles for its unet .*can run code"):
        registry.chosen(REPO, tmp_path / "home")
    hub.repos["ana/old"] = {"model.ckpt": b"x"}
    with pytest.raises(UserError, match="only pickles"):
        registry.chosen("ana/old", tmp_path / "home")
    hub.repos["ana/nothing"] = {"README.md": b"x"}
    with pytest.raises(UserError, match=r"model_index\.json is missing"):
        registry.chosen("ana/nothing", tmp_path / "home")
    assert known.read(tmp_path / "home").bases == ()


def test_a_repository_with_a_variant_only_is_drawn_with(hub: Any, tmp_path: Path) -> None:
    repo = hub.repos[REPO]
    del repo["unet/diffusion_pytorch_model.safetensors"]
    found = registry.chosen(REPO, tmp_path / "home")
    pipe = load_pipeline(found.folder, torch.device("cpu"), torch.float32)
    file = found.folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    assert torch.equal(pipe.unet.conv_in.weight, load_file(file)["conv_in.weight"].float())


def test_a_repository_with_one_file_is_converted(hub: Any, sd15: Path, tmp_path: Path) -> None:
    file = files.sd15_file(sd15, tmp_path / "dream.safetensors")
    hub.repos["ana/dream"] = {"dream.safetensors": file.read_bytes(), "README.md": b"x"}
    found = registry.chosen("ana/dream", tmp_path / "home", parts=str(sd15))
    assert (found.kind, found.name) == ("hub", "dream")
    assert BaseIndex.open(found.folder).sha256 == BaseIndex.open(sd15).sha256
    assert registry.chosen("ana/dream", tmp_path / "home") == found


def test_configs_come_from_the_hub_where_a_file_needs_them(hub: Any, sd15: Path, tmp_path: Path) -> None:
    usual = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    hub.repos[usual] = hub.repos.pop(REPO)
    file = files.sd15_file(sd15, tmp_path / "somewhere" / "dream.safetensors")
    found = registry.chosen(str(file), tmp_path / "home")
    assert BaseIndex.open(found.folder).sha256 == BaseIndex.open(sd15).sha256
    assert not [line for line in hub.log if "/resolve/" in line and ".safetensors" in line]


def test_what_the_hub_says_is_told(hub: Any, tmp_path: Path) -> None:
    for named in ("ana/nobody", f"{REPO}@no-such"):
        hub.status["/api/models/ana/tiny-sd15/revision"] = (404, {"X-Error-Code": "RevisionNotFound"})
        with pytest.raises(UserError, match="was not found"):
            registry.chosen(named, tmp_path / "home")
    hub.status["/api"] = (403, {"X-Error-Code": "GatedRepo"})
    with pytest.raises(UserError, match=r"is gated.*HF_TOKEN"):
        registry.chosen(REPO, tmp_path / "home")
    hub.status["/api"] = (500, {"Retry-After": "7"})
    with pytest.raises(ExternalError, match=r"answered 500.*7 s") as told:
        on_hub.fetch(REPO, "", lambda text: None)
    assert told.value.retry_after == 7


def test_a_file_with_other_bytes_than_announced_is_refused(hub: Any, tmp_path: Path) -> None:
    name = "vae/diffusion_pytorch_model.safetensors"
    data = bytearray(hub.repos[REPO][name])
    data[-1] ^= 1
    hub.lies[name] = bytes(data)
    with pytest.raises(ExternalError, match="does not have the size and sha256"):
        registry.chosen(REPO, tmp_path / "home")
    hub.lies.clear()
    assert registry.chosen(REPO, tmp_path / "home").kind == "hub"
