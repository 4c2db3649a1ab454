"""The merge plan: everything that decides an image, as frozen, versioned, canonical JSON (DESIGN.md 2)."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from ..errors import PlanError
from .atomic import write_bytes

PLAN_VERSION: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanBase(_Frozen):
    """The base pipeline a plan starts from; ``sha256`` is that of its denoiser's weight file."""

    ref: str
    family: str
    sha256: str


class PlanExpert(_Frozen):
    """One expert in a plan, pinned by content.

    ``blocks`` scales the weight per module: keys are exact module names or globs (``down_blocks.*``), the most
    specific (longest) matching pattern wins; modules that match none keep factor 1.
    """

    id: str
    ref: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    weight: float = 1.0
    facet: str = "subject"
    trigger: str = ""
    blocks: dict[str, float] = Field(default_factory=dict)

    @field_validator("weight", "blocks")
    @classmethod
    def _finite(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        numbers = value.values() if isinstance(value, dict) else [value]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("an expert's weights must be finite numbers")
        return value


class Method(_Frozen):
    """A merge method by its registered name, with its parameters (checked by the method itself)."""

    name: str = "linear"
    params: dict[str, JsonValue] = Field(default_factory=dict)


class Sampler(_Frozen):
    """How the merged pipeline is sampled. ``name`` is a registered scheduler; ``default`` keeps the base's own."""

    name: str = "default"
    steps: int = Field(default=16, ge=1, le=1000)
    guidance: float = Field(default=3.0, ge=0.0, le=50.0)
    width: int | None = Field(default=None, ge=8)
    height: int | None = Field(default=None, ge=8)


class MergePlan(_Frozen):
    """A complete recipe for images. Two equal plans give the same bits on the same machine kind."""

    version: Literal[1] = PLAN_VERSION
    base: PlanBase
    experts: tuple[PlanExpert, ...] = ()
    method: Method = Method()
    prompt: str
    negative_prompt: str = ""
    sampler: Sampler = Sampler()
    seeds: tuple[int, ...] = (0,)
    allow_partial: bool = False
    """Permit an expert whose keys are not all applied (coverage under 100 %)."""

    @model_validator(mode="after")
    def _consistent(self) -> MergePlan:
        ids = [e.id for e in self.experts]
        if len(set(ids)) != len(ids):
            raise ValueError("an expert appears twice in the plan")
        if not self.seeds:
            raise ValueError("a plan needs at least one seed")
        return self

    def canonical_json(self) -> str:
        """Sorted keys, no blanks, UTF-8: the text whose hash is the plan's id."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def plan_id(self) -> str:
        """sha256 of the canonical JSON; keys images, caches, jobs and logs."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    @classmethod
    def load(cls, path: Path) -> MergePlan:
        """Read a plan from a file. Raises PlanError if it is not there or not a plan, with every reason."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise PlanError(f"cannot read the plan {path}: {error.strerror or error}") from error
        except ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise PlanError(f"{path} is not a merge plan: {reasons}") from error

    def save(self, path: Path) -> None:
        """Write the plan, readable, whole or not at all. Raises UserError if it cannot be written."""
        write_bytes(path, (self.model_dump_json(indent=2) + "\n").encode())
