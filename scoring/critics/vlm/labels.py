"""Labelled images: a folder of images with ``labels.jsonl``, a line for each thing that one of them shows or lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ....cleaning import clean
from ....errors import UserError
from ...request import Wanted

FILE = "labels.jsonl"
_MOST_BYTES = 256 * 2**20
_MOST_LINE = 10_000
_FORMATS = ("PNG", "JPEG", "WEBP")
_EXAMPLE = '{"image": "fox.png", "facet": "subject", "text": "red fox", "shown": true}'


class Label(BaseModel):
    """One line: ``image`` is a path below the folder; whether it shows ``text`` under ``facet``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    image: str = Field(min_length=1, max_length=1000)
    facet: str = Field(min_length=1, max_length=80)
    text: str = Field(min_length=1, max_length=2000)
    shown: bool

    @field_validator("facet", mode="before")
    @classmethod
    def _as_critics_call_it(cls, said: object) -> object:
        return said.strip().casefold() if isinstance(said, str) else said

    @field_validator("text", mode="before")
    @classmethod
    def _stripped(cls, said: object) -> object:
        return said.strip() if isinstance(said, str) else said

    @property
    def wanted(self) -> Wanted:
        """The atom that the label is about."""
        return Wanted(facet=self.facet, text=self.text)


def read(folder: Path, tell: Callable[[str], None]) -> list[Label]:
    """The labels of a folder. A line that is none is told and passed over.

    Raises:
        UserError: there is no such file, it is too large, or no line of it is a label.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than {_MOST_BYTES >> 20} MiB.")
        # JSON's lines end in a line feed only; some editors begin a file with a mark of the byte order.
        lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}). It holds a line for each label: {_EXAMPLE}"
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if len(line) > _MOST_LINE:
                raise ValueError("it is too long")
            found.append(Label.model_validate_json(line))
        except ValueError as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            tell(f"line {number} of {FILE} is no label ({clean(str(why), 120)}): passed over")
    if not found:
        raise UserError(f"No line of {path} is a label. One is: {_EXAMPLE}")
    return found


def images(folder: Path, labels: list[Label], tell: Callable[[str], None]) -> Iterator[tuple[Image.Image, list[Label]]]:
    """Each image with its labels, in order of first mention. One that cannot be read is told and passed over, and so is
    one outside the folder.
    """
    by_image: dict[str, list[Label]] = {}
    for label in labels:
        by_image.setdefault(label.image, []).append(label)
    root = folder.resolve()
    for name, its in by_image.items():
        try:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise ValueError("it lies outside the folder")
            with Image.open(path, formats=_FORMATS) as image:
                picture = image.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's for a broken PNG
            tell(f"{clean(name, 100)} cannot be used ({clean(str(error), 120)}): passed over")
            continue
        yield picture, its
