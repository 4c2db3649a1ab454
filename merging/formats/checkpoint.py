"""A full checkpoint as a task vector: every parameter minus the base's, in float32 (https://arxiv.org/abs/2212.04089).

Read from a diffusers folder (``unet/``, ``text_encoder/`` …, sharded or not), from one component's weight file, or from
a single file in the model's original layout (`single_file`). Parameters that equal the base's are left out. The base is
taken from its file, not from a model in half precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...bases.index import DENOISERS, BaseIndex, target_name
from ...files.header import Header
from .extras import not_in_base, sentences
from .format import Format, TargetInfo, expert_error, register
from .names import ModuleNames
from .single_file import BARE, IGNORED, PREFIXES, Piece, pieces
from .tensors import check_floats, load_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from ..deltas.delta import Delta

_MARKS = ("down_blocks.", "transformer_blocks.", "encoder.layers.", "text_model.encoder.", "conv_in.", "layers.0.")
_ADAPTER_WORDS = (
    "lora",
    "hada_",
    "lokr_",
    "oft_",
    "dora_scale",
    "ia3_",
    ".diff.",
    ".diff_b.",
    ".w_norm.",
    ".b_norm.",
    ".set_weight.",
)


@register
class Checkpoint(Format):
    name = "checkpoint"
    holds_weights = True

    def detect(self, header: Header) -> str | None:
        if any(word in f".{key}." for key in header.keys for word in _ADAPTER_WORDS):
            return None
        known = any(key.startswith((*_MARKS, *PREFIXES, *BARE)) for key in header.keys)
        return "checkpoint" if known else None

    def rank(self, header: Header) -> int | None:
        return None

    def targets(self, files: Sequence[Header], base: BaseIndex) -> dict[str, TargetInfo]:
        out: dict[str, TargetInfo] = {}
        for header in files:
            for target, piece in _named(header, base).items():
                shape = _shape(header, piece)
                check_floats(header, (piece.key,))
                if not shape or 0 in shape:
                    raise expert_error(header, "holds a parameter without values", (piece.key,))
                own = base.shape(target)
                if own is not None and (own[0], math.prod(own[1:])) != (shape[0], math.prod(shape[1:])):
                    raise expert_error(header, f"does not fit this base: {own} there, {shape} here", (piece.key,))
                out[target] = TargetInfo((piece.key,), shape[0], math.prod(shape[1:]))
        components = {target.partition(".")[0] for target in out}
        absent = [t for t in base.params if t.partition(".")[0] in components and t not in out and not _is_buffer(t)]
        if absent:
            raise expert_error(files[0], "lacks parameters that the base has, so it is no full checkpoint", absent)
        return out

    def notes(self, files: Sequence[Header], base: BaseIndex) -> tuple[str, ...]:
        found = [(key, why) for header in files for key, why in _left_out(header, base).items()]
        return sentences(found)

    def read(self, files: Sequence[Header], base: BaseIndex) -> dict[str, Delta]:
        from ..deltas.delta import Delta

        out: dict[str, Delta] = {}
        for header in files:
            named = _named(header, base)
            tensors = load_tensors(header, sorted({piece.key for piece in named.values()}))
            for target, piece in named.items():
                if base.shape(target) is None:
                    raise expert_error(header, "has parameters that the base lacks", (piece.key,))
                own = base.tensor(target)
                difference = _cut(tensors[piece.key], piece).reshape(own.shape) - own
                if bool(difference.any()):
                    out[target] = Delta.of(difference)
        if not out:
            raise expert_error(files[0], "equals the base in every parameter, so it would do nothing")
        return out


def _shape(header: Header, piece: Piece) -> tuple[int, ...]:
    shape = header.tensors[piece.key].shape
    if piece.transpose:
        return shape[::-1]
    if piece.rows is None:
        return shape
    return (max(0, min(piece.rows, shape[0] - piece.start)), *shape[1:])


def _cut(tensor: Tensor, piece: Piece) -> Tensor:
    import torch

    if piece.transpose:
        return tensor.T
    if piece.rows is not None:
        tensor = tensor[piece.start : piece.start + piece.rows]
    return torch.cat(tensor.chunk(2)[::-1]) if piece.swap else tensor


def _named(header: Header, base: BaseIndex) -> dict[str, Piece]:
    """Target -> where it stands. Raises ExpertError for keys that no component of the base has."""
    if any(key.startswith((*PREFIXES, *BARE)) for key in header.keys):
        return _single_file(header, base)
    keys = [key for key in header.keys if not _is_buffer(key)]
    hint = header.path.parent.name
    order = [*([hint] if hint in base.files else []), base.denoiser, *base.files]
    matches = {c: sum(target_name(c, key) in base.params for key in keys) for c in dict.fromkeys(order)}
    component = max(matches, key=lambda c: matches[c])
    if unknown := [key for key in keys if target_name(component, key) not in base.params]:
        if hint in DENOISERS and hint not in base.files:
            raise expert_error(header, f"is a {hint}; this base has a {base.denoiser}")
        raise expert_error(header, "has parameters that the base lacks", unknown)
    return {target_name(component, key): Piece(key) for key in keys}


def _single_file(header: Header, base: BaseIndex) -> dict[str, Piece]:
    names, bare = ModuleNames(base), any(key.startswith(BARE) for key in header.keys)
    out: dict[str, Piece] = {}
    unknown: list[str] = []
    for key in header.keys:
        if IGNORED.match(key):
            continue
        found = pieces(key, base, names, bare=bare)
        if not found or any(target not in base.params for target in found):
            if not_in_base(key, base) is None:
                unknown.append(key)
            continue
        if twice := [target for target in found if target in out]:
            raise expert_error(header, f"has two tensors for {twice[0]}", (out[twice[0]].key, key))
        used = sum(piece.rows or 0 for piece in found.values())
        if used and used != (*header.tensors[key].shape, 0)[0]:
            raise expert_error(header, f"does not fit this base: {used} rows of {key} are expected", (key,))
        out.update(found)
    if unknown:
        raise expert_error(header, "has parameters that the base lacks", unknown)
    return out


def _left_out(header: Header, base: BaseIndex) -> dict[str, str]:
    """Tensors of a single file that the base has no place for and may do without -> why."""
    if not any(key.startswith((*PREFIXES, *BARE)) for key in header.keys):
        return {}
    used = {piece.key for piece in _single_file(header, base).values()}
    told = {key: not_in_base(key, base) for key in header.keys if key not in used and not IGNORED.match(key)}
    return {key: why for key, why in told.items() if why is not None}


def _is_buffer(key: str) -> bool:
    return key.rpartition(".")[2] == "position_ids"
