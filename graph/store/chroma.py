"""One Chroma client for one place and process: opening, the writer's lock, and noticing what other processes wrote.

Chroma caches vector indexes per process and never looks whether another process changed the files (chroma#3792), and
two writers overwrite each other's index. So: one writer at a time, held by a file lock that is not waited for; every
write changes a stamp; whoever sees another stamp than its own reopens the client before it reads.
"""

from __future__ import annotations

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

from ...errors import ExternalError, UserError

_T = TypeVar("_T")
LOCK_SECONDS = 0.5


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
            if self._collections is None:
                self._collections = {c.name: self._client.get_collection(c.name, embedding_function=None)
                                     for c in self._client.list_collections()}  # fmt: skip
            return self._collections

    def read(self, ask: Callable[[dict[str, Any]], _T]) -> _T:
        """Run ``ask`` on the collections; once more on a fresh client if a writer was just replacing files under it."""
        from chromadb.errors import ChromaError

        with self._mutex:
            try:
                return ask(self.collections())
            except ChromaError:
                self._reopen()
            try:
                return ask(self.collections())
            except ChromaError as error:
                raise self.damaged(error) from error

    def damaged(self, error: Exception) -> ExternalError:
        """What to say when Chroma itself fails."""
        where = self.url or str(self.folder)
        return ExternalError(
            f"The graph at {where} cannot be read or written ({str(error)[:200]}). If it stays so, move that folder "
            "away; `diffgraph scout` builds a new one."
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
        from chromadb.errors import ChromaError

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
            self.collections()
            try:
                yield self._client
            except ChromaError as error:
                raise self.damaged(error) from error
            except OSError as error:
                raise UserError(f"The graph in {self.folder} cannot be written: {error.strerror or error}.") from error
            finally:
                self._collections = None
                if not self.url:
                    self._stamp = uuid.uuid4().hex
                    _write_whole(self.folder / "stamp", self._stamp)

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
        from chromadb.config import Settings
        from chromadb.errors import ChromaError

        settings = Settings(anonymized_telemetry=False)
        try:
            if self.url:
                self._client = self._http(settings)
                return
            self._stamp = self.stamp()
            folder = self.folder / "chroma"
            if self._copy:
                folder = Path(self._copy, "chroma")
                shutil.rmtree(folder, ignore_errors=True)
                if (self.folder / "chroma").is_dir():
                    shutil.copytree(self.folder / "chroma", folder)
                    for path in [folder, *folder.rglob("*")]:
                        path.chmod(path.stat().st_mode | 0o200)
            self._client = chromadb.PersistentClient(folder, settings=settings)
        except (ChromaError, ValueError, OSError) as error:
            raise self.damaged(error) from error

    def _http(self, settings: Any) -> Any:
        import chromadb

        parts = urlsplit(self.url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"DIFFGRAPH_CHROMA_URL must look like http://host:8000, not {self.url!r}.")
        port = parts.port or (443 if parts.scheme == "https" else 8000)
        try:
            return chromadb.HttpClient(parts.hostname, port, ssl=parts.scheme == "https", settings=settings)
        except ValueError as error:  # what chromadb makes of a refused connection
            raise ExternalError(
                f"No Chroma server answers at {self.url}. Start one: chroma run --port {port}"
            ) from error

    def _disconnect(self) -> None:
        self._collections = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def _reopen(self) -> None:
        if self.url:
            self._collections = None
            self._stamp = self.stamp()
            return
        self._disconnect()
        self._connect()


def _write_whole(path: Path, text: str) -> None:
    """Temp file, then rename: readers see the old or the new text, never half of one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
