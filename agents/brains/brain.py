"""Brains: the chat models behind the agents. Each is a LangChain chat model, made by setting; ``@brain("name")``
adds one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool

from ...errors import ExternalError, UserError
from ...plugins import Registry
from ...settings import Settings
from .messages import Plain, to_langchain

Maker = Callable[[str], BaseChatModel]
"""Makes a brain from what stands behind the colon of ``DIFFGRAPH_BRAIN=name:…``."""
_F = TypeVar("_F", bound=Maker)
_BRAINS: Registry[Maker] = Registry("brain", "diffgraph.brains")


def brain(name: str) -> Callable[[_F], _F]:
    """Register a brain's maker. A name twice is an error at import."""
    return _BRAINS.register(name)


@brain("offline")
def _offline(rest: str) -> BaseChatModel:
    from .offline import OfflineBrain

    return OfflineBrain()


@brain("openai")
def _openai(model: str) -> BaseChatModel:
    if not model:
        raise UserError(
            "DIFFGRAPH_BRAIN=openai needs a model: openai:gpt-5-mini, or the name your server gives its model."
        )
    key, url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if not key and not url:
        raise UserError(
            "The brain openai needs OPENAI_API_KEY, or OPENAI_BASE_URL of a server of your own; "
            "DIFFGRAPH_BRAIN=offline needs neither."
        )
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    # A server of one's own often wants no key; the client insists on some text.
    return ChatOpenAI(model=model, api_key=SecretStr(key or "none"), base_url=url, timeout=120.0, max_retries=2)


def make(settings: Settings) -> BaseChatModel:
    """The brain that the settings name.

    Raises:
        UserError: no such brain, or its key is missing.
    """
    name, _, rest = settings.brain.partition(":")
    return _BRAINS.get(name)(rest)


def ask(model: BaseChatModel, tools: Sequence[BaseTool], messages: Sequence[Plain]) -> AIMessage:
    """One turn of a brain that may call ``tools``.

    Raises:
        UserError: its server refuses the key.
        ExternalError: its server cannot be reached, refuses the request, or is overloaded.
    """
    bound = model.bind_tools(list(tools))
    with _openai_errors() if type(model).__module__.startswith("langchain_openai") else nullcontext():
        answer = bound.invoke(to_langchain(messages))
    if not isinstance(answer, AIMessage):
        raise ExternalError(f"The brain answered with a {type(answer).__name__}, not with a message.")
    return answer


@contextmanager
def _openai_errors() -> Iterator[None]:
    """The client's errors as ours."""
    import openai

    try:
        yield
    except openai.AuthenticationError as error:
        raise UserError("The brain's server refuses the key in OPENAI_API_KEY.") from error
    except openai.RateLimitError as error:
        wait = error.response.headers.get("retry-after", "")
        raise ExternalError(
            "The brain's server is overloaded or the quota is spent; try again later, or use DIFFGRAPH_BRAIN=offline.",
            retry_after=float(wait) if wait.replace(".", "", 1).isdigit() else None,
        ) from error
    except openai.APIConnectionError as error:
        raise ExternalError(
            "The brain's server cannot be reached. Check OPENAI_BASE_URL and the network, "
            "or use DIFFGRAPH_BRAIN=offline."
        ) from error
    except openai.OpenAIError as error:
        raise ExternalError(f"The brain's server answered with an error: {str(error)[:300]}") from error
