"""What was seen at sources and what came of it, kept in one file of the home: so that nothing is read twice unless it
changed, and what was refused is remembered with the reason.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from ...errors import ExternalError
from ...files.disk_errors import sqlite_sentence

Outcome = Literal["expert", "same", "refused"]
_WAIT_SECONDS = 30.0
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS seen (
        source TEXT NOT NULL, place TEXT NOT NULL, stamp TEXT NOT NULL, outcome TEXT NOT NULL,
        experts TEXT NOT NULL, why TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (source, place));
    CREATE TABLE IF NOT EXISTS cursors (
        source TEXT NOT NULL, search TEXT NOT NULL, cursor TEXT NOT NULL, PRIMARY KEY (source, search));
    CREATE TABLE IF NOT EXISTS published (sha256 TEXT PRIMARY KEY, said TEXT NOT NULL)
"""


class Seen(NamedTuple):
    """One place of a source: a file, a repository.

    Attributes:
        place: its name within the source.
        stamp: what tells that it changed: size and time, or a revision.
        outcome: it is an expert, has the same bytes as one, or was refused.
        experts: ids of what is there.
        why: the reason of a refusal.
    """

    place: str
    stamp: str
    outcome: Outcome
    experts: tuple[str, ...] = ()
    why: str = ""


class Scouted:
    """The record in the file ``path``, made when something is first written. Safe for several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def at(self, source: str, under: str = "") -> dict[str, Seen]:
        """Place -> what came of it, of all places of a source whose names begin with ``under``."""
        if not self.path.exists():
            return {}
        with self._open() as database:
            rows = database.execute(
                "SELECT place, stamp, outcome, experts, why FROM seen WHERE source = ? AND substr(place, 1, ?) = ?",
                (source, len(under), under),
            )
            return {row[0]: Seen(row[0], row[1], row[2], _split(row[3]), row[4]) for row in rows}

    def refused(self, source: str | None = None) -> list[tuple[str, Seen]]:
        """What was refused (at one source) with the source's name, in order of source and place."""
        if not self.path.exists():
            return []
        with self._open() as database:
            rows = database.execute(
                "SELECT source, place, stamp, outcome, experts, why FROM seen "
                "WHERE outcome = 'refused' AND (? IS NULL OR source = ?) ORDER BY source, place",
                (source, source),
            )
            return [(row[0], Seen(row[1], row[2], row[3], _split(row[4]), row[5])) for row in rows]

    def keep(self, source: str, seen: Iterable[Seen]) -> None:
        """Remember places, in place of what was known of them."""
        rows = [(source, s.place, s.stamp, s.outcome, "\n".join(s.experts), s.why, time.time()) for s in seen]
        if rows:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as database:
                database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def forget(self, source: str, places: Iterable[str]) -> None:
        """Places that are no more."""
        rows = [(source, place) for place in places]
        if rows and self.path.exists():
            with self._open() as database:
                database.executemany("DELETE FROM seen WHERE source = ? AND place = ?", rows)

    def cursor(self, source: str, search: str) -> str:
        """Where the list of a search is to be gone on with; empty: at its beginning."""
        if not self.path.exists():
            return ""
        with self._open() as database:
            row = database.execute("SELECT cursor FROM cursors WHERE source = ? AND search = ?", (source, search))
            return next((one[0] for one in row), "")

    def keep_cursor(self, source: str, search: str, cursor: str) -> None:
        """Remember it, in place of what was known."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (source, search, cursor))

    def published(self) -> dict[str, str]:
        """sha256 of a file -> what a hub says of it, as JSON; empty where it was asked and does not know it."""
        if not self.path.exists():
            return {}
        with self._open() as database:
            return dict(database.execute("SELECT sha256, said FROM published"))

    def keep_published(self, said: Iterable[tuple[str, str]]) -> None:
        """Remember what hubs say of files, in place of what was known."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO published VALUES (?, ?)", list(said))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The database, whose changes are kept together or not at all.

        Raises:
            ExternalError: the disk is full, or the file is none of ours.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS)) as database, database:
                database.executescript(_SCHEMA)
                yield database
        except sqlite3.Error as error:
            said = sqlite_sentence(error, self.path.parent)
            hint = "Move that file away: the next scout reads everything once more."
            raise ExternalError(said or f"{self.path} cannot be read or written ({error}). {hint}") from error


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n")) if text else ()
