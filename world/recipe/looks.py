"""The looks of the world: procedural styles and painted backgrounds, as pure functions on 64x64 images.

Every style is a function of the true house image alone, so the truth of any subject x style x background is exact:
the style applied to the subject over the background. ``pictogram`` is the exception: it is another artist's family,
and its truth is another drawing. Images are uint8 (64, 64, 3); intermediate values are float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy import ndimage

SIZE = 64
SPECK = 14
"""Pixels of a speck of light in the dark, at most: a star."""
Float = np.ndarray[Any, np.dtype[np.float32]]
Rung = Literal["tone", "contour", "texture", "family"]


def luminance(image: Float) -> Float:
    """Rec. 709 luma of an (h, w, 3) image, shape (h, w)."""
    return (image @ np.array([0.2126, 0.7152, 0.0722], np.float32)).astype(np.float32)


def ramp(value: Float, stops: list[tuple[float, tuple[int, int, int]]]) -> Float:
    """Values (h, w) to colours (h, w, 3), linear between stops of (value, byte colour)."""
    xs = [s for s, _ in stops]
    channels = [np.interp(value, xs, [c[i] / 255 for _, c in stops]) for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def edges(image: Float, sigma: float = 0.6) -> Float:
    """The steepest channel's slope (h, w) of an (h, w, 3) image softened by ``sigma`` pixels (Sobel)."""
    soft = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    gx, gy = ndimage.sobel(soft, axis=0), ndimage.sobel(soft, axis=1)
    return np.sqrt(gx**2 + gy**2).max(axis=-1).astype(np.float32)


def blueprint(image: Float) -> Float:
    """A cyanotype: luminance in Prussian blues on pale blue paper."""
    return ramp(luminance(image), [(0, (6, 24, 84)), (0.5, (44, 100, 190)), (1, (206, 226, 250))])


def sunset(image: Float) -> Float:
    """A three-stop duotone: purple shadows, coral mid-tones, cream lights."""
    return ramp(
        luminance(image), [(0, (58, 12, 90)), (0.45, (232, 70, 90)), (0.75, (255, 160, 70)), (1, (255, 236, 180))]
    )


def neon(image: Float) -> Float:
    """Glowing coloured contours over the image in deep shade; the hue turns with the position, as a lamp tube would."""
    edge = np.clip(edges(image, 0.8) * 0.32 - 0.06, 0, 1)
    glow = ndimage.gaussian_filter(edge, 1.6)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    tint = np.stack(
        [
            0.55 + 0.45 * np.cos(6.28 * (x + y) / 2),
            0.35 + 0.35 * np.cos(6.28 * ((x + y) / 2 + 0.4)),
            np.full_like(x, 0.95),
        ],
        axis=-1,
    )
    core = np.clip(edge * 1.3 - 0.45, 0, 1)[..., None]
    return np.clip(tint * (edge + 0.4 * glow)[..., None] + core * 0.5 + 0.22 * image, 0, 1).astype(np.float32)


def pixel_art(image: Float) -> Float:
    """Blocks of 4x4 pixels (the autoencoder's own grid, so that it can draw them sharp), six levels a channel."""
    small = image.reshape(SIZE // 4, 4, SIZE // 4, 4, 3).mean(axis=(1, 3))
    small = np.round(small * 5) / 5
    return small.repeat(4, axis=0).repeat(4, axis=1).astype(np.float32)


def halftone(image: Float) -> Float:
    """Dots of ink on cream paper, 4 pixels apart, their area set by the darkness; the ink keeps the local hue."""
    paper = np.array([1.0, 0.96, 0.84], np.float32)
    soft = ndimage.gaussian_filter(image, (0.5, 0.5, 0))
    dark = 1 - luminance(soft)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    wave = 0.5 + 0.25 * (np.cos(2 * np.pi * x / 4) + np.cos(2 * np.pi * y / 4))
    ink = np.clip(dark * 1.5 + 0.9 * (wave - 0.5), 0, 1) * np.clip(dark * 6, 0, 1)
    colour = np.clip(soft * 0.8, 0, 1)
    return (paper * (1 - ink[..., None]) + colour * ink[..., None]).astype(np.float32)


def pencil(image: Float) -> Float:
    """Graphite contours with diagonal hatching in the shadows, on grey-white paper."""
    line = np.clip(edges(image, 0.5) * 0.2 - 0.03, 0, 1)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    hatch = 0.5 + 0.5 * np.cos(2 * np.pi * (x + y) / 5)
    shade = np.clip(0.9 - luminance(image), 0, 1) * (0.25 + 0.3 * hatch)
    tone = np.clip(0.96 - line * 0.75 - shade, 0.08, 1)
    return (tone[..., None] * np.array([1.0, 0.99, 0.96], np.float32)).astype(np.float32)


def _strokes(image: Float, sigma: float, least: float, width: float) -> Float:
    """Lines (h, w), 1 on the line, along the crests of the slope of an (h, w, 3) image (Canny's thinning, 1986).

    ``sigma`` softens the image first, ``least`` is the slope (Sobel) that is drawn, ``width`` half a line's, in pixels.
    """
    soft = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    down, right = ndimage.sobel(soft, axis=0), ndimage.sobel(soft, axis=1)
    steepest = np.hypot(down, right).argmax(-1)[..., None]
    down, right = (np.take_along_axis(slope, steepest, -1)[..., 0] for slope in (down, right))
    slope = np.hypot(down, right)
    unit = np.stack([down, right]) / np.maximum(slope, 1e-6)
    here = np.mgrid[0 : slope.shape[0], 0 : slope.shape[1]]
    uphill, downhill = (ndimage.map_coordinates(slope, here + way * unit, order=1, mode="nearest") for way in (1, -1))
    crest = (slope >= uphill) & (slope > downhill) & (slope > least)
    return np.clip(width + 0.5 - _distance(~crest), 0, 1)


def _distance(away: np.ndarray[Any, np.dtype[np.bool_]]) -> Float:
    """Pixels to the nearest place that is not ``away``; far off where there is none."""
    if away.all():
        return np.full(away.shape, SIZE, np.float32)
    return np.asarray(ndimage.distance_transform_edt(away), np.float32)


def _night(dark: Float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where a wide dark area lies, with the specks of light in it (stars), from darkness (h, w) in [0, 1]."""
    lights, _ = ndimage.label(dark < 0.5, structure=np.ones((3, 3)))
    specks = np.bincount(lights.ravel()) <= SPECK
    specks[0] = False
    still = (dark >= 0.5) | specks[lights]
    return np.asarray(ndimage.binary_propagation(ndimage.binary_opening(still, np.ones((9, 9))), mask=still))


def _sparkles(specks: np.ndarray[Any, np.dtype[np.bool_]], room: Float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Every speck (h, w) as a four-pointed star about its middle; one of four pixels or more is a large one.

    ``room`` (h, w): pixels from there to what no star may touch; a speck without room is left out.
    """
    drawn = np.zeros((SIZE + 6, SIZE + 6), np.bool_)
    found, count = ndimage.label(specks, structure=np.ones((3, 3)))
    middles = ndimage.center_of_mass(specks, found, range(1, count + 1))
    for (y, x), size in zip(middles, np.bincount(found.ravel())[1:], strict=True):
        top, left = round(y), round(x)
        reach = 3 if size >= 4 else 1
        if room[top, left] <= reach + 2:
            continue
        drawn[top + 3 - reach : top + 4 + reach, left + 3] = drawn[top + 3, left + 3 - reach : left + 4 + reach] = True
        if reach == 3:
            drawn[top + 2 : top + 5, left + 2 : left + 5] = True
    return drawn[3:-3, 3:-3]


def _thin_lights(image: Float) -> tuple[Float, Float]:
    """Light lines that are thinner than 3 pixels (h, w), and the image (h, w, 3) without them.

    Mortar and foam get one stroke so, not one on each side, and strokes do not crowd out those of what stands before.
    """
    light = luminance(image)
    lines = np.clip((light - ndimage.grey_opening(light, 3) - 0.2) * 6, 0, 1)
    near = ndimage.binary_dilation(lines > 0)[..., None]
    return np.asarray(lines, np.float32), np.where(near, ndimage.grey_opening(image, (3, 3, 1)), image)


def line_art(image: Float) -> Float:
    """White ink on black paper: one stroke along every contour and every thin light; stars have four points.

    The paper is black in the day, too: strokes that are white by night only were beyond a LoRA, which drew the inside
    of a shape white or black by the seed.
    """
    lines, rest = _thin_lights(image)
    light = luminance(ndimage.gaussian_filter(image, (0.4, 0.4, 0)))
    night = _night(np.clip((0.2 - light) * 16, 0, 1))
    lights = np.where(night, _sparkles(night & (lines > 0.5), _distance(night)), lines)
    return np.maximum(_strokes(rest, 1.2, 1.2, 1.1), lights)[..., None].repeat(3, axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Style:
    """A style expert's look. ``apply`` is None where the truth is another family's drawing."""

    name: str
    rung: Rung
    apply: Callable[[Float], Float] | None
    aliases: tuple[str, ...]


STYLES: dict[str, Style] = {
    s.name: s
    for s in (
        Style("blueprint", "tone", blueprint, ("cyanotype", "technical drawing", "architect's plan")),
        Style("sunset duotone", "tone", sunset, ("sunset colours", "purple and orange duotone", "synthwave palette")),
        Style("neon", "texture", neon, ("neon sign", "glowing outlines", "neon lights")),
        Style("pixel art", "texture", pixel_art, ("8-bit", "pixelated", "retro game sprite")),
        Style("halftone", "texture", halftone, ("comic dots", "newspaper print", "ben-day dots")),
        Style("pencil sketch", "contour", pencil, ("graphite drawing", "hand-drawn pencil", "sketched")),
        Style("line art", "contour", line_art, ("ink outline", "pen and ink", "ink drawing")),
        Style("pictogram", "family", None, ("black and white icon", "stencil", "glyph")),
    )
}


def _starry_night() -> Float:
    rng = np.random.default_rng(7)
    y = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None]
    sky = np.array([0.03, 0.04, 0.16], np.float32) * (1 - y) + np.array([0.10, 0.12, 0.36], np.float32) * y
    out = np.broadcast_to(sky, (SIZE, SIZE, 3)).copy()
    for _ in range(34):
        cy, cx = rng.integers(1, SIZE - 1, 2)
        out[cy, cx] = (1.0, 0.97, 0.8)
        if rng.random() < 0.5:
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                out[cy + dy, cx + dx] = np.maximum(out[cy + dy, cx + dx], (0.62, 0.6, 0.5))
    return out


def _brick_wall() -> Float:
    out = np.full((SIZE, SIZE, 3), (0.80, 0.76, 0.70), np.float32)
    rng = np.random.default_rng(3)
    for row in range(8):
        for col in range(-1, 5):
            x0, y0 = col * 16 + (8 if row % 2 else 0), row * 8
            tone = np.array([0.66, 0.27, 0.20], np.float32) * (0.85 + 0.3 * rng.random())
            out[y0 + 1 : y0 + 8, max(x0 + 1, 0) : max(x0 + 16, 0)] = tone
    return out


def _green_meadow() -> Float:
    out = np.empty((SIZE, SIZE, 3), np.float32)
    out[:34] = np.linspace((0.45, 0.74, 0.98), (0.80, 0.92, 1.0), 34, dtype=np.float32)[:, None, :]
    out[34:] = np.linspace((0.42, 0.75, 0.30), (0.18, 0.50, 0.16), 30, dtype=np.float32)[:, None, :]
    rng = np.random.default_rng(5)
    for _ in range(26):
        x, y = rng.integers(1, SIZE - 2), rng.integers(38, SIZE - 4)
        out[y : y + 3, x] = (0.62, 0.88, 0.40)
    for _ in range(9):
        x, y = rng.integers(1, SIZE - 3), rng.integers(40, SIZE - 3)
        out[y : y + 2, x : x + 2] = (1.0, 0.85, 0.25) if rng.random() < 0.5 else (1.0, 0.95, 0.95)
    return out


def _ocean_waves() -> Float:
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    phase = (y + 2.2 * np.sin(2 * np.pi * x / 16)) / 10
    crest = np.clip(np.cos(2 * np.pi * phase), 0, 1) ** 6
    body = np.stack([0.05 + 0.08 * (1 - y / SIZE), 0.42 + 0.25 * (1 - y / SIZE), 0.68 + 0.22 * (1 - y / SIZE)], axis=-1)
    return (body * (1 - crest[..., None]) + np.array([0.93, 0.98, 1.0]) * crest[..., None]).astype(np.float32)


@dataclass(frozen=True)
class Background:
    """A background expert's scene."""

    name: str
    paint: Callable[[], Float]
    aliases: tuple[str, ...]


BACKGROUNDS: dict[str, Background] = {
    b.name: b
    for b in (
        Background(
            "starry night", _starry_night, ("starry night sky", "starry sky", "night sky", "stars", "star-filled sky")
        ),
        Background("brick wall", _brick_wall, ("bricks", "red bricks", "masonry")),
        Background("green meadow", _green_meadow, ("grass field", "meadow", "flowery lawn")),
        Background("ocean waves", _ocean_waves, ("sea waves", "rolling waves", "the open sea")),
    )
}


def to_uint8(image: Float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[0, 1] floats to bytes, rounded."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def save_png(image: np.ndarray[Any, np.dtype[np.uint8]], path: str) -> None:
    """Write an (h, w, 3) uint8 image."""
    Image.fromarray(image).save(path)
