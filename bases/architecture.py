"""Which base family an expert belongs to, from its card and, where it shows, from its tensors."""

from __future__ import annotations

import re

from ..files.header import Header

UNKNOWN = "unknown"
_MAX_NAME = 200
"""Characters of a name that are looked at; strangers wrote it."""
# Words in a base model's id, or in trainer metadata, that settle the family. First match wins.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"chroma(?!tic)", "chroma"),
    (r"aura[-_]?flow|pony[-_]?v7", "auraflow"),
    (r"hunyuan[-_]?video", "hunyuan_video"),
    (r"ltx([-_]?(video|2)|v|$|[-_])", "ltx_video"),
    (r"stable-diffusion-3|sd3|sd-3", "sd3"),
    (r"flux[-_.]?2|flux2|klein", "flux2"),
    (r"flux", "flux1"),
    (r"qwen[-_]?image", "qwen_image"),
    (r"z[-_]?image", "z_image"),
    (r"hi-?dream", "hidream"),
    (r"lumina-?(image-?)?2|neta-?lumina", "lumina2"),
    (r"(?<![a-z])sana(?![a-z])", "sana"),
    (r"kolors", "kolors"),
    (r"stable-diffusion-xl|sdxl|sd_xl|pony|illustrious|noobai", "sdxl"),
    (r"stable-diffusion-2|sd[-_]?v?2|sd2", "sd21"),
    (r"stable-diffusion-v1|sd[-_]?v?1|sd15|stable-diffusion-1", "sd15"),
)
# Names that only one family has, then sizes: (name of a module, columns, rows per column, family); None is any. They
# can be read off any adapter that touches such a module, and cannot lie. First match wins. Sizes are the released
# models': FLUX.1 and Qwen-Image have 3072 channels (in 19 and 60 blocks), FLUX.2 6144 (dev), 4096 or 3072 (klein), SD3
# 1536 or 2432, Z-Image 3840. Stable Diffusion is told by the width of the text that its cross-attention reads, or by
# where its blocks have attention: transformers have modules of the same last names, so a UNet's own must stand before.
_UNET = r"(down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)[._].*"
_SHAPES: tuple[tuple[re.Pattern[str], int | None, int | None, str], ...] = tuple(
    (re.compile(pattern), columns, ratio, family)
    for pattern, columns, ratio, family in (
        (r"distilled_guidance_layer", None, None, "chroma"),
        (r"joint_transformer_blocks[._]\d|(double|single)_layers[._]\d+[._](attn|mlp|mod)", None, None, "auraflow"),
        (r"single_transformer_blocks[._]\d+[._](attn[._]to_out[._]0|ff[._]linear_1)$", 3072, None, "auraflow"),
        (r"(img|txt)_mlp[._]fc[12]$|(img|txt)_mod[._]linear$|token_refiner", None, None, "hunyuan_video"),
        (r"\.(img|txt)_attn_(qkv|proj)$|single_blocks[._]\d+[._]modulation[._]linear$", None, None, "hunyuan_video"),
        (r"joint_blocks[._]\d", None, None, "sd3"),
        (r"(double|single)_stream_blocks[._]\d+[._]block[._]", None, None, "hidream"),
        (r"(layers|noise_refiner|context_refiner)[._]\d+[._](attn|attention|feed_forward)[._]", 2304, None, "lumina2"),
        (r"ff[._]conv_(inverted|depth|point)$", None, None, "sana"),
        (r"to_qkv_mlp_proj|(double|single)_stream_modulation|time_guidance_embed", None, None, "flux2"),
        (r"(img|txt)_mod[._]1$|(img|txt)_mlp[._]net[._]", None, None, "qwen_image"),
        (r"single_blocks[._]\d+[._]linear1$", None, 9, "flux2"),
        (r"double_blocks[._]\d+[._](img|txt)_mlp[._]0$", None, 6, "flux2"),
        (r"single_blocks[._]\d+[._]linear2$|single_transformer_blocks[._]\d+[._]attn[._]to_out$", 12288, None, "flux2"),
        (r"double_blocks[._]\d+[._]", 6144, None, "flux2"),
        (r"double_blocks[._]\d+[._]", 4096, None, "flux2"),
        (r"(layers|noise_refiner|context_refiner)[._]\d+[._]attention[._]", 3840, None, "z_image"),
        (_UNET + r"attn2[._](processor[._])?to_[kv]$", 768, None, "sd15"),
        (_UNET + r"attn2[._](processor[._])?to_[kv]$", 1024, None, "sd21"),
        (_UNET + r"attn2[._](processor[._])?to_[kv]$", 2048, None, "sdxl"),
        (_UNET + r"attentions[._]\d+[._]transformer_blocks[._][1-9].*attn1", 640, None, "sdxl"),
        (_UNET + r"attentions[._]\d+[._]transformer_blocks[._][1-9].*attn1", 1280, None, "sdxl"),
        (r"(input_blocks|output_blocks|middle_block)[._][\d._]+transformer_blocks[._][1-9].*attn1", 640, None, "sdxl"),
        (r"(input_blocks|output_blocks|middle_block)[._][\d._]+transformer_blocks[._][1-9].*attn1", 1280, None, "sdxl"),
        (r"(up_blocks[._]0[._]attentions|output_blocks[._][0-2][._]1)[._].*attn1", 1280, None, "sdxl"),
        (r"(?<!single_)transformer_blocks[._]\d+[._]attn[._]", 1536, None, "sd3"),
        (r"(?<!single_)transformer_blocks[._]\d+[._]attn[._]", 2432, None, "sd3"),
        (r"transformer_blocks[._]\d+[._]attn[._]", 6144, None, "flux2"),
        (r"(?<!single_)transformer_blocks[._](4\d|5\d|2[0-9]|3\d)[._]attn[._]", 3072, None, "qwen_image"),
        (r"(img|txt)_mod[._]lin$|single_blocks[._]\d+[._]modulation[._]lin$|vector_in[._]", None, None, "flux1"),
        (r"single_blocks[._]\d+[._]processor|double_blocks[._]\d+[._]processor", None, None, "flux1"),
        (r"single_transformer_blocks[._]\d+[._]norm[._]linear$", 3072, None, "flux1"),
    )
)
_DOUBLE = re.compile(r"double_blocks[._](\d+)[._]|(?<!single_)(?<!joint_)transformer_blocks[._](\d+)[._]attn[._]")
_SINGLE = re.compile(r"single_blocks[._](\d+)[._]|single_transformer_blocks[._](\d+)[._]")
_LIKE_FLUX = ("flux1", "chroma", "hunyuan_video", "auraflow", "flux2")
"""Families whose attention has names and sizes in common (3072 channels)."""
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


def family_of_words(text: str) -> str | None:
    """The family that a base's name says, written as people do (``SD 1.5``, ``Pony``, ``Flux.1 D``); None if none."""
    return _named(text.replace(" ", "-"))


def family_of_header(header: Header, said: str = "") -> str | None:
    """What tensors and trainer metadata show, or None.

    Args:
        header: the file's.
        said: the base model's id that a card names; it decides only among families that the tensors leave open.
    """
    sides = _sides(header)
    told = [_named(header.metadata.get(key, "")) for key in ("modelspec.architecture", "ss_base_model_version")]
    for named, columns, ratio, family in _SHAPES:
        for module, (across, down) in sides.items():
            fits = columns in (None, across) and (ratio is None or (across and down == ratio * across))
            if fits and named.search(module):
                # Kolors has SDXL's UNet.
                return "kolors" if family == "sdxl" and "kolors" in (*told, _named(said)) else family
    known = next((family for family in told if family is not None), None)
    if (shared := _shared(sides)) is None:
        return known
    wanted = known or _named(said.split("/")[-1])
    return wanted if wanted in _LIKE_FLUX else shared or None


def _named(text: str) -> str | None:
    text = text[:_MAX_NAME].casefold().replace("_", "-")
    return next((family for pattern, family in _NAMES if text and re.search(pattern, text)), None)


def _shared(sides: dict[str, tuple[int, int]]) -> str | None:
    """The family of a file that only has modules which FLUX.1 shares with others, told by how many blocks it has.

    None if it has no such modules, "" if it could be any of several: a file of klein's five double blocks, or of
    AuraFlow's 32 single ones, may as well be FLUX.1's in part.
    """
    double, single = set[int](), set[int]()
    flux_only = False
    for module, (across, _) in sides.items():
        if (found := _SINGLE.search(module)) is not None:
            single.add(int(found[1] or found[2]))
        elif (found := _DOUBLE.search(module)) is not None and across in (0, 3072):
            double.add(int(found[1] or found[2]))
            flux_only |= "double_blocks" in module
    if not single and not flux_only:
        return None
    if max(double, default=0) >= 19 or max(single, default=0) >= 38:
        return "hunyuan_video" if max(double, default=0) < 20 and max(single, default=0) < 40 else ""
    whole = (set(range(5)), set(range(20)))
    klein = double <= whole[0] and single <= whole[1] and (double == whole[0] or single == whole[1])
    return "" if klein or (not double and single == set(range(32))) else "flux1"


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
