"""Headers are hostile until checked."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import struct
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize, safe_open
from safetensors.torch import save_file

from diffgraph.errors import ExpertError
from diffgraph.files import header as module
from diffgraph.files.header import header_length, parse_header, read_header


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
        ({"a": entry(dtype="F33")}, b"0000", None, "dtype 'F33'"),
        ({"a": entry(dtype=["F32"])}, b"0000", None, "dtype"),
        ({"a": entry(0, 4, (9,), "F4")}, b"0000", None, "does not fill"),
        ({"a": entry(0, 1, (1,), "F4")}, b"0", None, "does not fill"),
        ({"a": entry(0, 3, (3,), "F6_E2M3")}, b"000", None, "does not fill"),
        ({"a": entry(shape=(-1,))}, b"0000", None, "malformed shape"),
        ({"a": entry(shape=(1,) * 9)}, b"0000", None, "malformed shape"),
        ({"a": entry(shape=(True,))}, b"0000", None, "malformed shape"),
        ({"a": entry(shape=(1.0,))}, b"0000", None, "malformed shape"),
        ({"a": entry(0, 0, (0, 2**60))}, b"", None, "malformed shape"),
        ({"a": entry() | {"shape": "1"}}, b"0000", None, "malformed shape"),
        ({"a": entry() | {"data_offsets": [0, True]}}, b"0000", None, "malformed data_offsets"),
        ({"a": entry(4, 0)}, b"0000", None, "malformed data_offsets"),
        ({"a": entry(0, 4) | {"data_offsets": [0, 4, 8]}}, b"0000", None, "malformed data_offsets"),
        ({"a": {"dtype": "F32"}}, b"", None, "lacks dtype"),
        ({"a": 3}, b"", None, "lacks dtype"),
        ({"a": [1, 2, 3]}, b"", None, "lacks dtype"),
        ({"a": entry() | {"scale": 0.5}}, b"0000", None, "more than these"),
        ({"__metadata__": {"x": 3}, "a": entry()}, b"0000", None, "map of strings"),
        ({"__metadata__": [], "a": entry()}, b"0000", None, "map of strings"),
        ({"__metadata__": {"x": "\ud800"}, "a": entry()}, b"0000", None, "no text"),
        ({"\ud800": entry()}, b"0000", None, "not the JSON"),
        ({}, b"", None, "no tensors"),
        ({"__metadata__": {}}, b"", None, "no tensors"),
        ([], b"", None, "not a JSON object"),
        (b"", b"", None, "not a JSON object"),
        (b'  {"a": 1}', b"", None, "not a JSON object"),
        (b"NaN", b"", None, "not a JSON object"),
        (b"{not json}", b"", None, "not the JSON"),
        (b"\xff\xfe\x00", b"", None, "not the JSON"),
        (b'{"a": ' + b"[" * 100_000, b"", None, "not the JSON"),
        (b'{"a": 1, "a": 2}', b"", None, "named twice"),
        (
            b'{"a": {"dtype": "F32", "dtype": "F16", "shape": [1], "data_offsets": [0, 4]}}',
            b"0000",
            None,
            "named twice",
        ),
        (b'{"__metadata__": {"x": "1", "x": "2"}, "a": 1}', b"", None, "named twice"),
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


def test_metadata_is_bounded(tmp_path, monkeypatch):
    path = write(tmp_path / "x.safetensors", {"__metadata__": {"tags": "ä" * 2_500_000}, "a": entry()}, b"0000")
    assert len(read_header(path).metadata["tags"]) == 2_500_000
    monkeypatch.setattr(module, "MAX_METADATA_BYTES", 4_000_000)
    with pytest.raises(ExpertError, match="takes 5000004 bytes; the bound is 4000000"):
        read_header(path)


@pytest.mark.parametrize("metadata", [None, {}])
def test_no_metadata_may_be_said_in_words(tmp_path, metadata):
    """The safetensors library reads null there, too."""
    path = write(tmp_path / "x.safetensors", {"__metadata__": metadata, "a": entry()}, b"0000")
    assert read_header(path).metadata == {}
    assert set(safe_open(path, "np").keys()) == {"a"}


@pytest.mark.parametrize("dtype", sorted(module.BITS))
def test_every_dtype_of_the_library_is_read(tmp_path, dtype):
    """As many values of each as fill whole bytes; the library itself says that the file is sound."""
    path = write(
        tmp_path / "x.safetensors", {"a": entry(0, module.BITS[dtype], (8,), dtype)}, b"0" * module.BITS[dtype]
    )
    assert read_header(path).tensors["a"].dtype == dtype
    assert deserialize(path.read_bytes())[0][0] == "a"


def test_the_library_knows_no_other_dtype():
    raw = json.dumps({"a": entry(dtype="F33")}).encode()
    with pytest.raises(Exception, match="expected one of") as caught:
        deserialize(struct.pack("<Q", len(raw)) + raw + b"0000")
    assert set(re.findall("`([A-Z0-9_]+)`", str(caught.value))) - {"F33"} == set(module.BITS)


def test_tensors_without_values_may_share_their_place(tmp_path):
    entries = {"a": entry(0, 4), "b": entry(4, 4, (0, 3)), "c": entry(4, 4, (0,)), "d": entry(4, 8, ())}
    header = read_header(write(tmp_path / "x.safetensors", entries, b"0" * 8))
    assert [header.tensors[key].numel for key in header.keys] == [1, 0, 0, 1]


def test_the_fields_of_an_entry_may_come_in_any_order(tmp_path):
    for order in itertools.permutations(entry()):
        path = write(tmp_path / "x.safetensors", {"a": {field: entry()[field] for field in order}}, b"0000")
        assert read_header(path).tensors["a"] == ("F32", (1,), 0, 4)
        with pytest.raises(ExpertError, match="malformed shape"):
            read_header(write(path, {"a": {field: (entry() | {"shape": [-1]})[field] for field in order}}, b"0000"))


def test_tensors_may_be_called_as_fields_are(tmp_path):
    path = write(tmp_path / "x.safetensors", dict.fromkeys(entry(), entry(0, 0, (0,))))
    assert read_header(path).keys == ("data_offsets", "dtype", "shape")
    for document in (entry(0, 0, (0,)), {"__metadata__": entry(), "a": entry(0, 0, (0,))}):
        with pytest.raises(ExpertError, match=r"no tensors|map of strings"):
            read_header(write(path, document))


@pytest.mark.parametrize("name", ["x.SAFETENSORS", "x.SafeTensors"])
def test_the_suffix_may_be_in_capitals(tmp_path, name):
    assert read_header(write(tmp_path / name, {"a": entry()}, b"0000")).keys == ("a",)


def test_other_suffixes_are_not_opened(tmp_path):
    path = write(tmp_path / "x.dat", {"a": entry()}, b"0000")
    with pytest.raises(ExpertError, match=r"only \.safetensors"):
        read_header(path)


def test_a_folder_and_a_dangling_link_are_expert_errors(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "gone")
    for name in ("folder", "link"):
        with pytest.raises(ExpertError, match="cannot be read"):
            read_header(tmp_path / f"{name}.safetensors")


def test_bytes_fetched_from_elsewhere_are_read_as_a_file_is(tmp_path):
    save_file({"a": torch.ones(2, 3), "b": torch.ones(4)}, tmp_path / "x.safetensors", {"k": "v"})
    raw = (tmp_path / "x.safetensors").read_bytes()
    here = read_header(tmp_path / "x.safetensors")
    for size in (None, len(raw)):
        length = header_length(raw[:8], "them/x.safetensors", file_size=size)
        there = parse_header(raw[8 : 8 + length], "them/x.safetensors", file_size=size)
        assert (there.tensors, there.metadata, there.size_bytes) == (here.tensors, here.metadata, len(raw))
        assert str(there.path) == "them/x.safetensors"
    for size in (len(raw) - 1, len(raw) + 1):
        with pytest.raises(ExpertError, match=r"cut off|bytes follow"):
            parse_header(raw[8 : 8 + length], "them/x.safetensors", file_size=size)
    with pytest.raises(ExpertError, match="cut short"):
        header_length(raw[:8], "them/x.safetensors", file_size=20)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>503</title>", b'{"error": "gone"}'])
def test_a_page_in_the_place_of_a_file_is_told(page):
    with pytest.raises(ExpertError, match="web page"):
        header_length(page, "them/x.safetensors")


def test_a_strangers_name_does_not_fill_the_screen(tmp_path):
    path = write(tmp_path / "x.safetensors", {"\x1b[2J" + "a" * 10**6: {"dtype": "F32"}})
    with pytest.raises(ExpertError) as caught:
        read_header(path)
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for content in (data, struct.pack("<Q", len(data)) + data):
        try:
            length = header_length(content, "x.safetensors", file_size=len(content))
            header = parse_header(content[8 : 8 + length], "x.safetensors", file_size=len(content))
        except ExpertError:
            continue
        assert header.size_bytes == len(content)


_LEAF = st.one_of(
    st.integers(-4, 2**64), st.sampled_from(["F32", "F16", "", "x"]), st.none(), st.booleans(), st.floats()
)
_ENTRY = st.one_of(
    _LEAF,
    st.fixed_dictionaries(
        {"dtype": _LEAF | st.just("F32"), "shape": _LEAF | st.lists(st.integers(0, 3)), "data_offsets": st.lists(_LEAF)}
    ),
    st.builds(lambda start, size: entry(start, start + 4 * size, (size,)), st.integers(0, 8), st.integers(0, 3)),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "__metadata__"]), _ENTRY), st.integers(0, 40))
def test_what_is_read_the_library_reads_too(document, size):
    """Nothing passes here that the safetensors library would refuse."""
    raw = json.dumps(document).encode()
    content = struct.pack("<Q", len(raw)) + raw + bytes(size)
    try:
        header = parse_header(raw, "x.safetensors", file_size=len(content))
    except ExpertError:
        return
    assert {name for name, _ in deserialize(content)} == set(header.keys)


def test_headers_checks_formats_and_methods_are_listed_without_torch():
    code = (
        "import sys; import diffgraph.merging.plan.check, diffgraph.merging.plan.merge_plan;"
        "from diffgraph.merging.formats import formats; from diffgraph.merging.methods import methods;"
        "assert len(formats()) >= 3 and len(methods()) >= 5;"
        "assert not {'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
