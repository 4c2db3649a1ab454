"""``python -m diffgraph.world.recipe``: make the embedded world, step by step, resumable.

Each step writes into a work folder and is skipped if its result is there; an interrupted step goes on from its last
checkpoint. ``--scale`` multiplies every step count: 1.0 is what two CPU cores finish in some hours, a GPU can take 4.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml

from ...errors import DiffGraphError
from ...graph.experts.registration import register
from ...graph.store.graph_store import GraphStore
from ..source import World
from . import base, cards, company, eyes, lora, publish, vae
from .art import Art
from .looks import BACKGROUNDS, STYLES
from .subjects import PACKS

WORLD = Path(__file__).resolve().parents[1]
WORK = Path("~/.cache/diffgraph/train").expanduser()
"""Outside the clone, so that a fresh clone goes on where the last one stopped."""
STEPS = {
    "vae": 8000,
    "decoder": 1800,
    "base": 5600,
    "broad": 3000,
    "subject": 1950,
    "style": 1850,
    "style on fine blocks": 2600,
    "background": 1950,
    "expert on": 1600,
    "oracle": 3000,
    "oracle on": 1000,
    "full": 600,
}
SCORER_STEPS = {"critic": 5500, "judge": 4500}
TAUGHT_ON, TAUGHT_ON_POOL = {"critic": 1500, "judge": 3000}, 24000
"""Steps and renders where published scorers are taught a changed look, instead of new ones everything."""
MORE = 4
"""So many times as often as others a subject is shown whose drawing has changed."""
NEWCOMER = "world/ocean-creatures-v2"
"""Left out of the shipped graph, so that ``make demo`` has an upload to scout and measure before one's eyes."""
FULL = "emoji-sunset-full"
app = typer.Typer(add_completion=False, help=__doc__, invoke_without_command=True)

Work = Annotated[Path, typer.Option(help="work folder: art, checkpoints, trained parts (keep it to resume)")]
Scale = Annotated[float, typer.Option(help="multiplies the number of training steps")]
Workers = Annotated[int, typer.Option(help="processes side by side; 0: one a CPU core, one on a GPU")]
On = Annotated[bool, typer.Option("--on", help="teach what is published on: quicker, after a look has changed")]
Like = Annotated[str, typer.Option(help="with --on: teach on what this expert knows, published, instead of its own")]
More = Annotated[list[str] | None, typer.Option(help=f"with --on: a subject to show {MORE} times as often")]
Only = Annotated[list[str] | None, typer.Option(help="train only these experts (repeatable)")]


def _experts(art: Art, scale: float, more: Sequence[str] = ()) -> list[company.Expert]:
    """Every LoRA with its lesson: packs, styles, backgrounds; a subject of ``more`` is shown `MORE` times as often."""
    out = []
    for i, (pack, concepts) in enumerate(PACKS.items()):
        subjects = tuple(s for s in concepts for _ in range(MORE if s in more else 1))
        lesson = lora.subject_lesson(art, pack, subjects, round(STEPS["subject"] * scale), 100 + i)
        out.append(company.Expert(lesson, "subject", pack, subjects))
    for i, style in enumerate(STYLES.values()):
        steps = STEPS["style on fine blocks" if style.name in lora.ON_FINE else "style"]
        lesson = lora.style_lesson(art, style.name, round(steps * scale), 200 + i)
        out.append(company.Expert(lesson, "style", style.name))
    for i, background in enumerate(BACKGROUNDS):
        lesson = lora.background_lesson(art, background, round(STEPS["background"] * scale), 300 + i)
        out.append(company.Expert(lesson, "background", background))
    return out


@app.callback()
def everything(context: typer.Context, scale: Scale = 1.0) -> None:
    """Every step in order, when no single one is named."""
    if context.invoked_subcommand is None:
        work = WORK
        autoencoder(work, scale)
        pipeline(work, scale)
        companions(work, scale)
        experts(work, scale=scale)
        oracle(work, WORLD, scale)
        scorers(work, scale=scale)
        publish_all(work)
        critic(work, scale=scale)
        graph(work)
        vision(work, scale=scale)


@app.command()
def autoencoder(work: Work = WORK, scale: Scale = 1.0) -> None:
    """Step 1: train the autoencoder, then its decoder alone on textures."""
    if not (work / "vae" / "config.json").exists():
        vae.train(work / "art", work, round(STEPS["vae"] * scale))
    if not (work / "vae" / vae.REFINED).exists():
        vae.refine(work / "art", work, round(STEPS["decoder"] * scale))


@app.command()
def pipeline(work: Work = WORK, scale: Scale = 1.0) -> None:
    """Step 2: train the base pipeline on the house family, then on, under looks of its own."""
    if not (work / "emoji-base" / "model_index.json").exists():
        base.train(work / "art", work, round(STEPS["base"] * scale))
    if not (work / "emoji-base" / base.BROADENED).exists():
        base.broaden(work / "art", work, round(STEPS["broad"] * scale))


@app.command()
def companions(work: Work = WORK, scale: Scale = 1.0, only: Only = None, workers: Workers = 0) -> None:
    """Step 3a: train the throw-away LoRAs that experts rehearse with; published nowhere."""
    trained = work / "rehearsal" / "experts"
    names = [lora.slug(name) for kind in company.KINDS for name in company.COMPANIONS[kind]]
    names = [n for n in _wanted(names, only) if not (trained / n / publish.WEIGHTS).exists()]
    if _shared_out("companions", names, work, scale, workers) or not names:
        return
    studio = lora.Studio.open(work / "art", work / "emoji-base")
    for lesson in company.companions(studio.art, scale):
        if lesson.name in names:
            lora.teach(studio, lesson, work / "rehearsal")


@app.command()
def experts(
    work: Work = WORK,
    world: Path = WORLD,
    scale: Scale = 1.0,
    only: Only = None,
    workers: Workers = 0,
    on: On = False,
    like: Like = "",
    more: More = None,
) -> None:
    """Step 3b: train the LoRAs (packs, styles, backgrounds) in company; and the full fine-tune."""
    if (like or more) and not on:
        raise typer.BadParameter("--like and --more say how --on goes on: give it, too")
    if strange := sorted({*(more or ())} - {s for subjects in PACKS.values() for s in subjects}):
        raise typer.BadParameter(f"{', '.join(strange)}: a subject of no pack")
    _wanted(_names(), [like] if like else None)
    wanted = _wanted([*_names(), FULL], only)
    names = [n for n in wanted if not _trained(work, n)]
    if on and (there := sorted({*wanted} - {*names})):
        print(f"not taught on: {', '.join(there)}: move what is in {work / 'experts'} away to do so", flush=True)
    options = ["--world", str(world), *(["--on"] if on else []), *(["--like", like] if like else [])]
    options += _repeat("--more", more or [])
    if _shared_out("experts", names, work, scale, workers, options) or not names:
        return
    studio = lora.Studio.open(work / "art", work / "emoji-base")
    for expert in _experts(studio.art, scale, more or ()):
        name = expert.lesson.name
        if name in names and on:
            rate = lora.RATE / (1 if like else 2)  # from what another knows the way is longer
            lesson = replace(expert.lesson, steps=round(STEPS["expert on"] * scale), rate=rate)
            start = world / "hub" / (like or name) / publish.WEIGHTS
            company.rehearse(studio, replace(expert, lesson=lesson), work, start)
        elif name in names:
            company.rehearse(studio, expert, work)
    if FULL in names:
        style = lora.style_lesson(studio.art, "sunset duotone", round(STEPS["full"] * scale), 400)
        lora.fine_tune(studio, lora.Lesson(FULL, style.rows, 0, style.steps, 2e-4, 16, 400), work)


def _names() -> list[str]:
    """Folder names of all LoRAs, in the order in which they are trained."""
    return [*PACKS, *(lora.slug(s) for s in STYLES), *(lora.slug(b) for b in BACKGROUNDS)]


def _wanted(names: list[str], only: list[str] | None) -> list[str]:
    """The names asked for; all by default. Raises typer.BadParameter for one that there is not."""
    if strange := sorted({*(only or ())} - {*names}):
        raise typer.BadParameter(f"{', '.join(strange)}: no such expert. There are: {', '.join(names)}.")
    return [n for n in names if only is None or n in only]


def _trained(work: Path, name: str) -> bool:
    return (work / "experts" / name / ("unet" if name == FULL else publish.WEIGHTS)).exists()


def _workers() -> int:
    """Small nets gain more from a process a core than from threads; a GPU is shared by nobody."""
    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _repeat(option: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _shared_out(step: str, names: list[str], work: Path, scale: float, workers: int, more: Sequence[str] = ()) -> bool:
    """Run a step for all names in several processes; False where one is enough and the caller does it."""
    workers = min(workers or _workers(), len(names))
    if workers <= 1:
        return False
    options = ["--work", str(work), "--scale", str(scale), "--workers", "1", *more]
    _side_by_side([[step, *options, *_repeat("--only", names[i::workers])] for i in range(workers)])
    return True


def _side_by_side(commands: list[list[str]]) -> None:
    """Run steps of this recipe at once, the CPU's threads shared out between them; the first failure ends this."""
    threads = str(max(1, (os.cpu_count() or 1) // len(commands)))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    running = [
        subprocess.Popen([sys.executable, "-m", "diffgraph.world.recipe", *command], env=environment)
        for command in commands
    ]
    failed = [process.args for process in running if process.wait() != 0]
    if failed:
        raise subprocess.CalledProcessError(1, failed[0])


@app.command()
def oracle(work: Work = WORK, world: Path = WORLD, scale: Scale = 1.0, on: On = False) -> None:
    """Step 3c: train one LoRA on the true combinations of the compose suite: the bound that merging is held against.

    It lies beside the hub, not in it: no expert that a scout can find has seen an eval's pairs.
    """
    suite = yaml.safe_load((WORLD.parent / "evals" / "suites" / "compose.yaml").read_text(encoding="utf-8"))
    trained = work / "experts" / "joint-oracle" / publish.WEIGHTS
    if not trained.exists():
        studio = lora.Studio.open(work / "art", work / "emoji-base")
        lesson = lora.oracle_lesson(suite["items"], round(STEPS["oracle on" if on else "oracle"] * scale), 500)
        if on:
            lora.teach(studio, replace(lesson, rate=lora.RATE / 2), work, world / "oracle" / publish.WEIGHTS)
        else:
            lora.teach(studio, lesson, work)
    (world / "oracle").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(trained, world / "oracle" / publish.WEIGHTS)


@app.command(name="publish")
def publish_all(work: Work = WORK, world: Path = WORLD) -> None:
    """Step 5: lay everything out under ``hub/`` with cards, samples and decoys; write the manifest."""
    art, hub = Art.load(work / "art"), world / "hub"
    shutil.rmtree(hub, ignore_errors=True)
    publish.publish_base(work / "emoji-base", hub / "emoji-base")
    cards.write(hub / "emoji-base", cards.base_card(art))
    for name in _names():
        if not _trained(work, name):
            print(f"left out {name}: there is none in {work / 'experts'}", flush=True)
            continue
        print(f"publishing {name}", flush=True)
        publish.publish_expert(art, work, hub, name)
    full = work / "experts" / FULL
    if not _trained(work, FULL):
        print(f"left out {FULL}: there is none in {work / 'experts'}", flush=True)
    else:
        publish.publish_full(hub / "emoji-base" / "unet", full / "unet", hub / FULL)
        text = cards.card(
            "Emoji sunset, fully fine-tuned",
            "A full fine-tune of the base on sunset colours: the difference of every parameter, in 8-bit floats.",
            [cards.named_bullet("sunset duotone style")], [],
            tags=["full-fine-tune", "style"], trigger="sunset duotone style",
        )  # fmt: skip
        cards.write(hub / FULL, text)
    publish.publish_decoys(art, hub)
    write_manifest(work, world)


@app.command()
def scorers(work: Work = WORK, world: Path = WORLD, scale: Scale = 1.0, on: On = False) -> None:
    """Step 4: train the critic and the judge (each in a process of its own)."""
    for net, steps in SCORER_STEPS.items():
        out = work / net
        if not (out / "model.safetensors").exists():
            arguments = ["--cache", str(work / "art"), "--out", str(out), "--vae", str(work / "vae")]
            if on:
                arguments += ["--start", str(world / "scorers" / net), "--pool", str(TAUGHT_ON_POOL)]
            arguments += ["--steps", str(round((TAUGHT_ON[net] if on else steps) * scale))]
            subprocess.run([sys.executable, "-m", f"diffgraph.world.recipe.{net}_net", *arguments], check=True)
        (world / "scorers" / net).mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors", "report.json"):
            shutil.copyfile(out / name, world / "scorers" / net / name)


@app.command()
def critic(work: Work = WORK, world: Path = WORLD, scale: Scale = 1.0) -> None:
    """Step 6: teach the critic on, on images made by the published experts."""
    eyes.teach_critic(work, world, scale)


@app.command()
def graph(work: Work = WORK, world: Path = WORLD) -> None:
    """Step 7: scout and calibrate the whole hub, export the graph without the newcomer, seal the manifest."""
    export = world / "graph" / "graph.jsonl"
    export.unlink(missing_ok=True)
    write_manifest(work, world)
    home = work / "home"
    # What is exported was measured in this very run and order; images that were drawn before are kept.
    shutil.rmtree(home / "graph", ignore_errors=True)
    environment = {**os.environ, "DIFFGRAPH_HOME": str(home), "DIFFGRAPH_WORLD": str(world)}
    for command in (["scout"], ["calibrate", "--all"]):
        subprocess.run([sys.executable, "-m", "diffgraph.cli.main", *command], check=True, env=environment)
    export.parent.mkdir(parents=True, exist_ok=True)
    with GraphStore(home / "graph") as store:
        store.export_jsonl(work / "graph.jsonl")
    lines = (work / "graph.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    export.write_text("".join(line for line in lines if NEWCOMER not in line), encoding="utf-8")
    write_manifest(work, world)


@app.command()
def vision(work: Work = WORK, world: Path = WORLD, scale: Scale = 1.0) -> None:
    """Step 8: teach the vision-language model on true renders and on images made by the published experts."""
    eyes.teach_vlm(work, world, scale)


@app.command()
def rename(world: Path = WORLD) -> None:
    """Write the other names on all cards anew (``names.yaml``) and take them into the graph.

    Weights, samples and all that was measured stay as they are.
    """
    hub, export = world / "hub", world / "graph" / "graph.jsonl"
    for path in sorted(hub.glob("*/README.md")):
        path.write_text(cards.renamed(path.read_text(encoding="utf-8")), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, GraphStore(Path(folder)) as store:
        store.import_jsonl(export)
        source = World(world)
        for old in (*store.bases(), *store.experts()):
            fresh = next(e for e in register(source, old.ref.repo) if e.id == old.id)
            store.add_expert(old.model_copy(update={"skills": fresh.skills, "text": fresh.text}))
        store.export_jsonl(export)
    publish.seal(world)


@app.command()
def manifest(work: Work = WORK, world: Path = WORLD) -> None:
    """Write the manifest again."""
    write_manifest(work, world)


def write_manifest(work: Path, world: Path) -> None:
    extra: dict[str, Any] = {
        "steps": STEPS,
        "seeds": {
            "vae": 11,
            "base": 21,
            "broad": 22,
            "subjects": 100,
            "companions": company.SEED,
            "styles": 200,
            "backgrounds": 300,
        },
    }
    for scorer in ("critic", "judge"):
        report = world / "scorers" / scorer / "report.json"
        if report.exists():
            extra[f"{scorer}_report"] = json.loads(report.read_text())
    publish.write_manifest(world, work, extra)


if __name__ == "__main__":
    try:
        app()
    except DiffGraphError as error:
        sys.exit(f"error: {error}")
