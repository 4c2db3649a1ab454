"""One Chroma client for one place and process: opening, the writer's lock, and noticing what other processes wrote.

Chroma caches vector indexes per process and never looks whether another process changed the files (chroma#3792), and
two writers overwrite each other's index. So: one writer at a time, held by a file lock that is not waited for; every
write changes a stamp; whoever sees another stamp than its own reopens the client before it reads.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from ...errors import DiffGraphError, ExternalError, UserError
from ...files.atomic import write_bytes
from ...files.disk_errors import sqlite_sentence

_T = TypeVar("_T")
LOCK_SECONDS = 0.5
SERVER_SECONDS = 60.0
"""A Chroma server that says nothing for so long has failed."""


class Place:
    """A graph's place: a folder, or a Chroma server. All stores of a process that open the same place share one object.

    Use :meth:`open`, then :meth:`close` once for every ``open``.
    """

    _open: ClassVar[dict[str, Place]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder = folder
        self.url = url
        self.read_only = False
        self._users = 0
        self._lock = FileLock(folder / "writer.lock", thread_local=False)
        self._mutex = threading.RLock()
        self._copy: str | None = None
        self._stamp = ""
        self._client: Any = None
        self._collections: dict[str, Any] | None = None

    @classmethod
    def open(cls, folder: Path, url: str | None = None) -> Place:
        """Open a folder (made if absent) or, with ``url``, a server; the folder then only holds pending runs.

        Raises:
            UserError: not a folder, or not one that can be made.
            ExternalError: no Chroma server answers at ``url``.
        """
        folder = folder.expanduser().absolute()
        key = url or str(folder)
        with cls._guard:
            place = cls._open.get(key)
            if place is None:
                place = cls(folder, url)
                place._prepare()
                place._connect()
                cls._open[key] = place
            place._users += 1
        return place

    def close(self) -> None:
        """Give back one ``open``; the last one releases the lock and the client."""
        with self._guard:
            self._users -= 1
            if self._users > 0:
                return
            self._open.pop(self.url or str(self.folder), None)
        self._disconnect()
        if self._lock.is_locked:
            self._lock.release()
        if self._copy:
            shutil.rmtree(self._copy, ignore_errors=True)

    # -- reading

    def stamp(self) -> str:
        """Changes whenever anybody wrote; on a server, where all share one index, always new."""
        if self.url:
            return uuid.uuid4().hex
        try:
            return (self.folder / "stamp").read_text(encoding="ascii")
        except FileNotFoundError:
            return ""

    def collections(self) -> dict[str, Any]:
        """All collections by name, fresh."""
        with self._mutex:
            if self.stamp() != self._stamp:
                self._reopen()
            if self._client is None:
                self._connect()
            if self._collections is None:
                self._collections = {c.name: self._client.get_collection(c.name, embedding_function=None)
                                     for c in self._client.list_collections()}  # fmt: skip
            return self._collections

    def read(self, ask: Callable[[dict[str, Any]], _T]) -> _T:
        """Run ``ask`` on the collections; once more on a fresh client if a writer was just replacing files under it.

        Raises:
            ExternalError: Chroma failed twice.
        """
        with self._mutex:
            try:
                with self._translated():
                    return ask(self.collections())
            except ExternalError:
                self._reopen()
            with self._translated():
                return ask(self.collections())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What Chroma raises becomes a sentence; everything else stays what it is."""
        try:
            yield
        except Exception as error:
            if _of_chroma(error):
                raise self.damaged(error) from error
            raise

    def damaged(self, error: Exception) -> DiffGraphError:
        """What to say when Chroma itself fails."""
        why = " ".join(str(error).split())[:200] or type(error).__name__
        if self.url:
            return ExternalError(
                f"The Chroma server at {self.url} fails ({why}). What was finished is kept. Start it again "
                "(chroma run), or leave DIFFGRAPH_CHROMA_URL out to use a graph at home."
            )
        if full := sqlite_sentence(error, self.folder):
            return ExternalError(full)
        return ExternalError(
            f"The graph at {self.folder} cannot be read or written ({why}). If it stays so, move that folder away; "
            "`diffgraph scout` builds a new one, and `diffgraph calibrate --all` measures anew."
        )

    # -- writing

    def try_lock(self) -> bool:
        """Become the writer, at once or not at all. Held until the place is closed."""
        if self.url:
            return True
        if self.read_only:
            return False
        with self._mutex:
            if not self._lock.is_locked:
                try:
                    self._lock.acquire(timeout=LOCK_SECONDS, poll_interval=0.05)
                except Timeout:
                    return False
            return True

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """The client, for writing. Everybody else notices afterwards.

        Raises:
            UserError: another process is the writer, or the folder is read-only.
        """
        if self.read_only:
            raise UserError(
                f"{self.folder} is read-only, so the graph cannot change. Set DIFFGRAPH_HOME to a folder of yours."
            )
        if not self.try_lock():
            raise UserError(
                f"Another diffgraph process is writing to the graph in {self.folder}. Reading works; to write, end "
                "that process, set DIFFGRAPH_HOME to another folder, or let both use a Chroma server "
                "(DIFFGRAPH_CHROMA_URL)."
            )
        with self._mutex:
            with self._translated():
                self.collections()
            try:
                try:
                    with self._translated():
                        yield self._client
                finally:
                    self._collections = None
                    if not self.url:
                        self._stamp = uuid.uuid4().hex
                        write_bytes(self.folder / "stamp", self._stamp.encode())
            except OSError as error:
                raise UserError(f"The graph in {self.folder} cannot be written: {error.strerror or error}.") from error

    # -- the client

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be made: {error.strerror}. Set DIFFGRAPH_HOME to another folder."
            ) from error
        if not self.url and not os.access(self.folder, os.W_OK):
            # Chroma opens its database for writing even to read it: let it have a copy.
            self.read_only = True
            self._copy = tempfile.mkdtemp(prefix="diffgraph-")

    def _connect(self) -> None:
        import chromadb
        from chromadb.api.shared_system_client import SharedSystemClient
        from chromadb.config import Settings
        from chromadb.errors import ChromaError

        settings = Settings(anonymized_telemetry=False)
        folder = Path(self._copy or self.folder, "chroma")
        try:
            if self.url:
                self._client = self._http(settings)
                return
            self._stamp = self.stamp()
            if self._copy:
                shutil.rmtree(folder, ignore_errors=True)
                if (self.folder / "chroma").is_dir():
                    shutil.copytree(self.folder / "chroma", folder)
                    for path in [folder, *folder.rglob("*")]:
                        path.chmod(path.stat().st_mode | 0o200)
            self._client = chromadb.PersistentClient(folder, settings=settings)
        except (ChromaError, ValueError, OSError) as error:
            # Chroma keeps a client that could not start and would hand it out again.
            SharedSystemClient._identifier_to_system.pop(str(folder), None)
            raise self.damaged(error) from error

    def _http(self, settings: Any) -> Any:
        import chromadb
        import httpx

        wrong = UserError(f"DIFFGRAPH_CHROMA_URL must look like http://host:8000, not {self.url!r}.")
        try:
            parts = urlsplit(self.url or "")
            port = parts.port or (443 if parts.scheme == "https" else 8000)
        except ValueError as error:
            raise wrong from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise wrong
        try:
            # Chroma's own first question waits for ever.
            httpx.get(f"{parts.scheme}://{parts.hostname}:{port}/api/v2/heartbeat", timeout=SERVER_SECONDS)
            client = chromadb.HttpClient(parts.hostname, port, ssl=parts.scheme == "https", settings=settings)
        except (httpx.HTTPError, ValueError) as error:  # ValueError: what chromadb makes of a refused connection
            raise ExternalError(
                f"No Chroma server answers at {self.url}. Start one: chroma run --port {port}"
            ) from error
        for session in _sessions(client):
            session.timeout = SERVER_SECONDS  # Chroma has no setting for it, and would wait for ever
        return client

    def _disconnect(self) -> None:
        self._collections = None
        if self._client is not None:
            if self.url:
                for session in _sessions(self._client):
                    session.close()  # Chroma leaves them open
            self._client.close()
            self._client = None

    def _reopen(self) -> None:
        if self.url:
            self._collections = None
            self._stamp = self.stamp()
            return
        self._disconnect()
        self._connect()


def _sessions(client: Any) -> list[Any]:
    """The httpx clients below a Chroma client of a server."""
    return [client._server._session, client._admin_client._server._session]


def _of_chroma(error: Exception) -> bool:
    """Whether Chroma, or the way to its server, failed: nothing that code of ours raises looks like this.

    The client lets what httpx raises through, and makes a bare `Exception` of an answer that it does not understand.
    """
    import httpx
    from chromadb.errors import ChromaError

    return isinstance(error, ChromaError | httpx.HTTPError | json.JSONDecodeError) or type(error) is Exception
