from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from diffgraph.errors import ExpertError
from diffgraph.graph.experts.header import read_header


def test_reads_what_safetensors_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": np.zeros((2, 3), np.float16), "y": np.zeros((0,), np.int64)}, path, metadata={"k": "v"})
    header = read_header(path)
    assert header.shapes == {"x": (2, 3), "y": (0,)}
    assert header.dtypes == {"x": "F16", "y": "I64"}
    assert header.metadata == {"k": "v"}
    assert header.total_bytes == path.stat().st_size


def file_of(path: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


GOOD = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"{", b""),
        (b"[]", b""),
        (b"[" * 100_000, b""),
        ({"x": 1}, b""),
        ({"x": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, b"0000"),
        ({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"0000"),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"0000"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"0000"),
        ({**GOOD, "y": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"0000"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"00000000"),
        ({**GOOD, "__metadata__": {"a": 1}}, b"0000"),
        (GOOD, b"00"),
        (GOOD, b"00000"),
    ],
)
def test_damage_is_named(tmp_path: Path, header: object, data: bytes) -> None:
    with pytest.raises(ExpertError, match=r"bad\.safetensors"):
        read_header(file_of(tmp_path / "bad.safetensors", header, data))


def test_pickles_and_pages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(pickle.dumps({"weights": [1.0] * 50}))
    with pytest.raises(ExpertError, match="pickle"):
        read_header(path)
    path.write_bytes(b"<!DOCTYPE html><title>503</title>")
    with pytest.raises(ExpertError, match="web page"):
        read_header(path)
    path.write_bytes(b"")
    with pytest.raises(ExpertError, match="0 bytes"):
        read_header(path)
    with pytest.raises(ExpertError, match=r"only \.safetensors"):
        read_header(tmp_path / "x.ckpt")
    with pytest.raises(ExpertError, match="cannot be read"):
        read_header(tmp_path / "absent.safetensors")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    for content in (data, len(data).to_bytes(8, "little") + data):
        path = tmp_path / "y.safetensors"
        path.write_bytes(content)
        try:
            header = read_header(path)
        except ExpertError:
            continue
        assert header.total_bytes == len(content)
