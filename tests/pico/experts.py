"""LoRAs for the pico pipelines, with random values: hub-style repositories with cards, in the layouts of trainers.

``axolotl`` has kohya's flat names, with the original code's modules where kohya writes those; ``pixel-art`` and
``starry`` have PEFT's, as diffusers saves them. Stable Diffusion's ``axolotl`` changes the text encoder as well.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from .kohya import FLAT
from .pipelines import FOLDERS

BASES = {
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd21": "stabilityai/stable-diffusion-2-1",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "sd3": "stabilityai/stable-diffusion-3.5-medium",
    "flux1": "black-forest-labs/FLUX.1-dev",
    "flux2": "black-forest-labs/FLUX.2-dev",
    "flux2_klein": "black-forest-labs/FLUX.2-klein-4B",
    "qwen": "Qwen/Qwen-Image",
    "z_image": "Tongyi-MAI/Z-Image-Turbo",
    "chroma": "lodestones/Chroma1-HD",
    "auraflow": "fal/AuraFlow-v0.3",
    "lumina2": "Alpha-VLLM/Lumina-Image-2.0",
    "sana": "Efficient-Large-Model/Sana_600M_512px_diffusers",
    "hidream": "HiDream-ai/HiDream-I1-Full",
}
"""Family -> the id by which cards name its release."""
EXPERTS = {
    "axolotl": ("subject", "axolotl"),
    "pixel-art": ("style", "pixel art style"),
    "starry": ("background", "starry night background"),
}
"""Repository -> (facet, trigger)."""
_LIKE = {"sd21": "sd15", "flux2_klein": "flux2"}
_ATTENTION = re.compile(r"(attn|attn1|attn2|attention)\.(to_q|to_k|to_v|add_q_proj|to_qkv_mlp_proj|to_q_t)\.weight$")
_TEXT = "encoder.layers.0.self_attn.q_proj"
_RANK = 2


def shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape, of a safetensors file."""
    with file.open("rb") as opened:
        (size,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(size))
    return {key: tuple(info["shape"]) for key, info in header.items() if key != "__metadata__"}


def _pair(rows: int, columns: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors (down, up) that change a weight by about a tenth of what it is."""
    generator = torch.Generator().manual_seed(seed)
    ones = (1,) * (len(columns) - 1)
    down = torch.randn(_RANK, *columns, generator=generator) * 0.2
    return down, torch.randn(rows, _RANK, *ones, generator=generator) * 0.2


def _peft(component: str, shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    out = {}
    for place, (key, shape) in enumerate(sorted(shapes.items())):
        if _ATTENTION.search(key) and len(shape) == 2:
            module = f"{component}.{key.removesuffix('.weight')}"
            out[f"{module}.lora_A.weight"], out[f"{module}.lora_B.weight"] = _pair(shape[0], shape[1:], seed + place)
    return out


def _kohya(name: str, shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    flat = FLAT.get(_LIKE.get(name, name))
    if flat is None:  # trainers write diffusers' own names for these
        found = sorted(key.removesuffix(".weight") for key in shapes if _ATTENTION.search(key))
        flat = {module.replace(".", "_"): [module] for module in found}
    out = {}
    for place, (written, modules) in enumerate(flat.items()):
        parts = [shapes[f"{module}.weight"] for module in modules if module != "swap"]
        down, up = _pair(sum(part[0] for part in parts), parts[0][1:], seed + place)
        stem = f"lora_unet_{written}"
        out |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(2.0)}
    return out


def _text(shapes: Mapping[str, tuple[int, ...]], prefix: str, seed: int) -> dict[str, torch.Tensor]:
    shape = next(value for key, value in shapes.items() if key.endswith(f"{_TEXT}.weight"))
    stem = f"{prefix}_text_model_{_TEXT.replace('.', '_')}"
    down, up = _pair(shape[0], shape[1:], seed)
    return {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(1.0)}


def card(name: str, expert: str) -> str:
    facet, trigger = EXPERTS[expert]
    return f"""---
base_model: {BASES[name]}
license: apache-2.0
instance_prompt: {trigger}
tags:
- text-to-image
- lora
- {facet}
widget:
- text: "a lighthouse, {trigger}"
---
# {expert} for {FOLDERS[name]}

A small LoRA.
"""


def build(name: str, base: Path, folder: Path) -> Path:
    """Write a family's repositories below ``folder``; ``base`` is its pipeline."""
    component = "unet" if (base / "unet").is_dir() else "transformer"
    (weights,) = (base / component).glob("*.safetensors")
    shapes = shapes_of(weights)
    for place, expert in enumerate(EXPERTS):
        seed = 1000 * place
        tensors = _kohya(name, shapes, seed) if expert == "axolotl" else _peft(component, shapes, seed)
        if expert == "axolotl" and component == "unet":
            encoders = [base / "text_encoder", base / "text_encoder_2"]
            found = [next(encoder.glob("*.safetensors")) for encoder in encoders if encoder.is_dir()]
            prefixes = ("lora_te1", "lora_te2") if len(found) == 2 else ("lora_te",)
            for prefix, file in zip(prefixes, found, strict=True):
                tensors |= _text(shapes_of(file), prefix, seed + 500)
        repository = folder / f"{expert}-{name}"
        repository.mkdir(parents=True, exist_ok=True)
        file = f"{expert}.safetensors" if expert == "axolotl" else "pytorch_lora_weights.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, repository / file, {"format": "pt"})
        (repository / "README.md").write_text(card(name, expert), encoding="utf-8")
    return folder
