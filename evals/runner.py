"""Run a suite: log first (JSONL, a line an image), resumable by (arm, item, seed), the report derived from the log."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..agents.scout import scout
from ..bases.profile import BaseProfile
from ..errors import ExpertError, PlanError, UserError
from ..files.hashing import file_sha256
from ..merging.sampling.png_record import save_png
from ..settings import Settings
from ..tools.context import Context
from .arms import arms as arm_table
from .arms.arms import Answer, Arm
from .judges.protocol import judge_for
from .suites.suite import Item, Suite, load
from .workbench import Bench, Truths

Progress = Callable[[int, int, str], None]
"""Called with (answers done, answers in all, what is at work)."""
CHUNK = 8
"""Items that an arm is given at once: enough to fill batches, few enough that an interruption costs little."""


@dataclass(frozen=True)
class SuiteResult:
    """Where a suite's outcome lies; ``summary`` is what the report's tables show, JSON-plain."""

    name: str
    folder: Path
    log: Path
    markdown: Path
    html: Path
    summary: dict[str, Any]


def run_suite(
    name: str,
    *,
    settings: Settings | None = None,
    out: Path | None = None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    limit: int | None = None,
    joint: Path | None = None,
    truths: Truths | None = None,
    on_progress: Progress | None = None,
) -> SuiteResult:
    """Run, or go on with, a suite and write its report.

    Args:
        name: a suite that ships, or the path of a YAML file.
        settings: sampler, device, brain and thresholds in force; the environment's by default.
        out: folder of all evaluations; ``evals`` in the home by default. The suite gets ``out/<name>-<digest>``, where
            the digest covers the suite, the world and the settings, so that results of different worlds never mix.
        arms: only these arms; the suite's by default (``joint_lora`` only if there is such a LoRA).
        seeds: other seeds than the suite's.
        limit: at most so many prompts of each group.
        joint: a LoRA trained jointly on the true combinations; the world's own by default.
        truths: gives the true images for the similarity column.
        on_progress: told after every answer.

    Raises:
        UserError: unknown suite or arm, no such limit; WorldMissing if the world or a scorer is absent.
    """
    settings = settings or Settings()
    suite = load(name)
    if limit is not None and limit < 1:
        raise UserError(f"The limit must be at least 1, not {limit}.")
    root = (out or settings.root / "evals").expanduser().absolute()
    with _context(settings, root, {e for item in suite.all_items() for e in item.experts}) as ctx:
        if suite.kind == "selection":
            from .selection import run_selection

            return run_selection(suite, ctx, root, limit=limit, on_progress=on_progress)
        judge = judge_for(ctx.profile, suite.judge)
        joint = joint or _oracle(ctx.profile)
        bench = Bench(ctx, judge, joint, truths)
        chosen = [arm_table.get(a) for a in arm_table.expanded(arms if arms is not None else suite.arms)]
        if joint is None and arms is None:
            chosen = [a for a in chosen if a.name != "joint_lora"]
        return run_images(suite, bench, root, chosen, tuple(seeds or suite.seeds), limit, on_progress)


@contextmanager
def _context(settings: Settings, root: Path, named: Set[str]) -> Iterator[Context]:
    """A context whose graph and caches lie beside the results: evaluations neither read nor change the user's graph.

    Weights of another dtype draw other images from the same plan, so each dtype has a home. A suite that names experts
    which the shipped graph leaves out gets a graph of its own, with the world scouted.
    """
    home = root / f"home-{settings.dtype}"
    with Context.open(settings.model_copy(update={"home": home})) as ctx:
        if named <= {e.id for e in ctx.store.experts()}:
            yield ctx
            return
        manifest = ctx.profile.manifest
        version = file_sha256(manifest)[:10] if manifest else ctx.machinery.base.sha256[:10]
    # A home for every version of the base's hub: the scout leaves alone what it has registered once.
    with Context.open(settings.model_copy(update={"home": home.with_name(f"{home.name}-scouted-{version}")})) as ctx:
        for source in ctx.profile.sources:
            scout(ctx, source.partition(":")[0])
        yield ctx


def _oracle(profile: BaseProfile) -> Path | None:
    """A LoRA trained jointly on the true combinations, if the base brings one along."""
    path = profile.manifest.parent / "oracle" / "pytorch_lora_weights.safetensors" if profile.manifest else None
    return path if path is not None and path.is_file() else None


def run_images(
    suite: Suite,
    bench: Bench,
    root: Path,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    limit: int | None = None,
    on_progress: Progress | None = None,
) -> SuiteResult:
    """Run the image arms that are not in the log yet, then write the report on everything in the log: an arm that was
    run before, on fewer seeds perhaps, stays in it.
    """
    from .report import write_report

    folder = root / f"{Path(suite.name).stem}-{_digest(suite, bench)}"
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / "log.jsonl")
    items = suite.select(limit)
    done = {(r["arm"], r["item"], r["seed"]) for r in log.rows}
    total = len(arms) * len(items) * len(seeds)
    count = sum((a.name, i.id, s) in done for a in arms for i in items for s in seeds)
    for arm in arms:
        waiting = [i for i in items if any((arm.name, i.id, s) not in done for s in seeds)]
        for at in range(0, len(waiting), CHUNK):
            for row in _answered(bench, arm, waiting[at : at + CHUNK], seeds, folder):
                if (row["arm"], row["item"], row["seed"]) in done:
                    continue
                log.add(row)
                count += 1
                if on_progress is not None:
                    on_progress(count, total, f"{arm.name}: {row['item']}")
    asked = {i.id for i in items}
    rows = [r for r in log.rows if r["item"] in asked]
    answered: dict[str, set[str]] = {}
    for row in rows:
        answered.setdefault(row["arm"], set()).add(row["item"])
    # Groups run one after the other, the easy ones first: what an interruption left of an arm would flatter it.
    shown = [name for name in dict.fromkeys([*suite.arms, *answered]) if answered.get(name) == asked]
    return write_report(suite, folder, log.path, [r for r in rows if r["arm"] in shown], shown)


def _answered(
    bench: Bench, arm: Arm, items: Sequence[Item], seeds: Sequence[int], folder: Path
) -> Iterator[dict[str, Any]]:
    """Log rows of one chunk. If a merge in it is refused, item by item, so that only the guilty one is a miss."""
    try:
        answers = list(arm.run(bench, items, seeds))
    except (PlanError, ExpertError) as error:
        if len(items) > 1:
            for item in items:
                yield from _answered(bench, arm, [item], seeds, folder)
            return
        for seed in seeds:
            yield {**_row(arm, items[0], seed), "error": str(error)}
        return
    yield from judged(bench, arm, answers, folder)


def judged(bench: Bench, arm: Arm, answers: Sequence[Answer], folder: Path) -> Iterator[dict[str, Any]]:
    """Save, judge and score the images of some answers; one log row each."""
    for answer in answers:
        row = _row(arm, answer.item, answer.seed)
        row |= {"plan_id": answer.plan.plan_id, "prompt": answer.plan.prompt, "made": answer.made}
        row["method"] = answer.plan.method.name
        row["experts"] = {e.id: e.weight for e in answer.plan.experts}
        if answer.image is not None:
            row |= _seen(bench, answer.item, answer.image)
            path = (
                folder
                / "images"
                / arm.name.replace(":", "-")
                / f"{answer.item.id.replace('/', '__')}-{answer.seed}.png"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = answer.seed if answer.seed in answer.plan.seeds else answer.plan.seeds[0]
            save_png(answer.image, path, answer.plan, seed, {"arm": arm.name, "item": answer.item.id})
            row["image"] = path.relative_to(folder).as_posix()
        yield row


def _row(arm: Arm, item: Item, seed: int) -> dict[str, Any]:
    misses = {w.facet: False for w in item.wanted}
    return {"arm": arm.name, "item": item.id, "group": item.group, "seed": seed, "hits": misses, "joint": False}


def _seen(bench: Bench, item: Item, image: Image.Image) -> dict[str, Any]:
    """What judge and critic say of one image."""
    seen = bench.judge.judge([image], item.wanted)[0]
    found: dict[str, Any] = {
        "hits": seen.hits,
        "joint": seen.joint,
        "chance": {facet: round(p, 4) for facet, p in seen.chance.items()},
        "judge": seen.seen,
        "critic": round(bench.critic.score([image], item.wanted)[0].score, 4),
    }
    if bench.truths is not None and item.subject is not None:
        truth = bench.truths(item.subject, item.style, item.background)
        if truth is not None:
            found["similarity"] = round(bench.judge.similarity([image], [truth])[0], 4)
    return found


class Log:
    """A JSONL file that only grows. A last line that an interruption cut short is dropped when it is opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            whole = path.read_bytes()
            kept = whole[: whole.rfind(b"\n") + 1]
            if kept != whole:
                with path.open("r+b") as file:
                    file.truncate(len(kept))
            try:
                self.rows = [json.loads(line) for line in kept.decode().splitlines()]
            except ValueError as error:
                raise UserError(f"{path} is damaged ({error}); move it away to start afresh.") from error

    def add(self, row: dict[str, Any]) -> None:
        """Append one row and see it on the disk before going on."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)


def _digest(suite: Suite, bench: Bench) -> str:
    import hashlib

    return hashlib.sha256(f"{suite.digest}{bench.digest}".encode()).hexdigest()[:10]
