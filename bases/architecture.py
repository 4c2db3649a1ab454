"""Which base family an expert belongs to, from its card and, where it shows, from its tensors."""

from __future__ import annotations

import re

from ..files.header import Header

UNKNOWN = "unknown"
_MAX_NAME = 200
"""Characters of a name that are looked at; strangers wrote it."""
# Words in a base model's id, or in trainer metadata, that settle the family. First match wins.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"stable-diffusion-3|sd3|sd-3", "sd3"),
    (r"flux[-_.]?2|flux2", "flux2"),
    (r"flux", "flux1"),
    (r"qwen[-_]?image", "qwen_image"),
    (r"z[-_]?image", "z_image"),
    (r"stable-diffusion-xl|sdxl|sd_xl|pony|illustrious|noobai", "sdxl"),
    (r"stable-diffusion-2|sd[-_]?v?2|sd2", "sd21"),
    (r"stable-diffusion-v1|sd[-_]?v?1|sd15|stable-diffusion-1", "sd15"),
)
# Names that only one family has, then sizes: (name of a module, columns, rows per column, family); None is any. They
# can be read off any adapter that touches such a module, and cannot lie. First match wins. Sizes are the released
# models': FLUX.1 and Qwen-Image have 3072 channels (in 19 and 60 blocks), FLUX.2 6144 (dev), 4096 or 3072 (klein), SD3
# 1536 or 2432, Z-Image 3840. Stable Diffusion is told by the width of the text that its cross-attention reads.
_SHAPES: tuple[tuple[re.Pattern[str], int | None, int | None, str], ...] = tuple(
    (re.compile(pattern), columns, ratio, family)
    for pattern, columns, ratio, family in (
        (r"joint_blocks[._]\d", None, None, "sd3"),
        (r"to_qkv_mlp_proj|(double|single)_stream_modulation|time_guidance_embed", None, None, "flux2"),
        (r"(img|txt)_mod[._]1$|(img|txt)_mlp[._]net[._]", None, None, "qwen_image"),
        (r"single_blocks[._]\d+[._]linear1$", None, 9, "flux2"),
        (r"double_blocks[._]\d+[._](img|txt)_mlp[._]0$", None, 6, "flux2"),
        (r"double_blocks[._]\d+[._]", 6144, None, "flux2"),
        (r"double_blocks[._]\d+[._]", 4096, None, "flux2"),
        (r"(layers|noise_refiner|context_refiner)[._]\d+[._]attention[._]", 3840, None, "z_image"),
        (r"attn2[._](processor[._])?to_[kv]$", 768, None, "sd15"),
        (r"attn2[._](processor[._])?to_[kv]$", 1024, None, "sd21"),
        (r"attn2[._](processor[._])?to_[kv]$", 2048, None, "sdxl"),
        (r"(?<!single_)transformer_blocks[._]\d+[._]attn[._]", 1536, None, "sd3"),
        (r"(?<!single_)transformer_blocks[._]\d+[._]attn[._]", 2432, None, "sd3"),
        (r"transformer_blocks[._]\d+[._]attn[._]", 6144, None, "flux2"),
        (r"(?<!single_)transformer_blocks[._](19|[2-5]\d)[._]attn[._]", 3072, None, "qwen_image"),
        (r"double_blocks|single_blocks|single_transformer_blocks", None, None, "flux1"),
    )
)
_DOWN = re.compile(r"[._](lora_A|lora_down|lora[._]down|lora_linear_layer\.down|hada_w1_b)(\.[^.]+)?(\.weight)?$")
_UP = re.compile(r"[._](lora_B|lora_up|lora[._]up|lora_linear_layer\.up|hada_w1_a)(\.[^.]+)?(\.weight)?$")
_LAST = re.compile(r"\.(weight|bias|alpha|diff|diff_b|dora_scale|oft_\w+|lokr_\w+|hada_\w+)$")


def family_of_model_id(model_id: str) -> str:
    """``emoji-base`` -> ``emoji``, ``stabilityai/stable-diffusion-xl-base-1.0`` -> ``sdxl``."""
    short = model_id.casefold().split("/")[-1]
    for pattern, family in _NAMES:
        if re.search(pattern, short):
            return family
    slug = re.sub(r"[^a-z0-9]+", "-", short).strip("-")
    return slug.removesuffix("-base") or UNKNOWN


def family_of_header(header: Header) -> str | None:
    """What tensors and trainer metadata show, or None."""
    sides = _sides(header)
    for named, columns, ratio, family in _SHAPES:
        for module, (across, down) in sides.items():
            fits = columns in (None, across) and (ratio is None or (across and down == ratio * across))
            if fits and named.search(module):
                return family
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = header.metadata.get(key, "")[:_MAX_NAME].casefold().replace("_", "-")
        for pattern, family in _NAMES:
            if text and re.search(pattern, text):
                return family
    return None


def _sides(header: Header) -> dict[str, tuple[int, int]]:
    """Module -> (columns, rows) of the weight it changes, 0 where the file does not show it."""
    out: dict[str, tuple[int, int]] = {}
    for name, info in header.tensors.items():
        shape = info.shape
        module, size = _LAST.sub("", name), (0, 0)
        if (found := _DOWN.search(name)) and len(shape) == 2:
            module, size = name[: found.start()], (shape[1], 0)
        elif (found := _UP.search(name)) and len(shape) == 2:
            module, size = name[: found.start()], (0, shape[0])
        elif name.endswith((".weight", ".diff")) and len(shape) == 2:
            size = (shape[1], shape[0])
        columns, rows = out.get(module, (0, 0))
        out[module] = max(columns, size[0]), max(rows, size[1])
    return out
