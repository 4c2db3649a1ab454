"""Our own PNGs: the plan that made them, whole."""

from __future__ import annotations

from pydantic import ValidationError

from ..merge_plan import MergePlan
from .image_text import ImageTexts
from .reader import reader
from .recipe import ForeignBase, ForeignExpert, ForeignRecipe
from .values import integer, text

KEY = "diffgraph"


@reader("diffgraph", title="DiffGraph", order=10)
def read(texts: ImageTexts) -> ForeignRecipe | None:
    """The plan under ``diffgraph``. One that does not fit its own hash is taken, and said to have been edited."""
    said = texts.document(KEY)
    if said is None:
        return None
    try:
        plan = MergePlan.model_validate(said.get("plan"))
        edited = plan.plan_id != said.get("plan_id")
    except (ValidationError, ValueError, RecursionError):
        return None  # not one that can be read: the text beside it may do
    seed = integer(said.get("seed"))
    return ForeignRecipe(
        tool="DiffGraph",
        tool_version=text(said.get("diffgraph"), 40),
        prompt=plan.prompt,
        negative_prompt=plan.negative_prompt,
        seed=plan.seeds[0] if seed is None else seed,
        steps=plan.sampler.steps,
        guidance=plan.sampler.guidance,
        sampler=plan.sampler.name,
        width=plan.sampler.width,
        height=plan.sampler.height,
        base=ForeignBase(name=plan.base.ref.partition(":")[2] or plan.base.ref, hashes=(plan.base.sha256,)),
        experts=tuple(ForeignExpert(name=one.id, hashes=(one.sha256,), weight=one.weight) for one in plan.experts),
        notes=("the plan in it does not fit its own hash: someone edited it",) if edited else (),
        plan=plan,
    )
