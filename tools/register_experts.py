"""Tool: look for experts at a source and register them (card and header only; nothing is believed yet)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import Field

from ..bases.known import known_sums
from ..errors import ExpertError, ToolRetry, UserError
from ..files.payload_hash import HashMemo
from ..graph.experts import sources
from ..graph.experts.enrich import Enriched, enrich
from ..graph.experts.expert import Expert
from ..graph.experts.remote_scan import scan_named, scan_remote
from ..graph.experts.scan import Report, SameBytes, scan
from ..graph.experts.scouted import Scouted
from ..graph.experts.sources import Search
from ..graph.experts.sources.folder import Folder
from .context import Context
from .results import Found, Refused
from .tool import Args, tool

MAX_LISTED = 200
MATCH = 0.5
AGENTS_PATIENCE = 10.0
"""Seconds that a request waits for a busy hub; whoever scouts at leisure waits longer."""


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
        rest: whether something is left for another look. ended: why a source's look ended before its end.
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
    ended: list[str] = field(default_factory=list)

    def add(self, other: Scouting) -> None:
        """Take in what another look found."""
        for name in ("registered", "changed", "moved", "missing", "same", "refused", "ended"):
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
    query: str | Search = "",
    limit: int | None = 40,
    stopped: Callable[[], bool] = lambda: False,
    *,
    again: bool = False,
    patience: float = AGENTS_PATIENCE,
) -> Scouting:
    """Register what the graph lacks. A source that searches is asked with the query; any other is taken whole.

    Args:
        ctx: whose graph.
        source: where to look; a folder is also looked through for what changed, moved or went.
        query: for a source that searches.
        limit: register at most so many; None: all of a folder, `MAX_LISTED` of a hub.
        stopped: asked now and then; once it says yes, the rest is left for another look.
        again: ask a hub once more for what it refused before.
        patience: seconds that may be spent on waiting for a hub that asks for it.
    """
    if isinstance(source, Folder):
        sums = HashMemo(ctx.settings.root / "file-sums.json")
        found = scan(
            source,
            ctx.store,
            memory(ctx),
            sums,
            tell=ctx.say,
            limit=limit,
            stopped=stopped,
            keep=lambda experts: others_than_the_base(ctx, experts),
        )
        return _told(found)
    found = scan_remote(
        source,
        ctx.store,
        memory(ctx),
        search=query if isinstance(query, Search) else Search(text=query),
        limit=MAX_LISTED if limit is None else limit,
        tell=ctx.say,
        keep=lambda experts: others_than_the_base(ctx, experts),
        patience=patience,
        again=again,
        stopped=stopped,
    )
    return _told(found)


def named(
    ctx: Context, source: sources.Source, repo: str, stopped: Callable[[], bool] = lambda: False, *, patience: float
) -> Scouting:
    """Register one repository that is named, with the waits and the memory of a whole look.

    Raises:
        ExpertError, UserError, ExternalError: it cannot be had, or is no expert.
    """
    found = scan_named(
        source,
        repo,
        ctx.store,
        memory(ctx),
        tell=ctx.say,
        keep=lambda experts: others_than_the_base(ctx, experts),
        patience=patience,
        stopped=stopped,
    )
    return _told(found)


def enriched(
    ctx: Context,
    source: sources.Source,
    *,
    again: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Enriched:
    """Ask a hub that knows files by their sums for every file of a folder that is registered.

    Raises UserError for a source that does not know files so.
    """
    if not isinstance(source, sources.KnowsFiles):
        raise UserError(f"The source {source.name} does not know files by their sums; civitai does.")
    sums = HashMemo(ctx.settings.root / "file-sums.json")
    patience = ctx.settings.scout_patience
    return enrich(source, ctx.store, memory(ctx), sums, tell=ctx.say, patience=patience, again=again, stopped=stopped)


def _told(found: Report) -> Scouting:
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
        ended=[found.ended] if found.ended else [],
    )


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
