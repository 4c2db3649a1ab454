"""The lessons that need images made by the published experts: the critic is taught on with them, the vision-language
model learns on them. Each step is skipped where its result is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..critic import FOLDER, VLM
from . import publish

MADE, LOOKS = 600, 120
"""Merges whose images are made, eight each: experts there, faint or absent; and two looks, soft or loud."""
CRITIC_STEPS = 6000
VLM_STEPS = {"eye": 1700, "words": 700, "both": 4600}
_POOL = 24000


def make_images(work: Path, world: Path, scale: float) -> Path:
    """The folder of made images, all of them drawn."""
    out = work / "made"
    counts = ["--groups", _times(MADE, scale), "--looks", _times(LOOKS, scale)]
    _run("made_images", ["--out", str(out), *counts], work, world)
    return out


def teach_critic(work: Path, world: Path, scale: float) -> None:
    """Teach the published dual encoder on, and publish it. All that was measured with it must be measured anew."""
    out = work / "critic-on-made"
    if not (out / "report.json").exists():
        places = {"--cache": work / "art", "--made": make_images(work, world, scale), "--start": world / FOLDER}
        places |= {"--vae": work / "vae", "--out": out}
        lessons = ["--steps", _times(CRITIC_STEPS, scale), "--pool", str(_POOL)]
        _run("critic_net", [*_words(places), *lessons], work, world)
    for name in ("config.json", "model.safetensors", "report.json"):
        shutil.copyfile(out / name, world / FOLDER / name)
    publish.seal(world)


def teach_vlm(work: Path, world: Path, scale: float) -> None:
    """Teach the vision-language model, and publish it."""
    out = work / "vlm"
    if not (out / "report.json").exists():
        places = {"--cache": work / "art", "--made": make_images(work, world, scale)}
        places |= {"--work": work / "vlm-work", "--out": out}
        steps = [_times(n, scale) for n in VLM_STEPS.values()]
        _run("vlm_net", [*_words(places), "--steps", *steps], work, world)
    shutil.copytree(out, world / VLM, dirs_exist_ok=True)
    publish.seal(world)


def _times(count: int, scale: float) -> str:
    return str(max(1, round(count * scale)))


def _words(options: dict[str, Path]) -> list[str]:
    return [str(word) for pair in options.items() for word in pair]


def _run(module: str, arguments: list[str], work: Path, world: Path) -> None:
    environment = {**os.environ, "DIFFGRAPH_HOME": str(work / "home"), "DIFFGRAPH_WORLD": str(world)}
    subprocess.run([sys.executable, "-m", f"diffgraph.world.recipe.{module}", *arguments], check=True, env=environment)
