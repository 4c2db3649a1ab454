"""The texts in an image file (PNG chunks; EXIF of PNG, JPEG, WebP), bounded in size and number. No pixel is decoded."""

from __future__ import annotations

import json
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ....errors import UserError

MAX_FILE_BYTES = 256 * 2**20
MAX_TEXT_BYTES = 8 * 2**20
"""Of one text; a workflow of a thousand nodes takes one."""
MAX_TEXTS = 64
MAX_CHUNKS = 200_000
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF_NAMES = {0x9286: "parameters", 0x927C: "fooocus_scheme", 0x0131: "Software", 0x010E: "Description"}
_EXIF_IFD = 0x8769
_BROKEN_EXIF = (OSError, ValueError, SyntaxError, KeyError, IndexError, TypeError, OverflowError, struct.error)
"""What Pillow raises at EXIF that lies."""


@dataclass(frozen=True)
class ImageTexts:
    """What is written in an image, by the name that it is written under.

    Attributes:
        texts: name -> text. EXIF's UserComment stands under ``parameters``, where PNGs have the same.
        notes: what was odd and passed over.
    """

    texts: Mapping[str, str]
    notes: tuple[str, ...] = ()
    _parsed: dict[str, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getitem__(self, key: str) -> str:
        """The text under a name; "" if there is none."""
        return self.texts.get(key, "")

    def document(self, key: str) -> dict[str, object] | None:
        """The JSON object under a name; None if there is none, or if it is none."""
        if key not in self._parsed:
            self._parsed[key] = json_object(self[key])
        found = self._parsed[key]
        return found if isinstance(found, dict) else None


def json_object(text: str) -> dict[str, object] | None:
    """A JSON object of a stranger's; None for anything else, however it is malformed."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_texts(path: Path) -> ImageTexts:
    """All texts of an image. What is damaged or too large is passed over and noted.

    Raises:
        UserError: the file cannot be read, or is no PNG, JPEG or WebP.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB; no image's recipe is read from it.")
        with path.open("rb") as file:
            is_png = file.read(len(_PNG)) == _PNG
            notes: list[str] = []
            found = list(_of_png(file, notes)) if is_png else list(_of_other(path, notes))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    texts: dict[str, str] = {}
    for name, text in found:
        if name in texts and texts[name] != text:
            notes.append(f"a second text {name[:40]!r} is passed over")
        texts.setdefault(name, text)
    return ImageTexts(texts, tuple(dict.fromkeys(notes)))


def _of_png(file: BinaryIO, notes: list[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of each text chunk, in the file's order."""
    seen = 0
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            notes.append("the file is cut off")
            return
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            file.seek(length + 4, 1)
            continue
        label = f"{kind.decode()} chunk {seen + 1}"
        seen += 1
        if seen > MAX_TEXTS:
            notes.append(f"more than {MAX_TEXTS} texts: the others are passed over")
            return
        if length > MAX_TEXT_BYTES:
            notes.append(f"{label} is larger than {MAX_TEXT_BYTES // 2**20} MiB and is passed over")
            file.seek(length + 4, 1)
            continue
        data, check = file.read(length), file.read(4)
        if len(data) < length or check != struct.pack(">I", zlib.crc32(kind + data)):
            notes.append(f"{label} is damaged and is passed over")
            continue
        try:
            yield from _exif(data, notes) if kind == b"eXIf" else [_text_chunk(kind, data)]
        except (ValueError, zlib.error) as error:
            notes.append(f"{label} cannot be read and is passed over: {error}")


def _text_chunk(kind: bytes, data: bytes) -> tuple[str, str]:
    """(keyword, text) of a tEXt, zTXt or iTXt chunk, as the PNG specification lays them out."""
    keyword, zero, rest = data.partition(b"\0")
    if not zero or not 1 <= len(keyword) <= 79:
        raise ValueError("it has no keyword")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return name, _decoded(rest)
    if kind == b"zTXt":
        return name, _decoded(_inflated(rest[1:]))
    packed, rest = rest[:1] == b"\1", rest[2:]
    _, _, rest = rest.partition(b"\0")  # the language
    _, _, rest = rest.partition(b"\0")  # the keyword in that language
    return name, (_inflated(rest) if packed else rest).decode("utf-8", "replace")


def _inflated(data: bytes) -> bytes:
    """Unpacked bytes. Raises ValueError for more than `MAX_TEXT_BYTES`, without unpacking them, or a stream cut off."""
    unpacker = zlib.decompressobj()
    out = unpacker.decompress(data, MAX_TEXT_BYTES + 1)
    if len(out) > MAX_TEXT_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_TEXT_BYTES // 2**20} MiB")
    if not unpacker.eof:
        raise ValueError("its packed text is cut off")
    return out


def _decoded(data: bytes) -> str:
    """Latin-1, as the specification says, unless it is the UTF-8 that many programs write all the same."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _of_other(path: Path, notes: list[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of the EXIF and the comment of a JPEG or WebP."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of EXIF that lies, and so do we, in our own words
        try:
            with Image.open(path, formats=["JPEG", "WEBP"]) as image:
                exif, comment = image.info.get("exif"), image.info.get("comment")
        except (UnidentifiedImageError, Image.DecompressionBombError, *_BROKEN_EXIF) as error:
            raise UserError(f"{path} is no PNG, JPEG or WebP that can be read.") from error
    if isinstance(exif, bytes):
        yield from _exif(exif, notes)
    if isinstance(comment, bytes) and len(comment) <= MAX_TEXT_BYTES:
        yield "comment", _decoded(comment)


def _exif(data: bytes, notes: list[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of the entries of an EXIF block that programs leave recipes in."""
    if len(data) > MAX_TEXT_BYTES:
        notes.append("the EXIF block is too large and is passed over")
        return
    exif = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exif.load(data if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data)
            entries = [*exif.items(), *exif.get_ifd(_EXIF_IFD).items()]
        except _BROKEN_EXIF as error:
            notes.append(f"the EXIF block cannot be read and is passed over: {type(error).__name__}")
            return
    for tag, value in entries[:1000]:
        said = _exif_text(value)
        label, colon, rest = said.partition(":")
        if colon and label.lower() in ("prompt", "workflow") and rest.startswith("{"):
            yield label.lower(), rest  # ComfyUI's WebP: any entry will do
        elif said and tag in _EXIF_NAMES:
            yield _EXIF_NAMES[tag], said


def _exif_text(value: object) -> str:
    """Text of an EXIF entry. A UserComment begins with eight bytes that name its encoding, or ought to."""
    if isinstance(value, str):
        try:
            return value.encode("latin-1").decode("utf-8")  # Pillow takes every text for Latin-1
        except (UnicodeEncodeError, UnicodeDecodeError):
            return value
    if not isinstance(value, bytes):
        return ""
    code, body = value[:8], value[8:]
    if code == b"UNICODE\0":
        little = body[1:2000:2].count(0) > body[0:2000:2].count(0)  # most letters have a zero byte: where?
        return body.decode("utf-16-le" if little else "utf-16-be", "replace").strip("\0\ufeff")
    if code in (b"ASCII\0\0\0", b"\0" * 8):
        return _decoded(body).strip("\0")
    return _decoded(value).strip("\0")
