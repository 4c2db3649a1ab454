"""What a header shows in another way where neither tensors nor words say it plainly: old trainers, embeddings."""

from __future__ import annotations

import re

from ...files.header import Header
from .words.plain import clean

_UNET = re.compile(r"^(?:lora_unet_|lycoris_)?(?:down_blocks|up_blocks|mid_block|input_blocks|middle_block)")
_TE = "lora_te_text_model"
_WIDTHS = {768: "sd15", 1024: "sd21"}
"""Sides of a text encoder's vectors that one family alone has an embedding of in one table."""


def family_by_trainer(header: Header) -> str | None:
    """The family of a file of kohya's scripts from before they knew SDXL: they name no base, but whether it is v2."""
    meta = header.metadata
    if "ss_v2" not in meta or meta.get("ss_base_model_version"):
        return None
    if not any(key.startswith(_TE) or _UNET.match(key) for key in header.keys[:2_000]):
        return None
    return "sd21" if meta["ss_v2"] == "True" else "sd15"


def family_by_embedding(header: Header) -> str | None:
    """The family of an embedding, by the text encoders that it has vectors for and how wide they are."""
    if {"clip_l", "clip_g"} <= header.tensors.keys():
        return "sdxl"
    widths = {info.shape[-1] for info in header.tensors.values() if info.shape}
    return _WIDTHS.get(widths.pop()) if len(widths) == 1 else None


def token_of(header: Header, stem: str) -> str:
    """The word that stands for an embedding in a prompt: the one that the file names, or the file's own name."""
    named = [key for key in header.keys if key.startswith("<") and key.endswith(">")]
    return clean(named[0] if named else stem)
