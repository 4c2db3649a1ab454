"""Tool: look for experts at a source and register them (card and header only; nothing is believed yet)."""

from __future__ import annotations

import itertools

from pydantic import Field

from ..bases.known import known_sums
from ..errors import ExpertError, ToolRetry, UserError
from ..graph.experts import sources
from ..graph.experts.expert import Expert
from ..graph.experts.registration import register
from .context import Context
from .results import Found, Refused
from .tool import Args, tool

MAX_LISTED = 200
MATCH = 0.5


class RegisterArgs(Args):
    source: str = Field(
        default="", max_length=60, description="one of the sources the request allows; empty: the first"
    )
    query: str = Field(default="", max_length=200, description="the missing skill, in a few words; empty: everything")
    limit: int = Field(default=40, ge=1, le=MAX_LISTED, description="register at most so many new repositories")


@tool("register_experts", agents=("scout",), writes="found")
def register_experts(ctx: Context, args: RegisterArgs) -> Found:
    """Register experts of a source that the graph does not hold yet, and say which of them (and of those already
    registered but never calibrated) claim the missing skill.
    """
    allowed = allowed_sources(ctx)
    name = args.source or next(iter(allowed), "")
    if name not in allowed:
        raise ToolRetry(f"source {name!r} is not one of those allowed here: {', '.join(allowed) or 'none'}")
    registered, refused = register_new(ctx, ctx.source(name), args.query, args.limit)
    return Found(
        source=name,
        registered=tuple(e.id for e in registered),
        refused=tuple(refused),
        claiming=tuple(claiming(ctx, args.query)) if args.query else (),
    )


def allowed_sources(ctx: Context) -> list[str]:
    """The sources that the settings name, else the base's. Raises UserError for one that does not exist."""
    named, known = ctx.source_names, sources.names()
    for name in named:
        if name not in known:
            raise UserError(f"DIFFGRAPH_SOURCES names {name!r}; known sources are {', '.join(known)}.")
    return named


def register_new(
    ctx: Context, source: sources.Source, query: str = "", limit: int = 40
) -> tuple[list[Expert], list[Refused]]:
    """Register what the graph lacks. A source that searches is asked with the query; any other is taken whole.

    Returns:
        The experts registered, and the repositories that were refused with the reason.
    """
    known = {(e.ref.source, e.ref.repo) for e in [*ctx.store.experts(), *ctx.store.bases()]}
    search = query if query and getattr(source, "searches", False) else None
    registered: list[Expert] = []
    refused: list[Refused] = []
    tried = 0
    for listing in itertools.islice(source.list(search), MAX_LISTED):
        if (source.name, listing.repo) in known or tried >= limit:
            continue
        tried += 1
        try:
            experts = others_than_the_base(ctx, register(source, listing.repo))
        except ExpertError as error:
            refused.append(Refused(repo=listing.repo, why=str(error)))
            ctx.say("refused", f"{listing.repo}: {error}", repo=listing.repo)
            continue
        ctx.store.add_experts(experts)
        registered += experts
        for expert in experts:
            ctx.say("registered", f"registered {expert.id} ({expert.kind}, {expert.base_family})", expert=expert.id)
    return registered, refused


def others_than_the_base(ctx: Context, experts: list[Expert]) -> list[Expert]:
    """Experts without the base that they are for: its own weights, found among them, are no skill to add.

    Raises ExpertError if nothing else is there.
    """
    own = {ctx.store.base_key, *known_sums(ctx.settings.root, ctx.profile.name)}
    left = [expert for expert in experts if expert.kind == "base" or expert.sha256 not in own]
    if experts and not left:
        raise ExpertError(f"these are the weights of the base {ctx.profile.name} itself, so they add nothing to it")
    return left


def claiming(ctx: Context, query: str) -> list[str]:
    """Experts of this base that claim a skill like ``query`` and were never calibrated, best first."""
    measured = {(c.expert_id, c.expert_sha256) for c in ctx.store.calibrations()}
    waiting = {e.id for e in ctx.store.experts(ctx.family) if (e.id, e.sha256) not in measured}
    hits = [h for h in ctx.store.search(query, ctx.family, k=20) if h.expert_id in waiting and h.score >= MATCH]
    return list(dict.fromkeys(h.expert_id for h in hits))
