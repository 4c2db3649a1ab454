"""Edges between two experts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..experts.expert import Frozen

RelationKind = Literal["overlap", "duplicate", "derived-from", "conflict", "synergy", "used-together"]


class Relation(Frozen):
    """``a`` stands in relation ``kind`` to ``b``.

    ``derived-from`` reads "a is derived from b"; all other kinds are symmetric and are stored with ``a < b``.

    Attributes:
        value: overlap: cosine of the two deltas, -1..1; duplicate and derived-from: likeness, 0..1; conflict and
            synergy: score lost or won beside either expert alone, 0..1; used-together: number of accepted runs.
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
        if isinstance(data, dict) and data.get("kind") != "derived-from":
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
