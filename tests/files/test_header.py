"""Headers are hostile until checked."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.errors import ExpertError
from diffgraph.files import header as module
from diffgraph.files.header import read_header


def write(path, entries, data=b"", length=None):
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(start=0, end=4, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def test_a_sound_header_is_read_without_the_weights(tmp_path):
    tensors = {"b.lora_A.weight": torch.ones(2, 3), "b.lora_B.weight": torch.ones(5, 2, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "x.safetensors", {"note": "hello"})
    header = read_header(tmp_path / "x.safetensors")
    assert header.keys == ("b.lora_A.weight", "b.lora_B.weight")
    assert header.tensors["b.lora_B.weight"].dtype == "BF16"
    assert header.tensors["b.lora_A.weight"].shape == (2, 3)
    assert header.metadata == {"note": "hello"}
    assert (header.kind, header.rank) == ("lora", 2)
    assert header.size_bytes == (tmp_path / "x.safetensors").stat().st_size


def test_every_real_file_of_the_tiny_base_passes(base_dir):
    for path in base_dir.glob("*/*.safetensors"):
        assert read_header(path).keys


BROKEN = {
    "empty": (b"", None, b"", "only 0 bytes"),
    "text": (b"<!DOCTYPE html><html>not found</html>", None, b"", "error page"),
    "json": (b'{"error": "rate limited", "retry": 1}', None, b"", "error page"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_other_files_under_the_name_are_refused(tmp_path, name):
    raw, _, _, message = BROKEN[name]
    (tmp_path / "x.safetensors").write_bytes(raw)
    with pytest.raises(ExpertError, match=message):
        read_header(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("entries", "data", "length", "message"),
    [
        ({"a": entry()}, b"0000", 10**6, "cut off"),
        ({"a": entry()}, b"0000", 2**40, "the bound is"),
        ({"a": entry()}, b"00", None, "cut off"),
        ({"a": entry()}, b"000000", None, "bytes follow"),
        ({"a": entry(0, 4), "b": entry(2, 6)}, b"000000", None, "overlaps"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, b"0000", None, "overlaps"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, b"0" * 12, None, "gap"),
        ({"a": entry(0, 8)}, b"0" * 8, None, "does not fill"),
        ({"a": entry(dtype="F4")}, b"0000", None, "dtype 'F4'"),
        ({"a": entry(shape=(-1,))}, b"0000", None, "malformed shape"),
        ({"a": entry(shape=(1,) * 9)}, b"0000", None, "malformed shape"),
        ({"a": entry(4, 0)}, b"0000", None, "malformed data_offsets"),
        ({"a": entry(0, 4) | {"data_offsets": [0, 4, 8]}}, b"0000", None, "malformed data_offsets"),
        ({"a": {"dtype": "F32"}}, b"", None, "lacks dtype"),
        ({"a": 3}, b"", None, "lacks dtype"),
        ({"__metadata__": {"x": 3}, "a": entry()}, b"0000", None, "map of strings"),
        ({"__metadata__": {}}, b"", None, "no tensors"),
        ([], b"", None, "not a JSON object"),
        (b"{not json}", b"", None, "not the JSON"),
        (b"\xff\xfe\x00", b"", None, "not the JSON"),
        (b'{"a": ' + b"[" * 100_000, b"", None, "not the JSON"),
        (b'{"a": 1, "a": 2}', b"", None, "named twice"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, entries, data, length, message):
    path = write(tmp_path / "x.safetensors", entries, data, length)
    with pytest.raises(ExpertError, match=message) as caught:
        read_header(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_whatever_its_name_and_never_opened(tmp_path, suffix, zipped):
    path = tmp_path / f"x{suffix}"
    if zipped:
        torch.save({"a": torch.ones(2)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(ExpertError, match="pickle"):
        read_header(path)


@pytest.mark.parametrize("length", [640, 640 + 2**16])
def test_a_header_whose_length_looks_like_the_start_of_a_pickle_is_sound(tmp_path, length):
    raw = json.dumps({"a": entry()}).encode()
    path = write(tmp_path / "x.safetensors", raw + b" " * (length - len(raw)), b"0000")
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert read_header(path).keys == ("a",)


def test_a_missing_file_is_an_expert_error(tmp_path):
    with pytest.raises(ExpertError, match="cannot be read"):
        read_header(tmp_path / "gone.safetensors")


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_TENSORS", 1)
    path = write(tmp_path / "x.safetensors", {"a": entry(0, 4), "b": entry(4, 8)}, b"0" * 8)
    with pytest.raises(ExpertError, match="the bound is 1"):
        read_header(path)


@pytest.mark.parametrize(
    ("keys", "kind", "rank"),
    [
        (["unet.x.lora_A.weight", "unet.x.lora_B.weight"], "lora", 2),
        (["lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight", "lora_unet_x.alpha"], "lora", 2),
        (["x.lora_A.weight", "x.lora_B.weight", "x.lora_magnitude_vector"], "dora", 2),
        (["lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight", "lora_unet_x.dora_scale"], "dora", 2),
        (["lora_unet_x.hada_w1_a", "lora_unet_x.hada_w1_b"], "loha", 2),
        (["lora_unet_x.lokr_w1", "lora_unet_x.lokr_w2"], "lokr", None),
        (["lora_unet_x.oft_blocks"], "oft", None),
        (["lora_unet_x.diff", "lora_unet_x.diff_b", "lora_unet_y.w_norm"], "full", None),
        (["lora_unet_x.diff_b"], "full", None),
        (["emb_params"], "textual_inversion", None),
        (["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"], "checkpoint", None),
        (["model.diffusion_model.input_blocks.0.0.weight"], "checkpoint", None),
    ],
)
def test_the_kind_is_told_from_names_alone(tmp_path, keys, kind, rank):
    save_file({key: torch.ones(2, 2) for key in keys}, tmp_path / "x.safetensors")
    header = read_header(tmp_path / "x.safetensors")
    assert (header.kind, header.rank) == (kind, rank)


def test_unknown_and_mixed_kinds_are_refused_with_their_keys(tmp_path):
    save_file({"what.is_this": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ExpertError, match=r"what\.is_this"):
        _ = read_header(tmp_path / "x.safetensors").kind
    mixed = ["x.lora_A.weight", "x.lora_B.weight", "x.hada_w1_a"]
    save_file({key: torch.ones(2, 2) for key in mixed}, tmp_path / "y.safetensors")
    with pytest.raises(ExpertError, match="mixes"):
        _ = read_header(tmp_path / "y.safetensors").kind


def test_headers_checks_formats_and_methods_are_listed_without_torch():
    code = (
        "import sys; import diffgraph.merging.plan.check, diffgraph.merging.plan.merge_plan;"
        "from diffgraph.merging.formats import formats; from diffgraph.merging.methods import methods;"
        "assert len(formats()) >= 3 and len(methods()) >= 5;"
        "assert not {'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
