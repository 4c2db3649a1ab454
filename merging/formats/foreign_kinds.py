"""Kinds of adapter that are known by name and not understood: so that a refusal can say what a file is."""

from __future__ import annotations

import re
from collections.abc import Sequence

_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("GLoRA", r"\.[ab][12](\.weight)?$|[._]glora_"),
        ("(IA)³", r"\.on_input$|(^|[._])ia3(_l)?([._]|$)"),
        ("BOFT", r"[._]boft_"),
        ("VeRA", r"[._]vera_(lambda|A|B)"),
        ("RandLoRA", r"[._]randlora_"),
        ("VB-LoRA", r"[._]vblora_"),
        ("FourierFT", r"[._]fourierft_"),
        ("HRA", r"[._]hra_u"),
        ("Bone or MiSS", r"[._](bone|miss)_block"),
        ("SHiRA", r"[._]shira_"),
        ("C3A", r"[._]c3a_"),
        ("RoAd", r"[._]road_"),
        ("X-LoRA", r"[._]xlora_"),
        ("prompt or prefix tuning", r"[._](prompt_embeddings|prefix_encoder)"),
        ("IP-Adapter", r"(^|[._])(ip_adapter|image_proj)[._]|to_[kv]_ip[._]"),
        ("ControlNet", r"(^|[._])(control_model|controlnet_blocks|zero_convs|input_hint_block)[._]"),
        ("a hypernetwork", r"^hypernetwork|[._]hypernet[._]"),
    )
)
"""(name, names of its tensors)"""


def foreign(keys: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """(the kind's name, the tensors that tell it) of the first known kind that some of the names belong to."""
    for name, pattern in _KINDS:
        if own := tuple(key for key in keys if pattern.search(key)):
            return name, own
    return None
