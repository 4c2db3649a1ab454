"""Tool: which experts a prompt needs, by the solver in the graph."""

from __future__ import annotations

from pydantic import Field

from ..errors import ToolFailed
from ..graph.reading.languages import is_read
from ..graph.reading.request import Orders
from ..graph.reading.split import split
from ..graph.selection.activation import Activation
from ..graph.selection.open_vocabulary import sampled_prompt
from ..graph.selection.solver import activate
from .context import Context
from .obeying import unmet
from .ordered_experts import laid_on, ordered_by_id, ruled_out
from .results import ActivationResult, Rejected
from .tool import Args, tool
from .trusted import trusts


class ActivateArgs(Args):
    prompt: str = Field(min_length=1, max_length=8000, description="the user's prompt, word for word")


@tool("activate_experts", agents=("planner",), writes="activation")
def activate_experts(ctx: Context, args: ActivateArgs) -> ActivationResult:
    """Read a prompt against the graph: its facets, who draws each, the solver's weights, what nobody can draw
    (uncovered), and what is left to the base, which draws it by itself.
    """
    open_words = ctx.profile.vocabulary == "open"
    if not open_words and ctx.store.base(ctx.family) is None and not ctx.store.words.size(ctx.family):
        raise ToolFailed(f"the graph holds nothing for base family {ctx.family}: run `diffgraph scout` first")
    words = ctx.job.prompt or args.prompt
    orders = ctx.job.orders.over(split(words).orders)
    found = _activated(ctx, words, orders)
    read = words
    if _translated(words, args.prompt):
        told = _activated(ctx, args.prompt, orders)
        found, read = _by_translation(ctx, found, told), args.prompt
    activation = laid_on(ctx, result_of(read, found), orders)
    return activation.model_copy(update={"unmet": unmet(ctx, activation)})


def _translated(words: str, said: str) -> bool:
    """Whether what a brain says is to be read in place of the user's words: only where those are of a language that is
    not read here. A paraphrase of what is read would put the brain's wish in place of the user's.
    """
    return " ".join(said.split()) != " ".join(words.split()) and not is_read(split(words))


def _activated(ctx: Context, words: str, orders: Orders) -> Activation:
    if ctx.profile.vocabulary == "closed":
        return activate(words, ctx.store, ctx.family, ctx.reading, without=ruled_out(ctx, orders))
    return activate(
        words,
        ctx.store,
        ctx.family,
        ctx.reading,
        vocabulary="open",
        ordered=ordered_by_id(ctx, orders),
        without=ruled_out(ctx, orders),
        position=ctx.profile.trigger_position,
        counts=trusts(ctx),
    )


def _by_translation(ctx: Context, own: Activation, told: Activation) -> Activation:
    """What a translation finds, for the user's own request: of an open vocabulary the words stay as they were typed."""
    if own.vocabulary == "closed":
        return told
    triggers = [t for e in told.experts for t in e.triggers]
    prompt = sampled_prompt(own.request, triggers, ctx.profile.trigger_position)
    kept = {"prompt": prompt, "request": own.request, "excluded": own.excluded or told.excluded}
    return told.model_copy(update={**kept, "left_to_base": own.left_to_base})


def result_of(prompt: str, found: Activation) -> ActivationResult:
    """An activation as a result: what somebody can draw apart from what nobody can, numbers rounded."""
    unmet = [f.text for f in found.facets if f.by is None]
    drawn = [f for f in found.facets if f.by is not None]
    return ActivationResult(
        read=prompt,
        prompt=found.prompt,
        facets=tuple(f.model_copy(update={"score": round(float(f.score), 4)}) for f in drawn),
        experts=tuple(
            e.model_copy(
                update={
                    "weight": round(float(e.weight), 4),
                    "triggers": e.triggers or ((e.trigger,) if e.trigger else ()),
                }
            )
            for e in found.experts
        ),
        uncovered=tuple(dict.fromkeys([*found.uncovered, *unmet])),
        left_to_base=found.left_to_base,
        vocabulary=found.vocabulary,
        excluded=found.excluded,
        orders=found.request.orders,
        words=found.request.words,
        rejected=tuple(Rejected(id=str(i), why=str(why)) for i, why in list(found.rejected)[:20]),
    )
