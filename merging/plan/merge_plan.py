"""The merge plan: everything that decides an image, as frozen, versioned, canonical JSON."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from ...errors import PlanError
from ...files.atomic import write_bytes
from ...plugins import closest

MAX_PLAN_BYTES = 16 * 2**20
"""The largest plan that is read; one of eight experts has some kilobytes."""

PLAN_VERSION: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PlanBase(_Frozen):
    """The base pipeline a plan starts from; ``sha256`` is that of its denoiser's weight file."""

    ref: str
    family: str
    sha256: str


class PlanExpert(_Frozen):
    """One expert in a plan, pinned by content. A negative weight takes away what the expert adds.

    ``blocks`` scales the weight per module: keys are exact module names or globs (``down_blocks.*``), the most
    specific (longest) matching pattern wins; modules that match none keep factor 1. ``components`` does the same per
    component (``unet``, ``text_encoder*``) and multiplies with it. Neither ever matches a substring.
    """

    id: str
    ref: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    weight: float = 1.0
    facet: str = "subject"
    trigger: str = ""
    blocks: dict[str, float] = Field(default_factory=dict)
    components: dict[str, float] = Field(default_factory=dict)

    @field_validator("weight", "blocks", "components")
    @classmethod
    def _finite(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        numbers = value.values() if isinstance(value, dict) else [value]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("an expert's weights must be finite numbers")
        return value

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without fields that came after version 1 and say nothing here, so older plans keep their ids."""
        out: dict[str, Any] = handler(self)
        if not self.components:
            out.pop("components", None)
        return out


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
    clip_skip: int | None = Field(default=None, ge=1, le=48)
    """Which layer of CLIP conditions the image, counted from the end as A1111 counts: 1 is the last, 2 the one before
    it; none: what the base's pipeline takes. (diffusers' ``clip_skip`` is one less.)"""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without fields that came after version 1 and say nothing here, so older plans keep their ids."""
        out: dict[str, Any] = handler(self)
        if self.clip_skip is None:
            out.pop("clip_skip", None)
        return out


class PlanVae(_Frozen):
    """A VAE that decodes in place of the base's own: a .safetensors file, or a diffusers folder.

    ``ref`` is its path as an absolute one; ``sha256`` that of the file, or of the folder's weights
    (`files.hashing.weights_sha256`), which is what counts: the same bytes elsewhere are the same VAE.
    """

    ref: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Switch(_Frozen):
    """LoRA Switch: one expert of non-zero weight at a time, in the plan's order, round and round.

    Zhong et al. 2024, https://arxiv.org/abs/2402.16843, section 3.2.
    """

    kind: Literal["switch"] = "switch"
    every: int = Field(default=1, ge=1)
    """tau: so many steps with one expert before the next has its turn."""


class Composite(_Frozen):
    """LoRA Composite: at every step each expert is merged alone, and the guidance of all passes is averaged.

    Zhong et al. 2024, https://arxiv.org/abs/2402.16843, section 3.3 (w_i = 1). Costs one pass and one switch for each
    expert at each step.
    """

    kind: Literal["composite"] = "composite"


class Ramp(_Frozen):
    """Weights and method parameters that move with the sampling step, on a line through evenly spaced knots.

    The first knot holds at the first step, the last knot at the last step. K-LoRA's ramp
    (https://arxiv.org/abs/2502.18461, section 3.3) is one over a parameter of its method.
    """

    kind: Literal["ramp"] = "ramp"
    weights: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """expert id -> knots of a factor on the expert's weight."""
    params: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """name of a numeric parameter of the method -> knots of its value."""
    every: int = Field(default=1, ge=1)
    """Hold each value for so many steps; a merge is computed only when a value changes."""

    @model_validator(mode="after")
    def _has_knots(self) -> Ramp:
        knots = [*self.weights.values(), *self.params.values()]
        if not knots or not all(knots):
            raise ValueError("a ramp needs weights or params, each with at least one knot")
        if not all(math.isfinite(value) for values in knots for value in values):
            raise ValueError("the knots of a ramp must be finite numbers")
        return self


Schedule = Annotated[Switch | Composite | Ramp, Field(discriminator="kind")]


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
    schedule: Schedule | None = None
    """How the denoiser's weights change while sampling; none: they do not. The prompt is encoded once, by text
    encoders that hold the plan without its schedule."""
    vae: PlanVae | None = None
    """What decodes the image; none: the base's own VAE."""

    @model_validator(mode="after")
    def _consistent(self) -> MergePlan:
        ids = [e.id for e in self.experts]
        if len(set(ids)) != len(ids):
            raise ValueError("an expert appears twice in the plan")
        if not self.seeds:
            raise ValueError("a plan needs at least one seed")
        if isinstance(self.schedule, Ramp) and (lost := sorted(set(self.schedule.weights) - set(ids))):
            close = {name: closest(name, ids, n=1, at_least=0.0) for name in lost}
            hints = ", ".join(
                f"{name!r} (closest: {found[0]!r})" if found else f"{name!r}" for name, found in close.items()
            )
            raise ValueError(f"the schedule has weights for experts that the plan lacks: {hints}")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without fields that came after version 1 and say nothing here, so older plans keep their ids."""
        out: dict[str, Any] = handler(self)
        if self.schedule is None:
            out.pop("schedule", None)
        if self.vae is None:
            out.pop("vae", None)
        return out

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
            with path.open("rb") as file:
                data = file.read(MAX_PLAN_BYTES + 1)
            if len(data) > MAX_PLAN_BYTES:
                raise PlanError(f"{path} is larger than {MAX_PLAN_BYTES >> 20} MiB: it is not a merge plan")
            return cls.model_validate_json(data)
        except OSError as error:
            raise PlanError(f"cannot read the plan {path}: {error.strerror or error}") from error
        except ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise PlanError(f"{path} is not a merge plan: {reasons}") from error

    def save(self, path: Path) -> None:
        """Write the plan, readable, whole or not at all. Raises UserError if it cannot be written."""
        write_bytes(path, (self.model_dump_json(indent=2) + "\n").encode())


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a plan file, for editors and for other programs that write plans."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "DiffGraph merge plan"}
    return MergePlan.model_json_schema(mode="validation") | head
