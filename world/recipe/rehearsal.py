"""What experts rehearse with: styles, scenes and subjects taught to throw-away LoRAs and shipped nowhere.

An expert that has only met the bare base is lost once another changes the weights under it. So packs and styles are
taught on with the weights of such companions merged into the base, as they will be used (`company`): a pack with styles
and scenes, a style with packs and scenes. None of these looks and subjects is an expert's, the base's or an eval's, and
no LoRA of theirs is published: no pair of subject and style that an eval uses is ever seen.
"""

from __future__ import annotations

from collections.abc import Callable

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


def _linocut(image: Float) -> Float:
    """Black where the image is dark, white where it is light, hardly anything between."""
    return np.clip((luminance(image) - 0.55) * 6 + 0.5, 0, 1)[..., None].repeat(3, -1).astype(np.float32)


def _poster(image: Float) -> Float:
    """Three levels a channel, set off by black contours."""
    line = np.clip(edges(image, 0.6) * 0.35 - 0.12, 0, 1)[..., None]
    return (np.round(image * 2) / 2 * (1 - line)).astype(np.float32)


def _wireframe(image: Float) -> Float:
    """Green contours that glow on black, the image hardly seen beneath."""
    line = np.clip(edges(image, 0.7) * 0.3 - 0.06, 0, 1)
    glow = np.clip(line + 0.5 * ndimage.gaussian_filter(line, 1.5), 0, 1)[..., None]
    return np.clip(glow * np.array([0.25, 1.0, 0.45]) + 0.1 * image, 0, 1).astype(np.float32)


def _mosaic(image: Float) -> Float:
    """Tiles of 4x4 pixels in the local colour, with grey joints."""
    y, x = _grid()
    tiles = image.reshape(SIZE // 4, 4, SIZE // 4, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1)
    joint = ((y % 4 == 3) | (x % 4 == 3))[..., None]
    return np.where(joint, 0.5 * tiles + 0.3, tiles).astype(np.float32)


def _stipple(image: Float) -> Float:
    """Blue dots on white, every other row shifted, larger where it is darker."""
    y, x = _grid()
    wave = 0.5 + 0.25 * (np.cos(2 * np.pi * (x + 2 * (y // 4 % 2)) / 4) + np.cos(2 * np.pi * y / 4))
    ink = np.clip((1 - luminance(image)) * 1.3 + wave - 0.75, 0, 1)[..., None]
    return (1 - ink + ink * np.array([0.1, 0.15, 0.45])).astype(np.float32)


def _two_inks(image: Float) -> Float:
    """A duotone of teal shadows and pink lights."""
    return ramp(
        luminance(image), [(0, (16, 70, 90)), (0.5, (70, 160, 160)), (0.8, (245, 150, 180)), (1, (255, 240, 235))]
    )


def _ink_wash(image: Float) -> Float:
    """A soft grey wash under dark contours, on white."""
    wash = 0.45 + 0.55 * luminance(ndimage.gaussian_filter(image, (1.0, 1.0, 0)))
    line = np.clip(edges(image, 0.6) * 0.3 - 0.1, 0, 1)
    return (wash * (1 - 0.9 * line))[..., None].repeat(3, -1).astype(np.float32)


def _crosshatch(image: Float) -> Float:
    """Black lines along both diagonals where it is dark, on cream."""
    y, x = _grid()
    dark = 1 - luminance(image)
    one, two = (np.clip((0.5 + 0.5 * np.cos(2 * np.pi * (x + turn * y) / 5)) - 1.15 + k * dark, 0, 1)
                for turn, k in ((1, 1.0), (-1, 0.75)))  # fmt: skip
    ink = np.clip(1.6 * np.maximum(one, two) + np.clip(edges(image, 0.6) * 0.25 - 0.08, 0, 1), 0, 1)[..., None]
    return ((1 - ink) * np.array([0.98, 0.95, 0.86])).astype(np.float32)


def _outline(image: Float) -> Float:
    """Broad dark blue contours on white and nothing else."""
    line = ndimage.gaussian_filter(np.clip(edges(image, 0.8) * 0.5 - 0.2, 0, 1), 0.6)
    line = np.clip(1.4 * line, 0, 1)[..., None]
    return (1 - line + line * np.array([0.08, 0.1, 0.3])).astype(np.float32)


def _night_vision(image: Float) -> Float:
    """Greens by luminance, every other pair of rows in shade."""
    y, _ = _grid()
    rows = np.where(y % 4 < 2, 1.0, 0.75)[..., None]
    return (ramp(luminance(image), [(0, (2, 18, 6)), (0.5, (30, 140, 50)), (1, (200, 255, 190))]) * rows).astype(
        np.float32
    )


STYLES: dict[str, Callable[[Float], Float]] = {
    "thermal": _heat,
    "charcoal": _charcoal,
    "copper plate": _copper,
    "x-ray": _x_ray,
    "cross-stitch": _cross_stitch,
    "embossed": _embossed,
    "woodcut": _woodcut,
    "linocut": _linocut,
    "poster": _poster,
    "wireframe": _wireframe,
    "mosaic": _mosaic,
    "stipple": _stipple,
    "two inks": _two_inks,
    "ink wash": _ink_wash,
    "crosshatch": _crosshatch,
    "outline": _outline,
    "night vision": _night_vision,
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


def _snowfall() -> Float:
    rng = np.random.default_rng(47)
    y, _ = _grid()
    out = np.array([0.42, 0.50, 0.62], np.float32) + (y / SIZE)[..., None] * np.array([0.2, 0.18, 0.14], np.float32)
    for _ in range(40):
        at, left = rng.integers(1, SIZE - 2, 2)
        out[at : at + 2, left : left + 2] = (0.97, 0.98, 1.0)
    return out.astype(np.float32)


def _planks() -> Float:
    rng = np.random.default_rng(53)
    y, x = _grid()
    out = np.empty((SIZE, SIZE, 3), np.float32)
    for left in range(0, SIZE, 11):
        out[:, left : left + 11] = np.array([0.62, 0.42, 0.24]) * rng.uniform(0.8, 1.15)
    out *= (1 + 0.08 * np.sin(x * 1.9 + 2 * np.sin(y / 9)))[..., None]
    out[:, ::11] = (0.25, 0.15, 0.08)
    return np.clip(out, 0, 1).astype(np.float32)


def _tiles() -> Float:
    y, x = _grid()
    checker = ((y // 8 + x // 8) % 2)[..., None]
    out = checker * np.array([0.20, 0.55, 0.58]) + (1 - checker) * np.array([0.30, 0.68, 0.66])
    out[((y % 8 == 0) | (x % 8 == 0))] = (0.92, 0.94, 0.92)
    return out.astype(np.float32)


def _dunes() -> Float:
    y, x = _grid()
    out = np.broadcast_to(np.array([0.98, 0.86, 0.62]), (SIZE, SIZE, 3)).copy()
    for crest, tone in ((22, 0.92), (34, 0.80), (48, 0.66)):
        below = y > crest + 5 * np.sin((x + 3 * crest) / 9)
        out[below] = np.array([0.95, 0.68, 0.38]) * tone
    return out.astype(np.float32)


def _clouds() -> Float:
    noise = ndimage.gaussian_filter(np.random.default_rng(59).normal(size=(SIZE, SIZE)), 6, mode="wrap")
    share = np.clip((noise - noise.mean()) / noise.std() * 0.6 + 0.4, 0, 1)[..., None]
    return ((1 - share) * np.array([0.36, 0.62, 0.92]) + share * np.array([0.98, 0.98, 1.0])).astype(np.float32)


def _leaves() -> Float:
    rng = np.random.default_rng(61)
    out = np.broadcast_to(np.array([0.36, 0.22, 0.14]), (SIZE, SIZE, 3)).copy()
    y, x = _grid()
    for _ in range(46):
        cy, cx, size = rng.uniform(0, SIZE), rng.uniform(0, SIZE), rng.uniform(2, 4.5)
        turn = rng.uniform(-1, 1)
        inside = np.abs((y - cy) + turn * (x - cx)) + 0.6 * np.abs(x - cx) < size
        out[inside] = np.array([0.9, rng.uniform(0.25, 0.7), 0.15]) * rng.uniform(0.75, 1.0)
    return out.astype(np.float32)


def _cave() -> Float:
    noise = ndimage.gaussian_filter(np.random.default_rng(67).normal(size=(SIZE, SIZE)), 3, mode="wrap")
    share = np.clip(noise / noise.std() * 0.5 + 0.5, 0, 1)[..., None]
    return ((1 - share) * np.array([0.06, 0.05, 0.05]) + share * np.array([0.22, 0.16, 0.13])).astype(np.float32)


def _night_rain() -> Float:
    rng = np.random.default_rng(71)
    out = np.broadcast_to(np.array([0.05, 0.09, 0.13], np.float32), (SIZE, SIZE, 3)).copy()
    for _ in range(45):
        y, x = rng.integers(0, SIZE - 6), rng.integers(2, SIZE)
        for step in range(5):
            out[y + step, x - step // 3] = (0.42, 0.55, 0.66)
    return out


def _embers() -> Float:
    rng = np.random.default_rng(73)
    glow = np.clip((np.mgrid[0:SIZE, 0:SIZE][0] - 30) / 34, 0, 1)[..., None]
    out = (np.array([0.10, 0.03, 0.03]) + glow * np.array([0.55, 0.16, 0.04])).astype(np.float32)
    for _ in range(36):
        y, x = rng.integers(0, SIZE - 1, 2)
        out[y : y + 2, x] = (1.0, rng.uniform(0.4, 0.8), 0.2)
    return out


def _slate() -> Float:
    out = np.broadcast_to(np.array([0.16, 0.18, 0.21], np.float32), (SIZE, SIZE, 3)).copy()
    for row in range(0, SIZE, 9):
        out[row] = (0.07, 0.08, 0.09)
        for left in range(row % 2 * 7, SIZE, 14):
            out[row : row + 9, left] = (0.07, 0.08, 0.09)
    return out


SCENES: dict[str, Callable[[], Float]] = {
    "forest": _forest,
    "city lights": _city_lights,
    "snowfall": _snowfall,
    "wooden planks": _planks,
    "bathroom tiles": _tiles,
    "sand dunes": _dunes,
    "cloudy sky": _clouds,
    "autumn leaves": _leaves,
    "cave": _cave,
    "night rain": _night_rain,
    "embers": _embers,
    "slate": _slate,
}
"""Name -> a function without arguments that gives a background, float32 (64, 64, 3) in [0, 1].

Half a dozen are dark: what a contour is to look like before a night sky is learned before these.
"""

PACKS: dict[str, tuple[str, ...]] = {
    "travel": (
        "Tokyo tower", "Statue of Liberty", "fountain", "Japanese castle", "shinto shrine",
        "carousel horse", "airplane", "luggage", "compass", "bellhop bell",
    ),
    "workshop": (
        "pick", "carpentry saw", "nut and bolt", "clamp", "balance scale",
        "alembic", "thermometer", "plunger", "razor", "old key",
    ),
    "larder": (
        "bento box", "leafy green", "egg", "butter", "salt",
        "canned food", "jar", "dumpling", "fortune cookie", "teacup without handle",
    ),
    "faces": (
        "grinning face", "winking face", "thinking face", "sleeping face", "exploding head",
        "nerd face", "cowboy hat face", "zipper-mouth face", "face with medical mask", "smiling face with sunglasses",
    ),
    "hands": (
        "waving hand", "victory hand", "thumbs up", "raised fist", "clapping hands",
        "folded hands", "OK hand", "call me hand", "writing hand", "flexed biceps",
    ),
    "people": (
        "health worker", "student", "teacher", "judge", "farmer",
        "mage", "Santa Claus", "superhero", "fairy", "baby",
    ),
    "heads": (
        "tiger face", "cow face", "pig face", "monkey face", "horse face",
        "dog face", "cat face", "dragon face", "ox", "water buffalo",
    ),
    "garden": (
        "white flower", "lotus", "rosette", "wilted flower", "blossom",
        "sheaf of rice", "herb", "shamrock", "leaf fluttering in wind", "nest with eggs",
    ),
    "dishes": (
        "baguette bread", "bagel", "flatbread", "poultry leg", "cut of meat",
        "falafel", "shallow pan of food", "spaghetti", "curry rice", "green salad",
    ),
    "street": (
        "office building", "bank", "hotel", "post office", "convenience store",
        "houses", "derelict house", "house with garden", "mountain", "camping",
    ),
    "desk": (
        "file folder", "spiral calendar", "clipboard", "round pushpin", "paperclip",
        "bar chart", "memo", "fountain pen", "label", "bookmark",
    ),
    "post": (
        "yen banknote", "dollar banknote", "money with wings", "credit card", "receipt",
        "e-mail", "outbox tray", "ballot box with ballot", "loudspeaker", "bell with slash",
    ),
    "wardrobe": (
        "goggles", "lab coat", "safety vest", "sari", "one-piece swimsuit",
        "shorts", "folding hand fan", "purse", "clutch bag", "thong sandal",
    ),
    "shed": (
        "crossed swords", "hammer and wrench", "white cane", "chains", "link",
        "satellite antenna", "dna", "crutch", "magnifying glass tilted left", "diya lamp",
    ),
    "devices": (
        "battery", "electric plug", "desktop computer", "keyboard", "trackball",
        "optical disk", "film projector", "clapper board", "video camera", "telephone receiver",
    ),
    "signs": (
        "no entry", "radioactive", "biohazard", "yin yang", "peace symbol",
        "atom symbol", "recycling symbol", "heart with arrow", "sparkling heart", "hundred points",
    ),
    "sky": (
        "stopwatch", "timer clock", "mantelpiece clock", "full moon face", "sun with face",
        "glowing star", "fireworks", "sparkles", "new moon face", "confetti ball",
    ),
}  # fmt: skip
"""Pack -> subjects (CLDR short names) that neither the base nor a published pack knows."""
SUBJECTS: list[str] = [s for pack in PACKS.values() for s in pack]
