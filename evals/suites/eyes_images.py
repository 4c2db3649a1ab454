"""The images that critics are measured on: drawn once into a folder, or a folder of one's own.

The folder holds ``images.jsonl``, a line an image: its file, the prompt, what is wanted of it, and, where somebody
looked, what it truly shows. What no line says about the truth a judge says. A folder with ``labels.jsonl`` does too.
"""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import UserError
from ...merging.sampling.png_record import save_png
from ...scoring.critics.vlm import labels
from ...scoring.request import Wanted
from ..arms.arm import Answer, Arm
from ..arms.drawing import Refused, asked
from ..evaluation import Evaluation
from ..log import Lines
from .items import Item
from .suite import Progress

LINES = "images.jsonl"
CHUNK = 8
"""Items that an arm is given at once."""
EXAMPLE = '{"image": "a.png", "item": "fox", "wanted": [{"facet": "subject", "text": "fox"}], "truth": {"fox": true}}'
_FORMATS = ("PNG", "JPEG", "WEBP")
_MOST_BYTES = 64 * 2**20


class Listed(BaseModel):
    """One line of ``images.jsonl``.

    Attributes:
        image: its file, relative to the folder; "" where the merge was refused.
        item: which prompt it belongs to: images of one item are compared with each other.
        group: a kind of prompts.
        prompt: what it was drawn for, in a user's words.
        wanted: what it is to show.
        truth: wanted text -> whether it shows it, where somebody looked.
        arm, seed: how it was drawn, if it was drawn here.
        error: why there is no image.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    image: str
    item: str = Field(min_length=1)
    wanted: tuple[Wanted, ...]
    group: str = ""
    prompt: str = ""
    truth: dict[str, bool] = Field(default_factory=dict)
    arm: str = ""
    seed: int = 0
    error: str = ""

    @property
    def asked(self) -> tuple[str, int]:
        """Images of the same prompt and seed are asked about together."""
        return self.item, self.seed


@dataclass(frozen=True, eq=False)
class Shown:
    """An image that could be opened, and the sha256 of its file."""

    listed: Listed
    image: Image.Image
    sha256: str


def draw(
    evaluation: Evaluation,
    folder: Path,
    arms: Sequence[Arm],
    items: Sequence[Item],
    seeds: Sequence[int],
    on_progress: Progress | None = None,
) -> None:
    """Draw what is not in the folder yet. Every image and its line are on the disk before the next chunk begins."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = Lines(folder / LINES, Listed)
    done = {(line.arm, *line.asked) for line in lines.rows}
    total = len(arms) * len(items) * len(seeds)
    count = sum((a.name, i.id, s) in done for a in arms for i in items for s in seeds)
    # A few prompts at a time through all arms: whenever it is interrupted, what is there is of every arm.
    for at in range(0, len(items), CHUNK):
        for arm in arms:
            waiting = [i for i in items[at : at + CHUNK] if any((arm.name, i.id, s) not in done for s in seeds)]
            for answer in asked(evaluation, arm, waiting, seeds) if waiting else ():
                if (arm.name, answer.item.id, answer.seed) in done:
                    continue
                lines.add(_line(answer, arm, folder))
                count += 1
                if on_progress is not None:
                    on_progress(count, total, f"drawing, {arm.name}: {answer.item.id}")


def _line(answer: Answer | Refused, arm: Arm, folder: Path) -> Listed:
    item = answer.item
    name, error = "", answer.why if isinstance(answer, Refused) else ""
    if isinstance(answer, Answer) and answer.image is not None:
        name = f"images/{arm.name.replace(':', '-')}/{item.id.replace('/', '__')}-{answer.seed}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_png(answer.image, folder / name, answer.plan, answer.seed, {"arm": arm.name, "item": item.id})
    return Listed(
        image=name, item=item.id, group=item.group, prompt=item.prompt, wanted=tuple(item.wanted), arm=arm.name,
        seed=answer.seed, error=error,
    )  # fmt: skip


def read(folder: Path, keep: Callable[[Listed], bool] = lambda line: True) -> tuple[list[Shown], dict[str, str]]:
    """The images of a folder, each once a prompt however often it was drawn; and of those that are passed over, why.

    Raises:
        UserError: the folder has no list of images, or it says nothing.
    """
    shown: dict[tuple[str, str], Shown] = {}
    bad: dict[str, str] = {}
    lines = _of_labels(folder, bad) if listing(folder).name == labels.FILE else _of_list(folder, bad)
    for where, listed in lines:
        if not keep(listed):
            continue
        try:
            one = _opened(listed, folder)
        except _Unreadable as error:
            bad[where] = str(error)[:200]
            continue
        shown.setdefault((listed.item, one.sha256), one)
    if not shown:
        raise UserError(f"{listing(folder)} lists no image that can be read{_first(bad)}.")
    return list(shown.values()), bad


def listing(folder: Path) -> Path:
    """The file that lists a folder's images: `LINES`, or else the labels that ``critic fit`` reads.

    Raises:
        UserError: there is neither.
    """
    for name in (LINES, labels.FILE):
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder} has no list of its images. It holds {LINES}, a line an image: {EXAMPLE}; or {labels.FILE}, a line a "
        "label, as `diffgraph critic fit` reads it."
    )


def _of_list(folder: Path, bad: dict[str, str]) -> Iterator[tuple[str, Listed]]:
    for number, line in enumerate(listing(folder).read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", Listed.model_validate_json(line)
        except ValidationError as error:
            bad[f"line {number}"] = error.errors()[0]["msg"][:200]


def _of_labels(folder: Path, bad: dict[str, str]) -> Iterator[tuple[str, Listed]]:
    """Each labelled image, an item of its own: everything that somebody looked for is asked for."""

    def tell(text: str) -> None:
        bad[text] = "passed over"

    of: dict[str, list[labels.Label]] = {}
    for label in labels.read(folder, tell):
        of.setdefault(label.image, []).append(label)
    for name, said in of.items():
        wanted = tuple(dict.fromkeys(label.wanted for label in said))
        yield name, Listed(image=name, item=name, wanted=wanted, truth={label.text: label.shown for label in said})


class _Unreadable(Exception):
    """One image cannot be had; the others can."""


def _opened(listed: Listed, folder: Path) -> Shown:
    if not listed.image:
        raise _Unreadable(f"{listed.item}: no image ({listed.error or 'none was drawn'})")
    path = folder / listed.image
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise _Unreadable(f"{listed.image[:80]}: lies outside of the folder")
        if path.stat().st_size > _MOST_BYTES:
            raise _Unreadable(f"{listed.image[:80]}: is larger than {_MOST_BYTES >> 20} MB")
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return Shown(listed, image.convert("RGB"), hashlib.sha256(data).hexdigest())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _Unreadable(f"{listed.image[:80]}: {str(error)[:100]}") from error


def _first(bad: Mapping[str, str]) -> str:
    return "".join(f" ({where}: {why})" for where, why in list(bad.items())[:1])
