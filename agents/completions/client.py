"""A chat model behind a server that speaks OpenAI's chat completions: its errors are ours, its answers bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from openai import OpenAIError
from pydantic import SecretStr

from ...errors import UserError
from ...settings import Settings
from ..brains.failure import BrainFailed
from .body import NoAnswer, message_of
from .errors import VARIABLES, not_asked, openai_errors

MAX_BYTES = 4 * 2**20
"""Of a server's answer that are read."""


def connected(model: str, key: str, url: str | None, settings: Settings) -> OpenAIBrain:
    """The chat model called ``model`` at a server (None: OpenAI's).

    Raises:
        UserError: the environment names an address, a key, a certificate or a proxy that cannot be.
    """
    unusable: tuple[type[Exception], ...] = (*not_asked(), ValueError, OSError, ImportError, OpenAIError)
    try:
        model.encode()
        return OpenAIBrain(
            model=model,
            api_key=SecretStr(key),
            base_url=url,
            timeout=settings.brain_timeout,
            max_retries=settings.brain_retries,
            max_completion_tokens=settings.brain_max_tokens,
            use_responses_api=False,
            http_client=_client(settings.brain_timeout),
        )
    except unusable as error:
        raise UserError(f"{VARIABLES}. {type(error).__name__}: {str(error)[:200]}") from error


class OpenAIBrain(ChatOpenAI):
    """LangChain's client, with the server's answer read by `message_of`: it reads what odd servers send, and names
    what it cannot read.
    """

    def hang_up(self) -> None:
        """Drop the connection of a call at work, and begin with a fresh one."""
        seconds = float(self.request_timeout) if isinstance(self.request_timeout, int | float) else 60.0
        old = self.root_client
        self.root_client = old.copy(http_client=_client(seconds))
        old.close()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        with openai_errors():
            said = self.root_client.chat.completions.with_raw_response.create(**payload)
        try:
            message = message_of(said.http_response.content)
        except NoAnswer as error:
            raise BrainFailed(f"The brain's server sent {error}.") from error
        return ChatResult(generations=[ChatGeneration(message=message)])


def _client(seconds: float) -> httpx.Client:
    """A client that reads no answer for longer, and none that is larger, than is good."""

    def bound(response: httpx.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise BrainFailed("The brain's server sent a compressed answer, which nobody asked for.")
        response.stream = _Bounded(response.stream, time.monotonic() + seconds)

    # Uncompressed, so that what is counted is what is held.
    return httpx.Client(timeout=seconds, event_hooks={"response": [bound]}, headers={"accept-encoding": "identity"})


class _Bounded(httpx.SyncByteStream):
    """A body that ends with an error when it is too large or takes too long."""

    def __init__(self, stream: Any, until: float) -> None:
        self._stream, self._until = stream, until

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BYTES:
                raise BrainFailed(f"The brain's server sent more than {MAX_BYTES >> 20} MiB as one answer.")
            if time.monotonic() > self._until:
                raise httpx.ReadTimeout("the body took too long")
            yield chunk

    def close(self) -> None:
        self._stream.close()
