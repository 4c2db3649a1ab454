"""A folder as people have it: loose files and repositories in any mix, sidecars, pictures, and what is neither.

Names and times only: nothing is opened but the first bytes of a card. Links are followed for as long as they stay in
the folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ....files.header import is_safetensors
from ..sidecars import names_of, previews_of

MAX_ENTRIES = 400_000
"""Files and folders that one look takes in; what lies beyond is told and left for another look."""
MAX_DEPTH = 32
CARD = "readme.md"
_LAYOUT = ("unet", "transformer")
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_PARTIAL = (".part", ".tmp", ".crdownload", ".aria2", ".download")


@dataclass(frozen=True)
class Place:
    """A loose weight file, or a repository.

    Attributes:
        path: the file, or the repository's folder.
        stamp: changes whenever the file, a sidecar, or a file of the repository does.
        sidecars: what lies beside a loose file, each with its kind.
        preview: name of its picture, or empty.
        repository: whether it is a folder with a card or of diffusers' layout.
    """

    path: Path
    stamp: str
    sidecars: tuple[tuple[Path, str], ...] = ()
    preview: str = ""
    repository: bool = False

    @property
    def has_words(self) -> bool:
        """Whether somebody says something of it."""
        return self.repository or bool(self.sidecars)


@dataclass(frozen=True)
class Odd:
    """What is no expert for a reason that its name or kind shows."""

    path: Path
    stamp: str
    why: str


@dataclass
class Tree:
    """What a folder holds; ``cut``: there was more than one look takes in; ``part``: only some of it was wanted."""

    places: list[Place] = field(default_factory=list)
    odd: list[Odd] = field(default_factory=list)
    cut: bool = False
    part: bool = False

    @property
    def stamp(self) -> str:
        """Changes whenever anything in it does."""
        digest = hashlib.sha256()
        for path, stamp in [*((p.path, p.stamp) for p in self.places), *((o.path, o.stamp) for o in self.odd)]:
            digest.update(f"{path}\0{stamp}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def look(root: Path) -> Tree:
    """Everything below ``root``, in order of names."""
    walk = _Walk(root)
    walk.folder(root, 0)
    walk.tree.places.sort(key=lambda place: (place.path.is_symlink(), not place.has_words, place.path.as_posix()))
    return walk.tree


def inside(path: Path, root: Path) -> bool:
    """Whether a path, links followed, lies in a folder."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


class _Walk:
    """One look: what was found so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Tree()
        self._entries = 0

    def folder(self, folder: Path, depth: int) -> None:
        """Take in a folder and what is below."""
        listing = self._listing(folder)
        if listing is None:
            return
        files, folders = listing
        if depth > MAX_DEPTH:
            self._odd(folder, "lies too deep: folders in folders in folders")
        elif self._is_repository(folder, files, folders):
            self._repository(folder, files, folders, depth)
        else:
            self._loose(files)
            for path in folders.values():
                self.folder(path, depth + 1)

    def _listing(self, folder: Path) -> tuple[dict[str, Path], dict[str, Path]] | None:
        """Names in lower case -> files and folders, in order; what can be neither is told."""
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._odd(folder, f"cannot be looked into: {error.strerror or error}")
            return None
        files: dict[str, Path] = {}
        folders: dict[str, Path] = {}
        for entry in found:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                self.tree.cut = True
                break
            path = Path(entry.path)
            if entry.is_symlink() and not self._stays(path):
                continue
            if entry.is_dir():
                if is_safetensors(path):
                    self._odd(path, "is a folder that is called like a file")
                if not entry.is_symlink():  # what a link in the folder leads to is found where it lies
                    folders[entry.name.casefold()] = path
            elif not _is_text(entry.name):
                if is_safetensors(path):
                    self._odd(path, "has a name that is not UTF-8: rename it")
            elif entry.is_file():
                files[entry.name.casefold() if entry.name.casefold() not in files else entry.name] = path
        return files, folders

    def _stays(self, path: Path) -> bool:
        """Whether a link leads to something in the folder; it is told if what it leads to could be an expert."""
        there = path.exists()
        if there and inside(path, self.root):
            return True
        if is_safetensors(path) or path.is_dir() or path.name.casefold() == CARD:
            why = "is a link that leads out of the folder: scout what it leads to" if there else "is a link to nothing"
            self._odd(path, why)
        return False

    def _is_repository(self, folder: Path, files: dict[str, Path], folders: dict[str, Path]) -> bool:
        if "model_index.json" in files or any(
            name in folders and any(is_safetensors(p) for p in _files_of(folders[name])) for name in _LAYOUT
        ):
            return True
        card = files.get(CARD)
        if card is None:
            return False
        own = [path for path in files.values() if is_safetensors(path)]
        if len(own) == 1:
            return True
        # A note beside many files is no card of theirs; a card says of itself that it is one.
        return _has_front_matter(card) and (bool(own) or any(map(is_safetensors, below(folder, self.root))))

    def _repository(self, folder: Path, files: dict[str, Path], folders: dict[str, Path], depth: int) -> None:
        digest = hashlib.sha256()
        weights = 0
        nested = [path for path in folders.values() if is_nested(path)]
        parts = [path for path in folders.values() if path not in nested]
        for path in [*files.values(), *(p for part in parts for p in below(part, self.root))]:
            digest.update(f"{path.relative_to(folder).as_posix()}\0{_stamp(path)}\n".encode("utf-8", "replace"))
            weights += is_safetensors(path)
            self._entries += 1
        stamp = digest.hexdigest()[:32]
        if weights:
            self.tree.places.append(Place(folder, stamp, repository=True))
        elif pickles := [p for p in files.values() if p.suffix.lower() in _PICKLES]:
            self._pickle(pickles[0])
        for path in nested:
            self.folder(path, depth + 1)

    def _loose(self, files: dict[str, Path]) -> None:
        for path in files.values():
            if is_safetensors(path):
                beside = [(files[name], kind) for name, kind in names_of(path.name).items() if name in files]
                preview = next((files[name].name for name in previews_of(path.name) if name in files), "")
                stamp = ";".join(_stamp(one) for one in (path, *(side for side, _ in beside)))
                self.tree.places.append(Place(path, stamp, tuple(beside), preview))
            elif path.suffix.lower() in _PICKLES:
                self._pickle(path)
            elif path.suffix.lower() in _PARTIAL and is_safetensors(path.with_suffix("")):
                self._odd(path, "is a download that has not ended")

    def _pickle(self, path: Path) -> None:
        why = "is a pickle, which can run code when it is opened: ask its author for a .safetensors file"
        self._odd(path, why)

    def _odd(self, path: Path, why: str) -> None:
        self.tree.odd.append(Odd(path, _stamp(path), why))


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return "gone"
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _files_of(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def below(folder: Path, bounds: Path) -> Iterator[Path]:
    """The files of a repository: all below its folder but hidden ones, links that lead out of ``bounds``, and what is a
    repository of its own.
    """
    for parent, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not is_nested(Path(parent, f)))
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or not _is_text(name) or not path.is_file():
                continue
            if not path.is_symlink() or inside(path, bounds):
                yield path


def is_nested(folder: Path) -> bool:
    """Whether a folder below a repository is one itself: it has a card."""
    return (folder / "README.md").is_file() and not folder.is_symlink()


def _has_front_matter(card: Path) -> bool:
    try:
        with card.open("rb") as handle:
            return handle.read(7).removeprefix(b"\xef\xbb\xbf").startswith(b"---")
    except OSError:
        return False
