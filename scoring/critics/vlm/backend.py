"""What a vision model must be able to do to be a critic, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


@runtime_checkable
class Backend(Protocol):
    """A model that answers questions about images."""

    @property
    def identity(self) -> str:
        """Hash or name of everything in the model that decides its answers."""
        ...

    @property
    def title(self) -> str:
        """What people call it: who judged."""
        ...

    @property
    def pairs(self) -> bool:
        """Whether it can be shown two images at once."""
        ...

    def yes_probabilities(self, images: Sequence[Image.Image], questions: Sequence[str]) -> np.ndarray[Any, Any]:
        """P(yes) of every question about every image.

        Args:
            images: of any size.
            questions: yes/no questions, as `questions.question` words them.

        Returns:
            float64 (n_images, n_questions), 0..1; nan where the model answered neither yes nor no.

        Raises:
            ExternalError: the model cannot be asked.
        """
        ...

    def first_probability(self, a: Image.Image, b: Image.Image, question: str) -> float:
        """P that a forced choice between two images falls on the first one shown; nan where it answered neither.

        Raises:
            ExternalError: the model cannot be asked.
        """
        ...

    def describe(self, image: Image.Image, questions: Sequence[str]) -> list[str]:
        """A short answer, as the model wrote it, to each open question about an image; "" where it gave none.

        Raises:
            ExternalError: the model cannot be asked.
        """
        ...
