"""Civitai, through its REST interface: search, look-up by hash, and downloads. Host and token are settings.

A reference is ``civitai:MODEL@VERSION:FILE``. Only this host and its storage hosts are reached; the token goes to the
host alone, as a header. The header of a file is read by a range request, so registering costs no download.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from filelock import FileLock
from pydantic import Field, SecretStr

from ....bases.architecture import family_of_words
from ....errors import AccessDenied, Busy, ExpertError, ExternalError, UserError
from ....files.hashing import file_sha256
from ....files.header import Header, header_length, is_safetensors, parse_header, read_header
from ....settings import PluginSettings, Settings
from ..expert import SourceRef
from ..said import Said
from ..words.plain import clean, count, listed, mapping
from . import FileSums, Listing, Page, RepoInfo, Search, source
from .civitai_errors import failed
from .civitai_page import (
    Document,
    check_scans,
    digest,
    file_name,
    listing_of,
    repo_file,
    said_of,
    version_of,
    weights_file,
)
from .web import Web

KINDS = ("LORA", "LoCon", "DoRA")
"""What is looked for unless something else is asked for; Civitai's own words."""
STORAGE_HOSTS = ("civitai.com", "civitai.red", "r2.cloudflarestorage.com", "backblazeb2.com")
PAGE = 20
MOST_HASHES = 100
MAX_EMPTY_PAGES = 200
MAX_FILE_BYTES = 24 * 2**30
_FIRST_BYTES = 64_000
_KEPT = 500
_URL = re.compile(
    r"https?://[^/]{1,200}/models/(\d{1,12})(?:/[^?]{0,200})?(?:\?(?:.{0,200}&)?modelVersionId=(\d{1,12}))?"
)
_NAME = re.compile(r"(\d{0,12})(?:@(\d{1,12}))?")


class CivitaiSettings(PluginSettings):
    """What a user may change about Civitai."""

    civitai_host: str = Field(default="https://civitai.com", description="base URL of Civitai or a mirror of it")
    civitai_token: SecretStr | None = Field(
        default=None, description="API key of Civitai; without one, some files cannot be had"
    )
    civitai_storage: str = Field(
        default="", description="hosts, comma separated, that a mirror of Civitai keeps files on"
    )
    civitai_nsfw: bool = Field(
        default=True, description="whether lists hold what is not safe for work too; it is registered, but off"
    )
    civitai_examples: int = Field(
        default=8, ge=0, le=100, description="pictures of each expert whose prompts and weights are read; 0: none"
    )


@source("civitai")
class Civitai:
    """Adapters on Civitai; .safetensors only.

    Args:
        host: base URL; default the setting.
        token: API key; default the setting, an empty one asks as nobody.
        cache_dir: where files are kept; default in the home.
        max_file_bytes: larger files are refused.
    """

    name = "civitai"
    searches = True

    def __init__(
        self,
        host: str | None = None,
        token: str | None = None,
        cache_dir: Path | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        said = CivitaiSettings.load()
        secret = said.civitai_token.get_secret_value() if said.civitai_token else ""
        self._token = secret.strip() if token is None else token
        hosts = [h.strip().casefold() for h in said.civitai_storage.split(",") if h.strip()]
        self._web = Web(
            host or said.civitai_host, self._token, (*STORAGE_HOSTS, *hosts), failed, "DIFFGRAPH_CIVITAI_STORAGE"
        )
        self.endpoint = self._web.host
        self._nsfw, self._pictures = said.civitai_nsfw, said.civitai_examples
        self._cache = cache_dir or Settings.load().root / "civitai"
        self._max_file_bytes = max_file_bytes
        self._models: dict[str, Document] = {}
        self._versions: dict[str, Document] = {}
        self._listed: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    @property
    def access(self) -> str:
        """Whether there is a token."""
        return "token" if self._token else ""

    # -- lists

    def list(self, query: str | None = None) -> Iterator[Listing]:
        """Models, most downloaded first, page by page."""
        for page in self.pages(Search(text=query or "")):
            yield from page.listings

    def pages(self, search: Search, cursor: str = "") -> Iterator[Page]:
        """The same as pages. Pages that come empty are passed over: Civitai filters after it has cut them."""
        bases = self._bases(search.base)
        params = [("limit", str(PAGE)), ("sort", "Most Downloaded"), ("nsfw", str(self._nsfw).lower())]
        params += [("query", search.text)] if search.text else []
        params += [("types", kind) for kind in search.kinds or KINDS]
        params += [("baseModels", base) for base in bases]
        seen = set[str]()
        for _ in range(MAX_EMPTY_PAGES):
            asked = [*params, ("cursor", cursor)] if cursor else params
            found = self._web.json("/api/v1/models", asked, what="the list of models")
            if not isinstance(mapping(found).get("items"), list):
                raise ExternalError(f"{self.endpoint} answered something else than a list of models.")
            listings = tuple(self._listings(listed(found["items"]), bases))
            seen.add(cursor)
            cursor = _cursor(mapping(found.get("metadata")))
            cursor = "" if cursor in seen else cursor
            if listings or not cursor:
                yield Page(listings=listings, cursor=cursor)
            if not cursor:
                return

    def _listings(self, rows: Sequence[object], bases: Sequence[str]) -> Iterator[Listing]:
        if len(self._models) > _KEPT:
            self._models.clear()
        for model in map(mapping, rows):
            listing = listing_of(model, bases)
            if listing is not None:
                self._models[listing.repo], self._listed[listing.repo] = model, listing.revision
                yield listing

    def _bases(self, wanted: str) -> Sequence[str]:
        """The names under which Civitai files a base, or all bases of a family; it is asked for them."""
        if not wanted:
            return ()
        try:
            known = listed(mapping(self._web.json("/api/v1/enums", what="the list of bases")).get("BaseModel"))
        except (Busy, AccessDenied):
            raise
        except (UserError, ExternalError):
            return (wanted,)
        names = [text for text in (clean(one, 60) for one in known[:1_000]) if text]
        exact = [name for name in names if name.casefold() == wanted.casefold()]
        family = family_of_words(wanted)
        found = exact or [name for name in names if family and family_of_words(name) == family]
        if not found:
            raise UserError(f"Civitai files nothing under the base {wanted!r}. It knows {', '.join(names[:40])}.")
        return tuple(found)

    # -- one model

    def info(self, repo: str) -> RepoInfo:
        """A model's newest version (of those that were last listed), or the one that ``MODEL@VERSION`` names."""
        found = _NAME.fullmatch(repo.strip()) or _URL.match(repo.strip())
        if found is None or not any(found.groups()):
            raise UserError(
                f"{repo[:80]!r} is no model of Civitai: write civitai:MODEL or civitai:MODEL@VERSION, in digits."
            )
        named, wanted = found[1] or "", found[2] or ""
        version = self._version(named, wanted or self._listed.get(named, ""))
        file = weights_file(version)
        name = re.sub(r"[^a-z0-9]+", "-", clean(mapping(version.get("model")).get("name"), 60).casefold()).strip("-")
        model = str(count(version.get("modelId")) or named)
        return RepoInfo(
            repo=model,
            revision=str(version["id"]),
            files=(repo_file(file),) if file else (),
            created=clean(version.get("publishedAt") or version.get("createdAt"), 10),
            label=f"{name[:40].strip('-') or model}-{version['id']}",
        )

    def _version(self, model: str, version: str) -> Document:
        """A version with its model inside. A model that does not show it any more is no reason that it is gone."""
        kept = self._versions.get(version) if version else None
        if kept is not None and (not model or str(kept.get("modelId")) == model):
            return kept
        what = f"civitai:{model}@{version}" if version else f"civitai:{model}"
        page: Document = self._models.get(model, {})
        found = version_of(page, version) if page else None
        if found is None and model:
            try:
                page = mapping(self._web.json(f"/api/v1/models/{model}", what=what))
                found = version_of(page, version)
            except AccessDenied:
                raise
            except UserError:
                if not version:
                    raise
        if found is None and version:
            alone = mapping(self._web.json(f"/api/v1/model-versions/{version}", what=what))
            if model and str(count(alone.get("modelId"))) not in ("0", model):
                raise UserError(f"{what}: that version is of model {count(alone.get('modelId'))}.")
            inside = {**mapping(version_of({**page, "modelVersions": [alone]}, version)).get("model", {})}
            found = {**alone, "model": inside} if count(alone.get("id")) else None
        if found is None:
            raise UserError(f"{what} has no published version at {self.endpoint}.")
        if len(self._versions) > _KEPT:
            self._versions.clear()
        self._versions[str(found["id"])] = found
        return found

    def card(self, repo: str) -> str:
        """None: what a page says comes by `said`."""
        return ""

    def said(self, info: RepoInfo) -> Said:
        """What the page says, and what pictures that were made with it tell; without these if they cannot be had."""
        version = self._version(info.repo, info.revision)
        return said_of(version, self.endpoint, self._images(version))

    def _images(self, version: Document) -> Sequence[Document]:
        shown = [mapping(one) for one in listed(version.get("images"))]
        if not self._pictures or any(mapping(one.get("meta")).get("prompt") for one in shown):
            return ()
        params = [("modelVersionId", str(version["id"])), ("limit", str(self._pictures))]
        params += [("withMeta", "true"), ("flatMeta", "true")]
        try:
            found = self._web.json("/api/v1/images", params, what="example pictures")
        except (Busy, AccessDenied):
            raise
        except (UserError, ExternalError):
            return ()
        return [mapping(one) for one in listed(mapping(found).get("items"))[: self._pictures]]

    def label(self, repo: str) -> str:
        return repo

    # -- its file

    def header(self, ref: SourceRef) -> Header:
        """Read by range requests. ExpertError for a file that did not pass Civitai's scans."""
        if (kept := self.kept(ref)) is not None:
            return read_header(kept)
        file = self._file(ref)
        check_scans(file, ref.file)
        name, path = f"civitai-{ref.revision}/{ref.file}", _download_path(ref, file)
        first = self._web.part(path, 0, _FIRST_BYTES, str(ref))
        size = first.total
        length = header_length(first.data, name, file_size=size)
        raw = first.data[8 : 8 + length]
        if len(raw) < length:
            raw += self._web.part(path, len(first.data), 8 + length - len(first.data), str(ref)).data
        return parse_header(raw, name, file_size=size)

    def sha256(self, ref: SourceRef) -> str:
        """As Civitai states it; where it states none, of the downloaded file."""
        if (kept := self.kept(ref)) is not None:
            return file_sha256(kept)
        return digest(mapping(self._file(ref).get("hashes")).get("SHA256"), 64) or file_sha256(self.fetch(ref))

    def fetch(self, ref: SourceRef) -> Path:
        """The file in the cache; if it is not there, it is downloaded, or gone on with, and verified."""
        if (kept := self.kept(ref)) is not None:
            return kept
        file = self._file(ref)
        check_scans(file, ref.file)
        path = self._place(ref)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path.parent} cannot be made ({error.strerror}). Set DIFFGRAPH_HOME.") from error
        with FileLock(f"{path}.lock"):
            if (kept := self.kept(ref)) is not None:
                return kept
            part = path.with_name(f"{path.name}.part")
            self._web.download(_download_path(ref, file), part, most=self._max_file_bytes, what=str(ref))
            found, stated = file_sha256(part), digest(mapping(file.get("hashes")).get("SHA256"), 64)
            if stated and found != stated:
                part.unlink()
                raise ExternalError(f"{ref} does not have the sha256 that Civitai states. Try again.")
            try:
                whole = part.rename(path)
                read_header(whole)
            except ExpertError:
                path.unlink()
                raise
            path.with_name(f"{path.name}.sha256").write_text(found, encoding="ascii")
        return path

    def _place(self, ref: SourceRef) -> Path:
        """Where a file is kept: names of strangers name no path."""
        if not (ref.repo.isdigit() and ref.revision.isdigit()):
            raise UserError(f"{ref} is no file of Civitai.")
        return (
            self._cache / ref.repo / ref.revision / f"{hashlib.sha256(ref.file.encode()).hexdigest()[:16]}.safetensors"
        )

    def kept(self, ref: SourceRef) -> Path | None:
        """A file that is here whole, with the sum that it had when it was verified."""
        path = self._place(ref)
        try:
            stated = path.with_name(f"{path.name}.sha256").read_text(encoding="ascii").strip()
            return path if file_sha256(path) == stated else None
        except (OSError, ValueError):
            return None

    def _file(self, ref: SourceRef) -> Document:
        if not is_safetensors(ref.file):
            raise ExpertError(f"{ref.file} is not opened: only .safetensors files are.", path=ref.file)
        version = self._version(ref.repo, ref.revision)
        for file in map(mapping, listed(version.get("files"))):
            if clean(file.get("name"), 300) and file_name(file) == ref.file:
                return file
        raise UserError(f"civitai:{ref.repo}@{ref.revision} has no file {ref.file!r}.")

    # -- by hash

    def published(self, files: Sequence[FileSums]) -> Iterator[tuple[FileSums, Said | None]]:
        """What Civitai says of files that lie elsewhere: by sha256, then by the sums of their tensors."""
        for start in range(0, len(files), MOST_HASHES):
            batch = files[start : start + MOST_HASHES]
            known = self._by_sha256([one.sha256 for one in batch])
            for one in batch:
                version = known.get(one.sha256) or self._by_tensors(one)
                yield one, self._page_of(version) if version is not None else None

    def _by_sha256(self, sums: Sequence[str]) -> Mapping[str, Document]:
        wanted = [one for one in sums if digest(one, 64)]
        if not wanted:
            return {}
        rows = self._web.json("/api/v1/model-versions/by-hash", what="files by hash", post=[s.upper() for s in wanted])
        found: dict[str, Document] = {}
        for version in map(mapping, listed(rows)):
            for file in map(mapping, listed(version.get("files"))):
                found.setdefault(digest(mapping(file.get("hashes")).get("SHA256"), 64), version)
        return {one: found[one] for one in wanted if one in found}

    def _by_tensors(self, sums: FileSums) -> Document | None:
        for one in dict.fromkeys(digest(value, 12) for value in (*sums.claimed, sums.payload)):
            try:
                found = self._web.json(f"/api/v1/model-versions/by-hash/{one}", what=f"the file {one}") if one else None
            except AccessDenied:
                raise
            except UserError:
                continue
            if count(mapping(found).get("id")):
                return mapping(found)
        return None

    def _page_of(self, version: Document) -> Said:
        """A version by hash lacks its model's licence and tags: that is a second question, which may fail."""
        model, identity = str(count(version.get("modelId")) or ""), str(version["id"])
        try:
            whole = self._version(model, identity)
        except (AccessDenied, Busy):
            raise
        except (UserError, ExternalError):
            whole = {**version, "model": mapping(version.get("model"))}
        return said_of({**version, **whole}, self.endpoint, self._images(version))


def _cursor(metadata: Mapping[str, Any]) -> str:
    value = metadata.get("nextCursor")
    return str(value)[:2_000] if isinstance(value, str | int) and value not in ("", 0) else ""


def _download_path(ref: SourceRef, file: Document) -> str:
    """Where a file is to be had on this host, whichever host the document names; never with a token in it."""
    named = urlsplit(clean(file.get("downloadUrl"), 600))
    path = named.path if re.fullmatch(r"/api/download/models/\d{1,12}", named.path) else ""
    kept = [(k, v) for k, v in parse_qsl(named.query) if k.casefold() != "token"] if path else []
    if not path:
        about = mapping(file.get("metadata"))
        wanted = {
            "type": file.get("type"),
            "format": about.get("format"),
            "size": about.get("size"),
            "fp": about.get("fp"),
        }
        kept = [(name, text) for name, value in wanted.items() if (text := clean(value))]
    return (path or f"/api/download/models/{quote(ref.revision)}") + (f"?{urlencode(kept)}" if kept else "")
