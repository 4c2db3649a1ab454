"""The images that were drawn together: what an image must be drawn with again to come out the same to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

FIELD = "drawn_with"
"""Where a batch stands in a PNG's record."""
TILED = "vae_tiling"
"""Where a PNG's record says that the VAE decoded in tiles, which changes pixels."""
MOST = 256


class Batch(BaseModel):
    """Images that one call of the pipeline drew, all of one plan but for prompt, negative prompt and seed.

    Attributes:
        images: (prompt, negative prompt, seed) of each, in order.
        at: which of them is meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: tuple[tuple[str, str, int], ...] = Field(min_length=1, max_length=MOST)
    at: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _within(self) -> Batch:
        if self.at >= len(self.images):
            raise ValueError("at is beyond the last image")
        return self

    def recorded(self) -> dict[str, JsonValue]:
        """What a PNG's record says of it: how many images, and which, unless it was drawn alone."""
        said: dict[str, JsonValue] = {"batch": len(self.images)}
        return said if len(self.images) == 1 else said | {FIELD: self.model_dump(mode="json")}


class Drawn(NamedTuple):
    """An image, and what it was drawn with."""

    image: Image.Image
    batch: Batch


def batch_in(record: Mapping[str, JsonValue], image: tuple[str, str, int]) -> Batch | None:
    """The batch that a PNG's record tells of an image; None if it was drawn alone, or tells nothing that fits."""
    try:
        found = Batch.model_validate(record.get(FIELD))
    except ValidationError:
        return None
    return found if found.images[found.at] == image else None


def is_repeatable(record: Mapping[str, JsonValue]) -> bool:
    """Whether a PNG's record says with what its image was drawn: nothing else, or which others."""
    return record.get("batch", 1) == 1 or FIELD in record
