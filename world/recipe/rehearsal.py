"""Looks that the packs rehearse with: styles and scenes that are taught to throw-away LoRAs and shipped nowhere.

A pack that has only met the bare base is lost once another expert changes the weights under it. So every pack is
taught on with the weights of such LoRAs merged into the base, as it will be used (`company`). None of these looks is an
expert's or the base's, and no LoRA of theirs is published: no pair of subject and style that an eval uses is ever
seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .looks import SIZE, Float, edges, luminance, ramp


def _grid() -> tuple[Float, Float]:
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    return y, x


def _heat(image: Float) -> Float:
    """A thermal camera: blue, cyan, yellow, red by luminance."""
    return ramp(
        luminance(image), [(0, (10, 10, 90)), (0.33, (0, 170, 200)), (0.66, (250, 220, 60)), (1, (200, 20, 20))]
    )


def _copper(image: Float) -> Float:
    """Copper contours and upright hatching on near black."""
    _, x = _grid()
    line = np.clip(edges(image, 0.7) * 0.3 - 0.05, 0, 1)
    hatch = (0.5 + 0.5 * np.cos(2 * np.pi * x / 4)) * np.clip(luminance(image) - 0.3, 0, 1) * 0.5
    return (
        ((0.08 + np.clip(line + hatch, 0, 1))[..., None] * np.array([0.92, 0.52, 0.26])).clip(0, 1).astype(np.float32)
    )


def _x_ray(image: Float) -> Float:
    """Dark where the image is light, with pale rims."""
    rim = np.clip(edges(image, 0.7) * 0.25, 0, 1)
    return ramp(np.clip(0.75 * (1 - luminance(image)) + 0.5 * rim, 0, 1), [(0, (4, 8, 14)), (1, (200, 225, 235))])


def _embossed(image: Float) -> Float:
    """A grey relief lit from the upper left."""
    light = ndimage.gaussian_filter(luminance(image), 0.6)
    relief = 0.55 + 0.9 * (light - np.roll(light, (2, 2), (0, 1)))
    return np.clip(relief, 0, 1)[..., None].repeat(3, -1).astype(np.float32)


def _cross_stitch(image: Float) -> Float:
    """Crosses of thread, 4 pixels wide, in the local colour on linen."""
    y, x = _grid()
    thread = np.minimum(np.abs((y - x) % 4 - 2), np.abs((y + x) % 4 - 2)) > 0.9
    small = image.reshape(SIZE // 4, 4, SIZE // 4, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1)
    return np.where(thread[..., None], small * 0.9, np.array([0.93, 0.88, 0.78])).astype(np.float32)


def _charcoal(image: Float) -> Float:
    """Smudged dark strokes along the other diagonal on brown paper."""
    y, x = _grid()
    stroke = 0.6 + 0.4 * np.cos(2 * np.pi * (x - y) / 6)
    dark = np.clip(1 - luminance(ndimage.gaussian_filter(image, (0.8, 0.8, 0))), 0, 1) * stroke
    line = np.clip(edges(image, 0.7) * 0.25, 0, 1)
    return ((1 - 0.8 * np.clip(dark + line, 0, 1))[..., None] * np.array([0.78, 0.66, 0.50])).astype(np.float32)


def _woodcut(image: Float) -> Float:
    """Level cuts that widen with the light, dark red on rose."""
    y, _ = _grid()
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * y / 5)
    ink = np.clip((wave - luminance(image)) * 4 + 0.5, 0, 1)
    ink = np.maximum(ink, np.clip(edges(image, 0.7) * 0.5 - 0.3, 0, 1))[..., None]
    return (np.array([0.97, 0.84, 0.82]) * (1 - ink) + np.array([0.45, 0.05, 0.12]) * ink).astype(np.float32)


@dataclass(frozen=True)
class Look:
    """A style or scene that a throw-away LoRA is taught in ``steps`` steps."""

    draw: Callable[..., Float]
    steps: int


STYLES: dict[str, Look] = {
    "thermal": Look(_heat, 120),
    "charcoal": Look(_charcoal, 200),
    "copper plate": Look(_copper, 200),
    "x-ray": Look(_x_ray, 200),
    "cross-stitch": Look(_cross_stitch, 180),
    "embossed": Look(_embossed, 180),
    "woodcut": Look(_woodcut, 180),
}
"""Name -> a function on float32 (64, 64, 3) images in [0, 1]."""


def _forest() -> Float:
    rng = np.random.default_rng(41)
    out = np.full((SIZE, SIZE, 3), (0.16, 0.30, 0.18), np.float32)
    for _ in range(14):
        x, wide = rng.integers(0, SIZE - 6), rng.integers(2, 6)
        out[:, x : x + wide] = np.array([0.30, 0.20, 0.12]) * rng.uniform(0.6, 1.2)
    out[52:] = (0.24, 0.36, 0.14)
    return out


def _city_lights() -> Float:
    rng = np.random.default_rng(43)
    out = np.full((SIZE, SIZE, 3), (0.05, 0.03, 0.09), np.float32)
    for x in range(0, SIZE, 8):
        top = int(rng.integers(10, 44))
        out[top:, x : x + 7] = (0.14, 0.12, 0.20)
        for y in range(top + 2, SIZE - 2, 4):
            for at in (x + 1, x + 4):
                if rng.random() < 0.45:
                    out[y : y + 2, at : at + 2] = (0.95, 0.78, 0.35)
    return out


SCENES: dict[str, Look] = {"forest": Look(_forest, 100), "city lights": Look(_city_lights, 100)}
"""Name -> a function without arguments that gives a background, float32 (64, 64, 3) in [0, 1]."""
