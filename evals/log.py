"""An evaluation's log: a line of JSON an answer, only ever appended, so that a run goes on where it stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import UserError

M = TypeVar("M", bound=BaseModel)


class Row(BaseModel):
    """One answer of one arm. What a line does not say is None.

    Attributes:
        hits: facet -> whether the judge finds it; all of them false where there is no image.
        joint: whether it finds all of them.
        made: images that the arm sampled to get there.
        experts: expert id -> weight.
        chance: facet -> the judge's probability, 0..1.
        judge: facet -> what the judge takes the image to show.
        critic: the score of the critic that steers requests, 0..1.
        similarity: to the true image, -1..1.
        metrics: what the suite's metrics measure of the image.
        image: its file, relative to the log's folder.
        error: why the merge was refused.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    arm: str
    item: str
    group: str
    seed: int
    hits: dict[str, bool]
    joint: bool
    plan_id: str | None = None
    prompt: str | None = None
    made: int | None = None
    method: str | None = None
    experts: dict[str, float] | None = None
    chance: dict[str, float] | None = None
    judge: dict[str, str] | None = None
    critic: float | None = None
    similarity: float | None = None
    metrics: dict[str, float] | None = None
    image: str | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What is answered: arm, item, seed."""
        return self.arm, self.item, self.seed


class Lines(Generic[M]):
    """A JSONL file of models that only grows. A last line that an interruption cut short is dropped when it is opened
    again.

    Raises:
        UserError: a line is no such model.
    """

    def __init__(self, path: Path, model: type[M]) -> None:
        self.path = path
        self.rows: list[M] = []
        if path.exists():
            whole = path.read_bytes()
            kept = whole[: whole.rfind(b"\n") + 1]
            if kept != whole:
                with path.open("r+b") as file:
                    file.truncate(len(kept))
            try:
                self.rows = [model.model_validate_json(line) for line in kept.splitlines()]
            except ValidationError as error:
                raise UserError(f"{path} is damaged ({error}); move it away to start afresh.") from error

    def add(self, *rows: M) -> None:
        """Append rows and see them on the disk before going on."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
        self.rows += rows


class Log(Lines[Row]):
    """The answers of an evaluation's arms."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Row)
