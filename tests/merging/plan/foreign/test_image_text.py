"""Texts out of real files: every kind of chunk, EXIF of three formats, damage, bombs and files that are no images."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffgraph.errors import UserError
from diffgraph.merging.plan.foreign import image_text
from diffgraph.merging.plan.foreign.image_text import MAX_TEXT_BYTES, read_texts
from diffgraph.merging.plan.foreign.reader import read_recipe

SETTINGS = "a mill, naïve 🐙 日本\nSteps: 20, Seed: 1"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path: Path, *chunks: bytes, end: bool = True) -> Path:
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    path.write_bytes(head + b"".join(chunks) + pixels + (chunk(b"IEND", b"") if end else b""))
    return path


def test_all_three_kinds_of_chunks_before_and_after_the_pixels(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", SETTINGS)
    info.add_text("packed", "x" * 5000, zip=True)
    info.add_itxt("both", SETTINGS, zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    found = read_texts(tmp_path / "a.png")
    assert found.texts == {"parameters": SETTINGS, "packed": "x" * 5000, "both": SETTINGS}
    assert found.notes == ()
    utf8 = png(tmp_path / "b.png", chunk(b"tEXt", b"parameters\0" + SETTINGS.encode()))
    utf8.write_bytes(utf8.read_bytes()[:-12] + chunk(b"tEXt", b"late\0na\xefve") + chunk(b"IEND", b""))
    assert read_texts(utf8).texts == {"parameters": SETTINGS, "late": "naïve"}


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "ascii", "none"])
@pytest.mark.parametrize("ending", ["jpg", "webp", "png"])
def test_user_comments_in_every_encoding_and_format(tmp_path: Path, encoding: str, ending: str) -> None:
    body = {"ascii": b"ASCII\0\0\0" + SETTINGS.encode(), "none": b"\0" * 8 + SETTINGS.encode()}.get(
        encoding, b"UNICODE\0" + SETTINGS.encode(encoding if encoding.startswith("utf-16") else "ascii", "ignore")
    )
    exif = Image.Exif()
    exif[0x0131] = "a program"
    exif.get_ifd(0x8769)[0x9286] = body
    Image.new("RGB", (8, 8)).save(tmp_path / f"a.{ending}", exif=exif)
    assert read_texts(tmp_path / f"a.{ending}")["parameters"] == SETTINGS
    assert read_recipe(tmp_path / f"a.{ending}").steps == 20


def test_comfyui_and_fooocus_outside_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = 'prompt:{"1": {}}', 'workflow:{"nodes": []}'
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", exif=exif)
    assert read_texts(tmp_path / "a.webp").texts == {"prompt": '{"1": {}}', "workflow": '{"nodes": []}'}
    exif = Image.Exif()
    exif[0x9286], exif[0x0131], exif[0x927C] = '{"prompt": "x", "seed": 3}', "Fooocus v2.5.5", "fooocus"
    Image.new("RGB", (8, 8)).save(tmp_path / "b.jpg", exif=exif)
    assert read_recipe(tmp_path / "b.jpg").tool == "Fooocus"
    Image.new("RGB", (8, 8)).save(tmp_path / "c.jpg", comment=json.dumps({"sui_image_params": {"seed": 5}}))
    assert read_recipe(tmp_path / "c.jpg").seed == 5


def test_a_bomb_is_never_unpacked_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_text, "MAX_TEXT_BYTES", 2**16)
    bomb = zlib.compress(b"a" * 2**26, 9)
    good = chunk(b"tEXt", b"parameters\0x\nSteps: 3, Seed: 1")
    path = png(
        tmp_path / "a.png",
        chunk(b"zTXt", b"one\0\0" + bomb[: 2**15]),
        chunk(b"iTXt", b"two\0\1\0\0\0" + bomb[: 2**15]),
        chunk(b"zTXt", b"three\0\0" + zlib.compress(b"cut off " * 100)[:-9]),
        chunk(b"zTXt", b"four\0\0no zlib"),
        chunk(b"tEXt", b"no keyword"),
        chunk(b"tEXt", b"long\0" + b"a" * 2**17),
        chunk(b"tEXt", b"spoilt\0text")[:-1] + b"?",
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + b"\0" * 30),
        good,
    )
    found = read_texts(path)
    assert found.texts == {"parameters": "x\nSteps: 3, Seed: 1"}
    assert len(found.notes) >= 7
    recipe = read_recipe(path)
    assert recipe.steps == 3
    assert any("unpacks to more than" in note for note in recipe.notes)


def test_counts_are_bounded_and_cut_files_are_said(tmp_path: Path) -> None:
    many = png(tmp_path / "a.png", *(chunk(b"tEXt", b"k%d\0v" % i) for i in range(200)))
    assert len(read_texts(many).texts) == 64
    cut = png(tmp_path / "b.png", chunk(b"tEXt", b"parameters\0x\nSteps: 3"), end=False)
    assert read_texts(cut).notes == ("the file is cut off",)
    assert read_recipe(cut).steps == 3
    twice = png(tmp_path / "c.png", chunk(b"tEXt", b"k\0one"), chunk(b"tEXt", b"k\0two"))
    assert read_texts(twice).texts == {"k": "one"}
    assert read_texts(twice).notes == ("a second text 'k' is passed over",)
    claims = png(tmp_path / "d.png", struct.pack(">I", 2**32 - 1) + b"tEXt")
    assert "cut off" in " ".join(read_texts(claims).notes)


def test_what_is_no_image_or_holds_no_recipe_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Steps: 20")
    (tmp_path / "b.gif").write_bytes(b"GIF89a\1\0\1\0\0\0\0;")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "plain.jpg").read_bytes()[:30])
    for name in ("a.txt", "b.gif", "cut.jpg"):
        with pytest.raises(UserError, match="no PNG, JPEG or WebP"):
            read_recipe(tmp_path / name)
    for name in ("gone.png", "."):
        with pytest.raises(UserError, match="cannot be read"):
            read_recipe(tmp_path / name)
    with pytest.raises(UserError, match="no text at all"):
        read_recipe(tmp_path / "plain.jpg")
    workflow = png(tmp_path / "w.png", chunk(b"tEXt", b'workflow\0{"nodes": []}'))
    with pytest.raises(UserError, match="only the editor's workflow"):
        read_recipe(workflow)
    odd = png(tmp_path / "odd.png", chunk(b"tEXt", b"Title\0Steps to the sea"))
    with pytest.raises(UserError, match=r"holds texts \(Title\)"):
        read_recipe(odd)


def test_a_text_of_the_largest_size_takes_little_time(tmp_path: Path) -> None:
    filler = b"A: [1, <lora:x:" * ((MAX_TEXT_BYTES - 2**20) // 15 - 10)
    path = png(
        tmp_path / "a.png", chunk(b"tEXt", b"parameters\0" + filler + b"\nSteps: 1, Seed: 2, " + filler[: 2**20])
    )
    start = time.perf_counter()
    assert read_recipe(path).seed == 2
    assert time.perf_counter() - start < 10
