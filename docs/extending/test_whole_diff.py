"""A file of the format is told from others by its header, and read exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffgraph import ExpertError
from diffgraph.files.header import Header, read_header
from diffgraph.merging.formats.detect import detect


def written(path: Path, *names: str) -> Header:
    save_file({name: torch.full((4, 3), 0.5) for name in names}, path)
    return read_header(path)


def test_a_header_tells_the_format(tmp_path: Path) -> None:
    found, kind = detect(written(tmp_path / "a.safetensors", "unet.mid.weight.whole_diff"))
    assert (found.name, kind) == ("whole_diff", "whole_diff")
    with pytest.raises(ExpertError, match="no known expert kind"):
        detect(written(tmp_path / "b.safetensors", "unet.mid.weight.whole_diff", "unet.mid.weight.odd"))
