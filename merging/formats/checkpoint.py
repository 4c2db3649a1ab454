"""A full checkpoint as a task vector: every parameter minus the base's, in float32 (https://arxiv.org/abs/2212.04089).

Read from a diffusers folder (``unet/``, ``text_encoder/`` …, sharded or not) or from one component's weight file.
Parameters that equal the base's are left out. The base is taken from its file, not from a model in half precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..base import DENOISERS, BaseIndex, target_name
from ..header import FileKind, Header
from .registry import Format, TargetInfo, expert_error, load_tensors, register

if TYPE_CHECKING:
    from ..delta import Delta

_MARKS = ("down_blocks.", "transformer_blocks.", "encoder.layers.", "text_model.encoder.", "conv_in.")
_ADAPTER_WORDS = ("lora", "hada_", "lokr_", "oft_", "dora_scale", "ia3_", ".diff.", ".diff_b.")
_SINGLE_FILE = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.embedders.")
_BUFFERS = ("position_ids",)


@register
class Checkpoint(Format):
    name = "checkpoint"

    def detect(self, header: Header) -> FileKind | None:
        if any(word in f".{key}." for key in header.keys for word in _ADAPTER_WORDS):
            return None
        known = any(key.startswith((*_MARKS, *_SINGLE_FILE)) for key in header.keys)
        return "checkpoint" if known else None

    def rank(self, header: Header) -> int | None:
        return None

    def targets(self, files: Sequence[Header], base: BaseIndex) -> dict[str, TargetInfo]:
        out: dict[str, TargetInfo] = {}
        for header in files:
            for target, key in _named(header, base).items():
                shape = header.tensors[key].shape
                if not shape or 0 in shape:
                    raise expert_error(header, "holds a parameter without values", (key,))
                if (own := base.shape(target)) is not None and own != shape:
                    raise expert_error(header, f"does not fit this base: {own} there, {shape} here", (key,))
                out[target] = TargetInfo((key,), shape[0], math.prod(shape[1:]))
        components = {target.partition(".")[0] for target in out}
        absent = [t for t in base.params if t.partition(".")[0] in components and t not in out and not _is_buffer(t)]
        if absent:
            raise expert_error(files[0], "lacks parameters that the base has, so it is no full checkpoint", absent)
        return out

    def read(self, files: Sequence[Header], base: BaseIndex) -> dict[str, Delta]:
        from ..delta import Delta

        out: dict[str, Delta] = {}
        for header in files:
            named = _named(header, base)
            tensors = load_tensors(header, tuple(named.values()))
            for target, key in named.items():
                if base.shape(target) is None:
                    raise expert_error(header, "has parameters that the base lacks", (key,))
                difference = tensors[key] - base.tensor(target)
                if bool(difference.any()):
                    out[target] = Delta.of(difference)
        if not out:
            raise expert_error(files[0], "equals the base in every parameter, so it would do nothing")
        return out


def _named(header: Header, base: BaseIndex) -> dict[str, str]:
    """Target -> key. Raises ExpertError for keys that no component of the base has."""
    if single := [key for key in header.keys if key.startswith(_SINGLE_FILE)]:
        raise expert_error(header, "is a single-file checkpoint; convert it to a diffusers folder first", single)
    keys = [key for key in header.keys if not _is_buffer(key)]
    hint = header.path.parent.name
    order = [*([hint] if hint in base.files else []), base.denoiser, *base.files]
    matches = {c: sum(target_name(c, key) in base.params for key in keys) for c in dict.fromkeys(order)}
    component = max(matches, key=lambda c: matches[c])
    if unknown := [key for key in keys if target_name(component, key) not in base.params]:
        if hint in DENOISERS and hint not in base.files:
            raise expert_error(header, f"is a {hint}; this base has a {base.denoiser}")
        raise expert_error(header, "has parameters that the base lacks", unknown)
    return {target_name(component, key): key for key in keys}


def _is_buffer(key: str) -> bool:
    return key.rpartition(".")[2] in _BUFFERS
