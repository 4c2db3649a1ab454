"""PNGs that carry their own recipe: our JSON (``diffgraph``), ``parameters``, the text that A1111 reads, and where it
can be ``prompt``, the graph that ComfyUI reads.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from pydantic import JsonValue, ValidationError

from ...errors import UserError
from ...files.atomic import write_bytes
from ..plan.merge_plan import MergePlan
from .a1111_text import expert_names, parameters, version
from .comfy_graph_text import comfy_graph

KEY, PARAMETERS, GRAPH = "diffgraph", "parameters", "prompt"
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PngRecord:
    """What a PNG of ours says of itself.

    Attributes:
        plan: the plan it was made by; its hash was compared.
        seed: which of the plan's seeds.
        pixels_sha256: hash of size and RGB bytes as they were saved.
        extra: what the caller added (scores, ids, the device …), JSON-plain.
        made_with: library -> version that it was made with; empty in images of before this was written.
        image: the pixels.
        texts: what it tells other programs, by the names that they look under.
    """

    plan: MergePlan
    seed: int
    pixels_sha256: str
    extra: dict[str, JsonValue]
    made_with: dict[str, str]
    image: Image.Image
    texts: dict[str, str] = field(default_factory=dict)


def save_png(
    image: Image.Image,
    path: Path,
    plan: MergePlan,
    seed: int,
    extra: Mapping[str, JsonValue] | None = None,
    sums: Mapping[str, str] | None = None,
    *,
    own: str = "",
    graph: bool = True,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write ``image`` with its plan, atomically. Equal arguments give equal bytes.

    Args:
        sums: what `a1111_text.payload_sums` gives, for ``parameters``, so that other programs know the experts.
        own: the base's own sampler as plans name it, for plans that leave the sampler to the base.
        graph: also write the graph by which ComfyUI draws this, where its nodes can.
        texts: a record's, to be written as they are instead of all this.

    Raises:
        ValueError: ``seed`` is none of the plan's, or ``extra`` is not JSON.
        UserError: the file cannot be written.
    """
    if seed not in plan.seeds:
        raise ValueError(f"seed {seed} is none of the plan's seeds")
    image = image.convert("RGB")
    record = {
        "version": 1,
        "plan_id": plan.plan_id,
        "plan": plan.model_dump(mode="json"),
        "seed": seed,
        "pixels_sha256": pixels_sha256(image),
        "diffgraph": version(),
        "made_with": libraries(),
        "extra": dict(extra or {}),
    }
    said = {PARAMETERS: parameters(plan, seed, image.size, sums, own)} if not texts else dict(texts)
    nodes = comfy_graph(plan, seed, image.size, expert_names(plan), own) if graph and not texts else None
    if nodes is not None:
        said[GRAPH] = json.dumps(nodes, separators=(",", ":"), allow_nan=False)
    info = PngInfo()
    for name, text in said.items():
        info.add_text(name, text)
    info.add_text(KEY, json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    write_bytes(Path(path), buffer.getvalue())


def pixels_sha256(image: Image.Image) -> str:
    """sha256 over the size and RGB bytes of an image: equal images have equal hashes, whatever the file."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()


def read_png(path: Path) -> PngRecord:
    """Read back what `save_png` wrote.

    Raises:
        UserError: no PNG, not one of ours, or its record does not fit its hash (someone edited it).
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is too large for an image of ours")
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            held = getattr(image, "text", {})
            raw = held.get(KEY)
            pixels = pixels_sha256(image)
            copy = image.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as a PNG: {error}") from error
    if raw is None:
        raise UserError(f"{path} carries no DiffGraph plan; was it re-saved by another program?")
    try:
        record: dict[str, Any] = json.loads(raw)
        plan = MergePlan.model_validate(record["plan"])
        seed, plan_id, said, extra = record["seed"], record["plan_id"], record["pixels_sha256"], record["extra"]
        made_with = {str(name): str(version) for name, version in record.get("made_with", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError) as error:
        raise UserError(f"{path} carries a DiffGraph record that cannot be read: {error}") from error
    if plan.plan_id != plan_id or seed not in plan.seeds or not isinstance(extra, dict):
        raise UserError(f"{path} carries a plan that does not fit its own hash: it was edited")
    if said != pixels:
        raise UserError(f"the pixels of {path} are not those that its plan was saved with: it was edited")
    texts = {name: str(held[name]) for name in (PARAMETERS, GRAPH) if name in held}
    return PngRecord(plan, seed, pixels, extra, made_with, copy, texts)


def read_plan(path: Path) -> MergePlan:
    """The plan in a PNG that `save_png` wrote. Raises UserError as `read_png`."""
    return read_png(path).plan


def libraries() -> dict[str, str]:
    """The libraries that decide an image's bits, with their versions; none of them is imported."""
    return {name: version(name) for name in ("torch", "diffusers", "transformers")}
