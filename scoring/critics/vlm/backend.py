"""What a vision model must be able to do to be a critic, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


class Backend(ABC):
    """A model that answers questions about images. Each of its methods may raise ExternalError: it cannot be asked."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash or name of everything in the model that decides its answers."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What people call it: who judged."""

    @property
    @abstractmethod
    def pairs(self) -> bool:
        """Whether it can be shown two images at once."""

    @abstractmethod
    def answers(self, asked: Sequence[tuple[Image.Image, str]]) -> np.ndarray[Any, Any]:
        """P(yes) of each question about its image.

        Args:
            asked: images of any size, with yes/no questions as `questions.question` words them.

        Returns:
            float64 (n,), 0..1; nan where the model answered neither yes nor no.
        """

    @abstractmethod
    def first_probability(self, a: Image.Image, b: Image.Image, question: str) -> float:
        """P that a forced choice between two images falls on the first one shown; nan where it answered neither."""

    @abstractmethod
    def describe(self, image: Image.Image, questions: Sequence[str]) -> list[str]:
        """A short answer, as the model wrote it, to each open question about an image; "" where it gave none."""

    def yes_probabilities(self, images: Sequence[Image.Image], questions: Sequence[str]) -> np.ndarray[Any, Any]:
        """P(yes) of every question about every image: float64 (n_images, n_questions); nan as in `answers`."""
        found = self.answers([(image, question) for image in images for question in questions])
        return found.reshape(len(images), len(questions))
