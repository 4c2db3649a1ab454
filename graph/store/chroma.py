"""One Chroma client for one database and process: opening, the writer's lock, and noticing what other processes wrote.

Chroma caches vector indexes per process and never looks whether another process changed the files (chroma#3792), and
two writers overwrite each other's index. So: one writer at a time, held by a file lock that is not waited for; every
write changes a stamp; whoever sees another stamp than its own reopens the client before it reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from ...errors import DiffGraphError, ExternalError, UserError
from ...files.atomic import write_bytes
from ...files.disk_errors import sqlite_sentence
from ...settings import user_path
from .pages import Row, keyed, paged

_T = TypeVar("_T")
LOCK_SECONDS = 0.5
SERVER_SECONDS = 60.0
"""A Chroma server that says nothing for so long has failed."""


class Database:
    """A folder, or a Chroma server. All stores of a process that open the same one share one object.

    Use :meth:`open`, then :meth:`close` once for every ``open``.
    """

    _open: ClassVar[dict[str, Database]] = {}
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
    def open(cls, folder: Path, url: str | None = None) -> Database:
        """Open a folder (made if absent) or, with ``url``, a server; the folder then only holds pending runs.

        Raises:
            UserError: not a folder, or not one that can be made.
            ExternalError: no Chroma server answers at ``url``.
        """
        folder = user_path(folder)
        key = url or str(folder)
        with cls._guard:
            database = cls._open.get(key)
            if database is None:
                database = cls(folder, url)
                database._prepare()
                database._connect()
                cls._open[key] = database
            database._users += 1
        return database

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

    def rows(
        self, name: str, *, whole_name: bool = True, where: dict[str, Any] | None = None, vectors: bool = False
    ) -> list[Row]:
        """All rows of a collection, none if there is no such collection, read in pages.

        Args:
            name: of the collection; unless ``whole_name``, of all that begin so.
            where: Chroma's filter on the rows' metadata.
            vectors: whether the rows bring theirs.
        """

        def ask(collections: dict[str, Any]) -> list[Row]:
            mine = [c for n, c in collections.items() if (n == name if whole_name else n.startswith(name))]
            return [row for collection in mine for row in paged(collection, where, vectors)]

        for _ in range(3):  # a writer between two pages would shift them
            before = self.stamp()
            found = self.read(ask)
            if self.url or self.stamp() == before:
                break
        return found

    def documents(self, name: str, key: str) -> list[str]:
        """The documents of the row ``key`` in the collections whose names begin with ``name``."""

        def ask(collections: dict[str, Any]) -> list[str]:
            mine = [c for n, c in collections.items() if n.startswith(name)]
            return [d for c in mine for d in c.get(ids=[key], include=["documents"])["documents"]]

        return self.read(ask)

    def by_id(self, name: str, ids: Iterable[str], *, vectors: bool = False) -> list[Row]:
        """The rows with these keys in the collections whose names begin with ``name``; unknown keys are left out."""
        asked = list(dict.fromkeys(ids))

        def ask(collections: dict[str, Any]) -> list[Row]:
            mine = [c for n, c in collections.items() if n.startswith(name)]
            return [row for c in mine for row in keyed(c, asked, vectors)]

        return self.read(ask) if asked else []

    def home_for(self, name: str) -> Path:
        """Where a file lies that goes with this database; of a graph that may only be read, beside the copy of it."""
        if self.url:
            name = f"{hashlib.sha256(self.url.encode()).hexdigest()[:10]}-{name}"
        if self._copy is None:
            return self.folder / name
        for path in self.folder.glob(f"{name}*"):
            shutil.copy(path, self._copy)
        return Path(self._copy, name)

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
        """Become the writer, at once or not at all. Held until the database is closed."""
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

    def upsert(self, name: str, rows: Sequence[Row], metadata: dict[str, Any]) -> None:
        """Add or replace rows, in batches; the collection is made if need be, searched by inner product."""
        from chromadb.utils.batch_utils import create_batches

        with self.writing() as client:
            collection = client.get_or_create_collection(
                name, embedding_function=None, metadata=metadata, configuration={"hnsw": {"space": "ip"}}
            )
            columns = (
                [r.key for r in rows],
                [r.vector for r in rows],
                [r.meta for r in rows],
                [r.document for r in rows],
            )
            for batch in create_batches(client, *columns):
                collection.upsert(ids=batch[0], embeddings=batch[1], metadatas=batch[2], documents=batch[3])

    def delete(self, name: str, *, ids: list[str] | None = None, where: dict[str, Any] | None = None) -> None:
        """Remove rows by id or filter; a collection that is not there is left so."""
        with self.writing():
            found = self.collections().get(name)
            if found is not None:
                found.delete(ids=ids, where=where)

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
