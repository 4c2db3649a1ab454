"""The embedded world's run-time critic: a dual encoder for its three facets at its size, registered as ``world``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..bases.profile import BaseProfile
from ..errors import UserError
from ..scoring.protocol import CriticSetup, critic, files_identity
from ..scoring.request import Verdict, Wanted
from . import WorldMissing, verify, world_dir

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from ..scoring.critics.dual_encoder import Critic
    from ..scoring.critics.dual_encoder_net import CriticConfig

NAME = "world"
FOLDER = "scorers/critic"
FACETS = ("subject", "style", "background")
PLACED = ("subject",)
"""A subject lies in what is where; style and background in statistics of the whole image."""
SIZE = 64
_HINT = "`make world` rebuilds it."


def config(**sizes: Any) -> CriticConfig:
    """The configuration of a network for this world; ``sizes`` as in `CriticConfig`."""
    from ..scoring.critics.dual_encoder_net import CriticConfig

    return CriticConfig(facets=FACETS, placed=PLACED, size=SIZE, **sizes)


@critic(NAME)
class WorldCritic:
    """The critic in a world's folder. Its weights are verified and loaded when the first image is scored."""

    def __init__(self, setup: CriticSetup) -> None:
        self._setup = setup
        self._world = world_dir(setup.argument)

    @cached_property
    def identity(self) -> str:
        """Hash of its configuration and weights. Raises WorldMissing if they are not there."""
        folder = self._world / FOLDER
        try:
            return files_identity(folder / name for name in ("config.json", "model.safetensors"))
        except OSError as error:
            raise WorldMissing(f"The critic in {folder} cannot be read ({error}). {_HINT}") from error

    @cached_property
    def eyes(self) -> Critic:
        """The dual encoder. Raises WorldMissing if its files are absent or damaged."""
        from ..scoring.critics.dual_encoder import Critic

        verify(self._world, f"{FOLDER}/")
        try:
            return Critic.load(
                self._world / FOLDER, embed_text=self._setup.embed_text, device=self._setup.device, by=NAME
            )
        except UserError as error:
            raise WorldMissing(f"{error} {_HINT}") from error

    def fits(self, base: BaseProfile) -> bool:
        """It knows what this world draws, and nothing else."""
        return base.ref.startswith("world:")

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict an image, in order."""
        return self.eyes.score(images, wanted)

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        """Images -> float32 (n, facets * embed), unit vectors."""
        return self.eyes.embed(images)
