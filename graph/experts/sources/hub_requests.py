"""Requests to the Hugging Face Hub, through its own client: its JSON, parts of its files, its errors as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from ....bases.hub_errors import TIMEOUT, HubErrors
from ....errors import ExternalError
from ....files.header import MAX_HEADER_BYTES
from .answers import BUSY, MAX_JSON_BYTES, busy, document, retry_after

STORAGE_HOSTS = ("huggingface.co", "hf.co")
MAX_REDIRECTS = 6


class HubRequests(HubErrors):
    """Who asks: an endpoint, a token (None: whatever the Hub's client finds; False: none), trusted storage hosts."""

    def __init__(self, endpoint: str, token: str | bool | None, storage_hosts: tuple[str, ...] = ()) -> None:
        super().__init__(endpoint, token)
        self._hosts = (*STORAGE_HOSTS, *storage_hosts)

    def json(self, path: str, query: str, what: str) -> tuple[Any, str]:
        """A document of the API, and the query of the page after it (empty if there is none).

        Redirects within the host, which is how renamed repositories answer, are followed.

        Raises:
            UserError: not there, gated, or offline. AccessDenied: the token is refused.
            ExternalError: any other answer than a document.
        """
        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        for _ in range(MAX_REDIRECTS):
            if urlsplit(url).netloc != urlsplit(self.endpoint).netloc:
                raise ExternalError(f"{self.endpoint} sends {what} to another host: not followed.")
            answer, body = self._answer(url, self.headers(), MAX_JSON_BYTES, what)
            if answer.is_redirect:
                to = urljoin(url, answer.headers.get("Location", ""))
                url = to if urlsplit(to).query or not query else f"{to}?{query}"
                continue
            if len(body) >= MAX_JSON_BYTES:
                raise ExternalError(f"{self.endpoint} answered more than {MAX_JSON_BYTES} bytes for {what}.")
            return document(body, self.endpoint, what), _next_query(answer)
        raise ExternalError(f"{self.endpoint} redirects {what} without end.")

    def read(self, url: str, start: int, count: int, what: str) -> bytes:
        """``count`` bytes of a remote file from ``start``; never more, whatever the server sends."""
        count = min(count, MAX_HEADER_BYTES + 8)
        headers = self.headers()
        headers |= {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        for _ in range(MAX_REDIRECTS):
            self.check_host(url)
            answer, body = self._answer(url, headers, start + count, what)
            if answer.is_redirect:
                url = urljoin(url, answer.headers.get("Location", ""))
                if urlsplit(url).netloc != urlsplit(self.endpoint).netloc:
                    headers.pop("authorization", None)  # storage hosts get a signed address, never the token
                continue
            skip = start if answer.status_code == 200 else 0  # a server may ignore the range
            return body[skip : skip + count]
        raise ExternalError(f"{self.endpoint} redirects {what} without end.")

    def check_host(self, url: str) -> None:
        """Raise ExternalError for an address that is neither the endpoint's nor one of its storage hosts'."""
        host = urlsplit(url).hostname or ""
        own = urlsplit(self.endpoint).hostname
        if host and host != own and not any(host == s or host.endswith(f".{s}") for s in self._hosts):
            raise ExternalError(
                f"{self.endpoint} points to {host}, which is not one of its storage hosts: not followed. If it is its "
                "own, name it in DIFFGRAPH_HUGGINGFACE_STORAGE."
            )

    def _answer(self, url: str, headers: Mapping[str, str], most: int, what: str) -> tuple[Any, bytes]:
        """A response with at most ``most`` bytes of its body; an error raises."""
        from huggingface_hub.utils import get_session, hf_raise_for_status

        kept = bytearray()
        with (
            self.errors(what),
            get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=False) as response,
        ):
            if response.is_redirect:
                return response, b""
            if response.is_error:
                response.read()
            hf_raise_for_status(response)
            for block in response.iter_bytes():
                kept += block
                if len(kept) >= most:
                    break
        return response, bytes(kept[:most])

    def failed(self, what: str, response: Any) -> Exception:
        """As `HubErrors.failed`; a hub that asks for patience is `Busy`, with how long."""
        status = response.status_code
        if status in BUSY:
            return busy(self.endpoint, status, what, _seconds(response.headers))
        if status in (401, 403):
            return super().failed(what, response)
        return ExternalError(f"{self.endpoint} answered {status} for {what}.", retry_after=_seconds(response.headers))


def _next_query(answer: Any) -> str:
    """The query of the next page; a mirror may name the Hub itself there, so its host is left aside."""
    query = urlsplit(str(answer.links.get("next", {}).get("url", ""))).query
    return query if len(query) <= 8_000 else ""


def query_of(params: Sequence[tuple[str, str]]) -> str:
    """Parameters as a query; one may stand there several times."""
    return urlencode(params)


def _seconds(headers: Any) -> float | None:
    """When to come back: the Hub's own headers of its limits, else ``Retry-After``."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limits = parse_ratelimit_headers(headers)
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    return retry_after(headers)
