"""Local sources, registration and the registry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffgraph.bases.architecture import family_of_model_id
from diffgraph.errors import BaseMissing, ExpertError, UserError
from diffgraph.graph.experts import sources
from diffgraph.graph.experts.expert import SourceRef
from diffgraph.graph.experts.registration import register
from diffgraph.graph.experts.sources.folder import Folder
from diffgraph.world.source import World

CARD = "---\nbase_model: emoji-base\nlicense: mit\ntags: [lora]\n---\n# Two\n## Skills\n- crab\n- shark\n"
LORA = {
    "unet.mid.attn2.to_k.lora_A.weight": np.ones((4, 192), np.float16),
    "unet.mid.attn2.to_k.lora_B.weight": np.ones((8, 4), np.float16),
}


def make(folder: Path, tensors: dict[str, np.ndarray] = LORA, file: str = "a.safetensors", card: str = CARD) -> Path:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(card, encoding="utf-8")
    save_file(tensors, folder / file)
    return folder


def test_the_world_registers(world: Path) -> None:
    source = World(world)
    assert [x.repo for x in source.list("sea")] == ["sea-life"]
    assert len(list(source.list())) == 30
    (sea,) = register(source, "sea-life")
    assert (sea.id, sea.base_family, sea.kind, sea.rank, sea.licence, sea.samples) == (
        "world/sea-life", "emoji", "lora", 8, "apache-2.0", 3,
    )  # fmt: skip
    assert [s.name for s in sea.skills][:2] == ["octopus", "crab"]
    assert "octopus" in sea.text
    assert SourceRef.parse(str(sea.ref)) == sea.ref
    (base,) = register(source, "emoji-base")
    assert (base.kind, base.base_family, base.ref.file) == ("base", "emoji", "unet/diffusion_pytorch_model.safetensors")
    (clay,) = register(source, "emoji-clay")
    assert (clay.kind, clay.base_family, clay.rank) == ("checkpoint", "emoji", None)
    assert register(source, "sdxl-watercolour")[0].base_family == "sdxl"
    assert register(source, "mislabelled-woodcut")[0].base_family == "sd15"
    with pytest.raises(ExpertError, match="only pickles"):
        register(source, "dinosaurs-pickle")


def test_world_files_are_checked_against_the_manifest(world: Path, tmp_path: Path) -> None:
    make(tmp_path / "hub" / "two")
    (expert,) = register(World(tmp_path), "two")
    assert World(tmp_path).fetch(expert.ref).is_file()
    manifest = {"files": {"hub/two/a.safetensors": "0" * 64}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BaseMissing, match="damaged"):
        World(tmp_path).fetch(expert.ref)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BaseMissing, match="damaged"):
        World(tmp_path).fetch(expert.ref)


def test_folders_of_yours(tmp_path: Path) -> None:
    make(tmp_path / "my lora@home")
    make(tmp_path / "plain")
    source = sources.get("folder", root=tmp_path)
    listed = list(source.list())
    assert len(listed) == 2
    (expert,) = register(source, listed[0].repo)
    assert expert.id.startswith("folder/my lora@home-")
    # The reference alone finds the file again, in another process too.
    ref = SourceRef.parse(str(expert.ref))
    path = sources.get(ref.source).fetch(ref)
    assert path == tmp_path / "my lora@home" / "a.safetensors"
    assert source.sha256(ref) == expert.sha256
    assert register(source, "plain")[0].title == "Two"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert source.sha256(ref) != expert.sha256
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ExpertError, match="cut short"):
        source.fetch(ref)
    path.unlink()
    with pytest.raises(UserError, match="no longer there"):
        source.fetch(ref)


@pytest.mark.parametrize("repo", ["../evil", "/etc", "absent", ".hidden", ""])
def test_repository_names_are_no_paths_out(world: Path, repo: str) -> None:
    with pytest.raises(UserError, match="no repository"):
        World(world).info(repo)


@pytest.mark.parametrize("file", ["../../secret.safetensors", "/etc/x.safetensors", ""])
def test_file_names_are_no_paths_out(world: Path, file: str) -> None:
    ref = SourceRef(source="world", repo="sea-life", revision="1", file=file)
    with pytest.raises((UserError, ExpertError)):
        World(world).fetch(ref)


def test_several_files_are_several_experts(tmp_path: Path) -> None:
    folder = make(tmp_path / "two", file="crab.safetensors")
    save_file(LORA, folder / "shark v2.safetensors")
    experts = register(Folder(tmp_path), "two")
    assert [e.id.rsplit("/", 1)[1] for e in experts] == ["crab", "shark-v2"]
    assert [[s.name for s in e.skills] for e in experts] == [["crab"], ["shark"]]


def test_what_is_no_single_expert_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "shards", file="unet/model-00001-of-00002.safetensors")
    with pytest.raises(ExpertError, match="several files"):
        register(Folder(tmp_path), "shards")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExpertError, match=r"no \.safetensors"):
        register(Folder(tmp_path), "empty")
    make(tmp_path / "other", {"classifier.weight": np.ones((2, 2), np.float32)})
    with pytest.raises(ExpertError, match=r"classifier\.weight"):
        register(Folder(tmp_path), "other")
    make(tmp_path / "big", card="x" * 2_000_000)
    with pytest.raises(ExpertError, match="larger"):
        register(Folder(tmp_path), "big")


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        ({"m.hada_w1_a": (4, 4)}, "loha"),
        ({"m.lokr_w1": (4, 4)}, "lokr"),
        ({"m.oft_blocks": (4, 4)}, "oft"),
        ({"m.diff": (4, 4), "n.w_norm": (4,)}, "full"),
        ({"m.lora_down.weight": (4, 8), "m.dora_scale": (8,)}, "dora"),
        ({"m.lora_down.weight": (4, 8, 3, 3), "m.lora_up.weight": (8, 4, 1, 1)}, "locon"),
        ({"m.lora_A.weight": (4, 8, 3, 3), "m.lora_B.weight": (8, 4, 1, 1)}, "lora"),
        ({"emb_params": (3, 768)}, "textual_inversion"),
        ({"down_blocks.0.conv.weight": (4, 4)}, "checkpoint"),
    ],
)
def test_kinds_are_told_from_names(tmp_path: Path, tensors: dict[str, tuple[int, ...]], kind: str) -> None:
    make(tmp_path / "x", {k: np.ones(s, np.float16) for k, s in tensors.items()})
    assert register(Folder(tmp_path), "x")[0].kind == kind


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("emoji-base", "emoji"),
        ("runwayml/stable-diffusion-v1-5", "sd15"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
        ("black-forest-labs/FLUX.1-dev", "flux1"),
        ("stabilityai/stable-diffusion-3-medium", "sd3"),
        ("someone/My Own_Thing", "my-own-thing"),
        ("", "unknown"),
    ],
)
def test_families(model: str, family: str) -> None:
    assert family_of_model_id(model) == family


def test_the_registry() -> None:
    assert {"folder", "huggingface", "world"} <= set(sources.names())
    with pytest.raises(UserError, match="huggingface"):
        sources.get("hugingface")
    with pytest.raises(ValueError, match="two sources"):
        sources.source("folder")(Folder.__mro__[1])
    with pytest.raises(ValueError, match="source:repo@revision:file"):
        SourceRef.parse("nonsense")


def test_capitals_in_a_suffix_hide_no_expert(tmp_path: Path) -> None:
    make(tmp_path / "loud", file="A.SAFETENSORS")
    (expert,) = register(Folder(tmp_path), "loud")
    assert (expert.kind, expert.rank, expert.ref.file) == ("lora", 4, "A.SAFETENSORS")
    assert Folder(tmp_path).fetch(expert.ref).name == "A.SAFETENSORS"


def test_a_base_is_told_by_its_card(tmp_path: Path) -> None:
    """Whatever its denoiser is called inside; but an adapter stays one, whatever its card says."""
    card = "---\ntags: [base]\n---\n# Mine\n"
    unet, other = {"down_blocks.0.conv.weight": (4, 4)}, {"blocks.0.strange.weight": (4, 4)}
    for name, tensors in (("known", unet), ("strange", other)):
        arrays = {key: np.ones(shape, np.float16) for key, shape in tensors.items()}
        make(tmp_path / name, arrays, "transformer/diffusion_pytorch_model.safetensors", card)
        assert register(Folder(tmp_path), name)[0].kind == "base"
    make(tmp_path / "adapter", LORA, "transformer/pytorch_lora_weights.safetensors", card)
    assert register(Folder(tmp_path), "adapter")[0].kind == "lora"
    make(tmp_path / "nobody", {"blocks.0.strange.weight": np.ones(4)}, "transformer/x.safetensors")
    with pytest.raises(ExpertError, match="no known expert kind"):
        register(Folder(tmp_path), "nobody")
