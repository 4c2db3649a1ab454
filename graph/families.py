"""Which base family an expert belongs to, from its card and, where it shows, from its tensors."""

from __future__ import annotations

import re

from .card import Card
from .header import Header

UNKNOWN = "unknown"
# Words in a base model's id, or in trainer metadata, that settle the family. First match wins.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"stable-diffusion-3|sd3|sd-3", "sd3"),
    (r"flux", "flux1"),
    (r"stable-diffusion-xl|sdxl|sd_xl|pony|illustrious|noobai", "sdxl"),
    (r"stable-diffusion-2|sd[-_]?v?2|sd2", "sd21"),
    (r"stable-diffusion-v1|sd[-_]?v?1|sd15|stable-diffusion-1", "sd15"),
)
# Width of the text that cross-attention reads; it can be read off any adapter that touches it, and cannot lie.
_TEXT_WIDTH = {768: "sd15", 1024: "sd21", 2048: "sdxl"}
_CROSS_IN = re.compile(r"attn2[._]to_[kv]\b.*?(lora_A|lora_down|lora\.down|\.weight$)")


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
    for name, shape in header.shapes.items():
        if _CROSS_IN.search(name) and "lora_B" not in name and "up" not in name.split(".")[-2:] and len(shape) == 2:
            family = _TEXT_WIDTH.get(shape[1])
            if family:
                return family
    if any("double_blocks" in name or "single_transformer_blocks" in name for name in header.shapes):
        return "flux1"
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = header.metadata.get(key, "").casefold().replace("_", "-")
        for pattern, family in _NAMES:
            if text and re.search(pattern, text):
                return family
    return None


def family_of(card: Card, header: Header) -> str:
    """The tensors' word goes before the card's: cards are sometimes mislabelled, shapes are not."""
    shown = family_of_header(header)
    if shown:
        return shown
    return family_of_model_id(card.base_models[0]) if card.base_models else UNKNOWN
