"""The sum that other programs name LoRAs by, against its definition, and a memo that notices changes."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.errors import ExpertError
from diffgraph.files import payload_hash
from diffgraph.files.payload_hash import HashMemo, payload_sha256


def write(path: Path, value: float = 1.0, **metadata: str) -> Path:
    save_file({"x.lora_up.weight": torch.full((4, 2), value)}, path, metadata or None)
    return path


def test_it_is_the_sum_of_all_that_follows_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors")
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    assert payload_sha256(path) == hashlib.sha256(raw[8 + length :]).hexdigest()
    assert payload_sha256(write(tmp_path / "b.safetensors", title="other")) == payload_sha256(path)
    assert payload_sha256(write(tmp_path / "c.safetensors", 2.0)) != payload_sha256(path)
    (tmp_path / "d.safetensors").write_bytes(raw[:-1])
    with pytest.raises(ExpertError, match="cut off"):
        payload_sha256(tmp_path / "d.safetensors")


def test_the_memo_computes_once_and_notices_a_changed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, kept = write(tmp_path / "a.safetensors"), tmp_path / "sums.json"
    memo = HashMemo(kept)
    first = memo.payload(path), memo.sha256(path)
    memo.save()
    monkeypatch.setattr(payload_hash, "payload_sha256", lambda path: pytest.fail("read again"))
    monkeypatch.setattr(payload_hash, "file_sha256", lambda path: pytest.fail("read again"))
    again = HashMemo(kept)
    assert (again.payload(path), again.sha256(path)) == first
    monkeypatch.undo()
    write(path, 3.0, longer="header")
    assert again.payload(path) != first[0]
    for damage in (b"", b"{", b'{"a": 1}', b"[" * 100_000):
        kept.write_bytes(damage)
        assert HashMemo(kept).sha256(path) == memo.sha256(path)


def test_a_header_may_claim_a_sum_and_no_file_but_safetensors_has_one(tmp_path: Path) -> None:
    memo, claim = HashMemo(), "ab" * 32
    path = write(tmp_path / "a.safetensors", sshs_model_hash=claim, **{"modelspec.hash_sha256": f"0x{claim.upper()}"})
    assert memo.claimed(path) == (claim, claim)
    assert memo.claimed(write(tmp_path / "b.safetensors", sshs_model_hash="short")) == ()
    (tmp_path / "c.safetensors").write_text("no")
    assert memo.payload(tmp_path / "c.safetensors") == ""
    assert memo.claimed(tmp_path / "c.safetensors") == ()
    with pytest.raises(OSError, match="No such file"):
        memo.payload(tmp_path / "gone")
