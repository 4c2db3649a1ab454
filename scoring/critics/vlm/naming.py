"""A vision model that knows the names of what it judges: it is asked whether a thing is there, and what is there.

How likely it would name the thing is a second answer to the same question; for a small model that was taught the names
of one closed world the two together are worth more than yes or no alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...request import Wanted
from .calibration import Calibration, expit, logit
from .critic import VlmCritic
from .local_model import LocalModel
from .questions import open_question

if TYPE_CHECKING:
    from PIL import Image


class NamingCritic(VlmCritic):
    """As `VlmCritic`; what it says of a thing is ``sigmoid(logit P(yes) + log P(its name))``, calibrated.

    Args:
        backend: a model in this process.
        name: what the model was taught to call a wanted thing.
    """

    def __init__(
        self, backend: LocalModel, name: Callable[[Wanted], str], *, calibration: Calibration | None = None
    ) -> None:
        super().__init__(backend, calibration=calibration, describes=False)
        self._model, self._name = backend, name

    @property
    def identity(self) -> str:
        """Hash of what decides its answers."""
        return hashlib.sha256(f"{super().identity} named".encode()).hexdigest()

    def raw(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> np.ndarray:
        """As `VlmCritic.raw`, with the names."""
        said = super().raw(images, wanted)
        if not said.size:
            return said
        names = [(image, open_question(want), self._name(want)) for image in images for want in wanted]
        likely = self._model.name_likelihoods(names).reshape(said.shape)
        return np.asarray(np.where(np.isnan(likely), said, expit(logit(said) + likely)))
