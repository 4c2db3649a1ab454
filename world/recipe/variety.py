"""Looks of the base's own: simple styles and patterned backgrounds that are no expert's.

A base that has only seen one kind of picture ties a subject to that picture: an adapter that changes the look then
takes the subject with it. Shown every subject under looks that come and go, the base keeps the two apart, and so do the
adapters trained on it. (What a base of the field learns from millions of images, ours learns from these.) They are in
no card and no graph: no scorer knows them, so nothing is promised of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from .looks import SIZE, Float, edges, luminance
from .subjects import COLORS

Row = tuple[str, str, str | None, str]
"""(caption, subject, style, background)"""


def _tone(dark: tuple[int, int, int], light: tuple[int, int, int]) -> Callable[[Float], Float]:
    low, high = np.array(dark, np.float32) / 255, np.array(light, np.float32) / 255
    return lambda image: (low + luminance(image)[..., None] * (high - low)).astype(np.float32)


def _negative(image: Float) -> Float:
    return (1 - image).astype(np.float32)


def _pale(image: Float) -> Float:
    return (0.55 + 0.45 * image).astype(np.float32)


def _dim(image: Float) -> Float:
    return (0.4 * image).astype(np.float32)


def _flat(image: Float) -> Float:
    return (np.round(image * 2) / 2).astype(np.float32)


def _soft(image: Float) -> Float:
    return ndimage.gaussian_filter(image, (1.3, 1.3, 0)).astype(np.float32)


def _contour(image: Float) -> Float:
    return np.clip(edges(image, 0.6) * 0.3 - 0.04, 0, 1).astype(np.float32)


def _chalk(image: Float) -> Float:
    """Pale contours on a dark green board."""
    line = _contour(image)[..., None]
    board, white = np.array([0.10, 0.22, 0.17], np.float32), np.array([0.93, 0.95, 0.90], np.float32)
    return (board * (1 - line) + white * line + 0.1 * image).clip(0, 1).astype(np.float32)


def _wire(image: Float) -> Float:
    """Brown contours on sand."""
    line = _contour(image)[..., None]
    sand, brown = np.array([0.93, 0.86, 0.70], np.float32), np.array([0.35, 0.18, 0.08], np.float32)
    return (sand * (1 - line) + brown * line).astype(np.float32)


def _scan(image: Float) -> Float:
    """Every fourth pair of rows in shade, as on an old screen."""
    rows = np.where(np.arange(SIZE) % 4 < 2, 1.0, 0.55).astype(np.float32)
    return (image * rows[:, None, None]).astype(np.float32)


def _grain(image: Float) -> Float:
    """The same coarse speckle over everything."""
    noise = np.random.default_rng(17).normal(0, 0.16, (SIZE // 2, SIZE // 2, 1)).repeat(2, 0).repeat(2, 1)
    return np.clip(image + noise, 0, 1).astype(np.float32)


STYLES: dict[str, Callable[[Float], Float]] = {
    "red tone": _tone((90, 0, 10), (255, 214, 206)),
    "green tone": _tone((4, 52, 20), (214, 246, 200)),
    "brown tone": _tone((48, 26, 10), (250, 232, 200)),
    "grey tone": _tone((10, 10, 10), (250, 250, 250)),
    "plum": _tone((250, 190, 220), (70, 10, 70)),
    "negative": _negative,
    "pale": _pale,
    "dim": _dim,
    "flat": _flat,
    "soft": _soft,
    "chalk": _chalk,
    "wire": _wire,
    "scan": _scan,
    "grain": _grain,
}
"""Name -> function on float32 (64, 64, 3) images in [0, 1]."""


def _stripes(y: Float, x: Float) -> Float:
    return (np.floor((x + y) / 8) % 2).astype(np.float32)


def _bars(y: Float, x: Float) -> Float:
    return (np.floor(y / 8) % 2).astype(np.float32)


def _checks(y: Float, x: Float) -> Float:
    return ((np.floor(y / 8) + np.floor(x / 8)) % 2).astype(np.float32)


def _dots(y: Float, x: Float) -> Float:
    return ((np.mod(y, 12) - 6) ** 2 + (np.mod(x, 12) - 6) ** 2 < 9).astype(np.float32)


def _specks(y: Float, x: Float) -> Float:
    small = np.random.default_rng(23).random((SIZE // 2, SIZE // 2)) < 0.05
    return small.astype(np.float32).repeat(2, 0).repeat(2, 1)


def _fade(y: Float, x: Float) -> Float:
    return (y / SIZE).astype(np.float32)


def _rays(y: Float, x: Float) -> Float:
    return (np.floor(np.arctan2(y - 31.5, x - 31.5) / np.pi * 8) % 2).astype(np.float32)


def _halves(y: Float, x: Float) -> Float:
    return (y > 40).astype(np.float32)


def _mist(y: Float, x: Float) -> Float:
    noise = ndimage.gaussian_filter(np.random.default_rng(29).normal(size=(SIZE, SIZE)), 5, mode="wrap")
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


PATTERNS: dict[str, Callable[[Float, Float], Float]] = {
    "striped": _stripes,
    "barred": _bars,
    "checked": _checks,
    "dotted": _dots,
    "specked": _specks,
    "faded": _fade,
    "rayed": _rays,
    "halved": _halves,
    "misty": _mist,
}
"""Name -> the share of the second colour at every pixel, from row and column grids of shape (64, 64)."""


def some_background(rng: np.random.Generator) -> str:
    """The name of a patterned background drawn at random, as `named_scene` reads it."""
    first, second = rng.choice(list(COLORS), 2, replace=False)
    return f"{first} and {second} {rng.choice(list(PATTERNS))}"


def some_style(rng: np.random.Generator) -> str:
    """The name of a style drawn at random."""
    return str(rng.choice(list(STYLES)))


def named_scene(name: str) -> Float:
    """``FIRST and SECOND PATTERN``, two of the world's colours and a pattern, as float32 (64, 64, 3).

    Raises KeyError or ValueError for any other name.
    """
    first, _, second, pattern = name.split(" ")
    y, x = (axis.astype(np.float32) for axis in np.mgrid[0:SIZE, 0:SIZE])
    share = PATTERNS[pattern](y, x)[..., None]
    one, two = (np.array(COLORS[c], np.float32) / 255 for c in (first, second))
    return (one * (1 - share) + two * share).astype(np.float32)


def scenes(subjects: Sequence[str], count: int, seed: int) -> list[Row]:
    """Subjects in turn under the base's own looks: a third changes the style, a third the background, a third both."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for i in range(count):
        subject = subjects[i % len(subjects)]
        kind = rng.integers(3)
        style = some_style(rng) if kind != 0 else None
        behind = f"plain {rng.choice(list(COLORS))}" if kind == 1 else some_background(rng)
        said = [subject, *([f"{style} style"] if style else []), f"{behind} background"]
        rows.append((", ".join(said), subject, style, behind))
    return rows
