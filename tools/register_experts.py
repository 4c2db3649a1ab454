"""Tool: look for experts at a source and register them (card and header only; nothing is believed yet)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import Field

from ..bases.known import known_sums
from ..errors import ExpertError, ToolRetry, UserError
from ..files.payload_hash import HashMemo
from ..graph.experts import sources
from ..graph.experts.expert import Expert
from ..graph.experts.registration import reason, register
from ..graph.experts.scan import Report, SameBytes, scan
from ..graph.experts.scouted import Scouted, Seen
from ..graph.experts.sources.folder import Folder
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
    done = scouted(ctx, ctx.source(name), args.query, args.limit)
    return Found(
        source=name,
        registered=tuple(e.id for e in done.registered),
        refused=tuple(done.refused),
        claiming=tuple(claiming(ctx, args.query)) if args.query else (),
    )


def allowed_sources(ctx: Context) -> list[str]:
    """The sources that the settings name, else the base's. Raises UserError for one that does not exist."""
    named, known = ctx.source_names, sources.names()
    for name in named:
        if name not in known:
            raise UserError(f"DIFFGRAPH_SOURCES names {name!r}; known sources are {', '.join(known)}.")
    return named


@dataclass
class Scouting:
    """What a look at one or more sources came to.

    Attributes:
        registered: experts that are new. changed, moved, missing: ids of known ones. same: further places of known
            bytes.
        refused: what is no expert and was not told before, with the reason.
        unchanged: places that were not read again. refused_before: those of them that are no experts.
        rest: whether something is left for another look.
    """

    registered: list[Expert] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    same: list[SameBytes] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    unchanged: int = 0
    refused_before: int = 0
    rest: bool = False

    def add(self, other: Scouting) -> None:
        """Take in what another look found."""
        for name in ("registered", "changed", "moved", "missing", "same", "refused"):
            getattr(self, name).extend(getattr(other, name))
        self.unchanged += other.unchanged
        self.refused_before += other.refused_before
        self.rest |= other.rest

    @property
    def anything(self) -> bool:
        """Whether anything is to be told."""
        return bool(self.registered or self.changed or self.moved or self.missing or self.same or self.refused)


def memory(ctx: Context) -> Scouted:
    """What earlier looks came to, in the home."""
    return Scouted(ctx.settings.root / "scouted.sqlite")


def register_new(
    ctx: Context, source: sources.Source, query: str = "", limit: int = 40
) -> tuple[list[Expert], list[Refused]]:
    """`scouted`, as the experts registered and what was refused with the reason."""
    done = scouted(ctx, source, query, limit)
    return done.registered, done.refused


def scouted(
    ctx: Context,
    source: sources.Source,
    query: str = "",
    limit: int | None = 40,
    stopped: Callable[[], bool] = lambda: False,
) -> Scouting:
    """Register what the graph lacks. A source that searches is asked with the query; any other is taken whole.

    Args:
        ctx: whose graph.
        source: where to look; a folder is also looked through for what changed, moved or went.
        query: for a source that searches.
        limit: register at most so many; None, which is for folders: all.
        stopped: asked now and then; once it says yes, the rest is left for another look.
    """
    if isinstance(source, Folder):
        sums = HashMemo(ctx.settings.root / "file-sums.json")
        return _of_folder(scan(source, ctx.store, memory(ctx), sums, limit=limit, tell=ctx.say, stopped=stopped))
    return _of_repositories(ctx, source, query, MAX_LISTED if limit is None else limit, stopped)


def _of_folder(found: Report) -> Scouting:
    return Scouting(
        registered=list(found.new),
        changed=list(found.changed),
        moved=list(found.moved),
        missing=list(found.missing),
        same=list(found.same),
        refused=[Refused(repo=one.place, why=one.why) for one in found.refused],
        unchanged=found.unchanged,
        refused_before=found.refused_before,
        rest=found.rest,
    )


def _of_repositories(
    ctx: Context, source: sources.Source, query: str, limit: int, stopped: Callable[[], bool]
) -> Scouting:
    known = {(e.ref.source, e.ref.repo) for e in [*ctx.store.experts(), *ctx.store.bases()]}
    search = query if query and getattr(source, "searches", False) else None
    refused_before = memory(ctx).at(source.name)
    done = Scouting()
    for listing in itertools.islice(source.list(search), MAX_LISTED):
        if (source.name, listing.repo) in known:
            done.unchanged += 1
            continue
        if stopped() or len(done.registered) >= limit:
            done.rest = True
            break
        before = refused_before.get(listing.repo)
        if before is not None and before.stamp == listing.created:
            done.refused_before += 1
            continue
        try:
            experts = others_than_the_base(ctx, register(source, listing.repo))
        except ExpertError as error:
            _refuse(ctx, source, listing, reason(error), done)
            continue
        ctx.store.add_experts(experts)
        done.registered += experts
        for expert in experts:
            ctx.say("registered", f"registered {expert.id} ({expert.kind}, {expert.base_family})", expert=expert.id)
    return done


def _refuse(ctx: Context, source: sources.Source, listing: sources.Listing, why: str, done: Scouting) -> None:
    done.refused.append(Refused(repo=listing.repo, why=why))
    ctx.say("refused", f"{listing.repo}: {why}", repo=listing.repo)
    if listing.created:  # without a stamp nobody could tell that it was mended
        memory(ctx).keep(source.name, [Seen(listing.repo, listing.created, "refused", (), why)])


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
    waiting = {e.id for e in ctx.store.experts(ctx.family) if e.usable and (e.id, e.sha256) not in measured}
    hits = [h for h in ctx.store.search(query, ctx.family, k=20) if h.expert_id in waiting and h.score >= MATCH]
    return list(dict.fromkeys(h.expert_id for h in hits))
