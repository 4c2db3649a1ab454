"""What the modules of a denoiser are called in its original code, as data: one table a family.

A rule reads ``original name: our name``. ``#`` is a block's number. Several of our names in braces were one fused
projection there, its rows in this order; ``~`` says that a projection of two rows a channel has its halves (shift,
scale) the other way round. A table counts only for a base that has its mark. UNets are in `ldm_names`, by construction.

The names are facts of the models' own code (FLUX.1, FLUX.2: black-forest-labs; SD3: Stability-AI/sd3.5; Z-Image:
Tongyi-MAI); XLabs' are those of XLabs-AI/x-flux. Qwen-Image has one set of names only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from .ldm_names import unet_names

_FLUX_BLOCKS = """
double_blocks.#.img_attn.qkv: transformer_blocks.#.attn.{to_q,to_k,to_v}
double_blocks.#.txt_attn.qkv: transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj}
double_blocks.#.img_attn.proj: transformer_blocks.#.attn.to_out.0
double_blocks.#.txt_attn.proj: transformer_blocks.#.attn.to_add_out
double_blocks.#.img_attn.norm.query_norm: transformer_blocks.#.attn.norm_q
double_blocks.#.img_attn.norm.key_norm: transformer_blocks.#.attn.norm_k
double_blocks.#.txt_attn.norm.query_norm: transformer_blocks.#.attn.norm_added_q
double_blocks.#.txt_attn.norm.key_norm: transformer_blocks.#.attn.norm_added_k
single_blocks.#.norm.query_norm: single_transformer_blocks.#.attn.norm_q
single_blocks.#.norm.key_norm: single_transformer_blocks.#.attn.norm_k
img_in: x_embedder
txt_in: context_embedder
final_layer.linear: proj_out
final_layer.adaLN_modulation.1: norm_out.linear~
"""

_FLUX1 = """
double_blocks.#.processor.qkv_lora1: transformer_blocks.#.attn.{to_q,to_k,to_v}
double_blocks.#.processor.qkv_lora2: transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj}
double_blocks.#.processor.proj_lora1: transformer_blocks.#.attn.to_out.0
double_blocks.#.processor.proj_lora2: transformer_blocks.#.attn.to_add_out
single_blocks.#.processor.qkv_lora: single_transformer_blocks.#.attn.{to_q,to_k,to_v}
single_blocks.#.processor.proj_lora: single_transformer_blocks.#.proj_out
double_blocks.#.img_mlp.0: transformer_blocks.#.ff.net.0.proj
double_blocks.#.img_mlp.2: transformer_blocks.#.ff.net.2
double_blocks.#.txt_mlp.0: transformer_blocks.#.ff_context.net.0.proj
double_blocks.#.txt_mlp.2: transformer_blocks.#.ff_context.net.2
double_blocks.#.img_mod.lin: transformer_blocks.#.norm1.linear
double_blocks.#.txt_mod.lin: transformer_blocks.#.norm1_context.linear
single_blocks.#.linear1: single_transformer_blocks.#.{attn.to_q,attn.to_k,attn.to_v,proj_mlp}
single_blocks.#.linear2: single_transformer_blocks.#.proj_out
single_blocks.#.modulation.lin: single_transformer_blocks.#.norm.linear
time_in.in_layer: time_text_embed.timestep_embedder.linear_1
time_in.out_layer: time_text_embed.timestep_embedder.linear_2
guidance_in.in_layer: time_text_embed.guidance_embedder.linear_1
guidance_in.out_layer: time_text_embed.guidance_embedder.linear_2
vector_in.in_layer: time_text_embed.text_embedder.linear_1
vector_in.out_layer: time_text_embed.text_embedder.linear_2
"""

_FLUX2 = """
double_blocks.#.img_mlp.0: transformer_blocks.#.ff.linear_in
double_blocks.#.img_mlp.2: transformer_blocks.#.ff.linear_out
double_blocks.#.txt_mlp.0: transformer_blocks.#.ff_context.linear_in
double_blocks.#.txt_mlp.2: transformer_blocks.#.ff_context.linear_out
single_blocks.#.linear1: single_transformer_blocks.#.attn.to_qkv_mlp_proj
single_blocks.#.linear2: single_transformer_blocks.#.attn.to_out
time_in.in_layer: time_guidance_embed.timestep_embedder.linear_1
time_in.out_layer: time_guidance_embed.timestep_embedder.linear_2
guidance_in.in_layer: time_guidance_embed.guidance_embedder.linear_1
guidance_in.out_layer: time_guidance_embed.guidance_embedder.linear_2
double_stream_modulation_img.lin: double_stream_modulation_img.linear
double_stream_modulation_txt.lin: double_stream_modulation_txt.linear
single_stream_modulation.lin: single_stream_modulation.linear
"""

_SD3 = """
joint_blocks.#.x_block.attn.qkv: transformer_blocks.#.attn.{to_q,to_k,to_v}
joint_blocks.#.context_block.attn.qkv: transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj}
joint_blocks.#.x_block.attn2.qkv: transformer_blocks.#.attn2.{to_q,to_k,to_v}
joint_blocks.#.x_block.attn.proj: transformer_blocks.#.attn.to_out.0
joint_blocks.#.context_block.attn.proj: transformer_blocks.#.attn.to_add_out
joint_blocks.#.x_block.attn2.proj: transformer_blocks.#.attn2.to_out.0
joint_blocks.#.x_block.attn.ln_q: transformer_blocks.#.attn.norm_q
joint_blocks.#.x_block.attn.ln_k: transformer_blocks.#.attn.norm_k
joint_blocks.#.context_block.attn.ln_q: transformer_blocks.#.attn.norm_added_q
joint_blocks.#.context_block.attn.ln_k: transformer_blocks.#.attn.norm_added_k
joint_blocks.#.x_block.attn2.ln_q: transformer_blocks.#.attn2.norm_q
joint_blocks.#.x_block.attn2.ln_k: transformer_blocks.#.attn2.norm_k
joint_blocks.#.x_block.mlp.fc1: transformer_blocks.#.ff.net.0.proj
joint_blocks.#.x_block.mlp.fc2: transformer_blocks.#.ff.net.2
joint_blocks.#.context_block.mlp.fc1: transformer_blocks.#.ff_context.net.0.proj
joint_blocks.#.context_block.mlp.fc2: transformer_blocks.#.ff_context.net.2
joint_blocks.#.x_block.adaLN_modulation.1: transformer_blocks.#.norm1.linear
joint_blocks.#.context_block.adaLN_modulation.1: transformer_blocks.#.norm1_context.linear~
x_embedder.proj: pos_embed.proj
t_embedder.mlp.0: time_text_embed.timestep_embedder.linear_1
t_embedder.mlp.2: time_text_embed.timestep_embedder.linear_2
y_embedder.mlp.0: time_text_embed.text_embedder.linear_1
y_embedder.mlp.2: time_text_embed.text_embedder.linear_2
final_layer.linear: proj_out
final_layer.adaLN_modulation.1: norm_out.linear~
"""

_Z_IMAGE_BLOCK = """
@.#.attention.qkv: @.#.attention.{to_q,to_k,to_v}
@.#.attention.out: @.#.attention.to_out.0
@.#.attention.q_norm: @.#.attention.norm_q
@.#.attention.k_norm: @.#.attention.norm_k
"""
_Z_IMAGE = (
    "".join(_Z_IMAGE_BLOCK.replace("@", name) for name in ("layers", "noise_refiner", "context_refiner"))
    + """
x_embedder: all_x_embedder.2-1
final_layer.linear: all_final_layer.2-1.linear
final_layer.adaLN_modulation.1: all_final_layer.2-1.adaLN_modulation.1
"""
)

_TABLES: tuple[tuple[str, str], ...] = (
    ("single_transformer_blocks.#.proj_mlp", _FLUX_BLOCKS + _FLUX1),
    ("single_transformer_blocks.#.attn.to_qkv_mlp_proj", _FLUX_BLOCKS + _FLUX2),
    ("pos_embed.proj", _SD3),
    ("layers.#.attention.to_q", _Z_IMAGE),
)
"""(mark, rules)"""

_FUSED = MappingProxyType(
    {
        "to_qkv": ("to_q", "to_k", "to_v"),
        "to_kv": ("to_k", "to_v"),
        "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
    }
)

_NUMBER = re.compile(r"\.(\d+)\.")
_BRACES = re.compile(r"^(.*)\{(.*)\}(.*)$")

Original = tuple[tuple[str, ...], bool]
"""(our modules, are the halves of the rows exchanged if they are shift and scale)"""


def original_names(modules: Iterable[str]) -> Mapping[str, Original]:
    """The original names of a denoiser's modules.

    Args:
        modules: the denoiser's modules as diffusers calls them, without the component.

    Returns:
        Original name -> (our modules, swap). Fused names are there only if all their parts are.
    """
    modules = frozenset(modules)
    out: dict[str, Original] = {name: ((ours,), False) for ours, name in unet_names(modules).items()}
    blocks: dict[str, set[str]] = {}
    for module in modules:
        number = _NUMBER.search(module)
        blocks.setdefault(_NUMBER.sub(".#.", module, count=1), set()).add(number[1] if number else "")
    for mark, rules in _TABLES:
        if mark not in blocks:
            continue
        for line in filter(None, rules.splitlines()):
            original, _, pattern = line.partition(": ")
            ours = _expand(pattern.removesuffix("~"))
            for block in blocks.get(ours[0], ()):
                names = tuple(name.replace("#", block) for name in ours)
                if modules.issuperset(names):
                    out[original.replace("#", block)] = names, pattern.endswith("~")
    return out


def fused_names(modules: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """What diffusers calls projections that it has fused itself (``fuse_qkv_projections``) -> those projections."""
    modules = frozenset(modules)
    out: dict[str, tuple[str, ...]] = {}
    for fused, parts in _FUSED.items():
        for module in modules:
            stem, _, last = module.rpartition(".")
            names = tuple(f"{stem}.{part}" for part in parts)
            if last == parts[0] and f"{stem}.{fused}" not in modules and modules.issuperset(names):
                out[f"{stem}.{fused}"] = names
    return out


def _expand(pattern: str) -> tuple[str, ...]:
    if found := _BRACES.match(pattern):
        return tuple(f"{found[1]}{word}{found[3]}" for word in found[2].split(","))
    return (pattern,)
