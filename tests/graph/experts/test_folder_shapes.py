"""The ten commonest shapes of a user's folder: each row of the table in docs/your-own-experts.md, made and seen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffgraph.files.payload_hash import HashMemo
from diffgraph.graph.experts.scan import Report, scan
from diffgraph.graph.experts.scouted import Scouted
from diffgraph.graph.experts.sources.folder import Folder
from diffgraph.graph.store.graph_store import GraphStore

from .weights import lora, save

DOCS = Path(__file__).parents[3] / "docs" / "your-own-experts.md"
PAGE = {
    "id": 2, "modelId": 1, "name": "v1.0", "baseModel": "SD 1.5", "trainedWords": ["pixfox, red", "pixfox, blue"],
    "model": {"name": "Fox", "nsfw": False, "tags": ["animal"], "allowCommercialUse": "None"},
}  # fmt: skip


def beside(folder: Path, suffix: str, data: object) -> None:
    lora(folder / "fox.safetensors")
    (folder / f"fox{suffix}").write_text(json.dumps(data), encoding="utf-8")


def a1111(folder: Path) -> None:
    beside(folder, ".json", {"activation text": "pixfox", "preferred weight": 0.7, "negative text": "dog"})
    (folder / "fox.png").write_bytes(b"\x89PNG")


def civitai(folder: Path) -> None:
    beside(folder, ".civitai.info", PAGE)


def comfyui(folder: Path) -> None:
    meta = {"modelspec.title": "A fox", "ss_tag_frequency": '{"5_pixfox": {"pixfox": 9, "1girl": 3}}'}
    lora(folder / "animals" / "wild" / "fox_v2.safetensors", meta=meta)


def lora_manager(folder: Path) -> None:
    tips = '{"strength": 0.6}'
    beside(folder, ".metadata.json", {"file_name": "fox", "model_name": "My fox", "usage_tips": tips, "civitai": PAGE,
                                      "exclude": True})  # fmt: skip


def stability_matrix(folder: Path) -> None:
    beside(folder, ".cm-info.json", {"ModelId": 1, "VersionId": 2, "UserTitle": "My fox", "TrainedWords": ["pixfox"]})


def swarm(folder: Path) -> None:
    beside(folder, ".swarm.json", {"modelspec.trigger_phrase": "pixfox", "modelspec.lora_default_weight": "0.9"})


def clones(folder: Path) -> None:
    lora(folder / "fox" / "pytorch_lora_weights.safetensors")
    (folder / "fox" / "README.md").write_text("---\ninstance_prompt: pixfox\nlicense: mit\n---\n# A fox\n")


def downloads(folder: Path) -> None:
    lora(folder / "red-fox" / "pytorch_lora_weights.safetensors")


def pipelines(folder: Path) -> None:
    (folder / "tuned" / "unet").mkdir(parents=True)
    (folder / "tuned" / "model_index.json").write_text("{}")
    weights = {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": np.ones((320, 768), np.float16)}
    save(folder / "tuned" / "unet" / "diffusion_pytorch_model.safetensors", weights)
    save(folder / "tuned" / "vae" / "diffusion_pytorch_model.safetensors", {"encoder.conv_in.weight": np.ones((4, 4))})


def models(folder: Path) -> None:
    lora(folder / "Lora" / "fox.safetensors")
    save(folder / "embeddings" / "ink.safetensors", {"emb_params": np.ones((2, 768), np.float32)})
    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    save(folder / "Stable-diffusion" / "tuned.safetensors", {key: np.ones((320, 768), np.float16)})
    save(folder / "VAE" / "vae.safetensors", {"encoder.conv_in.weight": np.ones((4, 4))})
    save(folder / "ControlNet" / "pose.safetensors", {"control_model.zero_convs.0.0.weight": np.ones((4, 4))})
    (folder / "Stable-diffusion" / "old.ckpt").write_bytes(b"PK\x03\x04")
    (folder / "Lora" / "half.safetensors.part").write_bytes(b"")


SHAPES: dict[str, tuple[Callable[[Path], None], Callable[[Report], object], object]] = {
    "A1111, Forge": (
        a1111,
        lambda r: [(e.triggers, e.weight, e.negative, e.preview) for e in r.new],
        [((("pixfox",),), 0.7, "dog", "fox.png")],
    ),
    "Civitai helpers": (
        civitai,
        lambda r: [(e.title, e.triggers, e.licence, e.origin) for e in r.new],
        [("Fox", (("pixfox", "red"), ("pixfox", "blue")), "civitai-nc", "civitai:1@2")],
    ),
    "ComfyUI": (
        comfyui,
        lambda r: [(e.id, e.title, e.triggers, e.tag_counts[0]) for e in r.new],
        [("folder/fox_v2", "A fox", (("pixfox",),), ("pixfox", 9))],
    ),
    "ComfyUI-Lora-Manager": (
        lora_manager,
        lambda r: [(e.title, len(e.triggers), e.weight, e.off) for e in r.new],
        [("My fox", 2, 0.6, True)],
    ),
    "Stability Matrix": (
        stability_matrix,
        lambda r: [(e.title, e.triggers) for e in r.new],
        [("My fox", (("pixfox",),))],
    ),
    "SwarmUI": (swarm, lambda r: [(e.triggers, e.weight) for e in r.new], [((("pixfox",),), 0.9)]),
    "clones from the Hub": (
        clones,
        lambda r: [(e.title, e.triggers, e.licence) for e in r.new],
        [("A fox", (("pixfox",),), "mit")],
    ),
    "downloads without a card": (
        downloads,
        lambda r: [(e.title, e.skills[0].name, e.triggers) for e in r.new],
        [("red-fox", "red-fox", ())],
    ),
    "diffusers pipelines": (
        pipelines,
        lambda r: ([(e.kind, e.base_family) for e in r.new], r.refused),
        ([("checkpoint", "sd15")], ()),
    ),
    "a whole `models` folder": (
        models,
        lambda r: (sorted(e.kind for e in r.new), sorted(Path(one.place).name for one in r.refused)),
        (
            ["checkpoint", "lora", "textual_inversion"],
            ["half.safetensors.part", "old.ckpt", "pose.safetensors", "vae.safetensors"],
        ),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape(tmp_path: Path, shape: str) -> None:
    make, seen, expected = SHAPES[shape]
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder)
    with GraphStore(tmp_path / "graph") as store:
        found = scan(
            Folder(folder), store, Scouted(tmp_path / "s.sqlite"), HashMemo(tmp_path / "h.json"), tell=lambda *_: None
        )
        assert seen(found) == expected
        assert not scan(
            Folder(folder), store, Scouted(tmp_path / "s.sqlite"), HashMemo(tmp_path / "h.json"), tell=lambda *_: None
        ).anything
        for expert in found.new:
            assert Folder().fetch(expert.ref).is_file()


def test_the_docs_tell_of_each() -> None:
    table = DOCS.read_text(encoding="utf-8").partition("## The ten commonest folders")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", table, flags=re.MULTILINE)[1:]
    assert [row for row in rows if not row.startswith("-")] == list(SHAPES)


def test_the_cache_of_the_hubs_client(tmp_path: Path) -> None:
    """Its files are links from a revision to where the bytes lie: they stay in the folder, and are found again."""
    repo = tmp_path / "hub" / "models--me--fox"
    (repo / "blobs").mkdir(parents=True)
    lora(tmp_path / "fox.safetensors").rename(repo / "blobs" / "aa")
    (repo / "blobs" / "bb").write_text("---\ninstance_prompt: pixfox\n---\n# Fox\n")
    snapshot = repo / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "fox.safetensors").symlink_to("../../blobs/aa")
    (snapshot / "README.md").symlink_to("../../blobs/bb")
    with GraphStore(tmp_path / "graph") as store:
        memory, sums = Scouted(tmp_path / "s.sqlite"), HashMemo()
        found = scan(Folder(tmp_path / "hub"), store, memory, sums, tell=lambda *_: None)
    (fox,) = found.new
    assert (fox.title, fox.triggers) == ("Fox", (("pixfox",),))
    assert Folder().fetch(fox.ref).read_bytes() == (repo / "blobs" / "aa").read_bytes()
