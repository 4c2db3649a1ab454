"""One exchange with a server that speaks OpenAI's chat completions: bounded, with a deadline, its failures as ours."""

from __future__ import annotations

import json
import threading
import time
import weakref
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

import httpx
from pydantic import BaseModel, Field, ValidationError

from ....cleaning import clean
from ....errors import AccessDenied, Busy, ExternalError, Unreachable, UserError

MAX_BYTES = 4 * 2**20
"""Of a server's answer that are read."""
BUSY = (408, 425, 429, 502, 503, 504)
"""Statuses after which the same question may well be answered."""
_SHOWN = 200
_FIRST_WAIT = 0.5
Json = dict[str, Any]


class Refused(ExternalError):
    """The server will not answer this request, or breaks on it; another request may be answered."""


class Broke(Refused):
    """The server broke on a request (status 500 and its kin); it may not, the next time."""


class _Message(BaseModel):
    content: Any = None


class Choice(BaseModel):
    """The first choice of an answer. ``logprobs`` is read apart, as servers differ in it."""

    message: _Message
    logprobs: Any = None

    @property
    def text(self) -> str:
        """What was written: a text, or the texts of its parts; "" where there is none."""
        content = self.message.content
        if isinstance(content, list):
            parts = [part.get("text") if isinstance(part, dict) else part for part in content]
            content = "".join(part for part in parts if isinstance(part, str))
        return content if isinstance(content, str) else ""

    @property
    def listed(self) -> list[tuple[str, float]] | None:
        """The likeliest first tokens with their log-probabilities; None where the server tells none."""
        try:
            first = _Logprobs.model_validate(self.logprobs).content[0]
        except (ValidationError, IndexError):
            return None
        tokens = {(top.token, top.logprob) for top in first.top_logprobs}
        if first.token not in {token for token, _ in tokens}:
            tokens.add((first.token, first.logprob))
        return sorted(tokens, key=lambda pair: -pair[1])


class _Answer(BaseModel):
    choices: list[Choice] = Field(min_length=1)


class _Top(BaseModel):
    token: str = Field(max_length=1000)
    logprob: float


class _Token(_Top):
    top_logprobs: list[_Top] = Field(default_factory=list, max_length=1000)


class _Logprobs(BaseModel):
    content: list[_Token]


class Wire:
    """A server: where it is, its key, how long a question may take and how often it is repeated.

    Args:
        url: base URL, as OpenAI's clients take it (it ends in /v1).
        key: bearer token; "" sends none.
        timeout: seconds for one question, retries and waits included.
        retries: how often it is repeated where the server is busy.
    """

    def __init__(self, url: str, key: str = "", *, timeout: float = 60.0, retries: int = 2) -> None:
        self.url = url.rstrip("/")
        self._secrets = [secret for secret in (key, *_secrets_of(url)) if len(secret) > 3]
        self.timeout = timeout
        self.retries = retries
        try:
            self._post_url = httpx.URL(f"{self.url}/chat/completions")
            headers = httpx.Headers(
                {"accept-encoding": "identity"} | ({"authorization": f"Bearer {key}"} if key else {})
            )
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise UserError(f"The critic's server cannot be asked: {str(error)[:_SHOWN]}. {VARIABLES}") from error
        if self._post_url.scheme not in ("http", "https") or not self._post_url.host:
            raise UserError(f"{self.shown!r} is no address of a server, as http://host:8000/v1 is. {VARIABLES}")
        self._headers = headers
        self._client: httpx.Client | None = None
        self._opening = threading.Lock()

    @property
    def host(self) -> str:
        """The server's host and port, for people."""
        return clean(_parts(self.url).netloc.rpartition("@")[2], 100)

    @property
    def shown(self) -> str:
        """The server's address for people: without the name, password and query that may stand in it."""
        parts = _parts(self.url)
        return clean(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")), _SHOWN)

    def ask(self, payload: Json) -> Choice:
        """The first choice of a chat completion.

        Raises:
            Refused: status 400 and its kin, or 500: this very request, or this image, is not answered.
            AccessDenied: the key is refused.
            UserError: there is no such model or no such address.
            ExternalError: the server is busy (`Busy`, with what it said of waiting), cannot be reached (`Unreachable`),
                takes too long, or sends what is no answer.
        """
        until = time.monotonic() + self.timeout
        for attempt in range(self.retries + 1):
            try:
                return self._read(self._body(payload, until))
            except (Busy, Unreachable, Broke) as error:
                wait = error.retry_after if error.retry_after is not None else _FIRST_WAIT * 2**attempt
                if attempt == self.retries or time.monotonic() + wait >= until:
                    raise
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def models(self) -> list[str]:
        """Names of the models that the server serves; none where it does not tell."""
        try:
            body = self._exchange("GET", f"{self.url}/models", None, time.monotonic() + min(self.timeout, 10.0))
            found = json.loads(body)["data"]
            return [clean(str(model["id"]), 80) for model in found][:20]
        except (ExternalError, UserError, ValueError, KeyError, TypeError, RecursionError):
            return []

    def hang_up(self) -> None:
        """Drop the connections of all questions at work; the next question begins afresh."""
        old, self._client = self._client, None
        if old is not None:
            old.close()

    def _body(self, payload: Json, until: float) -> bytes:
        return self._exchange("POST", self._post_url, payload, until)

    def _exchange(self, method: str, url: httpx.URL | str, payload: Json | None, until: float) -> bytes:
        left = max(0.001, until - time.monotonic())
        with self._opening:
            if self._client is None:
                self._client = httpx.Client(headers=self._headers, follow_redirects=False)
                weakref.finalize(self, self._client.close)  # a server that keeps connections open is told of the end
            client = self._client
        try:
            with client.stream(method, url, json=payload, timeout=left) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise ExternalError(f"{self._who} sent more than {MAX_BYTES >> 20} MiB as one answer.")
                    if time.monotonic() > until:
                        raise httpx.ReadTimeout("the body took too long")
        except httpx.TimeoutException as error:
            raise self.late() from error
        except (httpx.HTTPError, httpx.StreamError, OSError, RuntimeError) as error:  # RuntimeError: hung up meanwhile
            raise Unreachable(
                f"{self._who} cannot be reached ({type(error).__name__}). Is it running? {VARIABLES}"
            ) from error
        if response.status_code != 200:
            raise self._failure(response, bytes(body), payload)
        return bytes(body)

    @property
    def _who(self) -> str:
        return f"The critic's server at {self.host}"

    def late(self) -> ExternalError:
        """What to say of a question that took too long."""
        return ExternalError(f"{self._who} did not answer within {self.timeout:g} s (DIFFGRAPH_CRITIC_TIMEOUT).")

    def _failure(self, response: httpx.Response, body: bytes, payload: Json | None) -> ExternalError | UserError:
        told = clean(self._without_secrets(_told(body)), _SHOWN)
        status, said = response.status_code, f": {told}" if told else ""
        if status in (401, 403):
            return AccessDenied(
                f"{self._who} refuses the key ({status}). Set DIFFGRAPH_CRITIC_KEY, or OPENAI_API_KEY, to a good one."
            )
        if status in (404, 405) or 300 <= status < 400:
            model = clean(str((payload or {}).get("model", "")), 80)
            there = ", ".join(self.models()) if payload else ""
            has = f"It serves {there}." if there else "Does DIFFGRAPH_CRITIC_URL end in /v1?"
            return UserError(f"{self._who} has no model {model!r} at {self.shown} ({status}). {has}")
        if status in BUSY:
            wait = _seconds(response.headers.get("retry-after", ""))
            asks = f" It asks to wait {wait:g} s." if wait is not None else ""
            return Busy(f"{self._who} is overloaded, or a quota is spent ({status}{said}).{asks}", retry_after=wait)
        return (Broke if status >= 500 else Refused)(f"{self._who} answered with an error ({status}{said}).")

    def _without_secrets(self, text: str) -> str:
        """What a server says, without the key that was sent to it: some repeat it."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    def _read(self, body: bytes) -> Choice:
        try:
            return _Answer.model_validate(json.loads(body)).choices[0]
        except (ValueError, RecursionError) as error:  # ValidationError is a ValueError
            started = self._without_secrets(body.lstrip()[:4096].decode("utf-8", "replace"))[:60]
            page = " Does DIFFGRAPH_CRITIC_URL end in /v1?" if started.startswith("<") else ""
            raise ExternalError(f"{self._who} sent what is no answer: {clean(started)!r}.{page}") from error


VARIABLES = "Look at DIFFGRAPH_CRITIC_URL and DIFFGRAPH_CRITIC_KEY, or OPENAI_BASE_URL and OPENAI_API_KEY."


def _told(body: bytes) -> str:
    """What a server says of an error; "" where it says nothing."""
    try:
        said = json.loads(body[: 2**16])
    except (ValueError, RecursionError):
        return ""
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    return said if isinstance(said, str) else ""


def _parts(url: str) -> SplitResult:
    """An address taken apart; empty parts where it cannot be."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _secrets_of(url: str) -> list[str]:
    """What in an address may be a secret: its password, the values of its query."""
    parts = _parts(url)
    password = parts.netloc.rpartition("@")[0].partition(":")[2]
    return [password, unquote(password), *(value for _, value in parse_qsl(parts.query))]


def _seconds(text: str) -> float | None:
    """A Retry-After in seconds; one that is a date, or nonsense, is left out."""
    return float(text) if len(text) < 9 and text.isascii() and text.replace(".", "", 1).isdecimal() else None
