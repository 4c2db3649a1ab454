"""Pico denoisers of every family, made from the real classes, and the two libraries that adapters are compared with."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from peft import get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file

from diffgraph.bases.index import BaseIndex


def _unet(**more: Any) -> torch.nn.Module:
    return UNet2DConditionModel(
        sample_size=4, layers_per_block=2, block_out_channels=(8, 16), attention_head_dim=4, norm_num_groups=4, **more
    )


MAKERS: dict[str, Callable[[], torch.nn.Module]] = {
    "sd15": lambda: _unet(
        cross_attention_dim=12,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "sdxl": lambda: _unet(
        cross_attention_dim=20,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=32,
    ),
    "sd3": lambda: SD3Transformer2DModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=10,
        pos_embed_max_size=4,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    ),
    "flux1": lambda: FluxTransformer2DModel(
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    ),
    "flux2": lambda: Flux2Transformer2DModel(
        in_channels=8,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        timestep_guidance_channels=8,
        axes_dims_rope=(2, 2, 2, 2),
    ),
    "qwen": lambda: QwenImageTransformer2DModel(
        in_channels=8,
        out_channels=2,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        axes_dims_rope=(2, 2, 4),
    ),
    "z_image": lambda: ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=12,
        axes_dims=[2, 2, 4],
        axes_lens=[16, 16, 16],
    ),
}


@dataclass(frozen=True)
class Family:
    """A pico base: its denoiser with random weights, and the folder it was saved to."""

    name: str
    model: torch.nn.Module
    base: BaseIndex

    @property
    def component(self) -> str:
        return self.base.denoiser

    def weight(self, module: str) -> torch.Tensor:
        return self.model.get_submodule(module).weight.detach()

    def peft(self, config: Any, seed: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, str]]:
        """An adapter by PEFT with random weights: (its file, target -> PEFT's own delta in float64, metadata)."""
        model = inject_adapter_in_model(config, copy.deepcopy(self.model)).double()
        fill(model, seed, lambda name: ".default" in name)
        state = {f"{self.component}.{k}": v.float() for k, v in get_peft_model_state_dict(model).items()}
        deltas: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            for name, layer in model.named_modules():
                if hasattr(layer, "base_layer") and hasattr(layer, "merge"):
                    before = layer.base_layer.weight.clone()
                    layer.merge()
                    deltas[f"{self.component}.{name}.weight"] = layer.base_layer.weight - before
        said = {f"{self.component}.{key}": value for key, value in config.to_dict().items()}
        return state, deltas, {"lora_adapter_metadata": json.dumps(said, default=_plain)}


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def fill(module: torch.nn.Module, seed: int, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Random float32 values, whatever the dtype; magnitudes stay positive, rotations small."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            if wanted(name):
                values = torch.randn(parameter.shape, generator=generator) * 0.3
                parameter.copy_(values.abs() + 0.5 if "magnitude" in name or "dora_scale" in name else values)


def write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file({key: tensor.float().clone().contiguous() for key, tensor in tensors.items()}, path, metadata)
    return path


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    """A family by name, made once."""

    @functools.cache
    def make(name: str) -> Family:
        model = MAKERS[name]().eval().requires_grad_(False)
        fill(model, 1)
        folder = tmp_path_factory.mktemp(name)
        component = "unet" if isinstance(model, UNet2DConditionModel) else "transformer"
        model.save_pretrained(folder / component)
        listing = {component: ["diffusers", type(model).__name__], "scheduler": ["diffusers", "DDIMScheduler"]}
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "DiffusionPipeline"} | listing))
        return Family(name, model, BaseIndex.open(folder))

    return make


@pytest.fixture(scope="session")
def write_file() -> Callable[..., Path]:
    """Writes tensors as float32."""
    return write


@pytest.fixture(scope="session")
def fill_module() -> Callable[..., None]:
    return fill
