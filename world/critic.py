"""The embedded world's run-time critic, registered as ``world``: a dual encoder for its three facets at its size, and
a small vision-language model as its second opinion where two images are to be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..bases.profile import BaseProfile
from ..errors import UserError
from ..scoring.protocol import Critic as AnyCritic
from ..scoring.protocol import CriticSetup, critic, files_identity
from ..scoring.request import Verdict, Wanted, normal
from . import WorldMissing, verify, world_dir

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from ..scoring.critics.dual_encoder import Critic
    from ..scoring.critics.dual_encoder_net import CriticConfig
    from ..scoring.critics.together import Together
    from ..scoring.critics.vlm.naming import NamingCritic

NAME = "world"
FOLDER = "scorers/critic"
VLM = "scorers/vlm"
CALIBRATION = "calibration.json"
FACETS = ("subject", "style", "background")
PLACED = ("subject",)
"""A subject lies in what is where; style and background in statistics of the whole image."""
SIZE = 64
SPOKEN = {("style", "house"): "emoji"}
"""What a class of a facet is called where that is not its name."""
_HINT = "`make world` rebuilds it."


def config(**sizes: Any) -> CriticConfig:
    """The configuration of a network for this world; ``sizes`` as in `CriticConfig`."""
    from ..scoring.critics.dual_encoder_net import CriticConfig

    return CriticConfig(facets=FACETS, placed=PLACED, size=SIZE, **sizes)


class Names:
    """What the vision-language model was taught to call a thing: the name behind what else it is called."""

    def __init__(self, eyes: Critic) -> None:
        self._banks = eyes.banks

    def __call__(self, want: Wanted) -> str:
        said = normal(want.text, want.facet)
        bank = self._banks.get(want.facet)
        name = said if bank is None or said not in bank.index else bank.names[bank.index[said]]
        return SPOKEN.get((want.facet, name), name)


@critic(NAME)
class WorldCritic:
    """The critics in a world's folder. Weights are verified and loaded when they are first needed.

    Images are scored by the dual encoder, which calibrations were made with. Which of two images is better is asked of
    both: their odds are added up.
    """

    def __init__(self, setup: CriticSetup) -> None:
        self._setup = setup
        self._world = world_dir(setup.argument)

    @cached_property
    def identity(self) -> str:
        """Hash of the dual encoder's configuration and weights. Raises WorldMissing if they are not there."""
        folder = self._world / FOLDER
        try:
            return files_identity(folder / name for name in ("config.json", "model.safetensors"))
        except OSError as error:
            raise WorldMissing(f"The critic in {folder} cannot be read ({error}). {_HINT}") from error

    @cached_property
    def choice_identity(self) -> str:
        """Hash of both critics, by whom images are preferred. Raises WorldMissing if one is damaged."""
        return self._together.identity

    @cached_property
    def eyes(self) -> Critic:
        """The dual encoder. Raises WorldMissing if its files are absent or damaged."""
        from ..scoring.critics.dual_encoder import Critic

        verify(self._world, f"{FOLDER}/")
        try:
            return Critic.load(
                self._world / FOLDER,
                embed_text=self._setup.embed_text,
                device=self._setup.device,
                by=NAME,
                called=SPOKEN,
            )
        except UserError as error:
            raise WorldMissing(f"{error} {_HINT}") from error

    @cached_property
    def second(self) -> NamingCritic | None:
        """The vision-language model, None in a world without one. Raises WorldMissing if its files are damaged."""
        from ..scoring.critics.vlm.calibration import Calibration
        from ..scoring.critics.vlm.local_model import LocalModel
        from ..scoring.critics.vlm.naming import NamingCritic

        folder = self._world / VLM
        if not folder.is_dir():
            return None
        verify(self._world, f"{VLM}/")
        try:
            calibration = Calibration.read(folder / CALIBRATION)
        except UserError as error:
            raise WorldMissing(f"{error} {_HINT}") from error
        model = LocalModel(folder, device=self._setup.device, pairs=False)
        return NamingCritic(model, Names(self.eyes), calibration=calibration)

    def fits(self, base: BaseProfile) -> bool:
        """It knows what this world draws, and nothing else."""
        return base.ref.startswith("world:")

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict an image, in order."""
        return self.eyes.score(images, wanted)

    def prefer(self, a: Image.Image, b: Image.Image, wanted: Sequence[Wanted]) -> float:
        """Probability (0..1) that ``a`` shows what is wanted better than ``b``, by both critics' odds together."""
        return self._together.prefer(a, b, wanted)

    def parts(self) -> Mapping[str, AnyCritic]:
        """Each critic alone, and both together; none where there is one only."""
        if self.second is None:
            return {}
        return {"dual encoder": self.eyes, "vlm": self.second, "both": self._together}

    @cached_property
    def _together(self) -> Together:
        from ..scoring.critics.together import Together

        return Together([self.eyes] if self.second is None else [self.eyes, self.second])

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        """Images -> float32 (n, facets * embed), unit vectors."""
        return self.eyes.embed(images)
