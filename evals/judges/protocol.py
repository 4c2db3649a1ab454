"""What a judge is, the registry of judges, and which judge an evaluation takes.

A judge tells right from wrong in an evaluation. It shares nothing with the critic that requests are steered by. Adding
one: a file here, or a module of your own named by the entry-point group ``diffgraph.judges``, with a function or class
under ``@judge("name")`` that takes the base's profile and returns a `Judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict

from ...bases.profile import BaseProfile
from ...errors import UserError
from ...plugins import Registry
from ...scoring.request import Wanted


class Judgement(BaseModel):
    """What a judge says of one image.

    Attributes:
        hits: facet -> whether the image shows what is wanted of it.
        chance: facet -> probability that it does, 0..1.
        seen: facet -> what the judge takes the image to show, for reports.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hits: dict[str, bool]
    chance: dict[str, float]
    seen: dict[str, str]

    @property
    def joint(self) -> bool:
        """Whether everything is shown that is wanted."""
        return all(self.hits.values())


class Judge(Protocol):
    """Decides what images show. Deterministic: the same image is always judged alike."""

    @property
    def digest(self) -> str:
        """Hash over all that decides a judgement; results of different judges never mix."""
        ...

    def judge(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Judgement]:
        """One judgement an image, in order, of everything in ``wanted``."""
        ...

    def similarity(self, images: Sequence[Image.Image], truths: Sequence[Image.Image]) -> list[float]:
        """How alike image i and true image i are, -1..1."""
        ...


Factory = Callable[[BaseProfile], Judge]
"""Makes a judge. Raises UserError, saying what to do, where its weights are missing."""
_F = TypeVar("_F", bound=Callable[..., Judge])
JUDGES: Registry[Factory] = Registry("judge", "diffgraph.judges", __package__ or "")


def judge(name: str) -> Callable[[_F], _F]:
    """Register a judge's factory under ``name``."""
    return JUDGES.register(name)


def judge_for(base: BaseProfile, named: str | None = None) -> Judge:
    """The judge that a suite names, else the one that is called like the base, which knows what it draws.

    Raises:
        UserError: unknown; or neither suite nor base names one; or its weights are missing.
    """
    name = named or base.name
    if named is None and name not in JUDGES.names() and name not in JUDGES.broken:
        raise UserError(
            f"No judge comes with the base {name!r}. Name one in the suite's file, `judge: NAME`; there are: "
            f"{', '.join(JUDGES.names()) or 'none'}."
        )
    return JUDGES.get(name)(base)
