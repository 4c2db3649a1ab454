"""Edges between two experts."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, model_validator

from ..experts.expert import Frozen

RelationKind = Literal["overlap", "duplicate"]
RETIRED = frozenset({"derived-from", "conflict", "synergy", "used-together"})
"""Kinds that a graph may hold from elsewhere: kept as they are, and not read."""


class Relation(Frozen):
    """``a`` and ``b`` stand in relation ``kind``; stored with ``a < b``.

    Attributes:
        value: overlap: cosine of the two deltas, -1..1; duplicate: likeness, 0..1.
        note: how it was found.
    """

    a: str
    b: str
    kind: RelationKind
    value: float = Field(allow_inf_nan=False)
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _ordered(cls, data: object) -> object:
        if isinstance(data, dict):
            a, b = data.get("a"), data.get("b")
            if isinstance(a, str) and isinstance(b, str) and b < a:
                return {**data, "a": b, "b": a}
        return data

    @model_validator(mode="after")
    def _two(self) -> Relation:
        if self.a == self.b:
            raise ValueError(f"{self.a!r} cannot be related to itself")
        return self

    def other(self, expert_id: str) -> str:
        """The expert at the other end."""
        return self.b if expert_id == self.a else self.a


def is_retired(document: str) -> bool:
    """Whether a stored relation is of a kind that is not read any more."""
    said = json.loads(document)
    return isinstance(said, dict) and said.get("kind") in RETIRED
