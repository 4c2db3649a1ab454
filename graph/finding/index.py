"""The index of words by which experts are found: SQLite's full-text search in one file, changed expert by expert.

It holds nothing that the graph does not hold, and is made anew from it where it is missing, older than this module or
was left unfinished. One table of words a family, so that nothing is filtered.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ExternalError
from ..experts.expert import Expert
from .entry import FIELDS, NAMES, Entry
from .terms import terms, words_of_prompt

VERSION = "4"
"""Changes with what the tables hold."""
_FIRST_LOOK = (1.0, 1.2, 1.0, 0.6, 0.4, 0.4)
"""Weights of `FIELDS` in the first look; what is found is weighed with more care afterwards."""
_BATCH = 500
_PROMPTS = 64
"""Room for one expert's example prompts among the row numbers of all."""
LEAST_ASIDE = 2
"""Letters of the shortest name by which an expert that may not be used is told."""
_NOTHING = Entry(((),) * len(FIELDS), ())
_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS families (num INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS experts (
    num INTEGER PRIMARY KEY, id TEXT UNIQUE, family INTEGER, kind TEXT, usable INTEGER, popularity INTEGER,
    calls INTEGER, sha256 TEXT, phrases TEXT, prompts TEXT);
CREATE INDEX IF NOT EXISTS experts_of_file ON experts (sha256);
CREATE INDEX IF NOT EXISTS experts_of_family ON experts (family, kind);
CREATE TABLE IF NOT EXISTS names (family INTEGER, key TEXT, num INTEGER, field TEXT,
    PRIMARY KEY (family, key, num, field)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_of_expert ON names (num);
CREATE TABLE IF NOT EXISTS spelt (family INTEGER, word TEXT, PRIMARY KEY (family, word)) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS prompts USING fts5(words, tokenize = 'unicode61 remove_diacritics 0');
CREATE TABLE IF NOT EXISTS prompt_words (word TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Found:
    """An expert as the index holds it; ``phrases``: of every field of `FIELDS` its phrases, of each its terms."""

    num: int
    id: str
    popularity: int
    calls: bool
    phrases: tuple[tuple[tuple[str, ...], ...], ...]


class WordIndex:
    """The index in one file; ``path`` None keeps it in memory. Safe to share between threads.

    Raises:
        ExternalError: the file cannot be read or written, or this Python's SQLite has no full-text search.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._translated():
            self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            if self._state("version") in ("", VERSION):
                self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    # -- whether it is whole

    @property
    def whole(self) -> bool:
        """Whether it is of this version and the last change was finished."""
        return self._state("version") == VERSION and self._state("open") != "yes"

    def _state(self, name: str) -> str:
        with self._translated():
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
                return ""
            row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def clear(self) -> None:
        """Empty it, in the shape of this version."""
        with self._change() as db:
            made = [(r[0], r[1]) for r in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")]
            searched = [name for name, sql in made if sql and sql.startswith("CREATE VIRTUAL")]
            for name in searched:
                db.execute(f'DROP TABLE "{name}"')
            for name, sql in made:
                if sql and name not in searched and not name.startswith(("sqlite_", *(f"{s}_" for s in searched))):
                    db.execute(f'DROP TABLE "{name}"')
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute("INSERT OR REPLACE INTO state VALUES ('version', ?)", (VERSION,))

    @contextmanager
    def unfinished(self) -> Iterator[None]:
        """While the graph itself changes: should this process end here, the index is made anew."""
        self._mark("yes")
        yield
        self._mark("no")

    def _mark(self, value: str) -> None:
        with self._change() as db:
            db.execute("INSERT OR REPLACE INTO state VALUES ('open', ?)", (value,))

    # -- changing it

    def put(self, experts: Iterable[Expert]) -> None:
        """Add or replace experts; bases are listed, not found."""
        listed = list(experts)
        for at in range(0, len(listed), _BATCH):
            with self._change() as db:
                self._put(db, listed[at : at + _BATCH])

    def _put(self, db: sqlite3.Connection, experts: Sequence[Expert]) -> None:
        self._remove(db, [e.id for e in experts])
        told: Counter[str] = Counter()
        for expert in experts:
            family = self._family(db, expert.base_family)
            prompts = [" ".join(sorted(set(terms(words_of_prompt(p))))) for p in expert.examples]
            findable = expert.usable and expert.kind != "base"
            entry = Entry.of(expert) if findable else _NOTHING
            # Who may not be used is found by nothing, and is still told of where a prompt names it.
            named = entry if findable or expert.kind == "base" else Entry.of(expert, least=LEAST_ASIDE)
            row = (expert.id, family, expert.kind, int(expert.usable), expert.popularity,
                   int(any(s.trigger for s in expert.skills) or bool(expert.triggers)), expert.sha256,
                   json.dumps(entry.fields, ensure_ascii=False, separators=(",", ":")), "\n".join(prompts))  # fmt: skip
            num = db.execute(
                "INSERT INTO experts (id, family, kind, usable, popularity, calls, sha256, phrases, prompts) "
                "VALUES (?,?,?,?,?,?,?,?,?)", row,
            ).lastrowid  # fmt: skip
            told.update(word for prompt in prompts for word in prompt.split(" ") if word)
            told[""] += len(prompts)
            db.executemany("INSERT OR IGNORE INTO names VALUES (?,?,?,?)",
                           [(family, key, num, field) for key, field in named.squashed])  # fmt: skip
            examples = [(int(num or 0) * _PROMPTS + n, said) for n, said in enumerate(prompts[:_PROMPTS])]
            db.executemany("INSERT INTO prompts (rowid, words) VALUES (?,?)", examples)
            if not findable:
                continue
            columns = [" ".join(word for phrase in phrases for word in phrase) for phrases in entry.fields]
            db.execute(f"INSERT INTO words_{family} (rowid, {', '.join(FIELDS)}) VALUES (?{',?' * len(FIELDS)})",
                       (num, *columns))  # fmt: skip
            self._spell(db, family, entry)
        db.executemany("INSERT INTO prompt_words VALUES (?,?) ON CONFLICT (word) DO UPDATE SET n = n + excluded.n",
                       list(told.items()))  # fmt: skip

    def _spell(self, db: sqlite3.Connection, family: int, entry: Entry) -> None:
        names = {w for field in NAMES for phrase in entry.fields[FIELDS.index(field)] for w in phrase}
        for word in names:
            if len(word) < 5 or not (word.isascii() and word.isalpha()):
                continue
            if db.execute("INSERT OR IGNORE INTO spelt VALUES (?,?)", (family, word)).rowcount:
                db.execute(f"INSERT INTO spell_{family} (word) VALUES (?)", (word,))

    def remove(self, ids: Iterable[str]) -> None:
        """Take experts out; unknown ids are passed over."""
        with self._change() as db:
            self._remove(db, list(ids))

    def _remove(self, db: sqlite3.Connection, ids: Sequence[str]) -> None:
        for i in ids:
            row = db.execute("SELECT num, family, prompts FROM experts WHERE id = ?", (i,)).fetchone()
            if row is None:
                continue
            num, family, prompts = row
            db.execute(f"DELETE FROM words_{family} WHERE rowid = ?", (num,))
            db.execute("DELETE FROM names WHERE num = ?", (num,))
            db.execute("DELETE FROM prompts WHERE rowid >= ? AND rowid < ?", (num * _PROMPTS, (num + 1) * _PROMPTS))
            db.execute("DELETE FROM experts WHERE num = ?", (num,))
            lines = prompts.split("\n") if prompts else []
            counts = Counter(word for line in lines for word in line.split(" ") if word)
            counts[""] += len(lines)
            db.executemany("UPDATE prompt_words SET n = n - ? WHERE word = ?", [(n, w) for w, n in counts.items()])

    def _family(self, db: sqlite3.Connection, name: str) -> int:
        num = self._number(name)
        if num is None:
            num = int(db.execute("INSERT INTO families (name) VALUES (?)", (name,)).lastrowid or 0)
            columns = ", ".join(FIELDS)
            db.execute(f"CREATE VIRTUAL TABLE words_{num} USING fts5({columns}, "
                       "tokenize = 'unicode61 remove_diacritics 0')")  # fmt: skip
            db.execute(f"CREATE VIRTUAL TABLE spread_{num} USING fts5vocab(words_{num}, row)")
            db.execute(f"CREATE VIRTUAL TABLE spell_{num} USING fts5(word, tokenize = 'trigram', detail = 'none')")
        return num

    def _number(self, family: str) -> int | None:
        row = self._db.execute("SELECT num FROM families WHERE name = ?", (family,)).fetchone()
        return int(row[0]) if row else None

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # -- asking it

    def ids(self, family: str | None = None, kind: str | None = None) -> list[str]:
        """Ids (of a family, of a kind), sorted."""
        asked = [
            (f"{column} = ?", value) for column, value in (("f.name", family), ("kind", kind)) if value is not None
        ]
        where = f"WHERE {' AND '.join(a for a, _ in asked)}" if asked else ""
        rows = self._ask(
            f"SELECT id FROM experts JOIN families f ON f.num = family {where} ORDER BY id", tuple(v for _, v in asked)
        )
        return [str(row[0]) for row in rows]

    def ids_of_files(self, sums: Iterable[str]) -> list[str]:
        """Ids of experts and bases whose file has one of these sha256, sorted."""
        asked = list(dict.fromkeys(sums))
        rows = self._ask(f"SELECT id FROM experts WHERE sha256 IN ({','.join('?' * len(asked))}) ORDER BY id", asked)
        return [str(row[0]) for row in rows]

    def families(self) -> list[str]:
        """Families that have an expert or a base, sorted."""
        rows = self._ask("SELECT name FROM families WHERE num IN (SELECT family FROM experts) ORDER BY name")
        return [str(row[0]) for row in rows]

    def size(self, family: str | None = None) -> int:
        """How many experts (of a family) can be found."""
        asked = "SELECT COUNT(*) FROM experts WHERE kind != 'base' AND usable"
        if family is None:
            return int(self._ask(asked)[0][0])
        return int(self._ask(f"{asked} AND family = (SELECT num FROM families WHERE name = ?)", (family,))[0][0])

    def count(self) -> int:
        """How many experts and bases it holds."""
        return int(self._ask("SELECT COUNT(*) FROM experts")[0][0])

    def prompt_counts(self, words: Iterable[str]) -> tuple[dict[str, int], int]:
        """Of each word how many of the graph's example prompts hold it, and how many prompts there are."""
        asked = ["", *dict.fromkeys(words)]
        marks = ",".join("?" * len(asked))
        found = {
            str(w): int(n) for w, n in self._ask(f"SELECT word, n FROM prompt_words WHERE word IN ({marks})", asked)
        }
        return found, found.pop("", 0)

    def holding(self, family: str, word: str, most: int, fields: Sequence[str] = ()) -> list[tuple[int, float]]:
        """(number, strength 0..1) of experts that say a word (in certain fields), the strongest first."""
        num = self._number(family)
        if num is None:
            return []
        match = f'"{word}"' if not fields else f'{{{" ".join(fields)}}} : "{word}"'
        weights = ", ".join(str(w) for w in _FIRST_LOOK)
        rows = self._ask(
            f"SELECT rowid, bm25(words_{num}, {weights}) AS s FROM words_{num} WHERE words_{num} MATCH ? "
            "ORDER BY s LIMIT ?", (match, most),
        )  # fmt: skip
        best = min((float(s) for _, s in rows), default=-1.0) or -1.0
        return [(int(n), float(s) / best) for n, s in rows]

    def saying(self, family: str, words: Iterable[str], most: int) -> list[int]:
        """Numbers of experts that say any of some words, those that say most of them first."""
        num, match = self._number(family), " OR ".join(f'"{word}"' for word in words)
        if num is None or not match:
            return []
        asked = f"SELECT rowid FROM words_{num} WHERE words_{num} MATCH ? ORDER BY rank, rowid LIMIT ?"
        return [int(row[0]) for row in self._ask(asked, (match, most))]

    def spread(self, family: str, words: Iterable[str]) -> tuple[dict[str, int], int]:
        """Of each word that anybody of a family says, how many do, and how many experts there are."""
        num = self._number(family)
        asked = f"SELECT doc FROM spread_{num} WHERE term = ?"
        found = {w: rows[0][0] for w in sorted(words) if num is not None and (rows := self._ask(asked, (w,)))}
        return found, self.size(family)

    def prompts_like(self, words: Iterable[str], most: int) -> list[tuple[int, list[str]]]:
        """(number of its expert, its words) of example prompts that say any of some words, the most alike first."""
        match = " OR ".join(f'"{word}"' for word in words)
        asked = "SELECT rowid, words FROM prompts WHERE prompts MATCH ? ORDER BY rank, rowid LIMIT ?"
        rows = self._ask(asked, (match, most)) if match else []
        return [(int(at) // _PROMPTS, str(said).split(" ")) for at, said in rows]

    def called(self, family: str, keys: Iterable[str]) -> list[tuple[str, int, str]]:
        """(name, number, field) of experts that have one of the names, written without blanks."""
        num, asked = self._number(family), list(dict.fromkeys(keys))[:2000]
        if num is None or not asked:
            return []
        rows = self._ask(
            f"SELECT key, n.num, field FROM names n JOIN experts e ON e.num = n.num WHERE n.family = ? AND usable "
            f"AND key IN ({','.join('?' * len(asked))}) LIMIT 5000",
            (num, *asked),
        )
        return [(str(k), int(n), str(f)) for k, n, f in rows]

    def set_aside(self, family: str, keys: Iterable[str]) -> list[tuple[str, str]]:
        """(name, id) of experts with one of the names, tags aside, that are not found: off, gone, of other families."""
        asked = list(dict.fromkeys(keys))[:2000]
        num = self._number(family)
        found: list[tuple[str, str]] = []
        for other in [int(row[0]) for row in self._ask("SELECT num FROM families")] if asked else []:
            rows = self._ask(
                "SELECT DISTINCT key, e.id FROM names n JOIN experts e ON e.num = n.num WHERE n.family = ? AND "
                f"field != 'tag' AND (NOT usable OR n.family != ?) AND key IN ({','.join('?' * len(asked))}) LIMIT 500",
                (other, -1 if num is None else num, *asked),
            )
            found += [(str(k), str(i)) for k, i in rows]
        return found

    def spelt_like(self, family: str, word: str, most: int = 40) -> list[str]:
        """Words of names that share runs of three letters with a word, the most alike first."""
        num = self._number(family)
        if num is None or len(word) < 5 or not (word.isascii() and word.isalnum()):
            return []
        runs = " OR ".join(f'"{word[i : i + 3]}"' for i in range(len(word) - 2))
        rows = self._ask(f"SELECT word FROM spell_{num} WHERE spell_{num} MATCH ? ORDER BY rank LIMIT ?", (runs, most))
        return [str(row[0]) for row in rows]

    def look_up(self, nums: Iterable[int]) -> list[Found]:
        """Experts by their numbers."""
        asked = list(nums)
        found: list[Found] = []
        for at in range(0, len(asked), _BATCH):
            part = asked[at : at + _BATCH]
            rows = self._ask(
                f"SELECT num, id, popularity, calls, phrases FROM experts WHERE num IN ({','.join('?' * len(part))})",
                part,
            )
            found += [Found(n, i, p, bool(c), _read(text)) for n, i, p, c, text in rows]
        return found

    def numbers(self, ids: Iterable[str]) -> dict[str, int]:
        """Numbers of experts that can be found, by id."""
        asked = list(ids)
        rows = self._ask(
            f"SELECT id, num FROM experts WHERE usable AND kind != 'base' AND id IN ({','.join('?' * len(asked))})",
            asked,
        )
        return {str(i): int(n) for i, n in rows}

    def _ask(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._translated():
            return self._db.execute(sql, tuple(values)).fetchall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ExternalError(
                f"The index of words at {self.path or 'memory'} fails ({error}). Remove that file: it is made anew "
                "from the graph."
            ) from error


def _read(text: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
    return tuple(tuple(tuple(phrase) for phrase in field) for field in json.loads(text))
