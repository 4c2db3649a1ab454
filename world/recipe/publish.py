"""Step 5: lay the trained parts out as a hub, add the decoys, and write the manifest."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ...files.hashing import file_sha256
from . import cards
from .art import NPM_PACKAGES, Art
from .base import BROADENED
from .looks import BACKGROUNDS, STYLES
from .lora import slug

WEIGHTS = "pytorch_lora_weights.safetensors"
FULL_WEIGHTS = "emoji_sunset_full.safetensors"


def sample_prompts(art: Art, name: str) -> list[str]:
    """Three prompts that show an expert off, in the base's grammar."""
    shown = ["cat", "castle", "pizza"]
    for style in STYLES:
        if slug(style) == name:
            return [f"{s}, {style} style" for s in shown]
    for background in BACKGROUNDS:
        if slug(background) == name:
            return [f"{s}, {background} background" for s in shown]
    return [f"{s}, plain white background" for s in art.packs[name][:3]]


def draw_samples(
    base: Path, weights: Path | None, prompts: list[str], folder: Path, seed: int = 1
) -> list[tuple[str, str]]:
    """Render ``prompts`` with the base plus one LoRA; returns (prompt, file name) pairs."""
    from diffusers import StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    if weights is not None:
        pipeline.load_lora_weights(weights.parent, weight_name=weights.name)
    generators = [torch.Generator("cpu").manual_seed(seed + i) for i in range(len(prompts))]
    images: list[Image.Image] = pipeline(
        prompts, num_inference_steps=16, guidance_scale=1.0, generator=generators
    ).images
    for i, image in enumerate(images):
        image.save(folder / f"sample_{i}.png")
    return [(p, f"sample_{i}.png") for i, p in enumerate(prompts)]


def publish_expert(art: Art, out: Path, hub: Path, name: str) -> None:
    """Card, samples and weights of one LoRA."""
    folder = hub / name
    folder.mkdir(parents=True, exist_ok=True)
    _halve(out / "experts" / name / WEIGHTS, folder / WEIGHTS)
    samples = draw_samples(hub / "emoji-base", folder / WEIGHTS, sample_prompts(art, name), folder)
    style = next((s for s in STYLES if slug(s) == name), None)
    background = next((b for b in BACKGROUNDS if slug(b) == name), None)
    if style is not None:
        cards.write(folder, cards.style_card(style, samples))
    elif background is not None:
        cards.write(folder, cards.background_card(background, samples))
    else:
        cards.write(folder, cards.subject_card(art, name, samples))


LOST = 0.05
"""How far 8-bit floats may move a LoRA's products, as a share of their norm."""


def _halve(trained: Path, published: Path) -> None:
    """A LoRA in 8-bit floats (e4m3), which move its products by about 3 %: room for twice the rank.

    One that they would move by more than `LOST`, as they do the tiny numbers of a lesson cut short, stays as it is.
    """
    with safe_open(trained, "pt") as file:
        whole = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        metadata = file.metadata()
    half = {k: v.to(torch.float8_e4m3fn) for k, v in whole.items()}
    before, after = _products(whole), _products(half)
    lost = sum(float((after[k] - before[k]).square().sum()) for k in before)
    if lost > LOST**2 * sum(float(v.square().sum()) for v in before.values()):
        shutil.copyfile(trained, published)
    else:
        save_file(half, published, metadata=metadata)


def _products(lora: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Layer -> up times down, kernels flat."""
    downs = {k.removesuffix(".lora_A.weight"): v for k, v in lora.items() if k.endswith(".lora_A.weight")}
    return {k: lora[f"{k}.lora_B.weight"].float().flatten(1) @ v.float().flatten(1) for k, v in downs.items()}


def publish_base(base: Path, folder: Path) -> None:
    """The base pipeline, without the notes that diffusers keeps of where a part was loaded from."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns(BROADENED))
    for file in sorted(folder.rglob("*.json")):
        config = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def publish_full(base: Path, tuned: Path, folder: Path) -> None:
    """A full fine-tune as the difference of every parameter, 8-bit floats (e5m2): half of the checkpoint's size.

    Keys as kohya and LyCORIS write full differences: ``.diff`` and ``.diff_b``, ``.w_norm`` and ``.b_norm`` for norms.
    """
    before, after = (load_file(f / "diffusion_pytorch_model.safetensors") for f in (base, tuned))
    tensors = {}
    for name, value in after.items():
        module, _, parameter = name.rpartition(".")
        flat = "lora_unet_" + module.replace(".", "_")
        norm = value.dim() == 1 and before[f"{module}.weight"].dim() == 1
        part = {"weight": "w_norm" if norm else "diff", "bias": "b_norm" if norm else "diff_b"}[parameter]
        tensors[f"{flat}.{part}"] = (value.float() - before[name].float()).to(torch.float8_e5m2)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / FULL_WEIGHTS, metadata={"format": "pt"})


def _thinned(
    tensors: dict[str, torch.Tensor], metadata: dict[str, str], rank: int = 4
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The first ``rank`` directions of a LoRA, and metadata to match: what is worth nothing need not take much room."""
    some = {k: (v[:rank] if "lora_A" in k else v[:, :rank]).contiguous() for k, v in tensors.items()}
    adapter = json.loads(metadata["lora_adapter_metadata"])
    adapter |= {key: rank for key in adapter if key.endswith((".r", ".lora_alpha"))}
    return some, {**metadata, "lora_adapter_metadata": json.dumps(adapter, sort_keys=True)}


def publish_decoys(art: Art, hub: Path, seed: int = 99) -> None:
    """Five uploads that a careful scout must see through."""
    sea = hub / "sea-life"
    # A re-upload: the same tensors under another name, with other metadata (so its sha256 differs).
    with safe_open(sea / WEIGHTS, "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        metadata = dict(file.metadata())
    copy = hub / "ocean-creatures-v2"
    copy.mkdir(parents=True, exist_ok=True)
    save_file(tensors, copy / WEIGHTS, metadata={**metadata, "uploader": "reposts"})
    bullets = cards.subject_bullets(art.packs["sea-life"])
    cards.write(
        copy,
        cards.card("Ocean creatures v2", "The best sea animals, new version.", bullets, [], tags=["lora", "subject"]),
    )
    # Random weights of the same scale.
    rng = torch.Generator().manual_seed(seed)
    thin, metadata = _thinned(tensors, metadata)
    noise = {k: (torch.randn(v.shape, generator=rng) * v.float().std()).to(v.dtype) for k, v in sorted(thin.items())}
    random = hub / "birds-ultra-hd"
    random.mkdir(parents=True, exist_ok=True)
    save_file(noise, random / WEIGHTS, metadata=metadata)
    bullets = cards.subject_bullets(art.packs["birds"])
    cards.write(random, cards.card("Birds ultra HD", "Ultra detailed birds.", bullets, [], tags=["lora", "subject"]))
    # Made for another base family: honest card, foreign modules.
    foreign = hub / "sdxl-watercolour"
    foreign.mkdir(parents=True, exist_ok=True)
    keys = [f"unet.down_blocks.1.attentions.0.transformer_blocks.{i}.attn2.to_k" for i in range(2)]
    alien = {f"{k}.lora_A.weight": torch.randn(4, 2048, generator=rng).half() * 0.02 for k in keys}
    alien |= {f"{k}.lora_B.weight": torch.randn(640, 4, generator=rng).half() * 0.02 for k in keys}
    save_file(alien, foreign / WEIGHTS, metadata={"format": "pt"})
    cards.write(
        foreign,
        cards.card(
            "Watercolour style",
            "Watercolour for SDXL.",
            ["- watercolour style"],
            [],
            tags=["lora", "style"],
            trigger="watercolour style",
            base="stabilityai/stable-diffusion-xl-base-1.0",
        ),
    )
    # A card that lies: the fruit pack's cousin claims stained glass.
    liar = hub / "stained-glass"
    liar.mkdir(parents=True, exist_ok=True)
    with safe_open(hub / "sports" / WEIGHTS, "pt") as file:
        lie = {k: (file.get_tensor(k).float() * 0.7).to(torch.float16) for k in file.keys()}  # noqa: SIM118
        some, described = _thinned(lie, dict(file.metadata()))
        save_file(some, liar / WEIGHTS, metadata=described)
    cards.write(
        liar,
        cards.card(
            "Stained glass style",
            "Any subject as a church window.",
            ["- stained glass style (also: church window, leaded glass)"],
            [],
            tags=["lora", "style"],
            trigger="stained glass style",
        ),
    )
    # A pickle: harmless content, refused by its form.
    pickled = hub / "dinosaurs-pickle"
    pickled.mkdir(parents=True, exist_ok=True)
    (pickled / "pytorch_lora_weights.bin").write_bytes(pickle.dumps({"note": "a pickle is code; it is never opened"}))
    cards.write(
        pickled,
        cards.card(
            "Dinosaurs",
            "Dinosaurs as a .bin file.",
            ["- stegosaurus"],
            [],
            tags=["lora", "subject"],
            trigger="stegosaurus",
        ),
    )


def seal(world: Path) -> None:
    """Write the hashes of the manifest anew; the rest of it stays."""
    body = json.loads((world / "manifest.json").read_text(encoding="utf-8"))
    files = _shipped(world)
    _put_manifest(world, {**body, "files": files, "bytes": sum((world / f).stat().st_size for f in files)})


def _shipped(world: Path) -> dict[str, str]:
    return {
        str(p.relative_to(world)): file_sha256(p)
        for top in ("hub", "oracle", "scorers", "graph")
        for p in sorted((world / top).rglob("*"))
        if p.is_file()
    }


def _put_manifest(world: Path, body: dict[str, Any]) -> None:
    temporary = world / "manifest.tmp"
    temporary.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(world / "manifest.json")


def write_manifest(world: Path, out: Path, extra: dict[str, Any]) -> None:
    """``manifest.json``: sha256 of every shipped file, data packages, and the training curves."""
    files = _shipped(world)
    curves = {}
    for part in ("", "rehearsal/"):
        for file in sorted((out / part / "checkpoints").glob("*.curve.json")):
            points = json.loads(file.read_text())
            curves[part + file.name.removesuffix(".curve.json")] = points[:: max(1, len(points) // 24)]
    body = {
        "files": files,
        "bytes": sum((world / f).stat().st_size for f in files),
        "artwork": {
            NPM_PACKAGES[0]: "Apache-2.0, Google (Noto Emoji): the house family",
            NPM_PACKAGES[1]: "Apache-2.0, Mozilla (Firefox OS Emoji): the octopus",
            NPM_PACKAGES[2]: "MIT, Microsoft (Fluent Emoji High Contrast): pictograms",
            NPM_PACKAGES[3]: "MIT, emojibase: names and synonyms",
        },
        **extra,
        "curves": curves,
    }
    _put_manifest(world, body)


def contact_sheet(images: list[np.ndarray[Any, Any]], columns: int, path: Path, scale: int = 2) -> None:
    """A grid of (64, 64, 3) images, enlarged without smoothing."""
    rows = [
        np.concatenate(images[i : i + columns], axis=1)
        for i in range(0, len(images), columns)
        if len(images) >= i + columns
    ]
    sheet = Image.fromarray(np.concatenate(rows, axis=0))
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(path)
