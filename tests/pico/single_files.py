"""Pico pipelines as single files, under the names that people share them with: all in one, or the transformer alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffgraph.merging.formats.layouts import original_names

Weights = dict[str, Tensor]


def _writers() -> ModuleType:
    """The writers that the tests of single files have (``tests/bases/single_files.py``)."""
    path = Path(__file__).parents[1] / "bases" / "single_files.py"
    spec = importlib.util.spec_from_file_location("diffgraph_pico_single_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_ldm = _writers()


def original(weights: Weights) -> Weights:
    """A transformer under its original names, by our tables; diffusers reads them back, which is what is tested."""
    left, out = dict(weights), Weights()
    for name, (modules, swap) in original_names({key.rpartition(".")[0] for key in weights}).items():
        if ".processor." in name:
            continue
        for parameter in ("weight", "bias"):
            parts = [left.pop(f"{m}.{parameter}") for m in modules if f"{m}.{parameter}" in left]
            if parts:
                whole = torch.cat(parts)
                two = (
                    whole.dim() > 0
                    and len(weights[f"{modules[0]}.weight"]) == 2 * weights[f"{modules[0]}.weight"].shape[-1]
                )
                last = "scale" if name.endswith(("query_norm", "key_norm")) else parameter
                out[f"{name}.{last}"] = torch.cat(whole.chunk(2)[::-1]) if swap and two else whole
    if "pos_embed.pos_embed" in left:
        out["pos_embed"] = left.pop("pos_embed.pos_embed")
    return out | left


def sd3(folder: Path, path: Path) -> Path:
    """All in one, as Stable Diffusion 3.5 is shared with its text encoders."""
    weights = {f"model.diffusion_model.{k}": w for k, w in original(_ldm.component(folder / "transformer")).items()}
    weights |= _ldm.as_ldm_vae(_ldm.component(folder / "vae"))
    for encoder, prefix in (("text_encoder", "clip_l"), ("text_encoder_2", "clip_g"), ("text_encoder_3", "t5xxl")):
        own = _ldm.component(folder / encoder)
        weights |= {f"text_encoders.{prefix}.transformer.{_with_model(k, prefix)}": w for k, w in own.items()}
    save_file({key: w.contiguous() for key, w in weights.items()}, path)
    return path


def _with_model(key: str, prefix: str) -> str:
    return key if prefix == "t5xxl" or key.startswith(("text_model.", "text_projection")) else f"text_model.{key}"


def z_image(folder: Path, path: Path) -> Path:
    """The transformer alone, as ComfyUI has it."""
    weights = {f"model.diffusion_model.{k}": w for k, w in original(_ldm.component(folder / "transformer")).items()}
    save_file({key: w.contiguous() for key, w in weights.items()}, path)
    return path


def flux2(folder: Path, path: Path) -> Path:
    """The transformer alone, without a prefix."""
    weights = original(_ldm.component(folder / "transformer"))
    save_file({key: w.contiguous() for key, w in weights.items()}, path)
    return path


WRITERS: dict[str, Callable[[Path, Path], Path]] = {
    "sd15": _ldm.sd15_file,
    "sdxl": _ldm.sdxl_file,
    "sd3": sd3,
    "flux1": _ldm.flux_file,
    "flux2": flux2,
    "z_image": z_image,
}
"""Family -> what writes its pipeline's folder as one file."""
