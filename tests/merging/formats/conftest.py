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
from diffgraph_pico.denoisers import MAKERS
from diffusers import UNet2DConditionModel
from peft import get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file

from diffgraph.bases.index import BaseIndex


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
