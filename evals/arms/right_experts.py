"""Bounds that know which experts are right, or what the true combinations look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...errors import UserError
from ...merging.plan.merge_plan import Method
from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, arm
from .drawing import answers, right


@arm("only_subject_said", "the right experts, the looks' triggers left out of the prompt", kind="bound")
def only_subject_said(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [right(evaluation, i, seeds, Method(name=evaluation.ctx.settings.method)) for i in items]
    bare = [p.model_copy(update={"prompt": i.subject or p.prompt}) for i, p in zip(items, plans, strict=True)]
    yield from answers(evaluation, items, bare)


@arm("oracle_choice", "the right experts at their calibrated weights", kind="bound")
def oracle_choice(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    method = Method(name=evaluation.ctx.settings.method)
    yield from answers(evaluation, items, [right(evaluation, i, seeds, method) for i in items])


@arm("joint_lora", "one LoRA trained on the true combinations", kind="bound")
def joint_lora(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    if evaluation.joint is None:
        raise UserError("The arm joint_lora needs the file of a jointly trained LoRA (--joint PATH).")
    expert = evaluation.pin_file("joint", evaluation.joint)
    yield from answers(evaluation, items, [evaluation.plan(i, (expert,), seeds) for i in items])
