"""How experts learn in step 3: in company, over weights that other experts have changed.

A LoRA is trained as if it were alone and then used with others: what it reads is no longer what it learned to read,
and what it writes is painted over. In merges of three experts it is the subject that gets lost, and a style covers its
subject but not the scene behind it. So every pack, style and background is taught with throw-away LoRAs of the other
two kinds merged into the base beneath it, one or both at a time, and with the images that the company is to draw
together; in a fifth of its batches it is alone. See `rehearsal` for what they are and what they are not.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...bases.index import BaseIndex
from ...errors import UserError
from ...merging.formats import read_expert
from . import rehearsal, variety
from .art import Art
from .base import DROP, encode
from .lora import PRIOR, RATE, Lesson, Studio, course, draw, fit, scene_latents, slug, subject_lesson, write_lora
from .publish import WEIGHTS
from .variety import Row

KINDS = ("subject", "style", "background")
COMPANIONS: dict[str, tuple[str, ...]] = {
    "subject": tuple(rehearsal.PACKS),
    "style": tuple(rehearsal.STYLES),
    "background": tuple(rehearsal.SCENES),
}
"""Kind -> the throw-away LoRAs of that kind."""
ALONE = 0.2
"""Share of the batches that an expert draws on the bare base, by its lesson's own rows."""
SEED = 600
SHARES = {"subject": (0.4, 0.1, 0.5), "style": (0.25, 0.15, 0.6), "background": (0.3, 0.2, 0.5)}
"""Kind of the expert -> of its other batches: the first other kind alone, the second alone, both."""
LEAST, MOST = 0.8, 1.1
"""A companion's weight is drawn from between these."""
OTHERS, OWN = 8, 24
"""So many of the base's subjects stand in each company's images, with a share `lora.PRIOR` of the batch; and so many
stand for the subjects where no pack is there."""
STEPS = {"subject": 420, "style": 600, "background": 450}
"""Kind of a throw-away LoRA -> the steps of its lesson: as far from the base as an expert is. Taught for about a
third of them, they changed the weights half as much as those that an expert is to be merged with."""
BATCH = 32
"""Images a step, whatever the lesson says."""

Cast = Mapping[str, Sequence[str]]
"""Kind -> the throw-away LoRAs of that kind that may join."""
Party = tuple[tuple[str, str], ...]
"""The companions of a batch, (kind, name) each; empty: none."""


def companions(art: Art, scale: float = 1.0) -> list[Lesson]:
    """Lessons of the throw-away LoRAs, as those of `lora` but on fewer images."""
    packs = [
        subject_lesson(art, name, subjects, round(STEPS["subject"] * scale), SEED + 200 + i)
        for i, (name, subjects) in enumerate(rehearsal.PACKS.items())
    ]
    styles = [_style(art, name, scale, SEED + i) for i, name in enumerate(rehearsal.STYLES)]
    scenes = [_scene(art, name, scale, SEED + 100 + i) for i, name in enumerate(rehearsal.SCENES)]
    return packs + styles + scenes


def _style(art: Art, style: str, scale: float, seed: int) -> Lesson:
    rng = np.random.default_rng(seed)
    plain = [(s, f"plain {c}") for s in art.base_subjects for c in ("white", str(rng.choice(art.colors)))]
    behind = [(s, variety.some_background(rng)) for s in art.base_subjects for _ in range(2)]
    rows = tuple((_said(s, style, b), s, style, b) for s, b in plain + behind)
    return Lesson(slug(style), rows, 8, round(STEPS["style"] * scale), RATE, 16, seed)


def _scene(art: Art, scene: str, scale: float, seed: int) -> Lesson:
    rng = np.random.default_rng(seed)
    styles = [style for _ in art.base_subjects for style in (None, variety.some_style(rng))]
    subjects = [s for s in art.base_subjects for _ in range(2)]
    rows = tuple((_said(s, t, scene), s, t, scene) for s, t in zip(subjects, styles, strict=True))
    return Lesson(slug(scene), rows, 4, round(STEPS["background"] * scale), RATE, 16, seed)


def _said(subject: str, style: str | None, background: str) -> str:
    behind = [] if background == "plain white" else [f"{background} background"]
    return ", ".join([subject, *([f"{style} style"] if style else []), *behind])


def present(work: Path, kind: str) -> Cast:
    """Those companions of an expert of this kind that lie in ``work``. Raises UserError if another kind has none."""
    folder = work / "rehearsal" / "experts"
    found = {k: [n for n in COMPANIONS[k] if (folder / slug(n) / WEIGHTS).exists()] for k in KINDS if k != kind}
    if missing := [k for k, names in found.items() if not names]:
        raise UserError(
            f"{folder} holds no throw-away LoRA of a {' or a '.join(missing)}: run the step companions first "
            f"(--only {slug(COMPANIONS[missing[0]][0])} makes one)"
        )
    return found


def parties(kind: str, cast: Cast = COMPANIONS) -> list[Party]:
    """Every company that an expert of this kind may have: each companion of the other two kinds, and each pair."""
    first, second = ([(k, name) for name in cast[k]] for k in KINDS if k != kind)
    return [(one,) for one in first] + [(two,) for two in second] + [(one, two) for one in first for two in second]


def drawn(kind: str, rng: np.random.Generator, cast: Cast = COMPANIONS) -> Party:
    """The company of one batch of an expert of this kind, by `ALONE` and `SHARES`."""
    if rng.random() < ALONE:
        return ()
    case = int(rng.choice(3, p=SHARES[kind]))
    first, second = ((k, str(rng.choice(cast[k]))) for k in KINDS if k != kind)
    return ((first,), (second,), (first, second))[case]


def pictures(
    subjects: Sequence[str], look: Mapping[str, str], colors: Sequence[str], rng: np.random.Generator
) -> list[Row]:
    """Images of the subjects under a look: one each before its scene, or four before plain and patterned ones.

    ``look`` may hold a ``style`` and a ``background``.
    """
    style, scene = look.get("style"), look.get("background")
    rows = []
    for subject in subjects:
        plain = [f"plain {rng.choice(colors)}" for _ in range(2)]
        behind = [scene] if scene else ["plain white", *plain, variety.some_background(rng)]
        rows += [(_said(subject, style, b), subject, style, b) for b in behind]
    return rows


class Company:
    """The weights of a UNet, beneath an adapter and beside it, and the throw-away LoRAs that can be merged into them.

    Args:
        unet: with an adapter added (peft wraps layers; the layers within and those left as they are can change).
        folder: the throw-away LoRAs, a folder each by the slug of its name.
        base: the pipeline's folder, which says what the LoRAs' modules are.
        names: which of them may join.
    """

    def __init__(self, unet: Any, folder: Path, base: Path, names: Sequence[str]) -> None:
        index = BaseIndex.open(base)
        self._deltas = {
            name: {
                target: delta.dense()
                for target, delta in read_expert(folder / slug(name) / WEIGHTS, index).deltas.items()
            }
            for name in names
        }
        met = sorted({layer for deltas in self._deltas.values() for layer in deltas})
        self._weights = {t: _layer(unet, t.removeprefix("unet.").removesuffix(".weight")).weight for t in met}
        self._pristine = {t: w.detach().clone() for t, w in self._weights.items()}

    @torch.no_grad()
    def join(self, names: Sequence[str], weights: Sequence[float]) -> None:
        """Set the weights to the pristine ones and these companions'; no names: the pristine ones to the bit."""
        for target, weight in self._weights.items():
            merged = self._pristine[target]
            for name, share in zip(names, weights, strict=True):
                if target in self._deltas[name]:
                    merged = merged + share * self._deltas[name][target].to(merged.device)
            weight.copy_(merged)


def _layer(unet: Any, name: str) -> Any:
    """The layer of a name; the one within, where peft has wrapped it."""
    module = unet.get_submodule(name)
    return getattr(module, "base_layer", module)


@dataclass(frozen=True)
class Expert:
    """What is taught in company: its lesson and what of a picture it stands for.

    ``name`` is a style's or background's own; for a pack, ``subjects`` are its subjects.
    """

    lesson: Lesson
    kind: str
    name: str
    subjects: tuple[str, ...] = ()

    def cast(self, party: Party, art: Art, rng: np.random.Generator) -> tuple[list[str], list[str], dict[str, str]]:
        """Whom a company draws: its own subjects, some of the base's, and the look that all of them are under."""
        look = {**{k: name for k, name in party if k != "subject"}, self.kind: self.name}
        others = [str(s) for s in rng.choice(art.base_subjects, OTHERS + OWN, replace=False)]
        packs = [rehearsal.PACKS[name] for k, name in party if k == "subject"]
        own = list(self.subjects) or [s for pack in packs for s in pack] or others[OTHERS:]
        return own, others[:OTHERS], look


@dataclass
class _Shelf:
    """Latents and captions of one company: its own subjects and the base's."""

    own: tuple[torch.Tensor, list[str]]
    others: tuple[torch.Tensor, list[str]]

    def batch(self, studio: Studio, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        prior = round(size * PRIOR)
        parts, captions = [], []
        for (latents, said), count in ((self.own, size - prior), (self.others, prior)):
            picked = rng.integers(0, len(said), count)
            parts.append(latents[torch.from_numpy(picked)])
            captions += ["" if rng.random() < DROP else said[i] for i in picked]
        return torch.cat(parts), studio.text(captions)


def _shelf(studio: Studio, expert: Expert, party: Party, rng: np.random.Generator) -> _Shelf:
    art = studio.art
    own, others, look = expert.cast(party, art, rng)

    def shown(names: Sequence[str]) -> tuple[torch.Tensor, list[str]]:
        rows = pictures(names, look, art.colors, rng)
        return encode(studio.vae, np.stack([art.render(*row[1:]) for row in rows])), [row[0] for row in rows]

    return _Shelf(shown(own), shown(others))


def rehearse(studio: Studio, expert: Expert, work: Path, start: Path | None = None) -> Path:
    """Teach an expert in company of ``work/rehearsal/experts``, into ``work/experts/NAME``; resumable.

    ``start`` is the LoRA file that it is to begin with, as a look's change leaves most of what was learnt true. What it
    has learnt of company stays, too: then those companions that are there will do. Without one all of them are needed.
    """
    lesson = replace(expert.lesson, batch=BATCH)
    cast = COMPANIONS if start is None else present(work, expert.kind)
    order = parties(expert.kind, cast)

    @functools.cache
    def shelf(party: Party) -> _Shelf:
        # Seeded by the company, not by when it is first met: a resumed run draws the same images.
        return _shelf(studio, expert, party, np.random.default_rng([lesson.seed, order.index(party)]))

    latents, captions = scene_latents(studio, lesson), [row[0] for row in lesson.rows]
    unet = studio.adapted(lesson, start)
    met = [name for kind in KINDS if kind != expert.kind for name in cast[kind]]
    company = Company(unet, work / "rehearsal" / "experts", studio.base, met)

    def batch(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        party = drawn(expert.kind, rng, cast)
        company.join([name for _, name in party], rng.uniform(LEAST, MOST, len(party)).tolist())
        if party:
            return shelf(party).batch(studio, lesson.batch, rng)
        return draw(studio, latents, captions, lesson, rng)

    fit(unet, course(lesson, start), work, batch)
    folder = work / "experts" / lesson.name
    write_lora(unet, lesson.rank, folder)
    return folder
