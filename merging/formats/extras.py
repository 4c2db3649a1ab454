"""Tensors beside an expert's own that a merge may leave out: a declared list, each with its reason.

Whatever is left out is said in the check and in the merge's report. A key that is not declared here is still refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from ...bases.index import BaseIndex
from ...files.header import Header

_SAMPLING = "says how the model is sampled, which the base decides"
_EMBEDDING = "holds embeddings of prompt words, which change no weight: load them as a textual inversion"
_AUTOENCODER = "is the autoencoder of an all-in-one file: the base keeps its own"
_TRAINING = "belongs to training"
_ONE, _ANY = 1, 2**60
_EXTRAS: tuple[tuple[re.Pattern[str], int, str], ...] = (
    (re.compile(r"^(v_pred|ztsnr|edm_mean|edm_std|edm_vpred\.sigma_(max|min))$"), _ONE, _SAMPLING),
    (re.compile(r"^(bundle_emb|embedding_manager)\."), _ANY, _EMBEDDING),
    (re.compile(r"^(global_step|epoch|iteration|step)$"), _ONE, _TRAINING),
)
"""(name, how many values at most, what it is)"""
_WHOLE_MODEL = ("model.diffusion_model.", "diffusion_model.")
_VAE = "vae."
_PROJECTION = re.compile(r"(^|[._])text_projection([._]|$)")
_RESBLOCK = re.compile(r"^(?:cond_stage_model|conditioner\.embedders\.[01])\.model\.transformer\.resblocks\.(\d+)\.")
PROJECTION = "projects a text encoder's output for a model of another kind: this base does not use it"
LAST_LAYER = "is the text encoder's last layer, whose output Stable Diffusion 2 does not use"


def without_extras(header: Header) -> Header:
    """The header without declared extras; what they are stands in ``left_out``. Itself where there are none."""
    whole_model = any(key.startswith(_WHOLE_MODEL) for key in header.tensors)
    found: dict[str, str] = {}
    for key, info in header.tensors.items():
        if whole_model and key.startswith(_VAE):
            found[key] = _AUTOENCODER
        for pattern, most, why in _EXTRAS:
            if info.numel <= most and pattern.search(key):
                found[key] = why
    if not found or len(found) == len(header.tensors):
        return header
    rest = {key: info for key, info in header.tensors.items() if key not in found}
    return replace(header, tensors=MappingProxyType(rest), left_out=MappingProxyType(found))


def not_in_base(key: str, base: BaseIndex) -> str | None:
    """Why a tensor that the base has no place for may be left out; None if it may not."""
    if _PROJECTION.search(key):
        return PROJECTION
    if found := _RESBLOCK.match(key):
        encoder = "text_encoder_2" if "text_encoder_2" in base.files else "text_encoder"
        start = f"{encoder}.encoder.layers."
        layers = {target.removeprefix(start).partition(".")[0] for target in base.params if target.startswith(start)}
        return LAST_LAYER if layers and int(found[1]) == len(layers) else None
    return None


def sentences(left_out: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """One sentence a reason, with the first tensor it holds for and how many there are."""
    some = list(left_out)
    counts = Counter(why for _, why in some)
    first = {why: key for key, why in reversed(some)}
    return tuple(
        f"{first[why][:120]}{f' and {count - 1} more' if count > 1 else ''} left out: it {why}"
        for why, count in counts.items()
    )
