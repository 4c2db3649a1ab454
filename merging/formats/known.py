"""Kinds that are recognised, so that the graph can name them, but not read: they are refused with their keys.

Reading one means a file of its own here; its markers then leave this table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ..base import BaseIndex
from ..header import FileKind, Header
from .registry import Format, TargetInfo, expert_error, register

if TYPE_CHECKING:
    from ..delta import Delta

_MARKS: dict[FileKind, tuple[str, ...]] = {
    "dora": ("dora_scale", "lora_magnitude_vector"),
    "loha": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    "lokr": ("lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w2_a"),
    "oft": ("oft_blocks", "oft_R", "oft_diag", "oft_r"),
}
_EMBEDDINGS = ("emb_params", "clip_l", "clip_g", "t5xxl", "text_encoders_0", "text_encoders_1")


@register
class Known(Format):
    name = "known"

    def detect(self, header: Header) -> FileKind | None:
        words = {word for key in header.keys for word in key.split(".")}
        for kind, marks in _MARKS.items():
            if words.intersection(marks):
                return kind
        if len(header.tensors) <= 8 and all(
            (key in _EMBEDDINGS or key.startswith("<")) and len(info.shape) <= 2 for key, info in header.tensors.items()
        ):
            return "textual_inversion"
        return None

    def rank(self, header: Header) -> int | None:
        return None

    def targets(self, files: Sequence[Header], base: BaseIndex) -> dict[str, TargetInfo]:
        self._refuse(files[0])

    def read(self, files: Sequence[Header], base: BaseIndex) -> dict[str, Delta]:
        self._refuse(files[0])

    def _refuse(self, header: Header) -> NoReturn:
        raise expert_error(header, f"is a {self.detect(header)}: recognised, but not read yet", header.keys)
