"""What was seen is remembered, source by source."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffgraph.errors import ExternalError
from diffgraph.graph.experts.scouted import Scouted, Seen


def test_places_are_kept_replaced_and_forgotten(tmp_path: Path) -> None:
    memory = Scouted(tmp_path / "home" / "scouted.sqlite")
    assert memory.at("folder") == {}
    assert memory.refused() == []
    good, bad = Seen("/x/a", "1", "expert", ("folder/a", "folder/b")), Seen("/x/b", "1", "refused", (), "is a pickle")
    memory.keep("folder", [good, bad, Seen("/y/c", "1", "expert", ("folder/c",))])
    memory.keep("hub", [Seen("me/x", "r1", "refused", (), "is gated")])
    again = Scouted(memory.path)
    assert again.at("folder", "/x/") == {"/x/a": good, "/x/b": bad}
    assert [(source, seen.place, seen.why) for source, seen in again.refused()] == [
        ("folder", "/x/b", "is a pickle"),
        ("hub", "me/x", "is gated"),
    ]
    again.keep("folder", [bad._replace(stamp="2", outcome="expert", why="")])
    assert again.refused("folder") == []
    again.forget("folder", ["/x/a"])
    assert list(again.at("folder", "/x/")) == ["/x/b"]


def test_a_file_that_is_none_of_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / "scouted.sqlite").write_text("no database" * 100)
    with pytest.raises(ExternalError, match="Move that file away"):
        Scouted(tmp_path / "scouted.sqlite").at("folder")
