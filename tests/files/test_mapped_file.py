"""Tensors as views of their file."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffgraph.errors import ExpertError
from diffgraph.files.header import read_header
from diffgraph.files.mapped_file import MappedAreas, MappedFile


@pytest.fixture
def path(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "a": torch.randn(70, 90, generator=generator),
        "b": torch.randn(33, 3, 5, generator=generator).bfloat16(),
        "c": torch.randn(7, generator=generator).half(),
        "d": torch.arange(12).reshape(3, 4),
        "e": torch.randn(4, 4, generator=generator).to(torch.float8_e4m3fn),
        "none": torch.empty(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
    }
    path = tmp_path / "some.safetensors"
    save_file(tensors, path)
    return path


def test_tensors_are_those_that_safetensors_reads(path):
    file = MappedFile(read_header(path))
    for key, expected in load_file(path).items():
        found = file.tensor(key)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert torch.equal(found.flatten().view(torch.uint8), expected.flatten().view(torch.uint8))


def test_a_header_that_was_cut_down_gives_the_same_tensors(path):
    header = read_header(path)
    for key, expected in load_file(path).items():
        alone = replace(header, tensors={key: header.tensors[key]})
        assert torch.equal(MappedFile(alone).tensor(key).float(), expected.float())


def test_what_was_released_is_there_again_and_its_neighbours_never_left(path):
    file = MappedFile(read_header(path))
    tensor, copies = file.tensor("a"), load_file(path)
    file.release("a")
    assert torch.equal(tensor, copies["a"])
    file.release()
    assert all(torch.equal(file.tensor(key).float(), copy.float()) for key, copy in copies.items())


def test_tensors_outlive_the_file_object_and_its_name(path):
    expected = load_file(path)["a"].clone()
    tensor = MappedFile(read_header(path)).tensor("a")
    path.unlink()
    assert torch.equal(tensor, expected)


def test_a_header_of_odd_length_gives_the_same_numbers(tmp_path):
    values = torch.arange(6, dtype=torch.float32)
    head = json.dumps({"x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    head += b" " * (1 - len(head) % 2)
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + values.numpy().tobytes())
    assert len(head) % 2 == 1
    assert torch.equal(MappedFile(read_header(path)).tensor("x"), values.reshape(2, 3))


def test_changes_are_noticed(path):
    header = read_header(path)
    file = MappedFile(header)
    assert file.unchanged()
    data = path.read_bytes()
    path.unlink()
    assert not file.unchanged()
    path.write_bytes(data)
    assert not file.unchanged()
    path.write_bytes(data + b"\0")
    with pytest.raises(ExpertError, match="changed while it was read"):
        MappedFile(header)
    path.unlink()
    with pytest.raises(ExpertError, match="cannot be read"):
        MappedFile(header)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is mapped where")
def test_a_tensor_that_is_the_files_own_memory_is_told_from_any_other(path, tmp_path):
    file, again = MappedFile(read_header(path)), MappedFile(read_header(path))
    tensor, loaded = again.tensor("a"), load_file(path)
    assert MappedAreas().shows(tensor, file, "a")
    assert MappedAreas().shows(loaded["b"], file, "b")
    assert not MappedAreas().shows(tensor, file, "b")
    assert not MappedAreas().shows(tensor.clone(), file, "a")
    assert not MappedAreas().shows(tensor.t(), file, "a")
    assert not MappedAreas().shows(file.tensor("none"), file, "none")
    twin = MappedFile(read_header(shutil.copyfile(path, tmp_path / "twin.safetensors"))).tensor("a")
    assert not MappedAreas().shows(twin, file, "a")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is mapped where")
def test_memory_that_was_written_to_is_no_longer_the_files(path):
    file, again = MappedFile(read_header(path)), MappedFile(read_header(path))
    mine, tensor, other = file.tensor("a"), again.tensor("a"), again.tensor("b")
    tensor[0, 0] += 1.0
    assert not MappedAreas().shows(tensor, file, "a")
    assert not MappedAreas().shows(other, file, "b")  # who wrote once may have written anywhere
    assert MappedAreas().shows(mine, file, "a")


def test_where_the_system_does_not_tell_nothing_is_found(path, monkeypatch):
    file, again = MappedFile(read_header(path)), MappedFile(read_header(path))
    tensor = again.tensor("a")

    def kept(self, **_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("diffgraph.files.mapped_file.Path.read_text", kept)
        views = MappedAreas()
    assert not views.shows(tensor, file, "a")
