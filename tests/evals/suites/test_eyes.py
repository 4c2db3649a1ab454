"""The suite of the eyes: figures of known answers, images that are drawn once, folders of one's own, bad images."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import mannwhitneyu
from typer.testing import CliRunner

from diffgraph.bases.profile import BaseProfile
from diffgraph.cli.main import app
from diffgraph.errors import ExternalError, UserError
from diffgraph.evals.arms import arm as arms
from diffgraph.evals.arms.one_faint import FAINT
from diffgraph.evals.evaluation import Evaluation
from diffgraph.evals.judges.protocol import Judgement
from diffgraph.evals.suites import suite as suites
from diffgraph.evals.suites.eyes import EyesSuite, run
from diffgraph.evals.suites.eyes_answers import Asked
from diffgraph.evals.suites.eyes_figures import Said, auroc, ece, figures
from diffgraph.evals.suites.eyes_images import LINES, Listed, Shown, read
from diffgraph.evals.suites.eyes_measure import measured
from diffgraph.evals.suites.eyes_questions import Batch, batches, pairs
from diffgraph.evals.suites.eyes_report import BOTH, WANTED, Measured
from diffgraph.evals.suites.items import Item
from diffgraph.evals.suites.suite import Options, SuiteResult
from diffgraph.merging.plan.merge_plan import MergePlan
from diffgraph.merging.sampling import pipeline
from diffgraph.merging.sampling.pipeline import Drawn, draw_all
from diffgraph.scoring import protocol
from diffgraph.scoring.protocol import Critic, CriticSetup
from diffgraph.scoring.request import Verdict, Wanted
from diffgraph.tools.context import Context

SUBJECTS, STYLES, BACKGROUNDS = ("cat", "dog", "octopus"), ("neon", "ink"), ("beach", "snow")


def _wanted(*texts: str) -> tuple[Wanted, ...]:
    of = {
        **dict.fromkeys(SUBJECTS, "subject"),
        **dict.fromkeys(STYLES, "style"),
        **dict.fromkeys(BACKGROUNDS, "background"),
    }
    return tuple(Wanted(facet=of[t], text=t) for t in texts)


class Painted:
    """Says what an image shows by its pixel: each text has a bit of the red channel."""

    texts = (*SUBJECTS, *STYLES, *BACKGROUNDS)
    digest = "painted"

    @classmethod
    def image(cls, shown: Sequence[str], number: int = 0) -> Image.Image:
        bits = sum(1 << cls.texts.index(t) for t in shown)
        return Image.new("RGB", (4, 4), (bits, number % 256, number // 256))

    @classmethod
    def shows(cls, image: Image.Image, text: str) -> bool:
        red = image.getpixel((0, 0))[0]  # type: ignore[index]
        return bool(red >> cls.texts.index(text) & 1)

    def judge(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Judgement]:
        return [Judgement(hits={w.facet: self.shows(i, w.text) for w in wanted}, chance={}, seen={}) for i in images]

    def similarity(self, images: Sequence[Image.Image], truths: Sequence[Image.Image]) -> list[float]:
        raise NotImplementedError


class Fake:
    """A critic; ``identity`` is its name."""

    def __init__(self, name: str) -> None:
        self.identity, self.calls = name, 0

    def fits(self, base: BaseProfile) -> bool:
        return True

    def p(self, image: Image.Image, text: str) -> float:
        raise NotImplementedError

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        self.calls += 1
        rows = [{w.text: self.p(i, w.text) for w in wanted} for i in images]
        return [Verdict(score=sum(row.values()) / len(row), facets=row) for row in rows]


class Truthful(Fake):
    def p(self, image: Image.Image, text: str) -> float:
        return 0.9 if Painted.shows(image, text) else 0.1


class Coin(Fake):
    def p(self, image: Image.Image, text: str) -> float:
        return hashlib.sha256(image.tobytes() + text.encode()).digest()[0] / 255


class Chooser(Coin):
    """Chooses well although its scores mean nothing."""

    def prefer(self, a: Image.Image, b: Image.Image, wanted: Sequence[Wanted]) -> float:
        self.calls += 1
        first, second = (sum(Painted.shows(i, w.text) for w in wanted) for i in (a, b))
        return 0.5 + 0.1 * (first - second)


@pytest.fixture(scope="module")
def shown() -> list[Shown]:
    """Every prompt of one, two and three wanted things, and images that show all of them, some, or none."""
    found = []
    numbers = itertools.count()
    for subject, style, background in itertools.product(SUBJECTS, (*STYLES, None), (*BACKGROUNDS, None)):
        texts = [t for t in (subject, style, background) if t is not None]
        for has in itertools.chain.from_iterable(itertools.combinations(texts, k) for k in range(len(texts) + 1)):
            image = Painted.image(has, next(numbers))
            listed = Listed(image="x.png", item=" ".join(texts), wanted=_wanted(*texts))
            found.append(Shown(listed, image, hashlib.sha256(image.tobytes()).hexdigest()))
    return found


@pytest.fixture(scope="module")
def asked(shown: list[Shown]) -> list[Batch]:
    return list(batches(shown, Painted()))


def _measured(critic: Critic, asked: Sequence[Batch], folder: Path) -> Measured:
    return measured(Asked(critic.identity, critic, folder), True, asked, pairs(asked, 6))


def test_who_says_the_truth_is_right_of_everything(asked: list[Batch], tmp_path: Path) -> None:
    found = _measured(Truthful("truthful"), asked, tmp_path)
    for group, questions in itertools.product(("all", "three"), (WANTED, BOTH)):
        for facet in ("subject", "style", "background", "prompt"):
            one = found.facets[group, questions, facet]
            assert (one.auroc, one.low, one.high) == (1.0, 1.0, 1.0)
            assert one.false_yes_at_90 == 0.0
            if facet != "prompt":  # of a whole the score is a mean
                assert one.false_yes == 0.0
                assert 0.05 < one.ece <= 0.1001  # a bin that holds both is nearer to its share
    assert found.pairs["all"].mean == 1.0
    assert not found.chooses


def test_a_coin_is_right_half_the_time(asked: list[Batch], tmp_path: Path) -> None:
    found = _measured(Coin("coin"), asked, tmp_path)
    for facet in ("subject", "style", "background"):
        one = found.facets["all", BOTH, facet]
        assert one.auroc is not None
        assert one.low is not None
        assert one.high is not None
        assert one.low <= 0.5 <= one.high
        assert 0.35 < one.auroc < 0.65
    assert 0.3 < found.pairs["all"].mean < 0.7


def test_a_critic_that_can_choose_is_asked_to(asked: list[Batch], tmp_path: Path) -> None:
    found = _measured(Chooser("chooser"), asked, tmp_path)
    assert found.chooses
    assert found.pairs["all"].mean == found.pairs["three"].mean == 1.0
    assert found.choices["three"] < found.choices["all"]


def test_images_that_were_meant_to_be_right_are_counted_apart(shown: list[Shown], tmp_path: Path) -> None:
    arms_in_turn = itertools.cycle(["good", "bad", "good"])
    drawn = [Shown(s.listed.model_copy(update={"arm": next(arms_in_turn)}), s.image, s.sha256) for s in shown]
    asked = list(batches(drawn, Painted()))
    found = measured(Asked("t", Truthful("truthful"), tmp_path), True, asked, pairs(asked, 6), ["good"])
    three = [s for s in drawn if len(s.listed.wanted) == 3]
    assert found.facets["three", WANTED, "subject"].n == len(three)
    assert found.facets["aimed", WANTED, "subject"].n == sum(s.listed.arm == "good" for s in three) < len(three)
    assert found.choices["aimed"] < found.choices["three"]


def test_decoys_are_other_texts_of_the_facet_and_only_counted_apart(asked: list[Batch], tmp_path: Path) -> None:
    for batch in asked:
        own = {w.text for w in batch.wanted}
        assert [d.facet for d in batch.decoys] == [w.facet for w in batch.wanted]
        assert not own & {d.text for d in batch.decoys}
    assert len({d for batch in asked for d in batch.decoys}) > 4
    found = _measured(Truthful("truthful"), asked, tmp_path)
    for facet in ("subject", "style"):
        assert found.facets["all", BOTH, facet].n == 2 * found.facets["all", WANTED, facet].n
    assert found.facets["all", BOTH, "prompt"] == found.facets["all", WANTED, "prompt"]  # of a whole there is no decoy


def test_pairs_differ_in_what_they_show_and_the_order_tells_nothing(asked: list[Batch]) -> None:
    found = pairs(asked, 6)
    for pair in found:
        good, bad = (pair.first, pair.second) if pair.first_is_better else (pair.second, pair.first)
        has = [{w for w in pair.wanted if Painted.shows(one.image, w.text)} for one in (good, bad)]
        assert has[0] > has[1]
    assert 0.3 < np.mean([p.first_is_better for p in found]) < 0.7
    assert max(sum(p.first.listed.item == i for p in found) for i in {p.first.listed.item for p in found}) == 6


def test_nobody_is_asked_twice(asked: list[Batch], tmp_path: Path) -> None:
    first = Chooser("chooser")
    once = _measured(first, asked, tmp_path)
    again = Chooser("chooser")
    assert _measured(again, asked, tmp_path) == once
    assert (first.calls > 100, again.calls) == (True, 0)
    other = Chooser("another one")
    _measured(other, asked, tmp_path)
    assert other.calls == first.calls


class Squeamish(Truthful):
    """Refuses some images; told by the green channel, which numbers them."""

    def __init__(self, refuses: int) -> None:
        super().__init__(f"squeamish {refuses}")
        self.refuses = refuses

    def p(self, image: Image.Image, text: str) -> float:
        if image.getpixel((0, 0))[1] % self.refuses == 0:  # type: ignore[index]
            raise ExternalError("the server does not take this image")
        return super().p(image, text)


def test_what_a_critic_refuses_is_passed_over_and_told(asked: list[Batch], tmp_path: Path) -> None:
    found = _measured(Squeamish(7), asked, tmp_path)
    whole = _measured(Truthful("truthful"), asked, tmp_path)
    assert found.facets["all", WANTED, "subject"].auroc == 1.0
    assert 0 < found.facets["all", WANTED, "subject"].n < whole.facets["all", WANTED, "subject"].n
    assert set(found.refused.values()) == {"the server does not take this image"}


def test_what_a_critic_got_no_answer_about_is_not_counted_and_asked_again(asked: list[Batch], tmp_path: Path) -> None:
    class Mute(Truthful):
        def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
            found = super().score(images, wanted)
            return [v.model_copy(update={"unsure": tuple(w.text for w in wanted)}) for v in found]

    assert ("all", WANTED, "subject") not in _measured(Mute("truthful"), asked, tmp_path).facets
    assert _measured(Truthful("truthful"), asked, tmp_path).facets["all", WANTED, "subject"].auroc == 1.0


def test_a_critic_that_refuses_everything_ends_it(asked: list[Batch], tmp_path: Path) -> None:
    with pytest.raises(ExternalError, match="does not take"):
        _measured(Squeamish(1), asked, tmp_path)


def test_auroc_is_mann_and_whitneys() -> None:
    rng = np.random.default_rng(0)
    p, true = rng.integers(0, 20, 300) / 20, rng.random(300) < 0.3
    u = mannwhitneyu(p[true], p[~true]).statistic
    assert auroc(p, true) == pytest.approx(u / (true.sum() * (~true).sum()))
    assert auroc(p, np.ones(300, bool)) is None


def test_calibration_and_wrong_yeses_by_hand() -> None:
    p = np.repeat([0.2, 0.8], 50)
    true = np.concatenate([np.arange(50) < 10, np.arange(50) < 30])
    # Bins of ten, in the order given: shares 1, 0, 0, 0, 0 at 0.2 and 1, 1, 1, 0, 0 at 0.8.
    assert ece(p, true) == pytest.approx((0.8 + 4 * 0.2 + 3 * 0.2 + 2 * 0.8) / 10)
    said = [Said(str(i), float(x), bool(t)) for i, (x, t) in enumerate(zip(p, true, strict=True))]
    found = figures(said)
    assert found is not None
    assert found.false_yes == pytest.approx(20 / 60, abs=1e-4)
    assert found.false_yes_at_90 == 1.0  # nine in ten of what is shown takes the lower threshold
    assert figures([]) is None
    only = figures([Said("a", 0.7, True)])
    assert only is not None
    assert (only.auroc, only.false_yes, only.shown) == (None, None, 1.0)


# -- folders


def _folder(root: Path, lines: Sequence[Mapping[str, object]]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / LINES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def _labelled(root: Path) -> Path:
    lines = []
    for number, (text, shown) in enumerate(itertools.product(SUBJECTS, (True, False))):
        Painted.image([text] if shown else [], number).save(root / f"{number}.png")
        wanted = [{"facet": "subject", "text": text}]
        lines.append({"image": f"{number}.png", "item": text, "wanted": wanted, "truth": {text: shown}})
    return _folder(root, lines)


def test_a_bad_image_is_passed_over_and_told(tmp_path: Path) -> None:
    folder = _labelled(tmp_path)
    (tmp_path / "torn.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    base = {"item": "cat", "wanted": [{"facet": "subject", "text": "cat"}]}
    bad = [{**base, "image": name} for name in ("torn.png", "gone.png", "../0.png", "")] + [{"image": "0.png"}]
    with (folder / LINES).open("a") as lines:
        lines.write("".join(json.dumps(line) + "\n" for line in bad) + "no json\n")
    shown, passed = read(folder)
    assert len(shown) == 6
    assert list(passed) == [f"line {n}" for n in range(7, 13)]
    assert "outside" in passed["line 9"]


def test_a_folder_of_labels_is_read_as_well(tmp_path: Path) -> None:
    Painted.image(["cat"], 0).save(tmp_path / "a.png")
    Painted.image([], 1).save(tmp_path / "b.png")
    said = [("a.png", "subject", "cat", True), ("a.png", "style", "ink", False), ("b.png", "subject", "cat", False)]
    lines = [dict(zip(("image", "facet", "text", "shown"), one, strict=True)) for one in said]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "labels.jsonl").write_text(text + "no json\n")
    shown, passed = read(tmp_path)
    assert [(s.listed.image, s.listed.truth) for s in shown] == [
        ("a.png", {"cat": True, "ink": False}), ("b.png", {"cat": False}),
    ]  # fmt: skip
    assert len(passed) == 1
    found = measured(Asked("t", Truthful("truthful"), tmp_path), True, list(batches(shown, None)), [])
    assert (found.facets["all", WANTED, "subject"].n, found.facets["all", WANTED, "subject"].auroc) == (2, 1.0)
    assert found.facets["all", WANTED, "style"].shown == 0.0


def test_lists_as_editors_write_them(tmp_path: Path) -> None:
    Painted.image(["cat"], 0).save(tmp_path / "a.png")
    line = json.dumps({"image": "a.png", "item": "den\u2028", "wanted": [], "truth": {"x": True}}, ensure_ascii=False)
    (tmp_path / LINES).write_text(f"\ufeff{line}\r\n\r\n{line}\r\n", encoding="utf-8")
    shown, bad = read(tmp_path)
    assert ([one.listed.item for one in shown], bad) == (["den\u2028"], {})


def test_the_same_image_of_a_prompt_counts_once(tmp_path: Path) -> None:
    folder = _labelled(tmp_path)
    text = (folder / LINES).read_text()
    (folder / LINES).write_text(text + text)
    assert len(read(folder)[0]) == 6


@pytest.mark.parametrize("text", [None, "", "no json\n"])
def test_a_folder_without_images_is_refused(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / LINES).write_text(text)
    with pytest.raises(UserError, match=LINES):
        read(tmp_path)


# -- the suite on the tiny world


@pytest.fixture
def suite(tmp_path: Path) -> EyesSuite:
    path = tmp_path / "few.yaml"
    path.write_text(
        "title: Few\narms: [base]\nitems:\n"
        "  - {id: a, group: one, prompt: a cat, canonical: cat, subject: cat}\n"
        "  - {id: b, group: two, prompt: 'octopus, blueprint style', canonical: 'octopus, blueprint style',\n"
        "     subject: octopus, style: blueprint}\n"
        "  - {id: c, group: two, prompt: 'dog, blueprint style', canonical: 'dog, blueprint style', subject: dog,\n"
        "     style: blueprint}\n"
    )
    return EyesSuite(name="eyes", title="Eyes", kind="eyes", of=(str(path),), arms=("ours_no_loop", "one_faint"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the images that were really sampled."""
    seeds: list[int] = []

    def counted(engine: object, plans: list[MergePlan], *rest: object, **named: object) -> list[list[Drawn]]:
        seeds.extend(seed for plan in plans for seed in plan.seeds)
        return draw_all(engine, plans, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "draw_all", counted)
    return seeds


def _run(suite: EyesSuite, ctx: Context, root: Path, **options: object) -> SuiteResult:
    return run(suite, ctx, Options(root, **options))  # type: ignore[arg-type]


def test_images_are_drawn_once_and_an_interrupted_run_goes_on(
    suite: EyesSuite, ctx: Context, tmp_path: Path, drawn: list[int]
) -> None:
    def stop(done: int, total: int, text: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(suite, ctx, tmp_path / "out", on_progress=stop)
    lines = next((tmp_path / "out").glob(f"eyes-*/{LINES}"))
    before = lines.read_text()
    lines.write_text(before + '{"image": "cut sh')
    result = _run(suite, ctx, tmp_path / "out")
    after = lines.read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 3 * 2 * 2
    many = len(drawn)
    again = _run(suite, ctx, tmp_path / "out")
    assert len(drawn) == many
    assert again.summary == result.summary
    assert {"auroc", "ece", "n"} == set(result.summary["world"]["subject"])  # type: ignore[index,call-overload,arg-type]
    groups = result.details["groups"]
    assert set(groups) == {"all", "three", "aimed"}  # type: ignore[arg-type]
    told = result.markdown.read_text()
    assert " images of 3 prompts" in told
    assert "| world | subject |" in told
    assert result.html.is_file()
    assert len(result.log.read_text().splitlines()) > 20


def test_one_expert_is_faint(suite: EyesSuite, evaluation: Evaluation) -> None:
    item = Item(
        id="b", group="two", prompt="octopus, blueprint style", canonical="octopus, blueprint style", subject="octopus",
        style="blueprint",
    )  # fmt: skip
    plain = evaluation.proposed(item, (0, 1))
    assert plain is not None
    faint = {a.seed: a for a in arms.get("one_faint").run(evaluation, [item], (0, 1))}
    assert set(faint) == {0, 1}
    before = {e.id: e.weight for e in plain.experts}
    after = {e.id: e.weight for e in faint[0].plan.experts}
    changed = [e for e in before if before[e] != after[e]]
    assert len(changed) == 1
    assert after[changed[0]] == pytest.approx(before[changed[0]] * FAINT, abs=1e-4)


def test_images_drawn_before_are_judged_by_the_critics_that_are_named(
    suite: EyesSuite, ctx: Context, world: Path, tmp_path: Path, drawn: list[int]
) -> None:
    (tmp_path / "mine").mkdir()
    images = _labelled(tmp_path / "mine")
    folder = world / "scorers" / "critic"
    result = _run(suite, ctx, tmp_path / "out", images=images, critics=["world", f"old=dual_encoder:{folder}"])
    assert not drawn
    assert list(result.summary) == ["world", "old"]
    assert result.summary["world"] == result.summary["old"]
    assert result.folder.is_relative_to(tmp_path / "out")
    other = _run(suite, ctx, tmp_path / "out", images=images, critics=["world"])
    assert other.folder != result.folder, "each choice of critics has its report"
    assert _run(suite, ctx, tmp_path / "out", images=images, critics=["world"]).folder == other.folder
    with pytest.raises(UserError, match="Two critics"):
        _run(suite, ctx, tmp_path / "out", images=images, critics=["world", "world"])
    with pytest.raises(UserError, match="no critic"):
        _run(suite, ctx, tmp_path / "out", images=images, critics=["worlds"])


def test_without_a_judge_labelled_images_are_asked_for(suite: EyesSuite, ctx: Context, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--images FOLDER"):
        _run(suite.model_copy(update={"judge": "nobody"}), ctx, tmp_path / "out")


def test_parts_of_a_critic_are_measured_too(
    suite: EyesSuite, ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sum(Truthful):
        def parts(self) -> dict[str, Critic]:
            return {"one": Truthful("one"), "other": Coin("other")}

    def made(setting: str, setup: CriticSetup) -> Critic:
        return Sum("sum")

    monkeypatch.setattr(protocol, "fitting", made)
    (tmp_path / "mine").mkdir()
    result = _run(suite, ctx, tmp_path / "out", images=_labelled(tmp_path / "mine"))
    assert list(result.summary) == ["world", "world/one", "world/other"]
    aurocs = {name: one["subject"]["auroc"] for name, one in result.summary.items()}  # type: ignore[index,call-overload]
    assert aurocs["world"] == aurocs["world/one"] == 1.0
    assert result.details["critics"]["world"]["fits"] is True  # type: ignore[index,call-overload]


def test_the_suite_that_ships_draws_enough() -> None:
    found = suites.load("eyes")
    assert isinstance(found, EyesSuite)
    prompts = found.prompts()
    assert len(prompts) * len(found.arms) * len(found.seeds) >= 1500
    assert len({p.id for p in prompts}) == len(prompts)
    assert {p.id.partition("/")[0] for p in prompts} == {"compose", "develop", "decoys"}
    assert sum(len(p.wanted) == 3 for p in prompts) > 60


def test_the_command_prints_the_summary(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    images = _labelled(tmp_path / "mine")
    monkeypatch.setenv("DIFFGRAPH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIFFGRAPH_BASE", f"world:{world}")
    done = CliRunner().invoke(app, ["eval", "eyes", "--images", str(images), "--critics", "world", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert list(told)[-1] == "summary"
    assert set(told["summary"]["world"]["subject"]) == {"auroc", "ece", "n"}
    assert told["details"]["images"]["count"] == 6
