"""The suite of the eyes: how far critics can be believed, held against the truth on images.

Images come from prompts of other suites, drawn by arms that get them right and by arms that leave something out; or
from a folder of one's own (``--images``). Each critic (``--critics``) is asked for everything that is wanted, and for
a decoy a facet; and which of two images of a prompt shows more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from ...errors import UserError
from ...files.atomic import write_bytes
from ...scoring import protocol
from ...scoring.protocol import Critic, CriticSetup, HasParts
from ...tools.context import Context
from ..arms import arm as arm_table
from ..evaluation import Evaluation
from ..judges.protocol import Judge, judge_for
from ..pages import page
from . import suite as suites
from .eyes_answers import Asked
from .eyes_images import Listed, draw, listing, read
from .eyes_measure import is_three, measured
from .eyes_questions import Batch, batches, pairs
from .eyes_report import Images, Measured, details, markdown, summary
from .image_suite import ImageSuite
from .items import Item
from .suite import Options, Suite, SuiteResult, suite_kind

_NAMED = re.compile(r"([\w-]+)=(.+)")


class EyesSuite(Suite):
    """What is drawn, and what is compared.

    Attributes:
        of: the suites whose prompts are drawn.
        arms, seeds: how.
        aimed: the arms whose images are meant to be right, as those are that a request is answered with.
        pairs: pairs of images of a prompt that are compared, at most.
    """

    of: tuple[str, ...]
    arms: tuple[str, ...]
    aimed: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1)
    pairs: int = Field(default=6, ge=0)

    def prompts(self, limit: int | None = None) -> list[Item]:
        """At most ``limit`` prompts of each group of each suite, in an order that mixes them."""
        found = []
        for name in self.of:
            one = suites.load(name)
            if isinstance(one, ImageSuite):
                found += [i.model_copy(update={"id": f"{one.name}/{i.id}"}) for i in one.select(limit)]
        return sorted(found, key=lambda i: hashlib.sha256(i.id.encode()).digest())


@suite_kind("eyes", EyesSuite)
def run(suite: EyesSuite, ctx: Context, options: Options) -> SuiteResult:
    """Draw what is not drawn yet, ask the critics what they were not asked yet, write the report."""
    critics = _critics(ctx, options.critics)
    name = Path(suite.name).stem
    if options.images is None:
        judge: Judge | None = _judge(suite, ctx)
        images = folder = _drawn(suite, ctx, options)
        shown, bad = read(images, _kept(suite, options))
    else:
        images = options.images
        shown, bad = read(images)
        judge = None if all(one.listed.truth for one in shown) else _judge(suite, ctx)
        # Another run with other critics has a report of its own.
        told_apart = "\n".join(options.critics or critics).encode()
        folder = options.root / f"{name}-{hashlib.sha256(listing(images).read_bytes() + told_apart).hexdigest()[:10]}"
    asked = list(batches(shown, judge))
    compared = pairs(asked, suite.pairs)
    told = {}
    for label, critic in critics.items():
        one = Asked(label, critic, options.root / f"{name}-answers")
        told[label] = measured(one, critic.fits(ctx.profile), asked, compared, suite.aimed, options.on_progress)
    return _written(suite, folder, told, _images(images, asked, bad))


def _judge(suite: EyesSuite, ctx: Context) -> Judge:
    """Who tells what images show, where nobody labelled them. Raises UserError that says how to do without."""
    try:
        return judge_for(ctx.profile, suite.judge)
    except UserError as error:
        raise UserError(
            f"{error} Or label images of yours, each with its truth, and name their folder: --images FOLDER."
        ) from error


def _drawn(suite: EyesSuite, ctx: Context, options: Options) -> Path:
    """The folder of the suite's images, all of them drawn."""
    evaluation = Evaluation(ctx, _judge(suite, ctx))
    folder = options.root / f"{Path(suite.name).stem}-{evaluation.drawing_digest[:10]}"
    arms = [arm_table.get(name) for name in _arms(suite, options)]
    seeds = tuple(options.seeds or suite.seeds)
    draw(evaluation, folder, arms, suite.prompts(options.limit), seeds, options.on_progress)
    return folder


def _arms(suite: EyesSuite, options: Options) -> list[str]:
    return arm_table.expanded(suite.arms if options.arms is None else options.arms)


def _kept(suite: EyesSuite, options: Options) -> Callable[[Listed], bool]:
    """Whether an image belongs to this run: the folder may hold those of other arms, seeds and prompts."""
    arms, seeds = set(_arms(suite, options)), set(options.seeds or suite.seeds)
    items = {i.id for i in suite.prompts(options.limit)}
    return lambda line: line.arm in arms and line.seed in seeds and line.item in items


def _critics(ctx: Context, said: Sequence[str] | None) -> dict[str, Critic]:
    """Name -> critic, each followed by its parts; by default the one that the settings mean for the base.

    Raises:
        NoCritic, UserError: there is none, or one cannot be made.
    """
    setup = CriticSetup(ctx.profile, embed_text=ctx.store.embedder.embed, home=ctx.settings.root)
    own = ctx.profile.critic or protocol.AUTO
    asked: dict[str, Critic] = {}
    for one in said or [ctx.settings.critic]:
        named = _NAMED.fullmatch(one.strip())
        setting = named[2] if named else one.strip()
        if setting in (protocol.AUTO, "", protocol.NONE):
            critic = protocol.fitting(setting, setup)
        else:  # one that does not fit is measured all the same, and said not to
            critic = protocol.make(own if setting == _name(own) else setting, setup)
        label = named[1] if named else _name(own) if setting in (protocol.AUTO, "") else setting
        if label in asked:
            raise UserError(f"Two critics are called {label!r}: name one of them, NAME=SETTING.")
        asked[label] = critic
        if isinstance(critic, HasParts):
            asked |= {f"{label}/{part}": it for part, it in critic.parts().items()}
    return asked


def _name(setting: str) -> str:
    return setting.partition(":")[0]


def _images(folder: Path, asked: Sequence[Batch], bad: Mapping[str, str]) -> Images:
    arms: dict[str, list[bool]] = {}
    for batch in asked:
        for one, truth in zip(batch.shown, batch.truths, strict=True):
            arms.setdefault(one.listed.arm, []).append(all(truth.get(w, False) for w in batch.wanted))
    return Images(
        folder=str(folder),
        count=sum(len(b.shown) for b in asked),
        prompts=len({b.shown[0].listed.item for b in asked}),
        three=sum(len(b.shown) for b in asked if is_three(b.wanted)),
        by_arm={arm: (len(hits), sum(hits) / len(hits)) for arm, hits in arms.items()},
        passed_over=bad,
    )


def _written(suite: EyesSuite, folder: Path, told: Mapping[str, Measured], images: Images) -> SuiteResult:
    folder.mkdir(parents=True, exist_ok=True)
    log, report, html = folder / "answers.jsonl", folder / "report.md", folder / "report.html"
    found, behind = summary(told), details(told, images)
    write_bytes(log, "".join(json.dumps(row) + "\n" for one in told.values() for row in one.rows).encode())
    write_bytes(folder / "summary.json", (json.dumps({"details": behind, "summary": found}, indent=1) + "\n").encode())
    text = markdown(suite.title, told, images)
    write_bytes(report, text.encode())
    write_bytes(html, page("plain.html.j2", title=suite.title, text=text).encode())
    return SuiteResult(suite.name, folder, log, report, html, found, behind)
