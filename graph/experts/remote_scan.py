"""A hub looked through: what is new, changed or no expert, in one report. Nothing that a hub does ends it half-way.

A repository that cannot be had (gated, failing, no expert) is told, remembered with the reason, and not asked for again
until it changes. A hub that asks for patience is waited for, within a budget. How far a long list was read is
remembered, so that the next look goes on there; it begins with the first page all the same, where new ones appear.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ...errors import AccessDenied, Busy, ExpertError, ExternalError, Unreachable, UserError
from .card import parse_card
from .expert import Expert
from .registration import reason, register_files
from .scan import NotTaken, Report, Tell
from .scouted import Outcome, Scouted, Seen
from .sources import Listing, Page, Paged, Search, Source

if TYPE_CHECKING:
    from ..store.graph_store import GraphStore

MAX_TRIED = 1_000
"""Repositories that one look asks for, at most; the next one goes on."""
MAX_UNPAGED = 10_000
TRIES = 3
OUTAGE = 3
"""So many repositories in a row that the hub does not answer for end the look."""
_BACKOFF = (1.0, 2.0, 4.0)
_SLICE = 0.1
_NAMED = "named"
"""The stamp of a repository that was named and of which no revision could be had: a list asks for it anew."""
_T = TypeVar("_T")


class Patience:
    """Seconds that one look may spend on waiting.

    Args:
        seconds: of all waits together.
        stopped: asked while waiting; once it says yes, the wait ends.
        tell: told of each wait.
    """

    def __init__(self, seconds: float, stopped: Callable[[], bool], tell: Tell) -> None:
        self.left = seconds
        self._stopped, self._tell = stopped, tell

    def ask(self, ask: Callable[[], _T]) -> _T:
        """What is asked for, tried again as long as the hub's wishes and the budget allow. Raises as ``ask`` does."""
        tried = 0
        while True:
            try:
                return ask()
            except (Busy, Unreachable) as error:
                if not self.wait(error, tried):
                    raise
            tried += 1

    def wait(self, error: ExternalError, tried: int) -> bool:
        """Wait for as long as the error asks, if that may be; False if not."""
        asked = error.retry_after if error.retry_after is not None else _BACKOFF[min(tried, len(_BACKOFF) - 1)]
        seconds = max(asked, _SLICE)
        if tried + 1 >= TRIES or seconds > self.left or self._stopped():
            return False
        self.left -= seconds
        self._tell("waiting", f"{error} Waiting {seconds:.0f} s.")
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0 and not self._stopped():
            time.sleep(min(rest, _SLICE))
        return not self._stopped()


def scan_remote(
    source: Source,
    store: GraphStore,
    scouted: Scouted,
    *,
    search: Search,
    limit: int,
    tell: Tell,
    keep: Callable[[list[Expert]], list[Expert]] = lambda experts: experts,
    patience: float = 0.0,
    again: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """Look through a hub and bring the graph up to it.

    Args:
        source: where; one that pages its list is gone on with where an earlier look stopped.
        store: the graph that is written.
        scouted: what came of earlier looks.
        search: what is looked for.
        limit: register at most so many repositories that are new; what is refused does not count.
        tell: told of each event as it happens.
        keep: of the experts of a repository, those to register. ExpertError if none.
        patience: seconds that may be spent on waiting for a busy hub.
        again: ask once more for what was refused before.
        stopped: asked before each repository; once it says yes, the rest is left for another look.

    Raises:
        UserError, ExternalError: nothing at all can be had from the source.
    """
    look = _Look(source, store, scouted, tell, keep, Patience(patience, stopped, tell))
    look.limit, look.again, look.stopped = limit, again, stopped
    try:
        look.all(search)
    except (AccessDenied, ExternalError, UserError) as error:
        if not look.anything:
            raise
        look.rest, look.ended = True, reason(error)
        tell("ended", f"{source.name}: {reason(error)}")
    return look.report()


def scan_named(
    source: Source,
    repo: str,
    store: GraphStore,
    scouted: Scouted,
    *,
    tell: Tell,
    keep: Callable[[list[Expert]], list[Expert]] = lambda experts: experts,
    patience: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """Bring the graph up to one repository that is named. What was refused before is asked for once more.

    Args: as of `scan_remote`; ``repo`` is the repository's name within the source.

    Raises:
        ExpertError, UserError, ExternalError: it cannot be had, or is no expert; this is remembered, too.
    """
    look = _Look(source, store, scouted, tell, keep, Patience(patience, stopped, tell))
    look.again = True
    look.named(repo)
    return look.report()


class _Look:
    """One look at one hub."""

    limit: int
    again: bool
    stopped: Callable[[], bool]

    def __init__(
        self,
        source: Source,
        store: GraphStore,
        scouted: Scouted,
        tell: Tell,
        keep: Callable[[list[Expert]], list[Expert]],
        patience: Patience,
    ) -> None:
        self.source, self.store, self.scouted, self.tell = source, store, scouted, tell
        self.keep, self.patience = keep, patience
        self.access = str(getattr(source, "access", ""))
        self.seen = scouted.at(source.name)
        self.known: dict[str, set[str]] = {}
        self.ids = set[str]()
        for expert in store.as_found():
            self.ids.add(expert.id)
            if expert.ref.source == source.name:
                self.known.setdefault(expert.ref.repo, set()).add(expert.ref.revision)
        self.new: list[Expert] = []
        self.changed: list[str] = []
        self.refused: list[NotTaken] = []
        self.taken = self.tried = self.unchanged = self.refused_before = self.silent = 0
        self.rest, self.ended = False, ""
        self._done = set[str]()

    @property
    def anything(self) -> bool:
        return bool(self.new or self.changed or self.refused or self.unchanged)

    def report(self) -> Report:
        """All of it."""
        return Report(
            new=tuple(self.new),
            changed=tuple(self.changed),
            refused=tuple(self.refused),
            unchanged=self.unchanged,
            refused_before=self.refused_before,
            rest=self.rest,
            ended=self.ended,
        )

    # -- the list

    def all(self, search: Search) -> None:
        """The first page, then on from where the last look stopped."""
        if not isinstance(self.source, Paged):
            text = search.text if search.text and getattr(self.source, "searches", False) else None
            listings = self.patience.ask(lambda: tuple(itertools.islice(self.source.list(text), MAX_UNPAGED)))
            self.rest |= not self._page(Page(listings=listings))
            return
        key = f"{getattr(self.source, 'endpoint', '')}\n{search.key}"
        first = self._page_at(self.source, search, "")
        if not self._page(first):
            self.rest = True
            return
        at = self.scouted.cursor(self.source.name, key)
        resumed, at = bool(at), at or first.cursor
        passed = set[str]()
        while at and at not in passed:
            passed.add(at)
            self.scouted.keep_cursor(self.source.name, key, at)
            try:
                page = self._page_at(self.source, search, at)
            except (UserError, ExternalError) as error:
                if not resumed or isinstance(error, Busy | Unreachable | AccessDenied):
                    raise
                resumed, at = False, first.cursor  # a cursor does not live for ever: from the beginning, then
                continue
            resumed = False
            if not self._page(page):
                self.rest = True
                return
            at = page.cursor
        self.scouted.keep_cursor(self.source.name, key, "")

    def _page_at(self, source: Paged, search: Search, cursor: str) -> Page:
        return self.patience.ask(lambda: next(iter(source.pages(search, cursor)), Page(listings=())))

    def _page(self, page: Page) -> bool:
        """Every repository of a page; False once the rest of it is left for another look."""
        for listing in page.listings:
            if listing.repo in self._done:  # a list that changes while it is read repeats some
                continue
            if self.stopped():
                return False
            if not self._settled(listing):
                if self.taken >= self.limit or self.tried >= MAX_TRIED:
                    return False
                self.tried += 1
                self._repository(listing)
            self._done.add(listing.repo)
        return True

    def _settled(self, listing: Listing) -> bool:
        """Whether a repository need not be asked for: it is known, or was refused, as it is."""
        before = self.seen.get(listing.repo)
        known = self.known.get(listing.repo)
        stands = before is not None and before.stamp in (self._stamp(listing), f"{self._stamp(listing)} {self.access}")
        if before is not None and before.outcome == "refused" and stands and not self.again:
            self.refused_before += 1
            self.unchanged += 1
            return True
        held = known is not None and (not listing.revision or listing.revision in known)
        if before is not None and before.outcome != "refused":
            held |= stands and self.ids.issuperset(before.experts)
        self.unchanged += held
        return held

    # -- one repository

    def named(self, repo: str) -> None:
        """One that a user names: refusals are theirs to hear, as errors."""
        listing = Listing(repo=repo, stamp=_NAMED)
        try:
            info = self.patience.ask(lambda: self.source.info(repo))
            listing = Listing(repo=info.repo, created=info.created, revision=info.revision, stamp=info.revision)
            if not self._settled(listing):
                self.patience.ask(lambda: self._register(listing))
        except (AccessDenied, Busy, Unreachable):
            raise
        except (ExpertError, ExternalError, UserError) as error:
            self._remember_refusal(listing, reason(error), access=isinstance(error, UserError))
            raise

    def _repository(self, listing: Listing) -> None:
        if listing.outside:
            self._refuse(listing, listing.outside)
            return
        try:
            self.patience.ask(lambda: self._register(listing))
            self.silent = 0
        except AccessDenied:
            raise
        except (Busy, Unreachable) as error:
            self._silent(listing, error)
        except UserError as error:
            self._refuse(listing, reason(error), access=True)
        except (ExpertError, ExternalError) as error:
            self._refuse(listing, reason(error))

    def _register(self, listing: Listing) -> None:
        info = self.source.info(listing.repo)
        if info.repo != listing.repo and info.revision in self.known.get(info.repo, ()):
            self._remember(
                listing, "same", tuple(i for i in self.ids if i.startswith(f"{self.source.name}/{info.repo}"))
            )
            self.unchanged += 1
            return
        card = parse_card(self.source.card(info.repo), info.repo)
        made = register_files(self.source, info, card)
        if not made.experts:
            raise made.refused[0][1]
        experts = self.keep(made.experts)
        self.store.add_experts(experts)
        self.known.setdefault(info.repo, set()).add(info.revision)
        fresh = [expert for expert in experts if expert.id not in self.ids]
        self.new += fresh
        self.changed += [expert.id for expert in experts if expert.id in self.ids]
        self.ids.update(expert.id for expert in experts)
        self.taken += bool(fresh)
        self._remember(listing, "expert", tuple(expert.id for expert in experts))
        for expert in experts:
            known = "registered" if expert in fresh else "changed"
            self.tell(known, f"{known} {expert.id} ({expert.kind}, {expert.base_family})")
        for file, error in made.refused:
            self.refused.append(NotTaken(place=f"{info.repo}/{file}", why=reason(error)))
            self.tell("refused", f"{info.repo}/{file}: {reason(error)}")

    def _silent(self, listing: Listing, error: ExternalError) -> None:
        """A repository that the hub does not answer for now: it is left for the next look, unless all are like it."""
        self.silent += 1
        self.refused.append(NotTaken(place=listing.repo, why=reason(error)))
        self.tell("refused", f"{listing.repo}: {reason(error)}")
        if self.silent >= OUTAGE:
            raise error

    def _refuse(self, listing: Listing, why: str, *, access: bool = False) -> None:
        """Tell and remember; what hangs on who asks is asked for again once there is a token."""
        self.silent = 0
        self.refused.append(NotTaken(place=listing.repo, why=why))
        self.tell("refused", f"{listing.repo}: {why}")
        self._remember_refusal(listing, why, access=access)

    def _remember_refusal(self, listing: Listing, why: str, *, access: bool) -> None:
        if stamp := self._stamp(listing):
            kept = Seen(listing.repo, f"{stamp} {self.access}" if access else stamp, "refused", (), why)
            self.scouted.keep(self.source.name, [kept])

    def _remember(self, listing: Listing, outcome: Outcome, ids: tuple[str, ...]) -> None:
        self.scouted.keep(self.source.name, [Seen(listing.repo, self._stamp(listing), outcome, ids)])

    def _stamp(self, listing: Listing) -> str:
        """What tells that a repository changed; empty where its source does not say, so that nothing is remembered."""
        return listing.stamp or listing.created
