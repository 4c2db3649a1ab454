"""Images made by the product, labelled by how they were made.

``python -m diffgraph.world.recipe.made_images --out DIR``.

An image without the subject's expert, or with it at a quarter of its weight, does not show the subject; one of the
subject alone or under one look does. Whether a subject comes through two looks at once is what a critic is asked, so
nothing is said of it; but it does where both are at half their weight, and it drowns where both are at twice theirs. A
third are drawn without guidance, which is quicker and rougher. Combinations that a suite holds are left out. Resumable:
a shard is written once.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ...evals.suites import suite
from ...evals.suites.image_suite import ImageSuite
from ...files.atomic import write_bytes
from ...merging.plan.merge_plan import MergePlan, PlanExpert
from ...settings import Settings
from ...tools.context import Context
from ..critic import FACETS
from .looks import BACKGROUNDS, STYLES
from .subjects import BASE, PACKS

Missing = Literal["", "subject", "style", "background"]
Looks = Literal["", "soft", "loud"]
SHOWN, ABSENT, UNSAID = 1, 0, -1
FAINT = 0.25
"""An expert at this share of its weight or less shows nothing of what it can."""
SOFT, LOUD = (0.4, 0.65), (1.9, 2.5)
"""Weights of two looks at which a subject comes through for sure, and at which nothing is left of it."""
_SHARD = 12
"""Groups of images in a file."""


@dataclass(frozen=True)
class Group:
    """Images of one merge: ``subjects`` under a style and a background ("": none); what ``missing`` names is faint.

    ``looks`` says where both looks are at other weights than they are for.
    """

    pack: str
    subjects: tuple[str, ...]
    style: str
    background: str
    missing: Missing
    weights: tuple[float, float, float]
    seed: int
    looks: Looks = ""

    @property
    def labels(self) -> tuple[int, int, int]:
        """Whether subject, style and background are shown; `UNSAID` where nobody knows, or nothing was asked."""
        if self.looks:
            return SHOWN if self.looks == "soft" else ABSENT, UNSAID, UNSAID
        looks = sum(bool(text) and self.missing != facet for facet, text in self._looks)
        subject = ABSENT if self.missing == "subject" else SHOWN if looks < 2 else UNSAID
        style, background = (
            UNSAID if not text else ABSENT if self.missing == facet else SHOWN for facet, text in self._looks
        )
        return subject, style, background

    @property
    def _looks(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("style", self.style), ("background", self.background)


@dataclass(frozen=True)
class Made:
    """``images`` uint8 (n, 64, 64, 3); what was asked for, by facet, "" for nothing; ``shown`` (n, 3) as labelled;
    ``kinds`` (n,): which images were made by one list, numbered.
    """

    images: Tensor
    asked: list[tuple[str, str, str]]
    shown: Tensor
    kinds: Tensor

    @classmethod
    def load(cls, folder: Path) -> Made:
        """All shards of a folder. Raises ValueError if there is none."""
        paths = sorted(folder.glob("made-*.safetensors"))
        if not paths:
            raise ValueError(f"no made images in {folder}")
        parts = [load_file(path) for path in paths]
        lists = [path.stem.rpartition("-")[0] for path in paths]
        numbers = {kind: i for i, kind in enumerate(dict.fromkeys(lists))}
        kinds = [torch.full((len(p["images"]),), numbers[k]) for k, p in zip(lists, parts, strict=True)]
        texts = bytes(torch.cat([part["asked"] for part in parts]).tolist()).decode().splitlines()
        asked = [tuple(line.split("\t")) for line in texts]
        images, shown = (torch.cat([p[name] for p in parts]) for name in ("images", "shown"))
        return cls(images, asked, shown, torch.cat(kinds))  # type: ignore[arg-type]


def suites_hold() -> set[tuple[str, str, str]]:
    """Every (subject, style, background) that a suite of images asks for."""
    held: set[tuple[str, str, str]] = set()
    for name in suite.names():
        found = suite.load(name)
        if isinstance(found, ImageSuite):
            held |= {(i.subject or "", i.style or "", i.background or "") for i in found.select(None)}
    return held


def groups(count: int, seed: int, per_group: int = 8) -> list[Group]:
    """``count`` random merges of experts, every pack, style and background about equally often."""
    rng = np.random.default_rng(seed)
    held = suites_hold()
    styles, scenes = [s.name for s in STYLES.values()], list(BACKGROUNDS)
    looks = list(itertools.product(styles, scenes))
    packs = [*PACKS, *PACKS, "", ""]  # every fifth of the base's own subjects or so
    out: list[Group] = []
    while len(out) < count:
        pack = packs[int(rng.integers(len(packs)))]
        style, scene = looks[len(out) % len(looks)]
        form = rng.random()
        style, scene = ("", scene) if form < 0.12 else (style, "") if form < 0.3 else (style, scene)
        facets = [f for f, text in (("subject", pack), ("style", style), ("background", scene)) if text]
        whole = 0.2 if style and scene else 0.5
        missing = "" if rng.random() < whole else facets[int(rng.integers(len(facets)))]
        known = PACKS[pack] if pack else BASE
        free = [s for s in known if (s, style, scene) not in held]
        chosen = tuple(str(s) for s in rng.permutation(free)[:per_group])
        strong = rng.uniform(0.85, 1.15, 3)
        faint = 0.0 if rng.random() < 0.5 else rng.uniform(0.05, FAINT)
        weights = tuple(round(float(faint if f == missing else w), 3) for f, w in zip(FACETS, strong, strict=True))
        out.append(Group(pack, chosen, style, scene, missing, weights, int(rng.integers(2**31))))  # type: ignore[arg-type]
    return out


def drowned(count: int, seed: int, per_group: int = 8) -> list[Group]:
    """``count`` random merges of a subject under two looks, every other one loud and the others soft."""
    rng = np.random.default_rng(seed)
    whole = [g for g in groups(8 * count, seed, per_group) if g.pack and g.style and g.background][:count]
    out = []
    for i, group in enumerate(whole):
        looks: Looks = "loud" if i % 2 else "soft"
        low, high = LOUD if looks == "loud" else SOFT
        drawn = (rng.uniform(0.85, 1.15), *rng.uniform(low, high, 2))
        weights = tuple(round(float(w), 3) for w in drawn)
        out.append(replace(group, missing="", looks=looks, weights=weights))  # type: ignore[arg-type]
    return out


def plans(ctx: Context, group: Group) -> list[MergePlan]:
    """A plan a subject; all of them merge alike."""
    named = {"subject": group.pack, "style": group.style, "background": group.background}
    experts = []
    for facet, weight in zip(FACETS, group.weights, strict=True):
        if not named[facet] or weight == 0:
            continue
        expert = ctx.store.expert(f"world/{named[facet].replace(' ', '-')}")
        experts.append(PlanExpert(id=expert.id, ref=str(expert.ref), sha256=expert.sha256, weight=weight, facet=facet))
    words = [
        f"{group.style} style" if group.style else "",
        f"{group.background} background" if group.background else "",
    ]
    first = MergePlan(
        base=ctx.machinery.base,
        experts=tuple(sorted(experts, key=lambda e: e.id)),
        prompt="",
        sampler=ctx.sampler(len(experts) if group.seed % 3 else 1),
        seeds=(0,),
    )
    return [
        first.model_copy(update={"prompt": ", ".join(w for w in (s, *words) if w), "seeds": (group.seed + i,)})
        for i, s in enumerate(group.subjects)
    ]


def draw(ctx: Context, some: Sequence[Group]) -> dict[str, Tensor]:
    """One shard: the images of some groups, with what was asked and what is shown."""
    from ...merging.sampling.pipeline import draw_all

    images: list[np.ndarray[Any, Any]] = []
    asked: list[str] = []
    shown: list[tuple[int, int, int]] = []
    for group in some:
        for made in draw_all(ctx.engine, plans(ctx, group), ctx.locate, batch_size=len(group.subjects)):
            images.append(np.asarray(made[0].image, np.uint8))
        asked += ["\t".join((s, group.style, group.background)) for s in group.subjects]
        shown += [group.labels] * len(group.subjects)
    text = "".join(f"{line}\n" for line in asked).encode()
    return {
        "images": torch.from_numpy(np.stack(images)),
        "asked": torch.tensor(list(text), dtype=torch.uint8),
        "shown": torch.tensor(shown, dtype=torch.int8),
    }


def make(out: Path, count: int, looks: int, seed: int) -> Iterator[tuple[int, int]]:
    """Draw what is not there yet, a shard at a time; yields (shards done, shards in all)."""
    out.mkdir(parents=True, exist_ok=True)
    shards: list[tuple[str, list[Group]]] = []
    for kind, todo in ((f"made-{seed}", groups(count, seed)), (f"made-{seed}-looks", drowned(looks, seed))):
        starts = range(0, len(todo), _SHARD)
        shards += [(f"{kind}-{n:03d}.safetensors", todo[i : i + _SHARD]) for n, i in enumerate(starts)]
    with Context.open(Settings.load(base="world", dtype="bfloat16")) as ctx:
        for number, (name, some) in enumerate(shards):
            if not (out / name).is_file():
                write_bytes(out / name, save(draw(ctx, some)))
            yield number + 1, len(shards)


def main() -> None:
    parser = argparse.ArgumentParser(description="Images made by the product, labelled by how they were made.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=600, help="merges; each makes eight images")
    parser.add_argument("--looks", type=int, default=120, help="merges of two looks, soft or loud; eight images each")
    parser.add_argument("--seed", type=int, default=51)
    a = parser.parse_args()
    for done, total in make(a.out, a.groups, a.looks, a.seed):
        print(f"made images: {done}/{total} files", flush=True)


if __name__ == "__main__":
    main()
