"""Every dtype of a header is torch's, or is refused by its name."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.errors import ExpertError, UserError
from diffgraph.files.dtypes import header_dtype, torch_dtype, torch_dtypes
from diffgraph.files.header import BITS, FLOATS, read_header
from diffgraph.files.mapped_file import MappedFile
from diffgraph.files.tensor_io import RowReader


def test_names_lead_there_and_back():
    assert set(torch_dtypes()) >= FLOATS
    for name, dtype in torch_dtypes().items():
        assert header_dtype(dtype) == name
        assert dtype.itemsize * 8 == BITS[name]
        assert dtype.is_floating_point == (name in FLOATS)


@pytest.mark.parametrize("name", sorted(torch_dtypes()))
def test_they_are_the_librarys(tmp_path, name):
    values = torch.zeros(2, 4, dtype=torch_dtype(name))
    save_file({"a": values}, tmp_path / "x.safetensors")
    header = read_header(tmp_path / "x.safetensors")
    assert header.tensors["a"].dtype == name
    assert MappedFile(header).tensor("a").dtype == RowReader(header).rows("a").dtype == values.dtype


@pytest.mark.parametrize("name", sorted(set(BITS) - set(torch_dtypes())))
def test_the_others_are_refused_by_name_when_they_are_read(tmp_path, name):
    """Their file may be opened: what else it holds can be read."""
    size = BITS[name]
    entries = {"odd": (name, [8], 0, size), "plain": ("F32", [1], size, size + 4)}
    document = {key: {"dtype": d, "shape": s, "data_offsets": [a, b]} for key, (d, s, a, b) in entries.items()}
    raw = json.dumps(document).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(size + 4))
    header = read_header(tmp_path / "x.safetensors")
    with pytest.raises(ExpertError, match=f"holds {name}, .* odd"):
        MappedFile(header).tensor("odd")
    with pytest.raises(UserError, match=f"odd has dtype {name}"):
        RowReader(header).rows("odd")
    assert MappedFile(header).tensor("plain").tolist() == RowReader(header).rows("plain").tolist() == [0.0]
