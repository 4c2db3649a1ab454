"""Answers that a vision model gave before, kept on the disk by model, image and question; and how many it may give."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import BudgetExceeded
from .backend import Backend

if TYPE_CHECKING:
    from PIL import Image

MOST_KEPT = 500_000
"""Answers; about 60 MB. Past them, the tenth that nobody asked for longest goes."""
_PATIENCE = 5.0
_AT_ONCE = 500
"""Keys in one statement; SQLite bounds its variables."""
_KEPT_AFTER = 64
"""Answers that are kept together: so many at most are asked for again after a failure."""
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, p REAL NOT NULL, used REAL NOT NULL) WITHOUT ROWID"
_log = logging.getLogger(__name__)


class Answers:
    """P(yes) by key, in one SQLite file. What cannot be read or written is not kept; nobody fails for it.

    Args:
        path: of the file; its folder is made.
        most: so many answers are kept.
    """

    def __init__(self, path: Path, most: int = MOST_KEPT) -> None:
        self.path = path
        self.most = most

    def get(self, keys: Sequence[str]) -> dict[str, float]:
        """Those of ``keys`` that are kept, with their P."""
        found: dict[str, float] = {}
        try:
            with closing(self._open()) as base, base:
                for start in range(0, len(keys), _AT_ONCE):
                    part = list(keys[start : start + _AT_ONCE])
                    marks = ",".join("?" * len(part))
                    found.update(base.execute(f"SELECT key, p FROM answers WHERE key IN ({marks})", part).fetchall())
                    base.execute(f"UPDATE answers SET used = ? WHERE key IN ({marks})", [time.time(), *part])
        except (sqlite3.Error, OSError) as error:
            self._trouble(error)
        return {key: p for key, p in found.items() if isinstance(p, float) and 0 <= p <= 1}

    def put(self, answers: dict[str, float]) -> None:
        """Keep answers."""
        now = time.time()
        try:
            with closing(self._open()) as base, base:
                rows = [(key, p, now) for key, p in answers.items()]
                base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
                (count,) = base.execute("SELECT count(*) FROM answers").fetchone()
                if count > self.most:
                    oldest = "SELECT key FROM answers ORDER BY used LIMIT ?"
                    gone = count - self.most + self.most // 10
                    base.execute(f"DELETE FROM answers WHERE key IN ({oldest})", [gone])
        except (sqlite3.Error, OSError) as error:
            self._trouble(error)

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(self.path, timeout=_PATIENCE)
        base.execute(_TABLE)
        return base

    def _trouble(self, error: Exception) -> None:
        broken = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if broken:
            self.path.unlink(missing_ok=True)
        done = "begun anew" if broken else "not used"
        _log.warning("The kept answers of the critic in %s cannot be read or written (%s): %s.", self.path, error, done)


class Remembered(Backend):
    """A model whose answers are kept, and which may give so many in this process.

    Args:
        model: who answers what is not kept.
        kept: where answers are kept; None keeps none.
        budget: questions that the model itself may be asked.
    """

    def __init__(self, model: Backend, kept: Answers | None, budget: int) -> None:
        self.model = model
        self.kept = kept
        self.budget = budget
        self.asked = 0

    @property
    def identity(self) -> str:
        return self.model.identity

    @property
    def title(self) -> str:
        return self.model.title

    @property
    def pairs(self) -> bool:
        return self.model.pairs

    def answers(self, asked: Sequence[tuple[Image.Image, str]]) -> np.ndarray[Any, Any]:
        """P(yes) of each question about its image; only what was never answered is asked, each once.

        Raises:
            BudgetExceeded: so many questions are not allowed any more; what was answered is kept.
        """
        keys = self._keys(asked)
        found = self.kept.get(list(dict.fromkeys(keys))) if self.kept else {}
        todo = {key: pair for key, pair in zip(keys, asked, strict=True) if key not in found}
        waiting = list(todo.items())
        while waiting:
            left = max(1, self.budget - self.asked)
            part, waiting = waiting[: min(left, _KEPT_AFTER)], waiting[min(left, _KEPT_AFTER) :]
            self._count(len(part))
            said = self.model.answers([pair for _, pair in part])
            new = {key: float(p) for (key, _), p in zip(part, said, strict=True)}
            if self.kept:
                self.kept.put({key: p for key, p in new.items() if not np.isnan(p)})
            found |= new
        return np.asarray([found[key] for key in keys], dtype=np.float64)

    def first_probability(self, a: Image.Image, b: Image.Image, question: str) -> float:
        """As the model says it, or said it before."""
        (key,) = self._keys([(a, f"{_digest(b)}\n{question}")])
        if self.kept and key in (found := self.kept.get([key])):
            return found[key]
        self._count(1)
        p = self.model.first_probability(a, b, question)
        if self.kept and not np.isnan(p):
            self.kept.put({key: p})
        return p

    def describe(self, image: Image.Image, questions: Sequence[str]) -> list[str]:
        """As the model says it; not kept, as verdicts are."""
        self._count(1)
        return self.model.describe(image, questions)

    def _count(self, more: int) -> None:
        if self.asked + more > self.budget:
            raise BudgetExceeded(
                f"The vision critic has been asked {self.asked} questions, and one more is over the "
                f"{self.budget} that DIFFGRAPH_CRITIC_QUESTIONS allows. What it answered is kept: run it again to go "
                "on, or raise that number."
            )
        self.asked += more

    def _keys(self, asked: Sequence[tuple[Image.Image, str]]) -> list[str]:
        pictures = {id(image): _digest(image) for image, _ in {id(image): (image, "") for image, _ in asked}.values()}
        model = self.model.identity
        return [
            hashlib.sha256(f"{model}\n{pictures[id(image)]}\n{question}".encode()).hexdigest()
            for image, question in asked
        ]


def _digest(image: Image.Image) -> str:
    """sha256 of an image's pixels, however its file is written."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.size}\n".encode() + rgb.tobytes()).hexdigest()
