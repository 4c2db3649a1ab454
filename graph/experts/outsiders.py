"""Adapters that are well made and are for no text-to-image base: language models, video models. Told by names in their
headers, then by what their trainer or their page says.
"""

from __future__ import annotations

import re

from ...files.header import Header

_SAMPLED = 400
"""Tensor names that are looked at: adapters repeat themselves."""
_LANGUAGE = re.compile(
    r"(?<!text_)(?<!encoder[._])(?:model|language_model|layers|h|decoder|block)[._]"
    r"(?:layers[._])?\d{1,3}[._](?:self_attn[._][qkvo]_proj|mlp[._](?:gate|up|down)_proj|attn[._]c_(?:attn|proj)"
    r"|self_attention|attention[._](?:query_key_value|dense)|input_layernorm|block_sparse_moe|mixer)"
)
_IMAGE_PARTS = re.compile(
    r"(?:^|[._])(?:unet|transformer|text_encoder(?:_\d)?|te\d?|text_model|down_blocks|up_blocks|input_blocks|clip_[lg]|t5(?:xxl)?"
    r"|diffusion_model|double_blocks|single_blocks|joint_blocks)[._]"
)
_VIDEO_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("Wan", re.compile(r"blocks[._]\d{1,2}[._](?:self_attn|cross_attn)[._](?:q|k|v|o|k_img|v_img)(?:[._]|$)")),
    ("Wan", re.compile(r"(?<!transformer_)blocks[._]\d{1,2}[._](?:attn[12][._]|ffn[._]net)")),
    ("AnimateDiff", re.compile(r"motion_modules?[._]|temporal_transformer")),
    ("CogVideoX", re.compile(r"transformer_blocks[._]\d{1,2}[._]norm1[._]linear.*cogvideo", re.I)),
    ("Stable Video Diffusion", re.compile(r"temporal_transformer_blocks[._]|time_mixer")),
)
_SAYS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.I))
    for name, pattern in (
        ("Wan", r"\bwan[ _-]?(?:video|ai|2\.?[0-9]|v2|t2v|i2v)|wan-video"),
        ("HunyuanVideo", r"hunyuan[ _-]?video"),
        ("LTX-Video", r"\bltx(?:v|[ _-]?video|[ _-]?2)?\b"),
        ("CogVideoX", r"cogvideo"),
        ("Mochi", r"\bmochi(?:[ _-]?1)?\b"),
        ("Stable Video Diffusion", r"\bsvd(?:[ _-]xt)?\b|stable[ _-]video"),
    )
)
_VIDEO_FAMILIES = {"hunyuan_video": "HunyuanVideo", "ltx_video": "LTX-Video"}


def outsider(header: Header, family: str = "", said: str = "") -> str | None:
    """Why an adapter is for no text-to-image base, as a sentence without its subject; None if nothing says so.

    Args:
        header: the file's.
        family: what its tensors show (`bases.architecture.family_of_header`), or empty.
        said: the base that its card, page or trainer names.
    """
    names = header.keys[:_SAMPLED]
    if any(_LANGUAGE.search(name) for name in names) and not any(_IMAGE_PARTS.search(name) for name in names):
        return "is an adapter of a language model, not of a base that draws"
    if family in _VIDEO_FAMILIES:
        return _video(_VIDEO_FAMILIES[family])
    for model, pattern in _VIDEO_NAMES:
        if any(pattern.search(name) for name in names):
            return _video(model)
    told = [said, *(header.metadata.get(key, "") for key in ("modelspec.architecture", "ss_base_model_version"))]
    for model, pattern in _SAYS:
        if not family and any(pattern.search(text[:200]) for text in told):
            return _video(model)
    return None


def _video(model: str) -> str:
    return f"is for the video model {model}, not for a base that draws pictures"
