"""One host on the web, asked with care: bounded answers, redirects only to hosts that are its own, a token that never
leaves it, downloads that go on where they broke off.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import httpx

from ....errors import ExternalError, Unreachable, UserError
from .answers import MAX_JSON_BYTES, document

TIMEOUT = 20.0
"""Seconds without a byte."""
DEADLINE = 120.0
"""Seconds for one whole answer, downloads apart: a byte now and then is no answer."""
MAX_REDIRECTS = 6
RESUMES = 8


class Failure(NamedTuple):
    """An answer that is an error: from which host, whether a token was sent, and what was asked for."""

    host: str
    with_token: bool
    status: int
    headers: Mapping[str, str]
    body: bytes
    what: str


Failed = Callable[[Failure], Exception]
"""Makes an error of ours from an answer."""
_ERROR_BYTES = 20_000


class Part(NamedTuple):
    """Bytes of a remote file, and the length of the whole of it if that is told."""

    data: bytes
    total: int | None


class Web:
    """A host.

    Args:
        host: its base URL.
        token: sent as a Bearer header to this host alone; empty for none.
        storage: further hosts that it may redirect to, their sub-domains included.
        failed: what an error status means.
        setting: names the variable for more of these hosts, for a message.
    """

    def __init__(self, host: str, token: str, storage: Sequence[str], failed: Failed, setting: str) -> None:
        self.host = host.rstrip("/")
        if urlsplit(self.host).scheme not in ("http", "https") or not urlsplit(self.host).hostname:
            raise UserError(f"{host[:200]!r} is no address of a host: write https://…")
        self._token, self._storage, self._failed, self._setting = token, tuple(storage), failed, setting
        self._client = httpx.Client(
            timeout=TIMEOUT, follow_redirects=False, headers={"User-Agent": "diffgraph", "Accept": "*/*"}
        )
        weakref.finalize(self, self._client.close)

    def json(self, path: str, params: Sequence[tuple[str, str]] = (), *, what: str, post: object | None = None) -> Any:
        """A document of the API.

        Raises:
            UserError, ExternalError: as ``failed`` says of its status; Unreachable: no answer; any other answer.
        """
        body = bytearray()
        url = f"{self.host}{path}" + (f"?{httpx.QueryParams(list(params))}" if params else "")
        with self._answer(url, {}, what, post=post) as answer:
            for block in _blocks(answer, self.host, what, DEADLINE):
                body += block
                if len(body) > MAX_JSON_BYTES:
                    raise ExternalError(f"{self.host} answered more than {MAX_JSON_BYTES} bytes for {what}.")
        return document(bytes(body), self.host, what)

    def part(self, path: str, start: int, count: int, what: str) -> Part:
        """``count`` bytes of a file from ``start``; never more, whatever is sent. Raises as `json`."""
        headers = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        kept = bytearray()
        with self._answer(f"{self.host}{path}", headers, what) as answer:
            skip = start if answer.status_code == 200 else 0  # a server may ignore the range
            for block in _blocks(answer, self.host, what, DEADLINE):
                kept += block
                if len(kept) >= skip + count:
                    break
            total = _total(answer, 0 if answer.status_code == 200 else start)
        return Part(bytes(kept[skip : skip + count]), total)

    def download(self, path: str, into: Path, *, most: int, what: str) -> None:
        """A whole file into ``into``, gone on with from what is there already.

        Raises:
            UserError: longer than ``most`` bytes, or the disk does not take it.
            Unreachable: it broke off; what came is kept.
            UserError, ExternalError: as `json`.
        """
        for _ in range(RESUMES):
            before = into.stat().st_size if into.exists() else 0
            try:
                if self._more(path, into, before, most, what):
                    return
            except Unreachable:
                if not into.exists() or into.stat().st_size <= before:
                    raise
        raise Unreachable(f"{what} keeps breaking off. What came is kept: try again to go on.")

    def _more(self, path: str, into: Path, have: int, most: int, what: str) -> bool:
        """One request; True once the file is whole."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self._answer(f"{self.host}{path}", headers, what, also=(416,)) as answer:
            if answer.status_code == 416 or (answer.status_code == 206 and _start(answer) != have):
                into.unlink(missing_ok=True)
                return False
            have = have if answer.status_code == 206 else 0
            total = _total(answer, have)
            if (total or 0) > most:
                raise UserError(f"{what} is {(total or 0) / 2**30:.1f} GiB, more than the {most / 2**30:.1f} allowed.")
            try:
                with into.open("ab" if have else "wb") as file:
                    for block in _blocks(answer, self.host, what, None):
                        have += len(block)
                        if have > (total or most):
                            raise ExternalError(f"{what} is longer than {self.host} announced.")
                        file.write(block)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise UserError(f"cannot write {into}: {error.strerror or error}") from error
        return total is None or have == total

    @contextmanager
    def _answer(
        self, url: str, headers: dict[str, str], what: str, *, post: object | None = None, also: Sequence[int] = ()
    ) -> Iterator[httpx.Response]:
        """A response without error, redirects followed; its body is not read yet."""
        method = "GET" if post is None else "POST"
        try:
            for _ in range(MAX_REDIRECTS):
                self._check(url, what)
                sent = headers | self._authorization(url)
                with self._client.stream(method, url, headers=sent, json=post) as answer:
                    if answer.has_redirect_location:
                        url = urljoin(url, answer.headers["Location"])
                        if urlsplit(url).path.rstrip("/") == "/login":
                            raise self._failed(self._failure(answer, 401, b"", what))
                        continue
                    if answer.is_error and answer.status_code not in also:
                        body = bytearray()
                        for block in _blocks(answer, self.host, what, DEADLINE):
                            body += block
                            if len(body) >= _ERROR_BYTES:
                                break
                        raise self._failed(self._failure(answer, answer.status_code, bytes(body), what))
                    yield answer
                    return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(
                f"{self.host} cannot be reached for {what} ({type(error).__name__}). Is there a network?"
            ) from error
        raise ExternalError(f"{self.host} redirects {what} without end.")

    def _failure(self, answer: httpx.Response, status: int, body: bytes, what: str) -> Failure:
        return Failure(self.host, bool(self._token), status, answer.headers, body, what)

    def _authorization(self, url: str) -> dict[str, str]:
        same = urlsplit(url)[:2] == urlsplit(self.host)[:2]
        return {"Authorization": f"Bearer {self._token}"} if same and self._token else {}

    def _check(self, url: str, what: str) -> None:
        """Raise ExternalError for an address that is neither the host's nor one of its storage hosts'."""
        to, own = urlsplit(url), urlsplit(self.host)
        name = to.hostname or ""
        if name != own.hostname and not any(name == s or name.endswith(f".{s}") for s in self._storage):
            raise ExternalError(
                f"{self.host} points to {name[:100]} for {what}, which is not one of its storage hosts: not followed. "
                f"If it is its own, name it in {self._setting}."
            )
        if to.scheme != "https" and own.scheme == "https":
            raise ExternalError(f"{self.host} points to an address without encryption for {what}: not followed.")


def _blocks(answer: httpx.Response, host: str, what: str, seconds: float | None) -> Iterator[bytes]:
    end = None if seconds is None else time.monotonic() + seconds
    for block in answer.iter_bytes():
        if end is not None and time.monotonic() > end:
            raise Unreachable(f"{host} took more than {seconds:.0f} s to answer for {what}.")
        yield block


def _start(answer: httpx.Response) -> int | None:
    first = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None


def _total(answer: httpx.Response, start: int) -> int | None:
    """The length of the whole file: what its range says, else what is sent from ``start`` on."""
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if whole.isdigit():
        return int(whole)
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() and answer.status_code == 200 else None
