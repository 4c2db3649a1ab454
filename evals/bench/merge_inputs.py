"""What the merge bench merges: a base of SDXL's shapes with random weights, and LoRAs on the modules that LoRAs touch.

``python -m diffgraph.evals.bench.merge_inputs FOLDER SCALE KNOWN`` makes it in a process of its own, which frees its
memory.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...files.atomic import new_file
from ...files.tensor_io import write_tensors

SDXL: Mapping[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "layers_per_block": 2,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
"""The configuration of the UNet of stabilityai/stable-diffusion-xl-base-1.0; what is absent is the class's default."""
PICO: Mapping[str, Any] = {
    **SDXL,
    "addition_time_embed_dim": 8,
    "attention_head_dim": [1, 2, 4],
    "block_out_channels": [32, 64, 128],
    "cross_attention_dim": 64,
    "layers_per_block": 1,
    "projection_class_embeddings_input_dim": 64,
    "sample_size": 8,
    "transformer_layers_per_block": [1, 1, 1],
}
"""The same structure, a thousandth of the weights."""
SCALES = {"sdxl": SDXL, "pico": PICO}
TOUCHED = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
"""Ends of the names of the modules that community LoRAs for SDXL train."""
ACTIVE, RANK = 4, 32
IDLE_RANK = 4
"""Rank of the LoRAs that are known but in no plan: small, so that 64 fit into the memory of engines that load all."""
STRENGTH = 0.03
"""Norm of a LoRA's delta beside that of the weight it changes; of community LoRAs about 0.01 to 0.1."""


@dataclass(frozen=True)
class World:
    """Where everything is: the base's folder, the experts' files (the first eight have rank 32), and those for
    sd-mecha, which reads kohya's names only.
    """

    base: Path
    experts: tuple[Path, ...]
    kohya: tuple[Path, ...]

    @classmethod
    def at(cls, folder: Path, known: int) -> World:
        active = tuple(folder / f"expert-{i:02}.safetensors" for i in range(2 * ACTIVE))
        idle = tuple(folder / f"idle-{i:02}.safetensors" for i in range(2 * ACTIVE, known))
        return cls(
            folder / "base", active + idle, tuple(folder / f"kohya-{i:02}.safetensors" for i in range(2 * ACTIVE))
        )

    @property
    def unet(self) -> Path:
        return self.base / "unet" / "diffusion_pytorch_model.safetensors"


def shapes(scale: str) -> dict[str, tuple[int, ...]]:
    """Parameter -> shape of the UNet, without weights."""
    from diffusers import UNet2DConditionModel

    groups = {} if scale == "sdxl" else {"norm_num_groups": 8}
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config({**SCALES[scale], **groups})
    return {name: tuple(param.shape) for name, param in unet.named_parameters()}


def touched(scale: str) -> dict[str, tuple[int, int]]:
    """Module -> (rows, columns) of the weights that LoRAs touch."""
    found = {name.removesuffix(".weight"): shape for name, shape in shapes(scale).items() if name.endswith(".weight")}
    return {name: (s[0], s[1]) for name, s in found.items() if "attentions" in name and name.endswith(TOUCHED)}


def build(folder: Path, scale: str, known: int) -> World:
    """Make what is not there yet."""
    world = World.at(folder, known)
    if not (world.base / "model_index.json").is_file():
        _base(world.base, scale)
    modules = touched(scale)
    for index, path in enumerate(world.experts):
        if not path.is_file():
            rank = RANK if index < 2 * ACTIVE else IDLE_RANK
            kohya = world.kohya[index] if index < 2 * ACTIVE else None
            _lora(path, kohya, modules, rank, seed=index)
    return world


def _base(folder: Path, scale: str) -> None:
    """A StableDiffusionXLPipeline without text encoders, which no engine here touches."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel

    noise, tensors = _Noise(1), {}
    for name, shape in shapes(scale).items():
        fan_in = math.prod(shape[1:])
        std = 1.0 / math.sqrt(3.0 * fan_in) if len(shape) > 1 else 0.02
        tensors[name] = noise.draw(shape, std)
        if name.endswith("weight") and len(shape) == 1:
            tensors[name] += 1.0
    groups = {} if scale == "sdxl" else {"norm_num_groups": 8}
    with torch.device("meta"):
        UNet2DConditionModel.from_config({**SCALES[scale], **groups}).save_config(folder / "unet")
    _save(tensors, folder / "unet" / "diffusion_pytorch_model.safetensors")
    AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).to(torch.bfloat16).save_pretrained(folder / "vae")
    EulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    absent = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "image_encoder", "feature_extractor")
    index: dict[str, object] = {name: [None, None] for name in absent}
    index |= {"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    index |= {"vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def _lora(path: Path, kohya: Path | None, modules: Mapping[str, tuple[int, int]], rank: int, seed: int) -> None:
    """A LoRA in bfloat16 under the names that diffusers and PEFT write, and the same under kohya's."""
    noise, tensors, flat = _Noise(100 + seed), {}, {}
    for name, (rows, columns) in modules.items():
        std = 1.0 / math.sqrt(3.0 * columns)
        down = noise.draw((rank, columns), std)
        up = noise.draw((rows, rank), STRENGTH / math.sqrt(rank))
        tensors[f"unet.{name}.lora_A.weight"], tensors[f"unet.{name}.lora_B.weight"] = down, up
        stem = "lora_unet_" + name.replace(".", "_")
        flat[f"{stem}.lora_down.weight"], flat[f"{stem}.lora_up.weight"] = down, up
        flat[f"{stem}.alpha"] = torch.tensor(float(rank), dtype=torch.bfloat16)
    if kohya is not None:
        _save(flat, kohya)
    _save(tensors, path)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Whole or not at all."""
    with new_file(path) as file:
        write_tensors(file, tensors, {"format": "pt"})


class _Noise:
    """Normal numbers in bfloat16 at the speed of a copy: pieces of one large draw, each from another place in it."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._pool = torch.randn(2**22 + 2**16, generator=generator)
        self._places = self._starts(seed)

    @staticmethod
    def _starts(seed: int) -> Iterator[int]:
        at = seed
        while True:
            at = (at * 75 + 74) % 65537
            yield at % 2**16

    def draw(self, shape: tuple[int, ...], std: float) -> Tensor:
        out = torch.empty(math.prod(shape), dtype=torch.bfloat16)
        for piece in out.split(2**22):
            start = next(self._places)
            torch.mul(self._pool[start : start + piece.numel()], std, out=piece)
        return out.reshape(shape)


if __name__ == "__main__":
    build(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
