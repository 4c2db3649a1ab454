"""Where the parameters of a single file in a model's original layout lie in a diffusers base. Names only, no torch.

UNet: `ldm_names`; transformers: `layouts`; CLIP as transformers writes it, OpenCLIP, and the autoencoder: here. What is
no weight of a model (noise schedules, position ids, the logit scale of CLIP's loss) and a second, averaged copy of the
weights (``model_ema.``) is left out: `IGNORED` names it. Everything else must have a place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...bases.index import BaseIndex, target_name
from .names import ModuleNames

_DENOISER = "model.diffusion_model."
_BARE_DENOISER = "diffusion_model."
PREFIXES = (
    _DENOISER,
    _BARE_DENOISER,
    "first_stage_model.",
    "cond_stage_model.",
    "conditioner.embedders.",
    "text_encoders.",
)
BARE = ("double_blocks.0.", "joint_blocks.0.", "layers.0.attention.qkv.")
"""Keys of a transformer in its original layout, without any prefix."""
IGNORED = re.compile(
    r"^(?:model_ema\..*|(?:sqrt_|log_one_minus_|posterior_)?(?:one_minus_|recip_|recipm1_)?alphas_cumprod(?:_prev)?"
    r"|betas|posterior_.*|denoiser\.sigmas|logvar|scale_factor|model_sampling\..*|.*\.position_ids|.*logit_scale"
    r"|.*\.attn_mask|(?:model\.)?diffusion_model\.norm_final\.weight)$"
)
_CLIP = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.", "text_encoders.clip_l.transformer.")
_OPENCLIP = re.compile(r"^(?:cond_stage_model\.model\.|conditioner\.embedders\.[01]\.model\.)(?P<rest>.+)$")
_RESBLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_VAE = (
    (r"^(encoder|decoder)\.mid\.block_([12])\.", lambda m: f"{m[1]}.mid_block.resnets.{int(m[2]) - 1}."),
    (r"^(encoder|decoder)\.mid\.attn_1\.norm\.", r"\1.mid_block.attentions.0.group_norm."),
    (r"^(encoder|decoder)\.mid\.attn_1\.([qkv])\.", r"\1.mid_block.attentions.0.to_\2."),
    (r"^(encoder|decoder)\.mid\.attn_1\.proj_out\.", r"\1.mid_block.attentions.0.to_out.0."),
    (r"^encoder\.down\.(\d+)\.block\.(\d+)\.", r"encoder.down_blocks.\1.resnets.\2."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)
_VAE_UP = re.compile(r"^decoder\.up\.(\d+)\.(block\.(\d+)|upsample)\.(.+)$")


@dataclass(frozen=True)
class Piece:
    """Where a target's values stand in a file.

    Attributes:
        key: the tensor.
        start, rows: which of its rows; ``rows`` is None for all of them.
        swap: its halves are the other way round.
        transpose: it is stored as (inputs, outputs).
    """

    key: str
    start: int = 0
    rows: int | None = None
    swap: bool = False
    transpose: bool = False


def pieces(key: str, base: BaseIndex, names: ModuleNames, *, bare: bool = False) -> Mapping[str, Piece] | None:
    """Target -> piece, for one tensor of a single file; None if its name is not understood.

    ``bare`` says that the file is a transformer alone, without a prefix.
    """
    if bare or key.startswith((_DENOISER, _BARE_DENOISER)):
        return _denoiser(key, key.removeprefix(_DENOISER).removeprefix(_BARE_DENOISER), base, names)
    if key.startswith("first_stage_model."):
        return {f"vae.{_vae(key.removeprefix('first_stage_model.'), base)}": Piece(key)}
    for prefix in _CLIP:
        if key.startswith(prefix):
            return {target_name("text_encoder", key.removeprefix(prefix)): Piece(key)}
    if found := _OPENCLIP.match(key):
        return _openclip(key, found["rest"], base)
    if key.startswith("text_encoders."):
        return _place(key, key, base, names)
    return None


def _denoiser(key: str, name: str, base: BaseIndex, names: ModuleNames) -> dict[str, Piece] | None:
    if "." in name:
        return _place(key, f"{_DENOISER}{name}", base, names)
    own = f"{base.denoiser}.{name}"  # a parameter of the model itself; SD3's positions have a module of their own here
    nested = f"{own}.{name}"
    return {nested if nested in base.params else own: Piece(key)}


def _place(key: str, name: str, base: BaseIndex, names: ModuleNames) -> dict[str, Piece] | None:
    module, _, parameter = name.rpartition(".")
    parameter = "weight" if parameter == "scale" else parameter
    place = names.find(module)
    if place is None:
        return None
    out: dict[str, Piece] = {}
    at = 0
    for ours in place.modules:
        target = f"{ours}.{parameter}"
        shape = base.shape(target)
        rows = None if len(place.modules) == 1 or shape is None else shape[0]
        out[target] = Piece(key, at, rows, place.swap)
        at += rows or 0
    return out


def _vae(name: str, base: BaseIndex) -> str:
    if found := _VAE_UP.match(name):
        blocks = {t.split(".")[3] for t in base.params if t.startswith("vae.decoder.up_blocks.")}
        block = f"decoder.up_blocks.{len(blocks) - 1 - int(found[1])}"
        inner = f"resnets.{found[3]}" if found[3] is not None else "upsamplers.0"
        name = f"{block}.{inner}.{found[4]}"
    for pattern, ours in _VAE:
        name = re.sub(pattern, ours, name)
    return name


def _openclip(key: str, rest: str, base: BaseIndex) -> dict[str, Piece] | None:
    encoder = "text_encoder_2" if "text_encoder_2" in base.files else "text_encoder"
    outside = {
        "token_embedding.weight": "embeddings.token_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_final.weight": "final_layer_norm.weight",
        "ln_final.bias": "final_layer_norm.bias",
    }
    if rest in outside:
        return {f"{encoder}.{outside[rest]}": Piece(key)}
    if rest == "text_projection":
        return {f"{encoder}.text_projection.weight": Piece(key, transpose=True)}
    found = re.match(r"^transformer\.resblocks\.(\d+)\.(.+)$", rest)
    if found is None:
        return None
    layer = f"{encoder}.encoder.layers.{found[1]}"
    if fused := re.match(r"^attn\.in_proj_(weight|bias)$", found[2]):
        shape = base.shape(f"{layer}.self_attn.q_proj.{fused[1]}")
        rows = shape[0] if shape else 0
        return {
            f"{layer}.self_attn.{n}_proj.{fused[1]}": Piece(key, i * rows, rows) for i, n in enumerate(("q", "k", "v"))
        }
    module, _, parameter = found[2].rpartition(".")
    return {f"{layer}.{_RESBLOCK[module]}.{parameter}": Piece(key)} if module in _RESBLOCK else None
