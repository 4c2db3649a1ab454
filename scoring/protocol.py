"""What a critic is, and critics by name. One file a critic; ``@critic("name")`` registers what makes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from ..bases.profile import BaseProfile
from ..errors import DiffGraphError, NoCritic, UserError
from ..files.hashing import file_sha256
from ..plugins import ANYTHING, Registry
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
class ChoosesByMore(Protocol):
    """A critic whose choice between two images hangs on more than its scores do."""

    @property
    def choice_identity(self) -> str:
        """Hash of everything that decides what it prefers."""
        ...


def choice_identity(critic: Critic) -> str:
    """What kept choices between two images hold for: the critic's own word on it, else its identity."""
    return critic.choice_identity if isinstance(critic, ChoosesByMore) else critic.identity


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
        home: DiffGraph's home, for what a critic keeps; None: the one that the settings say.
    """

    base: BaseProfile
    argument: str = ""
    embed_text: EmbedText | None = None
    device: str = "cpu"
    home: Path | None = None


class Unusable(UserError):
    """The settings mean a critic, and it cannot be had: on ``auto`` its reason is told where nobody else judges."""


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
    return _CRITICS.get(name)(replace(setup, argument=argument))


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
        raise NoCritic("DIFFGRAPH_CRITIC is none, so no image is judged (`diffgraph critic list` says who could).")
    if said not in (AUTO, ""):
        made = make(said, setup)
        if not made.fits(base):
            raise UserError(
                f"The critic {said} is not for what {title} draws. Set DIFFGRAPH_CRITIC to one that is, to auto, or to "
                "none, which draws without a judge."
            )
        return made
    return _first_that_fits(setup)[1]


def chosen(setting: str, setup: CriticSetup) -> str:
    """The critic that `fitting` takes, as a setting says it. Raises as `fitting` does."""
    if setting.strip() not in (AUTO, ""):
        fitting(setting, setup)
        return setting.strip()
    return _first_that_fits(setup)[0]


def _first_that_fits(setup: CriticSetup) -> tuple[str, Critic]:
    """On ``auto``: the base's own critic, or any that fits."""
    base, told = setup.base, ""
    for name in dict.fromkeys([*([base.critic] if base.critic else []), *names()]):
        try:
            made = make(name, setup)
        except UserError as error:
            if name == base.critic:
                raise
            if isinstance(error, Unusable):
                told += f" {name} cannot judge: {error}"
            continue  # it needs an argument, or files that are not here
        if made.fits(base):
            return name, made
    title = base.title or base.name
    raise NoCritic(f"No critic here fits {title}.{told} Set DIFFGRAPH_CRITIC to one that can: {_known()}")


@dataclass(frozen=True)
class Known:
    """A critic as it is listed: what it is, whether it can judge the base, and why not."""

    name: str
    about: str
    fits: bool
    why: str = ""


def known(setting: str, setup: CriticSetup) -> list[Known]:
    """All critics, sorted, tried on a base; the one that the setting names, and the base's own, with their argument."""
    said = {one.partition(":")[0]: one for one in (setup.base.critic, setting.strip())}
    return [_tried(name, said.get(name, name), setup) for name in names()]


def _tried(name: str, named: str, setup: CriticSetup) -> Known:
    about = " ".join((_CRITICS.get(name).__doc__ or "").partition("\n\n")[0].split())
    try:
        fits = make(named, setup).fits(setup.base)
    except ANYTHING as error:  # a stranger's critic, made here for the first time
        why = str(error) if isinstance(error, DiffGraphError) else f"{type(error).__name__}: {str(error)[:300]}"
        return Known(name, about, False, why)
    title = setup.base.title or setup.base.name
    return Known(name, about, fits, "" if fits else f"it is not for what {title} draws")


def _known() -> str:
    return (
        f"one of {', '.join(names())} (NAME, or NAME:ARGUMENT where it needs one; `diffgraph critic list` says more). "
        "A vision model judges any base: vlm:openai:MODEL at a server, vlm:local:FOLDER_OR_HUB_ID in this process."
    )


def files_identity(paths: Iterable[Path]) -> str:
    """The identity of a critic that is what its files are. Raises OSError if one cannot be read."""
    return hashlib.sha256("".join(file_sha256(path) for path in paths).encode()).hexdigest()
