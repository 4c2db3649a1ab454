"""The errors of OpenAI's client as ours, and what each means for the rest of a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..brains.failure import BrainFailed

if TYPE_CHECKING:
    import openai

FOR_GOOD = (401, 403, 404, 405)
"""Statuses that another call in the same run would get again."""


VARIABLES = "The brain's server cannot be asked: look at OPENAI_BASE_URL, OPENAI_API_KEY, SSL_CERT_FILE and the proxies"


def not_asked() -> tuple[type[Exception], ...]:
    """What is raised before a server is asked: for an address that is none, and for a key that no header can hold.

    Each HTTP library has an error of its own for the former, which is none of a connection.
    """
    loaded = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (UnicodeError, *(library.InvalidURL for library in loaded))


@contextmanager
def openai_errors() -> Iterator[None]:
    """Translates what the client raises. Where the client was never loaded it raises nothing, and is not loaded."""
    client = sys.modules.get("openai")
    if client is None:
        yield
        return
    unasked = not_asked()
    try:
        yield
    except client.OpenAIError as error:
        raise failure(error) from error
    except unasked as error:
        raise BrainFailed(f"{VARIABLES}: {str(error)[:200]}", for_good=True) from error


def failure(error: openai.OpenAIError) -> BrainFailed:
    """The client's error as ours."""
    import openai

    if isinstance(error.__cause__, BrainFailed):
        return error.__cause__
    if isinstance(error, openai.APIStatusError):
        status, wait = error.status_code, _seconds(error.response.headers.get("retry-after", ""))
        if status in (401, 403):
            return BrainFailed("The brain's server refuses the key in OPENAI_API_KEY.", for_good=True)
        if status == 429:
            return BrainFailed("The brain's server is overloaded or the quota is spent.", retry_after=wait)
        said = f"The brain's server answered with an error: {str(error)[:300]}"
        return BrainFailed(said, retry_after=wait, for_good=status in FOR_GOOD)
    if isinstance(error, openai.APITimeoutError):
        return BrainFailed("The brain's server did not answer in time (DIFFGRAPH_BRAIN_TIMEOUT).")
    if isinstance(error, openai.APIConnectionError):
        return BrainFailed(
            "The brain's server cannot be reached. Check OPENAI_BASE_URL and the network.", for_good=True
        )
    return BrainFailed(f"The brain's server answered with an error: {str(error)[:300]}")


def _seconds(text: str) -> float | None:
    """A Retry-After in seconds; one that is a date, or nonsense, is left out."""
    return float(text) if len(text) < 9 and text.replace(".", "", 1).isdecimal() else None
