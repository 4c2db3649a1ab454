"""Single files in the layouts that people share, written from diffusers folders: the way back of every converter."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffgraph.merging.formats.ldm_names import unet_names

Weights = dict[str, Tensor]
_RESBLOCK = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def component(folder: Path) -> Weights:
    """The weights of a component's folder."""
    found: Weights = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def as_ldm_unet(weights: Weights) -> Weights:
    """A UNet under its original names."""
    names = unet_names({key.rpartition(".")[0] for key in weights})
    return {f"model.diffusion_model.{names[m]}.{p}": w for k, w in weights.items() for m, _, p in [k.rpartition(".")]}


def as_ldm_vae(weights: Weights) -> Weights:
    """An AutoencoderKL under its original names: up blocks are counted from the other end, attention is convolution."""
    ups = len({k.split(".")[2] for k in weights if k.startswith("decoder.up_blocks.")})
    out: Weights = {}
    for key, weight in weights.items():
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
        name = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{ups - 1 - int(m[1])}", name)
        for ours, theirs in (
            ("down_blocks.", "down."), (".resnets.", ".block."), ("downsamplers.0", "downsample"),
            ("upsamplers.0", "upsample"), ("conv_shortcut", "nin_shortcut"), ("conv_norm_out", "norm_out"),
            ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"), ("mid_block.attentions.0.to_out.0",
            "mid.attn_1.proj_out"), ("mid_block.attentions.0.to_", "mid.attn_1."),
        ):  # fmt: skip
            name = name.replace(ours, theirs)
        if "mid.attn_1." in name and ".norm." not in name and weight.ndim == 2:
            weight = weight[:, :, None, None].contiguous()
        out[f"first_stage_model.{name}"] = weight
    return out


def as_clip(weights: Weights, prefix: str) -> Weights:
    """A CLIP text encoder as transformers wrote it before it dropped ``text_model.``."""
    return {
        f"{prefix}{key if key.startswith('text_model.') else f'text_model.{key}'}": w
        for key, w in weights.items() if "text_projection" not in key
    }  # fmt: skip


def as_openclip(weights: Weights, prefix: str) -> Weights:
    """A CLIP text encoder under OpenCLIP's names, with query, key and value in one."""
    out: Weights = {}
    plain = {key.removeprefix("text_model."): w for key, w in weights.items()}
    outside = {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias",
    }  # fmt: skip
    for key, w in plain.items():
        if key in outside:
            out[prefix + outside[key]] = w
        elif key == "text_projection.weight":
            out[prefix + "text_projection"] = w.T.contiguous()
        elif found := re.match(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$", key):
            block = f"{prefix}transformer.resblocks.{found[1]}."
            if found[2] in _RESBLOCK:
                out[f"{block}{_RESBLOCK[found[2]]}.{found[3]}"] = w
            elif found[2] == "self_attn.q_proj":
                parts = [plain[key.replace("q_proj", f"{n}_proj")] for n in "qkv"]
                out[f"{block}attn.in_proj_{found[3]}"] = torch.cat(parts)
    return out


def sd15_file(folder: Path, path: Path, extra: Weights | None = None, **metadata: str) -> Path:
    """Stable Diffusion 1 as one file."""
    weights = as_ldm_unet(component(folder / "unet")) | as_ldm_vae(component(folder / "vae"))
    weights |= as_clip(component(folder / "text_encoder"), "cond_stage_model.transformer.") | (extra or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata)
    return path


def sdxl_file(folder: Path, path: Path, extra: Weights | None = None, **metadata: str) -> Path:
    """Stable Diffusion XL as one file."""
    weights = as_ldm_unet(component(folder / "unet")) | as_ldm_vae(component(folder / "vae"))
    weights |= as_clip(component(folder / "text_encoder"), "conditioner.embedders.0.transformer.")
    weights |= as_openclip(component(folder / "text_encoder_2"), "conditioner.embedders.1.model.") | (extra or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata)
    return path


def flux_file(folder: Path, path: Path, *, prefix: str = "", **metadata: str) -> Path:
    """FLUX's transformer alone, under its original names."""
    out: Weights = {}
    weights = component(folder / "transformer")

    def swapped(w: Tensor) -> Tensor:
        one, other = w.chunk(2)
        return torch.cat([other, one])

    outside = {
        "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
        "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
        "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
        "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
        "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
        "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
        "context_embedder": "txt_in", "x_embedder": "img_in", "proj_out": "final_layer.linear",
    }  # fmt: skip
    double = {
        "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin", "attn.to_out.0": "img_attn.proj",
        "attn.to_add_out": "txt_attn.proj", "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
        "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
    }  # fmt: skip
    norms = {
        "attn.norm_q": "img_attn.norm.query_norm", "attn.norm_k": "img_attn.norm.key_norm",
        "attn.norm_added_q": "txt_attn.norm.query_norm", "attn.norm_added_k": "txt_attn.norm.key_norm",
    }  # fmt: skip
    for key, w in weights.items():
        module, _, parameter = key.rpartition(".")
        if module in outside:
            out[f"{outside[module]}.{parameter}"] = w
        elif module == "norm_out.linear":
            out[f"final_layer.adaLN_modulation.1.{parameter}"] = swapped(w)
        elif found := re.match(r"transformer_blocks\.(\d+)\.(.+)$", module):
            block = f"double_blocks.{found[1]}."
            if found[2] in double:
                out[f"{block}{double[found[2]]}.{parameter}"] = w
            elif found[2] in norms:
                out[f"{block}{norms[found[2]]}.scale"] = w
            elif found[2] in ("attn.to_q", "attn.add_q_proj"):
                each = (
                    ("to_q", "to_k", "to_v") if found[2] == "attn.to_q" else ("add_q_proj", "add_k_proj", "add_v_proj")
                )
                stem = "img" if found[2] == "attn.to_q" else "txt"
                fused = [weights[f"transformer_blocks.{found[1]}.attn.{n}.{parameter}"] for n in each]
                out[f"{block}{stem}_attn.qkv.{parameter}"] = torch.cat(fused)
        elif found := re.match(r"single_transformer_blocks\.(\d+)\.(.+)$", module):
            block, whose = f"single_blocks.{found[1]}.", f"single_transformer_blocks.{found[1]}."
            if found[2] == "norm.linear":
                out[f"{block}modulation.lin.{parameter}"] = w
            elif found[2] == "proj_out":
                out[f"{block}linear2.{parameter}"] = w
            elif found[2] in ("attn.norm_q", "attn.norm_k"):
                out[f"{block}norm.{'query' if found[2][-1] == 'q' else 'key'}_norm.scale"] = w
            elif found[2] == "attn.to_q":
                fused = [
                    weights[f"{whose}{n}.{parameter}"] for n in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
                ]
                out[f"{block}linear1.{parameter}"] = torch.cat(fused)
    save_file({prefix + key: w.contiguous() for key, w in out.items()}, path, metadata)
    return path
