"""Where the machine's state is kept between steps: SQLite in the home, or Postgres by setting. JSON-plain, nothing
else is read back.
"""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from ...errors import ExternalError, UserError
from ...files.disk_errors import sqlite_sentence
from ...settings import Settings

KEPT = 100
"""Threads whose checkpoints are kept; older ones go, their run folders stay."""


@contextmanager
def checkpointer(settings: Settings) -> Iterator[BaseCheckpointSaver[Any]]:
    """The checkpointer that the settings name, closed at the end.

    Deserialisation is strict whatever ``LANGGRAPH_STRICT_MSGPACK`` says: the state is JSON-plain, so no class need
    be allowed.

    Raises:
        UserError: the file cannot be opened or is damaged; or Postgres is wanted and its package is not installed.
        ExternalError: Postgres does not answer.
    """
    if settings.checkpoint_url:
        with _postgres(settings.checkpoint_url) as saver:
            yield saver
        return
    path = settings.root / "checkpoints.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, check_same_thread=False, timeout=30.0)
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"{path} cannot be opened ({error}). Set DIFFGRAPH_HOME to a folder of yours.") from error
    with closing(connection):
        saver = SqliteSaver(connection, serde=strict_serializer())
        try:
            connection.execute("PRAGMA busy_timeout = 30000")
            saver.setup()
            _forget_old(connection, saver)
        except sqlite3.OperationalError as error:
            raise UserError(_cannot_write(path, error)) from error
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{path} is damaged ({error}). Move this one file away; what was drawn and measured is kept elsewhere."
            ) from error
        try:
            yield saver
        except sqlite3.Error as error:
            raise UserError(_cannot_write(path, error)) from error


def _cannot_write(path: Path, error: sqlite3.Error) -> str:
    return (
        sqlite_sentence(error, path) or f"{path} cannot be written ({error}). Set DIFFGRAPH_HOME to a folder of yours."
    )


def strict_serializer() -> JsonPlusSerializer:
    """A serializer that rebuilds no class but LangGraph's own safe few, and never unpickles."""
    return JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)


def _forget_old(connection: sqlite3.Connection, saver: SqliteSaver) -> None:
    # Checkpoint ids are time-ordered UUIDs, so the greatest is the latest.
    rows = connection.execute(
        "SELECT thread_id FROM checkpoints GROUP BY thread_id ORDER BY MAX(checkpoint_id) DESC LIMIT -1 OFFSET ?",
        (KEPT,),
    ).fetchall()
    for (thread,) in rows:
        saver.delete_thread(thread)


@contextmanager
def _postgres(url: str) -> Iterator[BaseCheckpointSaver[Any]]:
    try:
        module = importlib.import_module("langgraph.checkpoint.postgres")
        psycopg = importlib.import_module("psycopg")
    except ImportError as error:
        raise UserError(
            "DIFFGRAPH_CHECKPOINT_URL needs two more packages: "
            "pip install langgraph-checkpoint-postgres 'psycopg[binary]'"
        ) from error
    try:
        with module.PostgresSaver.from_conn_string(url) as saver:
            saver.serde = strict_serializer()
            saver.setup()
            yield saver
    except psycopg.OperationalError as error:
        raise ExternalError(f"Postgres at DIFFGRAPH_CHECKPOINT_URL does not answer: {error}") from error
