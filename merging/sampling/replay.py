"""Make an image again from the plan that it carries, and say whether the pixels are the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..engine.engine import Engine
from ..plan.pinning import Locate
from .batch import TILED, batch_in, is_repeatable
from .pipeline import OnStep, render_seed
from .png_record import PngRecord, libraries, pixels_sha256, read_png


@dataclass(frozen=True)
class Replay:
    """An image made again.

    Attributes:
        record: what the file says of itself.
        image: the new image.
        equal: whether every pixel is the same.
        differing: how many pixels are not (all of them if the sizes differ).
        largest: the largest difference of one channel, 0 to 255.
        reasons: what is not as it was when the file was made, as sentences; empty if nothing known is.
    """

    record: PngRecord
    image: Image.Image
    equal: bool
    differing: int
    largest: int
    reasons: tuple[str, ...]

    def sentence(self) -> str:
        """The outcome, in one line."""
        if self.equal:
            return f"every pixel is the same ({self.image.width}x{self.image.height}, seed {self.record.seed})"
        why = "; ".join(self.reasons) or "libraries, device and dtype are as they were, so look at the hardware"
        return f"{self.differing} pixels differ, by at most {self.largest} of 255: {why}"


def replay(path: Path, engine: Engine, locate: Locate, on_step: OnStep | None = None) -> Replay:
    """Merge and sample the plan in a PNG again.

    Args:
        path: an image that `save_png` wrote.
        engine: over the base that the plan names.
        locate: gives the file of an expert.
        on_step: as for `render`.

    Raises:
        UserError: no image of ours, or an edited one.
        PlanError, ExpertError: the base or an expert is another than the plan pins, or cannot be merged.
    """
    record = read_png(path)
    plan, seed = record.plan, record.seed
    batch = batch_in(record.extra, (plan.prompt, plan.negative_prompt, seed))
    image = render_seed(engine, plan, seed, locate, on_step, batch=batch, vae_tiling=record.extra.get(TILED) is True)
    differing, largest = _difference(record.image, image)
    return Replay(
        record=record,
        image=image,
        equal=pixels_sha256(image) == record.pixels_sha256,
        differing=differing,
        largest=largest,
        reasons=tuple(_reasons(record, engine)),
    )


def _difference(one: Image.Image, other: Image.Image) -> tuple[int, int]:
    """(pixels that differ, largest difference of a channel)."""
    if one.size != other.size:
        return other.width * other.height, 255
    apart = np.abs(np.asarray(one.convert("RGB"), int) - np.asarray(other.convert("RGB"), int)).max(axis=2)
    return int((apart > 0).sum()), int(apart.max(initial=0))


def _reasons(record: PngRecord, engine: Engine) -> list[str]:
    """What is known to be different now, of what decides an image's bits."""
    here = libraries()
    found = [f"{n} {v} then, {here[n]} now" for n, v in record.made_with.items() if n in here and here[n] != v]
    now = {"device": engine.device.type, "dtype": str(engine.dtype).removeprefix("torch.")}
    found += [f"{n} {record.extra[n]} then, {v} now" for n, v in now.items() if record.extra.get(n, v) != v]
    batch = record.extra.get("batch", 1)
    if "device" not in record.extra:
        found.append("the file does not say on which device it was made, nor whether in a batch")
    elif not is_repeatable(record.extra):
        found.append(f"it was made in batches of up to {batch}, which moves the last bits")
    return found
