"""A whole evaluation on a tiny world: every arm, the log, going on where it stopped, the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diffgraph.errors import PlanError, UserError
from diffgraph.evals import runner
from diffgraph.evals.arms import arm as table
from diffgraph.evals.arms.drawing import TRIES
from diffgraph.evals.arms.plain_sums import summed
from diffgraph.evals.evaluation import Evaluation
from diffgraph.evals.log import Log
from diffgraph.evals.suites import images, suite
from diffgraph.evals.suites.image_suite import ImageSuite
from diffgraph.evals.suites.items import Item
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.sampling import pipeline
from diffgraph.merging.sampling.pipeline import draw_each
from diffgraph.scoring import metrics
from diffgraph.settings import Settings
from diffgraph.tests.pico import tiny_clip
from diffgraph.tools.context import Context

ITEMS = (
    Item(id="a/cat", group="a", prompt="a cat", canonical="cat", subject="cat"),
    Item(
        id="b/octopus", group="b", prompt="octopus, blueprint style", canonical="octopus, blueprint style",
        subject="octopus", style="blueprint", experts=("world/sea-life", "world/blueprint"),
    ),
)  # fmt: skip
SUITE = ImageSuite(name="tiny", title="Tiny", items=ITEMS, seeds=(0, 1))


class Interrupted(Exception):
    """Stands for Ctrl-C."""


def _run(evaluation: Evaluation, out: Path, arms: list[str], **options: object) -> suite.SuiteResult:
    return images.run_images(SUITE, evaluation, out, [table.get(a) for a in arms], (0, 1), **options)  # type: ignore[arg-type]


def test_the_plain_sum_of_a_checkpoint_is_linear(evaluation: Evaluation) -> None:
    """It has no factors to stack; a control that is refused would be a miss that nobody earned."""
    (item,) = (i for i in ITEMS if i.id == "b/octopus")
    before = summed(evaluation, item, (0,), (0,))
    assert before.method.name == "concat_sum"
    blueprint = evaluation.experts["world/blueprint"]
    evaluation.__dict__["experts"] = {**evaluation.experts, blueprint.id: blueprint.model_copy(update={"kind": "full"})}
    after = summed(evaluation, item, (0,), (0,))
    assert after == before.model_copy(update={"method": after.method})
    assert after.method.name == "linear"


class Width:
    """Measures how wide an image is, and how long its prompt."""

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        return [image.width + len(prompt) / 1000 for image, prompt in zip(images, prompts, strict=True)]


def test_what_metrics_measure_stands_in_rows_and_report(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.metrics = {"width": Width()}
    result = _run(evaluation, tmp_path, ["base"])
    rows = {row.item: row for row in Log(result.log).rows}
    widths = {}
    for item in ITEMS:
        with Image.open(result.folder / str(rows[item.id].image)) as image:
            widths[item.id] = image.width + len(item.prompt) / 1000
        assert rows[item.id].metrics == {"width": round(widths[item.id], 4)}
    told = result.markdown.read_text().splitlines()
    head = next(line for line in told if line.startswith("| arm |")).split("|")
    base = next(line for line in told if line.startswith("| base alone |")).split("|")
    assert base[head.index(" width ")].strip() == f"{widths['a/cat']:.3f}"
    page = result.html.read_text()
    assert "<th>width</th>" in page
    assert f"<td>{widths['a/cat']:.3f}</td>" in page


def test_metrics_can_be_named_for_one_run(ctx: Context, tmp_path: Path) -> None:
    folder = tiny_clip.clip(tmp_path / "clip")
    named = f"clip_score:{folder}"
    result = images.run(SUITE, ctx, suite.Options(tmp_path / "out", arms=["base"], seeds=(0,), metrics=[named]))
    rows = Log(result.log).rows
    pictures = []
    for row in rows:
        with Image.open(result.folder / str(row.image)) as image:
            pictures.append(image.convert("RGB"))
    wanted = metrics.make(named).measure(pictures, [item.prompt for item in ITEMS])
    assert [row.metrics for row in rows] == [{named: round(value, 4)} for value in wanted]


def test_arms_of_a_budget_draw_no_more_than_that(evaluation: Evaluation, tmp_path: Path) -> None:
    asked = [
        "ours_no_loop",
        "ours_no_loop_best_of:1",
        "ours_no_loop_best_of:2",
        "concat_sum_best_of:2",
        "ours_within:2",
    ]
    rows = Log(_run(evaluation, tmp_path, asked).log).rows
    made = {name: {row.made for row in rows if row.arm == name} for name in asked}
    assert [made[name] for name in asked[:4]] == [{1}, {1}, {2}, {2}]
    assert made["ours_within:2"] <= {1, 2}
    critic = {(row.arm, row.item, row.seed): row.critic for row in rows}
    for item in ITEMS:
        for seed in (0, 1):
            assert critic["ours_no_loop_best_of:1", item.id, seed] == critic["ours_no_loop", item.id, seed]
            assert critic["ours_no_loop_best_of:2", item.id, seed] >= critic["ours_no_loop", item.id, seed]  # type: ignore[operator]


def test_every_arm_answers_every_item_and_seed(evaluation: Evaluation, world: Path, tmp_path: Path) -> None:
    evaluation.joint = world / "hub" / "sea-life" / "pytorch_lora_weights.safetensors"
    result = _run(evaluation, tmp_path, table.names())
    rows = [json.loads(line) for line in result.log.read_text().splitlines()]
    assert {(r["arm"], r["item"], r["seed"]) for r in rows} == {
        (a, i.id, s) for a in table.names() for i in ITEMS for s in (0, 1)
    }
    assert not [r["error"] for r in rows if "error" in r]
    for row in rows:
        assert (result.folder / row["image"]).is_file()
        assert row["joint"] == all(row["hits"].values())
    chosen = {r["arm"]: r["experts"] for r in rows if r["item"] == "b/octopus" and r["seed"] == 0}
    assert chosen["base"] == {}
    assert chosen["oracle_choice"] == {"world/sea-life": 0.5, "world/blueprint": 0.5}
    assert chosen["random_weights"] == {"world/birds-ultra-hd": 1.0}
    assert set(chosen["concat_sum"]) == {"world/sea-life", "world/blueprint"}
    assert set(chosen["uniform"].values()) == {0.5}
    assert len(chosen["best_single"]) == 1
    assert chosen["concat_sum_best_of_n"] == chosen["concat_sum"]
    assert {r["made"] for r in rows if r["arm"] in ("base_best_of_n", "concat_sum_best_of_n")} == {TRIES}
    scores = {(r["arm"], r["item"], r["seed"]): r["critic"] for r in rows}
    better = [scores["concat_sum_best_of_n", i.id, s] - scores["concat_sum", i.id, s] for i in ITEMS for s in (0, 1)]
    assert min(better) >= 0  # its first try is the sum's only one
    assert "<table" in result.html.read_text()
    assert "## all prompts (2 prompts)" in result.markdown.read_text()
    assert result.summary["reference"] == "ours"
    assert set(result.summary["tests"]["b"]) == set(table.names()) - {"ours"}


def test_an_interrupted_run_goes_on_where_it_stopped(evaluation: Evaluation, tmp_path: Path) -> None:
    def stop(done: int, total: int, text: str) -> None:
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        _run(evaluation, tmp_path, ["base", "oracle_choice"], on_progress=stop)
    log = next(tmp_path.glob("tiny-*")) / "log.jsonl"
    before = log.read_text()
    assert len(before.splitlines()) == 3
    log.write_text(before + '{"arm": "base", "it')  # as a crash in the middle of a line leaves it
    seen: list[int] = []
    result = _run(
        evaluation, tmp_path, ["base", "oracle_choice"], on_progress=lambda done, total, text: seen.append(done)
    )
    after = log.read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 8
    assert seen == [4, 5, 6, 7, 8]
    again: list[int] = []
    same = _run(
        evaluation, tmp_path, ["base", "oracle_choice"], on_progress=lambda done, total, text: again.append(done)
    )
    assert not again
    assert same.summary == result.summary


def test_same_seed_same_image(evaluation: Evaluation, tmp_path: Path) -> None:
    one = _run(evaluation, tmp_path / "one", ["oracle_choice"])
    evaluation.engine.reset()
    shutil.rmtree(evaluation.ctx.settings.root / "images")
    two = _run(evaluation, tmp_path / "two", ["oracle_choice"])
    names = sorted(p.relative_to(one.folder) for p in one.folder.rglob("*.png"))
    assert names
    assert all((one.folder / n).read_bytes() == (two.folder / n).read_bytes() for n in names)


def test_what_one_arm_has_drawn_no_other_draws_again(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, int]] = []

    def counted(engine: Engine, plans: list[Any], todo: list[tuple[int, int]], *rest: Any, **named: Any) -> Any:
        drawn.extend(todo)
        return draw_each(engine, plans, todo, *rest, **named)

    monkeypatch.setattr(pipeline, "draw_each", counted)
    _run(evaluation, tmp_path, ["base"])
    assert len(drawn) == 4
    _run(evaluation, tmp_path, ["base_best_of_n"])
    assert len(drawn) == 4 * (TRIES)
    rows = [json.loads(line) for line in next(tmp_path.glob("tiny-*/log.jsonl")).read_text().splitlines()]
    assert {r["made"] for r in rows if r["arm"] == "base_best_of_n"} == {TRIES}


def test_a_merge_that_is_refused_is_a_miss_with_its_reason(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.joint = tmp_path / "nowhere.safetensors"
    result = _run(evaluation, tmp_path, ["base", "joint_lora"])
    rows = [json.loads(line) for line in result.log.read_text().splitlines()]
    failed = [r for r in rows if "error" in r]
    assert {r["arm"] for r in failed} == {"joint_lora"}
    assert len(failed) == 4
    assert not any(r["joint"] for r in failed)
    assert result.summary["groups"]["a"]["joint_lora"]["errors"] == 2


def test_similarity_needs_true_images(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.truths = lambda subject, style, background: Image.new("RGB", (64, 64)) if subject == "cat" else None
    rows = [json.loads(line) for line in _run(evaluation, tmp_path, ["base"]).log.read_text().splitlines()]
    assert all(("similarity" in r) == (r["item"] == "a/cat") for r in rows)
    assert all(-1.001 <= r["similarity"] <= 1.001 for r in rows if "similarity" in r)


def test_a_damaged_log_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("no json\n")
    with pytest.raises(UserError, match="damaged"):
        Log(tmp_path / "log.jsonl")


def test_unknown_arms_are_answered_with_the_closest() -> None:
    with pytest.raises(UserError, match="concat_sum"):
        table.get("concat")
    with pytest.raises(ValueError, match="two arms"):
        table.arm("base", "again")(lambda evaluation, items, seeds: iter(()))


def test_a_report_keeps_the_arms_that_were_run_before(evaluation: Evaluation, tmp_path: Path) -> None:
    images.run_images(SUITE, evaluation, tmp_path, [table.get("base")], (0,))
    result = _run(evaluation, tmp_path, ["random_weights"])
    assert list(result.summary["arms"]) == ["base", "random_weights"]
    cells = next(iter(result.summary["groups"].values()))
    assert cells["random_weights"]["images"] == 2 * cells["base"]["images"]
    assert 'title="an expert of random weights"' in result.html.read_text()


def test_what_an_interruption_left_of_an_arm_is_no_figure(evaluation: Evaluation, tmp_path: Path) -> None:
    first = images.run_images(SUITE, evaluation, tmp_path, [table.get("base")], (0,))
    one = json.loads(first.log.read_text().splitlines()[0])
    with first.log.open("a") as log:
        log.write(json.dumps({**one, "arm": "uniform"}) + "\n")
    result = _run(evaluation, tmp_path, ["random_weights"])
    assert list(result.summary["arms"]) == ["base", "random_weights"]


def test_every_merge_method_is_an_arm(evaluation: Evaluation, tmp_path: Path) -> None:
    names = table.expanded(["base", "method:*", "method:linear"])
    assert names[0] == "base"
    assert {"method:linear", "method:ties"} <= set(names)
    assert len(set(names)) == len(names)
    result = _run(evaluation, tmp_path, ["method:linear", "method:ties"])
    rows = [json.loads(line) for line in result.log.read_text().splitlines()]
    assert {r["method"] for r in rows} == {"linear", "ties"}
    assert {frozenset(r["experts"]) for r in rows if r["item"] == "b/octopus"} == {
        frozenset({"world/sea-life", "world/blueprint"})
    }
    assert result.summary["arms"]["method:ties"]["title"] == "the right experts by ties"
    alone = {r["method"] for r in rows if len(r["experts"]) == 1}
    assert alone <= {"linear"}  # one expert is the same by every method
    assert {r["method"] for r in rows if r["arm"] == "method:ties" and len(r["experts"]) > 1} == {"ties"}
    assert all(w <= 1 for r in rows if len(r["experts"]) > 1 for w in r["experts"].values())
    with pytest.raises(PlanError, match="ties"):
        table.get("method:tiess")


def test_a_suite_meets_every_expert_it_names_in_a_graph_of_its_own(tmp_path: Path) -> None:
    named = {e for item in suite.load("decoys").all_items() for e in item.experts}
    settings = Settings(home=tmp_path / "home", brain="offline")
    with runner.open_home(settings, tmp_path, named) as ctx:
        assert named <= {e.id for e in ctx.store.experts()}
    with runner.open_home(settings, tmp_path, set()) as ctx:
        left_out = named - {e.id for e in ctx.store.experts()}
    assert left_out == {"world/ocean-creatures-v2"}  # the newcomer that the demo scouts
    with runner.open_home(settings.model_copy(update={"dtype": "bfloat16"}), tmp_path, set()) as other:
        assert other.images_dir("a") != ctx.images_dir("a")  # images of one dtype are never taken for another's
