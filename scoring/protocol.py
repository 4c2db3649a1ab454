"""What a critic is, and critics by name. One file a critic; ``@critic("name")`` registers what makes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from ..bases.profile import BaseProfile
from ..errors import NoCritic, UserError
from ..files.hashing import file_sha256
from ..plugins import Registry
from .request import Verdict, Wanted

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

EmbedText = Callable[[list[str]], "np.ndarray[Any, Any]"]
"""Texts -> sentence vectors (n, dimensions)."""


@runtime_checkable
class Critic(Protocol):
    """Judges images against a request."""

    @property
    def identity(self) -> str:
        """Hash of everything that decides what it says: calibrations and kept verdicts hold for one identity."""
        ...

    def fits(self, base: BaseProfile) -> bool:
        """Whether it can judge what this base draws."""
        ...

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict an image, in order: for each wanted thing the probability (0..1) that the image shows it."""
        ...


@runtime_checkable
class Prefers(Protocol):
    """A critic that can also choose between two images."""

    def prefer(self, a: Image.Image, b: Image.Image, wanted: Sequence[Wanted]) -> float:
        """Probability (0..1) that ``a`` shows what is wanted better than ``b``; asked in both orders."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """A critic that can also say where images lie, which makes fingerprints."""

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        """Images -> float32 (n, dimensions), unit vectors."""
        ...


@runtime_checkable
class HasParts(Protocol):
    """A critic that asks several and weighs what they say; evaluations measure each of them too."""

    def parts(self) -> Mapping[str, Critic]:
        """Name -> critic."""
        ...


def embedded(critic: Critic, images: Sequence[Image.Image]) -> np.ndarray[Any, Any] | None:
    """Where images lie: float32 (n, dimensions), unit vectors; None if the critic cannot say."""
    return critic.embed(images) if isinstance(critic, Embeds) else None


@dataclass(frozen=True)
class CriticSetup:
    """What a critic is made from.

    Attributes:
        base: the base whose images it is to judge.
        argument: what follows ``name:`` in the setting, "" if nothing does.
        embed_text: the graph's text model.
        device: where it may run.
    """

    base: BaseProfile
    argument: str = ""
    embed_text: EmbedText | None = None
    device: str = "cpu"


Maker = Callable[[CriticSetup], Critic]
_M = TypeVar("_M", bound=Maker)
_CRITICS: Registry[Maker] = Registry("critic", "diffgraph.critics", f"{__package__}.critics")
AUTO, NONE = "auto", "none"


def critic(name: str) -> Callable[[_M], _M]:
    """Register what makes a critic (a class, a function) under ``name``. A name twice is an error at import."""
    if name in (AUTO, NONE):
        raise ValueError(f"no critic can be called {name!r}: the setting means something else by it")
    return _CRITICS.register(name)


def names() -> list[str]:
    """All registered critics, sorted."""
    return _CRITICS.names()


def broken() -> dict[str, str]:
    """Critics whose plug-in cannot be loaded, and why."""
    return _CRITICS.broken


def make(critic: str, setup: CriticSetup) -> Critic:
    """The critic that ``name`` or ``name:argument`` means.

    Raises:
        UserError: there is none of that name (with the closest ones), or it cannot be made, with the reason.
    """
    name, _, argument = critic.strip().partition(":")
    return _CRITICS.get(name)(CriticSetup(setup.base, argument, setup.embed_text, setup.device))


def fitting(setting: str, setup: CriticSetup) -> Critic:
    """The critic that a setting means and that fits the base: the base's own on ``auto``, or any that fits.

    Args:
        setting: ``name`` or ``name:argument``, ``auto`` or ``none``.
        setup: what it is made from; ``setup.base`` draws the images.

    Raises:
        NoCritic: nobody may judge, or on ``auto`` nobody here fits; the message says what to set.
        UserError: the one that is named does not fit, or cannot be made.
    """
    said, base = setting.strip(), setup.base
    title = base.title or base.name
    if said == NONE:
        raise NoCritic(f"DIFFGRAPH_CRITIC is none, so no image is judged. Set it to auto, or to {_known()}")
    if said not in (AUTO, ""):
        made = make(said, setup)
        if not made.fits(base):
            raise UserError(
                f"The critic {said} is not for what {title} draws. Set DIFFGRAPH_CRITIC to one that is, to auto, or to "
                "none, which draws without a judge."
            )
        return made
    for name in dict.fromkeys([*([base.critic] if base.critic else []), *names()]):
        try:
            made = make(name, setup)
        except UserError:
            if name == base.critic:
                raise
            continue  # it needs an argument, or files that are not here
        if made.fits(base):
            return made
    raise NoCritic(f"No critic here fits {title}. Set DIFFGRAPH_CRITIC to one that can judge it: {_known()}")


def _known() -> str:
    return f"one of {', '.join(names())} (NAME, or NAME:ARGUMENT where it needs one)."


def files_identity(paths: Iterable[Path]) -> str:
    """The identity of a critic that is what its files are. Raises OSError if one cannot be read."""
    return hashlib.sha256("".join(file_sha256(path) for path in paths).encode()).hexdigest()
