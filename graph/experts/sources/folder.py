"""Experts in folders on this machine: sub-folders that are repositories (a card and weights), and loose files."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from ....errors import ExpertError, UserError
from ....files.hashing import file_sha256
from ....files.header import Header, is_safetensors, read_header
from ....settings import user_path
from ..card import MAX_CARD_BYTES
from ..expert import SourceRef
from . import Listing, RepoFile, RepoInfo, source
from .tree import Tree, below, inside, look

MAX_FILES = 10_000
"""Files of one repository that are listed."""


class LocalRepos:
    """Repositories as folders below ``root``; shared by the folder and the world source. Revision = start of a file's
    sha256.
    """

    name = "local"
    searches = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, repo: str) -> Path:
        """A repository's folder. UserError if there is none, or if the name leaves the root."""
        path = self.root / repo
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]*", repo) or not path.is_dir():
            known = ", ".join(listing.repo for listing in list(self.list())[:8]) or "none"
            raise UserError(f"There is no repository {repo!r} in {self.root}. Known: {known}.")
        return path

    def list(self, query: str | None = None) -> Iterator[Listing]:
        """Sub-folders that hold any file, sorted by name; ``query`` is looked for in the name."""
        if not self.root.is_dir():
            raise UserError(f"{self.root} is not a folder.")
        for path in sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith(".")):
            if not query or query.casefold() in path.name.casefold():
                yield Listing(repo=self._repo_name(path))

    def _repo_name(self, path: Path) -> str:
        return path.name

    def info(self, repo: str) -> RepoInfo:
        folder = self.folder(repo)
        files: list[RepoFile] = []
        digest = hashlib.sha256()
        for path in sorted(itertools.islice(below(folder, self._bounds(folder)), MAX_FILES)):
            relative = path.relative_to(folder).as_posix()
            sha = file_sha256(path) if is_safetensors(path) else None
            files.append(RepoFile(path=relative, size=path.stat().st_size, sha256=sha))
            digest.update(f"{relative}\0{sha or ''}\n".encode())
        return RepoInfo(repo=repo, revision=digest.hexdigest()[:12], files=tuple(files))

    def card(self, repo: str) -> str:
        """The card's text; empty if there is none, or if it is a link that leads out of the folder."""
        folder = self.folder(repo)
        path = folder / "README.md"
        if not path.is_file() or not inside(path, self._bounds(folder)):
            return ""
        with path.open("rb") as handle:
            raw = handle.read(MAX_CARD_BYTES + 1)
        if len(raw) > MAX_CARD_BYTES:
            raise ExpertError(f"The card of {repo} is larger than {MAX_CARD_BYTES} bytes and is not read.", path=repo)
        return raw.decode("utf-8", "replace")

    def header(self, ref: SourceRef) -> Header:
        return read_header(self._file(ref))

    def sha256(self, ref: SourceRef) -> str:
        return file_sha256(self._file(ref))

    def fetch(self, ref: SourceRef) -> Path:
        """The file where it lies, its header verified. Its hash is for whoever knows it to compare."""
        path = self._file(ref)
        read_header(path)
        return path

    def kept(self, ref: SourceRef) -> Path | None:
        """As `fetch`: all of its files are here."""
        return self.fetch(ref)

    def label(self, repo: str) -> str:
        return repo

    def _bounds(self, folder: Path) -> Path:
        """The folder that links may not lead out of."""
        return self.root

    def _file(self, ref: SourceRef) -> Path:
        folder = self.folder(ref.repo)
        parts = PurePosixPath(ref.file).parts
        path = folder.joinpath(*parts)
        if not parts or ".." in parts or PurePosixPath(ref.file).is_absolute():
            raise UserError(f"{ref.file!r} is not a file name within a repository.")
        if not is_safetensors(path):
            raise ExpertError(f"{ref.file} is not opened: only .safetensors files are.", path=ref.file)
        if not path.is_file():
            raise UserError(f"{ref} is no longer there ({path}).")
        if not inside(path, self._bounds(folder)):
            raise ExpertError(f"{ref.file} is a link that leads out of {folder}: it is not followed.", path=ref.file)
        return path


@source("folder")
class Folder(LocalRepos):
    """Any folder of yours. A repository's name is its absolute path, so that a reference stays good everywhere.

    A loose file belongs to the folder that was looked through; its name in a reference is its path below that.

    Args:
        root: the folder; or one file, and then nothing else in its folder is looked at.
    """

    name = "folder"

    def __init__(self, root: Path | str | None = None) -> None:
        given = user_path(root).resolve() if root is not None else Path("/")
        self._only = given if given.is_file() else None
        super().__init__(given.parent if self._only else given)

    def tree(self) -> Tree:
        """What the folder holds. UserError if it is none."""
        if not self.root.is_dir():
            raise UserError(f"{self.root} is not a folder.")
        whole = look(self.root)
        if self._only is None:
            return whole
        places = [place for place in whole.places if self._only.is_relative_to(place.path)]
        return Tree(places, [odd for odd in whole.odd if odd.path == self._only], part=True)

    def loose(self, path: Path, sha256: str) -> SourceRef:
        """The reference of a loose file below the root."""
        relative = path.relative_to(self.root).as_posix()
        return SourceRef(source=self.name, repo=self.repo_name(self.root), revision=sha256[:12], file=relative)

    def folder(self, repo: str) -> Path:
        path = Path(unquote(repo))
        path = path if path.is_absolute() else self.root / path
        if not path.is_dir():
            raise UserError(f"{path} is not a folder of an expert.")
        return path.resolve()

    def repo_name(self, path: Path) -> str:
        """What a folder is called in references."""
        return quote(path.resolve().as_posix(), safe="/")

    def _repo_name(self, path: Path) -> str:
        return self.repo_name(path)

    def _bounds(self, folder: Path) -> Path:
        cache = next((parent for parent in folder.parents if parent.name.startswith("models--")), None)
        if cache is not None and folder.parent.name == "snapshots":
            return cache  # the Hub's client keeps files there once, and links to them from each revision
        return folder if self.root == Path("/") or not folder.is_relative_to(self.root) else self.root

    def info(self, repo: str) -> RepoInfo:
        return super().info(self._repo_name(self.folder(repo)))

    def label(self, repo: str) -> str:
        path = self.folder(repo)
        return f"{path.name}-{hashlib.sha256(path.as_posix().encode()).hexdigest()[:6]}"
