"""Arms with one expert: the best by the critic, and one whose weights are random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..evaluation import Evaluation
from ..suites.items import Item
from ..suites.truth import truth
from .arm import Answer, arm
from .drawing import answers


@arm("best_single", "best single expert by the critic")
def best_single(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    rows = [
        (i, evaluation.plan(i, (evaluation.pin(e, evaluation.best_weight(e), i),), seeds))
        for i in items
        for e in i.experts
    ]
    bare = [(i, evaluation.plan(i, (), seeds)) for i in items if not i.experts]
    best: dict[tuple[str, int], tuple[float, Answer]] = {}
    rendered = evaluation.render([p for _, p in rows + bare])
    for (item, plan), images in zip(rows + bare, rendered, strict=True):
        verdicts = evaluation.critic.score(images, item.wanted)
        for seed, image, verdict in zip(seeds, images, verdicts, strict=True):
            key = (item.id, seed)
            if key not in best or verdict.score > best[key][0]:
                made = max(1, len(item.experts))
                best[key] = (verdict.score, Answer(item, seed, image, plan, made))
    yield from (answer for _, answer in best.values())


@arm("random_weights", "an expert of random weights")
def random_weights(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    expert = evaluation.pin(truth().decoys["random weights"], 1.0)
    yield from answers(evaluation, items, [evaluation.plan(i, (expert,), seeds) for i in items])
