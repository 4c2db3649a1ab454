"""Step 3, second half, for the subject packs: learn on in company, over weights that other experts have changed.

A LoRA is trained as if it were alone and then used with others: what it reads is no longer what it learned to read. In
merges of three experts it is the subject that gets lost (`make eval SUITE=known` against ``compose``). So each pack
goes on, after its lesson, with throw-away LoRAs merged into the base beneath it, a style's, a scene's or both at a
time, and with images of its subjects (and of the base's, which it must leave alone) under those looks. See `rehearsal`
for what they are and what they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file

from ...merging.base import BaseIndex
from ...merging.formats import read_expert
from . import rehearsal, variety
from .art import Art
from .base import DROP, encode
from .lora import RATE, TARGETS, Lesson, Studio, draw, fit, scene_latents, slug, write_lora
from .publish import WEIGHTS
from .variety import Row

ALONE = 0.3
"""Share of the batches that a pack draws on the bare base, as in its first lesson."""
SEED = 600
KINDS = (0.45, 0.15, 0.4)
"""Of the other batches: a style alone, a scene alone, both."""
LEAST, MOST = 0.8, 1.1
"""A companion's weight is drawn from between these."""
OTHERS = 8
"""So many of the base's subjects stand in each company's images; they get a share `lora.PRIOR` of the batch."""

Party = tuple[str | None, str | None]
"""(style, scene) of `rehearsal` that a batch is drawn with."""


def companions(art: Art, scale: float = 1.0) -> list[Lesson]:
    """Lessons of the throw-away LoRAs, as `lora.style_lesson` and `lora.background_lesson` but on fewer images."""
    styles = [_style(art, name, scale, SEED + i) for i, name in enumerate(rehearsal.STYLES)]
    return styles + [_scene(art, name, scale, SEED + 100 + i) for i, name in enumerate(rehearsal.SCENES)]


def _style(art: Art, style: str, scale: float, seed: int) -> Lesson:
    rng = np.random.default_rng(seed)
    plain = [(s, f"plain {c}") for s in art.base_subjects for c in ("white", str(rng.choice(art.colors)))]
    behind = [(s, variety.some_background(rng)) for s in art.base_subjects for _ in range(2)]
    rows = tuple((_said(s, style, b), s, style, b) for s, b in plain + behind)
    return Lesson(slug(style), rows, 8, round(rehearsal.STYLES[style].steps * scale), RATE, 16, seed)


def _scene(art: Art, scene: str, scale: float, seed: int) -> Lesson:
    rng = np.random.default_rng(seed)
    styles = [style for _ in art.base_subjects for style in (None, variety.some_style(rng))]
    subjects = [s for s in art.base_subjects for _ in range(2)]
    rows = tuple((_said(s, t, scene), s, t, scene) for s, t in zip(subjects, styles, strict=True))
    return Lesson(slug(scene), rows, 4, round(rehearsal.SCENES[scene].steps * scale), RATE, 16, seed)


def _said(subject: str, style: str | None, background: str) -> str:
    behind = [] if background == "plain white" else [f"{background} background"]
    return ", ".join([subject, *([f"{style} style"] if style else []), *behind])


def parties() -> list[Party]:
    """Every company a batch may have: each style, each scene, each pair of them."""
    styles, scenes = list(rehearsal.STYLES), list(rehearsal.SCENES)
    return [(t, None) for t in styles] + [(None, s) for s in scenes] + [(t, s) for t in styles for s in scenes]


def pictures(subjects: Sequence[str], party: Party, colors: Sequence[str], rng: np.random.Generator) -> list[Row]:
    """Images of the subjects in a company: one each before its scene, or four before plain and patterned ones."""
    style, scene = party
    rows = []
    for subject in subjects:
        plain = [f"plain {rng.choice(colors)}" for _ in range(2)]
        behind = [scene] if scene else ["plain white", *plain, variety.some_background(rng)]
        rows += [(_said(subject, style, b), subject, style, b) for b in behind]
    return rows


class Company:
    """The weights beneath an adapter, and the differences of the throw-away LoRAs that can be merged into them.

    Args:
        unet: with an adapter added (peft wraps its layers; the layers within are what changes).
        folder: the throw-away LoRAs, a folder each by the slug of its name.
        base: the pipeline's folder, which says what the LoRAs' modules are.
    """

    def __init__(self, unet: Any, folder: Path, base: Path) -> None:
        self._weights = {n: m.base_layer.weight for n, m in unet.named_modules() if hasattr(m, "lora_A")}
        self._pristine = {n: w.detach().clone() for n, w in self._weights.items()}
        names = [*rehearsal.STYLES, *rehearsal.SCENES]
        index = BaseIndex.open(base)
        self._deltas = {
            name: {
                target: delta.dense()
                for target, delta in read_expert(folder / slug(name) / WEIGHTS, index).deltas.items()
            }
            for name in names
        }

    @torch.no_grad()
    def join(self, names: Sequence[str], weights: Sequence[float]) -> None:
        """Set the weights to the pristine ones and these companions'; no names: the pristine ones to the bit."""
        for layer, weight in self._weights.items():
            merged = self._pristine[layer]
            for name, share in zip(names, weights, strict=True):
                merged = merged + share * self._deltas[name][f"unet.{layer}.weight"].to(merged.device)
            weight.copy_(merged)


@dataclass
class _Shelf:
    """Latents and captions of one company: the pack's subjects and the base's."""

    own: tuple[torch.Tensor, list[str]]
    others: tuple[torch.Tensor, list[str]]

    def batch(self, studio: Studio, lesson: Lesson, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        prior = round(lesson.batch * lesson.prior)
        parts, captions = [], []
        for (latents, said), count in ((self.own, lesson.batch - prior), (self.others, prior)):
            picked = rng.integers(0, len(said), count)
            parts.append(latents[torch.from_numpy(picked)])
            captions += ["" if rng.random() < DROP else said[i] for i in picked]
        return torch.cat(parts), studio.text(captions)


def _shelf(studio: Studio, subjects: Sequence[str], party: Party, rng: np.random.Generator) -> _Shelf:
    art = studio.art
    others = [str(s) for s in rng.choice(art.base_subjects, OTHERS, replace=False)]

    def shown(names: Sequence[str]) -> tuple[torch.Tensor, list[str]]:
        rows = pictures(names, party, art.colors, rng)
        return encode(studio.vae, np.stack([art.render(*row[1:]) for row in rows])), [row[0] for row in rows]

    return _Shelf(shown(subjects), shown(others))


def rehearse(studio: Studio, lesson: Lesson, steps: int, work: Path) -> Path:
    """Teach a pack on from ``work/alone/experts/NAME``, in company; resumable; into ``work/experts/NAME``."""
    rng = np.random.default_rng(lesson.seed)
    shelves = {party: _shelf(studio, studio.art.packs[lesson.name], party, rng) for party in parties()}
    latents, captions = scene_latents(studio, lesson), [row[0] for row in lesson.rows]
    unet: Any = studio.unet().requires_grad_(False)
    config = LoraConfig(r=lesson.rank, lora_alpha=lesson.rank, init_lora_weights="gaussian", target_modules=TARGETS)
    unet.add_adapter(config)
    alone = load_file(work / "alone" / "experts" / lesson.name / WEIGHTS)
    set_peft_model_state_dict(unet, {k.removeprefix("unet."): v.float() for k, v in alone.items()})
    company = Company(unet, work / "rehearsal" / "experts", studio.base)

    def batch(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        party = _drawn(rng)
        present = [name for name in party if name]
        company.join(present, rng.uniform(LEAST, MOST, len(present)).tolist())
        if present:
            return shelves[party].batch(studio, lesson, rng)
        return draw(studio, latents, captions, lesson, rng)

    fit(unet, replace(lesson, name=f"{lesson.name}-company", steps=steps), work, batch, draws=1)
    folder = work / "experts" / lesson.name
    write_lora(unet, lesson.rank, folder)
    return folder


def _drawn(rng: np.random.Generator) -> Party:
    if rng.random() < ALONE:
        return None, None
    kind = rng.choice(3, p=KINDS)
    style = None if kind == 1 else str(rng.choice(list(rehearsal.STYLES)))
    scene = None if kind == 0 else str(rng.choice(list(rehearsal.SCENES)))
    return style, scene
