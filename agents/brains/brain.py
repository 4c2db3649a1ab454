"""Brains: the chat models behind the agents, made by setting. One file a brain in this folder; ``@brain("name")``
registers it.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool

from ...plugins import Registry
from ...settings import Settings
from ..completions.errors import openai_errors
from .answers import answer_of
from .failure import BrainFailed
from .messages import Answer, Message, to_langchain

Maker = Callable[[str, Settings], BaseChatModel]
"""Makes a brain from what stands behind the colon of ``DIFFGRAPH_BRAIN=name:…``, and the settings."""
_F = TypeVar("_F", bound=Maker)
_BRAINS: Registry[Maker] = Registry("brain", "diffgraph.brains", __package__ or "")


@runtime_checkable
class Remote(Protocol):
    """A brain that can drop the connection of a call that takes too long."""

    def hang_up(self) -> None:
        """End the call at work, from another thread."""


def brain(name: str) -> Callable[[_F], _F]:
    """Register a brain's maker. A name twice is an error at import."""
    return _BRAINS.register(name)


def names() -> list[str]:
    """All registered brains, sorted."""
    return _BRAINS.names()


def make(settings: Settings) -> BaseChatModel:
    """The brain that the settings name.

    Raises:
        UserError: no such brain, or its key is missing.
    """
    name, _, rest = settings.brain.partition(":")
    return _BRAINS.get(name)(rest, settings)


def ask(
    model: BaseChatModel, tools: Sequence[BaseTool], messages: Sequence[Message], timeout: float | None = None
) -> Answer:
    """One answer of a brain that may call ``tools``, cut to what may be stored.

    Args:
        timeout: seconds for the whole call, retries included; None waits for ever.

    Raises:
        ExternalError: its server cannot be reached, refuses the request or sends what cannot be read; or the time is
            up (BrainFailed).
    """
    bound = model.bind_tools(list(tools))
    with openai_errors():  # of a chat model that somebody brought along, too
        said = _within(timeout, model, lambda: bound.invoke(to_langchain(messages)))
    if not isinstance(said, AIMessage):
        raise BrainFailed(f"The brain answered with a {type(said).__name__}, not with a message.", for_good=True)
    return answer_of(said, {tool.name for tool in tools})


def _within(timeout: float | None, model: BaseChatModel, call: Callable[[], BaseMessage]) -> BaseMessage:
    """The call's value, or BrainFailed when the time is up; whatever it raises is raised here.

    The timeout of an HTTP client is one between two bytes, so a server that sends a byte a second is only ended by a
    clock of our own. LangGraph's TimeoutPolicy would be one for async nodes; ours are not, for the device's sake.
    """
    if timeout is None:
        return call()
    outcome, context = _Outcome(), contextvars.copy_context()

    def run() -> None:
        with outcome:
            outcome.value = context.run(call)

    thread = threading.Thread(target=run, name="diffgraph-brain", daemon=True)
    thread.start()
    try:
        thread.join(timeout)
    finally:
        if thread.is_alive() and isinstance(model, Remote):
            model.hang_up()
    if outcome.error is not None:
        raise outcome.error
    if outcome.value is None:
        raise BrainFailed(f"The brain did not answer within {timeout:g} s (DIFFGRAPH_BRAIN_TIMEOUT).")
    return outcome.value


class _Outcome:
    """What became of a call in another thread; its error is kept for whoever waits, who raises it."""

    value: BaseMessage | None = None
    error: BaseException | None = None

    def __enter__(self) -> _Outcome:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return True
