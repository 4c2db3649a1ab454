"""How a brain fails."""

from __future__ import annotations

from ...errors import ExternalError


class BrainFailed(ExternalError):
    """A brain's server failed, or sent what cannot be read.

    Attributes:
        for_good: whether another call in the same run would fail alike.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, for_good: bool = False) -> None:
        super().__init__(message, retry_after=retry_after)
        self.for_good = for_good
