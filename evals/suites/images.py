"""Running suites of images: log first, resumable by (arm, item, seed), the report derived from the log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from ...bases.profile import BaseProfile
from ...merging.sampling.png_record import save_png
from ...scoring import metrics
from ...tools.context import Context
from ..arms import arm as arm_table
from ..arms.arm import Answer, Arm
from ..arms.drawing import Refused, asked
from ..evaluation import Evaluation
from ..judges.protocol import judge_for
from ..log import Log, Row
from ..report import write_report
from .image_suite import ImageSuite
from .items import Item
from .suite import Options, Progress, SuiteResult, suite_kind

CHUNK = 8
"""Items that an arm is given at once: enough to fill batches, few enough that an interruption costs little."""


@suite_kind("images", ImageSuite)
def run(suite: ImageSuite, ctx: Context, options: Options) -> SuiteResult:
    """Run, or go on with, a suite of images. ``joint_lora`` runs unasked only if there is such a LoRA."""
    judge = judge_for(ctx.profile, suite.judge)
    named = suite.metrics if options.metrics is None else options.metrics
    measures = {name: metrics.make(name) for name in named}
    evaluation = Evaluation(ctx, judge, options.joint or _oracle(ctx.profile), options.truths, measures)
    chosen = [arm_table.get(a) for a in arm_table.expanded(suite.arms if options.arms is None else options.arms)]
    if evaluation.joint is None and options.arms is None:
        chosen = [a for a in chosen if a.name != "joint_lora"]
    seeds = tuple(options.seeds or suite.seeds)
    return run_images(suite, evaluation, options.root, chosen, seeds, options.limit, options.on_progress)


def _oracle(profile: BaseProfile) -> Path | None:
    """A LoRA trained jointly on the true combinations, if the base brings one along."""
    path = profile.manifest.parent / "oracle" / "pytorch_lora_weights.safetensors" if profile.manifest else None
    return path if path is not None and path.is_file() else None


def run_images(
    suite: ImageSuite,
    evaluation: Evaluation,
    root: Path,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    limit: int | None = None,
    on_progress: Progress | None = None,
) -> SuiteResult:
    """Run the image arms that are not in the log yet, then write the report on everything in the log: an arm that was
    run before, on fewer seeds perhaps, stays in it.
    """
    folder = root / f"{Path(suite.name).stem}-{_digest(suite, evaluation)}"
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / "log.jsonl")
    items = suite.select(limit)
    done = {row.key for row in log.rows}
    total = len(arms) * len(items) * len(seeds)
    count = sum((a.name, i.id, s) in done for a in arms for i in items for s in seeds)
    for arm in arms:
        waiting = [i for i in items if any((arm.name, i.id, s) not in done for s in seeds)]
        for at in range(0, len(waiting), CHUNK):
            for row in _answered(evaluation, arm, waiting[at : at + CHUNK], seeds, folder):
                if row.key in done:
                    continue
                log.add(row)
                count += 1
                if on_progress is not None:
                    on_progress(count, total, f"{arm.name}: {row.item}")
    wanted = {i.id for i in items}
    rows = [r for r in log.rows if r.item in wanted]
    answered: dict[str, set[str]] = {}
    for row in rows:
        answered.setdefault(row.arm, set()).add(row.item)
    # Groups run one after the other, the easy ones first: what an interruption left of an arm would flatter it.
    shown = [name for name in dict.fromkeys([*suite.arms, *answered]) if answered.get(name) == wanted]
    return write_report(suite, folder, log.path, [r for r in rows if r.arm in shown], shown)


def _answered(
    evaluation: Evaluation, arm: Arm, items: Sequence[Item], seeds: Sequence[int], folder: Path
) -> Iterator[Row]:
    """Log rows of one chunk."""
    for answer in asked(evaluation, arm, items, seeds):
        if isinstance(answer, Refused):
            yield _miss(arm, answer.item, answer.seed).model_copy(update={"error": answer.why})
        else:
            yield judged(evaluation, arm, answer, folder)


def judged(evaluation: Evaluation, arm: Arm, answer: Answer, folder: Path) -> Row:
    """Save, judge and score the image of an answer."""
    plan = answer.plan
    row = _miss(arm, answer.item, answer.seed).model_copy(
        update={
            "plan_id": plan.plan_id,
            "prompt": plan.prompt,
            "made": answer.made,
            "method": plan.method.name,
            "experts": {e.id: e.weight for e in plan.experts},
        }
    )
    if answer.image is None:
        return row
    name = f"{answer.item.id.replace('/', '__')}-{answer.seed}.png"
    path = folder / "images" / arm.name.replace(":", "-") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = answer.seed if answer.seed in plan.seeds else plan.seeds[0]
    save_png(answer.image, path, plan, seed, {"arm": arm.name, "item": answer.item.id})
    seen = _seen(evaluation, answer.item, answer.image)
    return row.model_copy(update={**seen, "image": path.relative_to(folder).as_posix()})


def _miss(arm: Arm, item: Item, seed: int) -> Row:
    """An answer without an image: nothing is shown."""
    misses = {w.facet: False for w in item.wanted}
    return Row(arm=arm.name, item=item.id, group=item.group, seed=seed, hits=misses, joint=False)


def _seen(evaluation: Evaluation, item: Item, image: Image.Image) -> dict[str, object]:
    """What judge, critic and metrics say of one image, as fields of its row."""
    seen = evaluation.judge.judge([image], item.wanted)[0]
    found: dict[str, object] = {
        "hits": seen.hits,
        "joint": seen.joint,
        "chance": {facet: round(p, 4) for facet, p in seen.chance.items()},
        "judge": seen.seen,
        "critic": round(evaluation.critic.score([image], item.wanted)[0].score, 4),
    }
    if evaluation.metrics:
        measured = {name: metric.measure([image], [item.prompt])[0] for name, metric in evaluation.metrics.items()}
        found["metrics"] = {name: round(value, 4) for name, value in measured.items()}
    if evaluation.truths is not None and item.subject is not None:
        truth = evaluation.truths(item.subject, item.style, item.background)
        if truth is not None:
            found["similarity"] = round(evaluation.judge.similarity([image], [truth])[0], 4)
    return found


def _digest(suite: ImageSuite, evaluation: Evaluation) -> str:
    return hashlib.sha256(f"{suite.digest}{evaluation.digest}".encode()).hexdigest()[:10]
