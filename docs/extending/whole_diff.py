"""A file format: one tensor ``<parameter>.whole_diff`` for each parameter of the base that an expert changes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from diffgraph.bases.index import BaseIndex
from diffgraph.files.header import Header
from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.formats.format import Format, TargetInfo, register
from diffgraph.merging.formats.tensors import load_tensors

ENDING = ".whole_diff"


@register
class WholeDiff(Format):
    """Differences as large as the weights themselves."""

    name = "whole_diff"

    def detect(self, header: Header) -> str | None:
        return self.name if all(key.endswith(ENDING) for key in header.keys) else None

    def rank(self, header: Header) -> int | None:
        return None

    def targets(self, files: Sequence[Header], base: BaseIndex) -> dict[str, TargetInfo]:
        shapes = {key: info.shape for header in files for key, info in header.tensors.items()}
        return {key.removesuffix(ENDING): TargetInfo((key,), s[0], prod(s[1:])) for key, s in shapes.items()}

    def read(self, files: Sequence[Header], base: BaseIndex) -> dict[str, Delta]:
        tensors = {key: t for header in files for key, t in load_tensors(header, header.keys).items()}
        return {key.removesuffix(ENDING): Delta.of(tensor) for key, tensor in tensors.items()}
