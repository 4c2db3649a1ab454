"""Whether the critic's loop pays: ``python -m diffgraph.evals.loop_pays``.

Ours, with the loop, against itself without the loop and against the best of plain sums, each by the same critic and at
equal images: where the loop drew 2.4 images on average, it is held against 0.6 of best of two and 0.4 of best of three,
prompt by prompt. Prompts of three experts of the suite ``compose``, or those of ``--experts``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ..settings import Settings, user_path
from .log import Log, Row
from .runner import open_home
from .stats import Estimate, bootstrap, by_item, paired_permutation
from .suites import images
from .suites.image_suite import ImageSuite
from .suites.suite import Options, load

LOOPS = ("ours", "ours_within:3")
RIVALS = ("ours_no_loop_best_of", "concat_sum_best_of")
SIZES = (1, 2, 3, 4)
"""Images that rivals draw; a loop that draws more is held against the largest."""


class Paid(BaseModel):
    """A loop against a rival at equal images.

    Attributes:
        loop, rival: arms; the rival is a family of arms.
        images: that the loop drew on average.
        loop_joint, rival_joint: share of answers in which the judge finds all that was asked for.
        difference: of the two, over prompts, with its interval. p: of a paired permutation test, two-sided.
    """

    model_config = ConfigDict(frozen=True)

    loop: str
    rival: str
    images: float
    loop_joint: float
    rival_joint: float
    difference: Estimate
    p: float


class Room(BaseModel):
    """How much there is to gain by more tries at the same prompts.

    Attributes:
        prompts: of them ``always`` are right under every seed with one image, ``never`` under none.
        joint: images drawn -> share of answers that are right, by the best of so many.
        best_seen: share of prompts and seeds for which any answer of any arm of ours is right.
        first_wrong, first_right: answers with one image. mended, spoiled: those of them that the loop turned round.
    """

    model_config = ConfigDict(frozen=True)

    prompts: int
    always: int
    never: int
    joint: dict[int, float]
    best_seen: float
    first_wrong: int
    mended: int
    first_right: int
    spoiled: int


def arms() -> list[str]:
    """All arms that the comparison needs, cheapest first."""
    return [*(f"{rival}:{n}" for rival in RIVALS for n in SIZES), *LOOPS]


def compared(rows: Sequence[Row], loop: str, rival: str) -> Paid | None:
    """The loop against a rival at the loop's mean number of images; None where an answer of either is lacking."""
    mine = {row.key[1:]: row for row in rows if row.arm == loop}
    images = sum(row.made or 1 for row in mine.values()) / len(mine) if mine else 0.0
    low = min(max(1, math.floor(images)), SIZES[-1])
    high = min(max(1, math.ceil(images)), SIZES[-1])
    share = images - low if high > low else 0.0
    under, over = ({r.key[1:]: float(r.joint) for r in rows if r.arm == f"{rival}:{n}"} for n in (low, high))
    if not mine or not (mine.keys() <= under.keys() and mine.keys() <= over.keys()):
        return None
    a = by_item([(item, float(row.joint)) for (item, _), row in mine.items()])
    b = by_item([(item, (1 - share) * under[item, seed] + share * over[item, seed]) for item, seed in mine])
    ours, theirs = list(a.values()), [b[item] for item in a]
    return Paid(
        loop=loop,
        rival=rival,
        images=round(images, 3),
        loop_joint=round(sum(ours) / len(ours), 4),
        rival_joint=round(sum(theirs) / len(theirs), 4),
        difference=bootstrap([x - y for x, y in zip(ours, theirs, strict=True)]),
        p=round(paired_permutation(ours, theirs), 4),
    )


def room(rows: Sequence[Row]) -> Room | None:
    """What ours leaves to gain; None before every prompt has its first image and the loop's answer."""
    ours = {row.key: row.joint for row in rows if not row.arm.startswith("concat")}
    first, looped = ({k[1:]: right for k, right in ours.items() if k[0] == arm} for arm in (f"{RIVALS[0]}:1", "ours"))
    if not first or first.keys() != looped.keys():
        return None
    seen: dict[tuple[str, int], bool] = {}
    for (_, item, seed), right in ours.items():
        seen[item, seed] = seen.get((item, seed), False) or right
    tries = by_item([(item, float(right)) for (item, _), right in first.items()])
    counts = {n: [right for k, right in ours.items() if k[0] == f"{RIVALS[0]}:{n}"] for n in SIZES}
    return Room(
        prompts=len(tries),
        always=sum(share == 1 for share in tries.values()),
        never=sum(share == 0 for share in tries.values()),
        joint={n: round(sum(rights) / len(rights), 4) for n, rights in counts.items() if rights},
        best_seen=round(sum(seen.values()) / len(seen), 4),
        first_wrong=sum(not right for right in first.values()),
        mended=sum(looped[k] and not right for k, right in first.items()),
        first_right=sum(first.values()),
        spoiled=sum(right and not looped[k] for k, right in first.items()),
    )


def run(out: Path, experts: int, seeds: Sequence[int], limit: int | None, settings: Settings | None = None) -> Path:
    """Draw what is not in the log yet; returns the log."""
    suite = load("compose")
    assert isinstance(suite, ImageSuite)
    items = tuple(item for item in suite.all_items() if len(item.experts) == experts)
    some = suite.model_copy(update={"items": items, "grids": (), "arms": tuple(arms())})
    settings = settings or Settings.load()
    with open_home(settings, out, {e for item in items for e in item.experts}) as ctx:
        said: list[int] = []

        def progress(done: int, total: int, text: str) -> None:
            if done * 50 // total not in said:
                said.append(done * 50 // total)
                print(f"{done} of {total}: {text}", flush=True)

        options = Options(out, arms=arms(), seeds=tuple(seeds), limit=limit, on_progress=progress)
        return images.run(some, ctx, options).log


def main() -> None:
    """Run the arms and print one JSON object a comparison, and one for what is left to gain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("loop_pays"), help="where images and log are kept")
    parser.add_argument("--experts", type=int, default=3, help="prompts of so many experts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--limit", type=int, help="at most so many prompts")
    args = parser.parse_args()
    log = run(user_path(args.out), args.experts, args.seeds, args.limit)
    rows = Log(log).rows
    for loop in LOOPS:
        for rival in RIVALS:
            if found := compared(rows, loop, rival):
                print(json.dumps(found.model_dump(mode="json")))
    if left := room(rows):
        print(json.dumps(left.model_dump(mode="json")))


if __name__ == "__main__":
    main()
