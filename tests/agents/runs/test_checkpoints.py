"""Checkpoints: strict, bounded, and sentences when they fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from diffgraph.agents.runs import checkpoints
from diffgraph.agents.runs.checkpoints import checkpointer, strict_serializer
from diffgraph.agents.runs.generate import resume
from diffgraph.errors import UserError
from diffgraph.settings import Settings


def test_no_class_is_rebuilt() -> None:
    serializer = strict_serializer()
    kind, data = serializer.dumps_typed({"path": Path("/etc/passwd"), "plain": [1, "a", None]})
    back = serializer.loads_typed((kind, data))
    assert back["plain"] == [1, "a", None]
    settings = serializer.loads_typed(serializer.dumps_typed(Settings()))
    assert not isinstance(settings, Settings)
    with pytest.raises((NotImplementedError, ValueError)):
        serializer.loads_typed(("pickle", b"cos\nsystem\n(S'true'\ntR."))


def test_old_threads_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "KEPT", 2)
    settings = Settings(home=tmp_path)
    with checkpointer(settings) as saver:
        for name in ("a", "b", "c"):
            saver.put({"configurable": {"thread_id": name, "checkpoint_ns": ""}}, empty_checkpoint(), {}, {})
    with checkpointer(settings) as saver:
        assert {c.config["configurable"]["thread_id"] for c in saver.list(None)} == {"b", "c"}


def test_a_damaged_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "checkpoints.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(UserError, match="damaged"), checkpointer(Settings(home=tmp_path)):
        pass


def test_a_disk_that_fills_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="disk is full"), checkpointer(Settings(home=tmp_path)):
        raise sqlite3.OperationalError("database or disk is full")


def test_a_full_disk_is_no_reason_to_move_anything_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sqlite3.connect

    def full(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = real(*args, **kwargs)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(UserError, match="The disk is full") as told, checkpointer(Settings(home=tmp_path)):
        pass
    assert "away" not in str(told.value)


def test_postgres_is_named_when_it_is_missing(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="langgraph-checkpoint-postgres"),
        checkpointer(Settings(home=tmp_path, checkpoint_url="postgresql://x")),
    ):
        pass


def test_only_runs_can_be_resumed(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_settings()
    with pytest.raises(UserError, match="not a run"):
        resume(tmp_path, settings=settings)
    (tmp_path / "run.json").write_text('{"thread": "never was"}')
    with pytest.raises(UserError, match="are gone"):
        resume(tmp_path, settings=settings)
