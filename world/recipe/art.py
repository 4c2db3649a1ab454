"""The truth of the world: emoji art, rendered; any subject x style x background as the image it should be."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from ...errors import ExternalError
from . import rehearsal, variety
from .looks import BACKGROUNDS, SIZE, STYLES, Float, to_uint8
from .subjects import BASE, COLORS, PACKS

NPM_PACKAGES = (
    "@iconify-json/noto@1.2.9",
    "@iconify-json/fxemoji@1.2.2",
    "@iconify-json/fluent-emoji-high-contrast@1.2.6",
    "emojibase-data@17.0.0",
)
HOUSE, ICONS = "noto", "fluent-emoji-high-contrast"
GUESTS = {"octopus": "fxemoji"}
"""Subject -> the family whose drawing of it stands in for the house's: where that one's outline tells nothing."""
RENDER = 52
"""Pixels that a drawing covers in the 64-pixel canvas; the rest is background."""


def fetch(cache: Path) -> Path:
    """Install the art packages with npm under ``cache`` and return their ``node_modules``.

    Raises ExternalError if npm is missing or its registry does not answer.
    """
    modules = cache / "node_modules"
    if all((modules / p.rsplit("@", 1)[0]).is_dir() for p in NPM_PACKAGES):
        return modules
    cache.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(cache), *NPM_PACKAGES]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ExternalError("npm is needed to fetch the emoji artwork; install Node.js and try again") from error
    except subprocess.CalledProcessError as error:
        raise ExternalError(f"npm could not fetch the emoji artwork: {error.stderr.strip()[-300:]}") from error
    return modules


def _svg(icons: dict[str, Any], chars: dict[str, str], hexcode: str) -> str | None:
    code = hexcode.lower()
    plain = code.replace("-fe0f", "")
    name = next((chars[k] for k in (code, plain, plain + "-fe0f") if k in chars), None)
    if name is None:
        return None
    while name not in icons["icons"]:
        parent = icons.get("aliases", {}).get(name)
        if parent is None:
            return None
        name = parent["parent"]
    icon = icons["icons"][name]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'


def _rasterise(svg: str, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    import resvg_py

    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), np.uint8)


@dataclass
class Art:
    """All renders in memory: ``house`` and ``icons`` are (n, RENDER*2, RENDER*2, 4) uint8.

    They lie in the order of ``names``, the world's subjects, and of ``rehearsed``, those of throw-away packs.
    """

    names: list[str]
    aliases: dict[str, tuple[str, ...]]
    house: np.ndarray[Any, np.dtype[np.uint8]]
    icons: np.ndarray[Any, np.dtype[np.uint8]]
    rehearsed: ClassVar[list[str]] = rehearsal.SUBJECTS

    base_subjects: ClassVar[list[str]] = list(BASE)
    packs: ClassVar[dict[str, list[str]]] = {name: list(concepts) for name, concepts in PACKS.items()}
    styles: ClassVar[list[str]] = list(STYLES)
    backgrounds: ClassVar[list[str]] = list(BACKGROUNDS)
    colors: ClassVar[list[str]] = list(COLORS)

    def __post_init__(self) -> None:
        self._index = {n: i for i, n in enumerate([*self.names, *self.rehearsed])}
        self._scenes: dict[str, Float] = {b.name: b.paint() for b in BACKGROUNDS.values()}
        self._scenes |= {name: draw() for name, draw in rehearsal.SCENES.items()}
        for color, rgb in COLORS.items():
            self._scenes[f"plain {color}"] = np.broadcast_to(np.array(rgb, np.float32) / 255, (SIZE, SIZE, 3))

    @classmethod
    def load(cls, cache: Path) -> Art:
        """Read the renders from ``cache/art.npz``, making them first if need be (about 5 s after the fetch)."""
        file = cache / "art.npz"
        if not file.exists() or _drawn(file) != _wanted():
            _render_all(fetch(cache), file)
        with np.load(file, allow_pickle=False) as data:
            meta = json.loads(str(data["meta"]))
            aliases = {k: tuple(v) for k, v in meta["aliases"].items()}
            return cls(names=_names(), aliases=aliases, house=data["house"], icons=data["icons"])

    def render(
        self,
        subject: str,
        style: str | None = None,
        background: str = "plain white",
        *,
        jitter: np.random.Generator | None = None,
    ) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The true image, uint8 (64, 64, 3); ``jitter`` shifts, scales and tints it a little.

        Style and background are those of experts (`looks`), of `rehearsal`, the base's own (`variety`), or a plain
        colour.
        """
        family = self.icons if style == "pictogram" else self.house
        drawing = Image.fromarray(family[self._index[subject]])
        size, dx, dy = RENDER, 0, 0
        if jitter is not None:
            size = int(RENDER * jitter.uniform(0.88, 1.1))
            dx, dy = (int(v) for v in jitter.integers(-3, 4, 2))
        drawing = drawing.resize((size, size), Image.Resampling.BOX if size == RENDER else Image.Resampling.BILINEAR)
        canvas = np.zeros((SIZE, SIZE, 4), np.float32)
        sprite = np.asarray(drawing, np.float32) / np.float32(255)
        _paste(canvas, sprite, (SIZE - size) // 2 + dy, (SIZE - size) // 2 + dx)
        scene = self._scenes[background] if background in self._scenes else variety.named_scene(background)
        if style == "pictogram":
            scene = _traced(scene)
        image = (scene * (1 - canvas[..., 3:]) + canvas[..., :3] * canvas[..., 3:]).astype(np.float32)
        apply = _look(style)
        if apply is not None:
            image = apply(image)
        if jitter is not None:
            image = np.clip(image * jitter.uniform(0.94, 1.06, 3) + jitter.uniform(-0.02, 0.02), 0, 1).astype(
                np.float32
            )
        return to_uint8(image)


def _look(style: str | None) -> Callable[[Float], Float] | None:
    if style is None:
        return None
    if style in STYLES:
        return STYLES[style].apply
    return rehearsal.STYLES[style] if style in rehearsal.STYLES else variety.STYLES[style]


def _traced(scene: Float) -> Float:
    """A background behind a pictogram: its light grey tracing, so that the black drawing stands before it."""
    from .looks import luminance

    light = luminance(scene)
    return np.repeat(
        (
            0.78 + 0.22 * (light - light.min()) / max(float(np.ptp(light)), 1e-3)
            if np.ptp(light) > 1e-3
            else np.ones_like(light)
        )[..., None],
        3,
        axis=-1,
    ).astype(np.float32)


def _paste(canvas: Float, sprite: Float, top: int, left: int) -> None:
    h, w = sprite.shape[:2]
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + h, SIZE), min(left + w, SIZE)
    canvas[y0:y1, x0:x1] = sprite[y0 - top : y1 - top, x0 - left : x1 - left]


def _names() -> list[str]:
    return sorted({*BASE, *(c for pack in PACKS.values() for c in pack)})


def _wanted() -> list[str]:
    """What a file of renders must hold, in its order, and which of it are guests' drawings."""
    return [f"{n} ({GUESTS[n]})" if n in GUESTS else n for n in [*_names(), *rehearsal.SUBJECTS]]


def _drawn(file: Path) -> list[str]:
    with np.load(file, allow_pickle=False) as data:
        drawn: list[str] = json.loads(str(data["meta"])).get("drawn", [])
    return drawn


def _filling(drawing: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A drawing (h, h, 4) without the margins around it, as large as before."""
    left, top, right, bottom = Image.fromarray(drawing).getchannel("A").getbbox() or (0, 0, *drawing.shape[1::-1])
    side = max(right - left, bottom - top)
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    cut = Image.fromarray(drawing).crop((x, y, x + side, y + side))
    return np.asarray(cut.resize(drawing.shape[1::-1], Image.Resampling.BICUBIC), np.uint8)


def _family(
    modules: Path, family: str, hexcodes: dict[str, str], chars: dict[str, str] | None = None
) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    """The drawings of one package by name, rendered; ``chars`` says which icon a character is, else the package."""
    folder = modules / "@iconify-json" / family
    icons = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    if chars is None:
        chars = json.loads((folder / "chars.json").read_text(encoding="utf-8"))
    svgs = {n: _svg(icons, chars, code) for n, code in hexcodes.items()}
    missing = [n for n, svg in svgs.items() if svg is None]
    if missing:
        raise ExternalError(f"{family} lacks {missing}: the artwork packages are not the pinned versions")
    return {n: _rasterise(svg, RENDER * 2) for n, svg in svgs.items() if svg is not None}


def _render_all(modules: Path, file: Path) -> None:
    entries = json.loads((modules / "emojibase-data/en/data.json").read_text(encoding="utf-8"))
    by_label = {e["label"]: e for e in entries}
    names = [*_names(), *rehearsal.SUBJECTS]
    hexcodes = {n: by_label[n]["hexcode"] for n in names}
    house, icons = _family(modules, HOUSE, hexcodes), _family(modules, ICONS, hexcodes)
    for name, family in GUESTS.items():  # by its name: the package has no characters
        guest = _family(modules, family, {name: hexcodes[name]}, {hexcodes[name].lower(): name})
        house[name] = _filling(guest[name])
    aliases = {n: [t for t in by_label[n].get("tags", []) if t.lower() != n.lower()][:6] for n in names}
    temporary = file.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        meta=json.dumps({"drawn": _wanted(), "aliases": aliases}),
        house=np.stack([house[n] for n in names]),
        icons=np.stack([icons[n] for n in names]),
    )
    temporary.replace(file)
