"""The Hugging Face Hub, through its own client. ``HF_ENDPOINT`` and ``HF_TOKEN`` are honoured, as everywhere.

Only this endpoint and its storage hosts are reached. Sizes are bounded before anything is downloaded; length, hash and
header are verified before a path is handed out, so an error page never passes for weights. A pinned file that is in the
Hub client's cache is taken from there and nobody is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import Field

from ....bases.architecture import UNKNOWN, family_of_model_id, family_of_words
from ....bases.hub_errors import TIMEOUT
from ....errors import ExpertError, ExternalError, UserError
from ....files.hashing import file_sha256
from ....files.header import Header, header_length, is_safetensors, parse_header, read_header
from ....settings import PluginSettings
from ..card import MAX_CARD_BYTES, clean
from ..expert import SourceRef
from ..words.plain import count, listed, mapping
from . import Listing, Page, RepoFile, RepoInfo, Search, source
from .hub_requests import HubRequests, query_of

MAX_FILE_BYTES = 24 * 2**30
PAGE = 100
"""Repositories that the Hub lists at once, at most."""
MAX_FILES = 10_000
_FIRST_BYTES = 100_000  # enough for most headers, so that one request does
_ASKED_OF_EACH = ("createdAt", "downloads", "lastModified", "library_name", "pipeline_tag", "sha", "tags")
_PICTURES = frozenset(("text-to-image", "image-to-image", "unconditional-image-generation"))
_PICTURE_TAGS = _PICTURES | {"diffusers", "stable-diffusion", "stable-diffusion-xl", "flux", "lora-diffusers"}
_OTHER_TAGS = ("text-to-video", "image-to-video", "text-generation", "text-to-speech", "text-to-audio")
_OF_WORDS = frozenset(
    ("peft", "transformers", "unsloth", "mlx", "sentence-transformers", "adapter-transformers", "trl")
)
"""Libraries whose adapters are for language models, unless something says otherwise."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HuggingFaceSettings(PluginSettings):
    """What a user may change about the Hub."""

    huggingface_endpoint: str | None = Field(
        default=None,
        description="base URL of the Hub or a mirror of it; none: HF_ENDPOINT, else https://huggingface.co",
    )
    huggingface_storage: str = Field(
        default="", description="hosts, comma separated, that a mirror of the Hub keeps its files on"
    )
    huggingface_pipeline: str = Field(
        default="text-to-image",
        description="the pipeline tag that the Hub is asked for; any: whatever it lists as LoRA",
    )


@source("huggingface")
class HuggingFace:
    """Adapters and fine-tunes on the Hub; .safetensors only.

    Args:
        endpoint: base URL of the Hub; default the setting, ``HF_ENDPOINT`` or https://huggingface.co.
        cache_dir: where files are kept; default the Hub client's own cache.
        token: access token; default is the one the Hub client finds, an empty one asks as nobody.
        max_file_bytes: larger files are refused before they are downloaded.
    """

    name = "huggingface"
    searches = True

    def __init__(
        self,
        endpoint: str | None = None,
        cache_dir: Path | None = None,
        token: str | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        said = HuggingFaceSettings.load()
        endpoint = endpoint or said.huggingface_endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self.endpoint = endpoint.rstrip("/")
        hosts = tuple(h.strip().casefold() for h in said.huggingface_storage.split(",") if h.strip())
        self._hub = HubRequests(self.endpoint, False if token == "" else token, hosts)
        self._pipeline = "" if said.huggingface_pipeline == "any" else said.huggingface_pipeline
        self._cache_dir = cache_dir
        self._max_file_bytes = max_file_bytes
        self._infos: dict[tuple[str, str | None], RepoInfo] = {}

    @property
    def access(self) -> str:
        """Whether there is a token."""
        return "token" if self._hub.has_token else ""

    def list(self, query: str | None = None) -> Iterator[Listing]:
        """Repositories tagged ``lora``, most downloaded first, page by page."""
        for page in self.pages(Search(text=query or "")):
            yield from page.listings

    def pages(self, search: Search, cursor: str = "") -> Iterator[Page]:
        """The same as pages. A cursor is the query of a page, as the page before it names it."""
        query = cursor or query_of(self._asked(search))
        while query:
            found, following = self._hub.json("/api/models", query, "the list of models")
            if not isinstance(found, list):
                raise ExternalError(f"{self.endpoint} answered something else than a list of models.")
            listings = (_listing(mapping(row), search) for row in found)
            yield Page(listings=tuple(one for one in listings if one is not None), cursor=following)
            query = following if following != query else ""

    def _asked(self, search: Search) -> Sequence[tuple[str, str]]:
        params = [("filter", tag) for tag in search.kinds or ("lora",)]
        if "/" in search.base:
            params.append(("filter", f"base_model:{search.base}"))
        if self._pipeline:
            params.append(("pipeline_tag", self._pipeline))
        if search.text:
            params.append(("search", search.text))
        params += [("sort", "downloads"), ("limit", str(PAGE))]
        return params + [("expand", name) for name in _ASKED_OF_EACH]

    def info(self, repo: str) -> RepoInfo:
        return self._info(repo, None)

    def _info(self, repo: str, revision: str | None) -> RepoInfo:
        from huggingface_hub.utils import validate_repo_id

        if (repo, revision) not in self._infos:
            with self._hub.errors(repo):
                validate_repo_id(repo)
            at = f"/revision/{quote(revision, safe='')}" if revision else ""
            found, _ = self._hub.json(f"/api/models/{repo}{at}", "blobs=true", repo)
            info = self._read_info(mapping(found), repo)
            for key in ((repo, revision), (repo, info.revision), (info.repo, revision), (info.repo, info.revision)):
                self._infos[key] = info
        return self._infos[repo, revision]

    def _read_info(self, found: Mapping[str, Any], repo: str) -> RepoInfo:
        """A repository from its document; one that was renamed is called by the name that it has there."""
        revision = clean(found.get("sha"), 64)
        if not revision:
            raise ExternalError(f"{self.endpoint} names no revision of {repo}.")
        files = []
        for row in (mapping(one) for one in listed(found.get("siblings"))[:MAX_FILES]):
            path, sha = row.get("rfilename"), clean(mapping(row.get("lfs")).get("sha256"), 64).casefold()
            if isinstance(path, str) and path:
                size = count(row.get("size")) or count(mapping(row.get("lfs")).get("size"))
                files.append(RepoFile(path=path, size=size, sha256=sha if _SHA256.fullmatch(sha) else None))
        name = clean(found.get("id"), 200) or repo
        return RepoInfo(repo=name, revision=revision, files=tuple(files), created=clean(found.get("createdAt"), 10))

    def card(self, repo: str) -> str:
        info = self.info(repo)
        found = next((f for f in info.files if f.path == "README.md"), None)
        if found is None:
            return ""
        if found.size > MAX_CARD_BYTES:
            raise ExpertError(f"The card of {repo} is larger than {MAX_CARD_BYTES} bytes and is not read.", path=repo)
        return self._read(repo, info.revision, "README.md", 0, MAX_CARD_BYTES).decode("utf-8", "replace")

    def header(self, ref: SourceRef) -> Header:
        """Read by range requests: the weights stay where they are."""
        if (kept := self.kept(ref)) is not None:
            return read_header(kept)
        size = self._file(ref).size
        name = f"{ref.repo}/{ref.file}"
        first = self._read(ref.repo, ref.revision, ref.file, 0, min(_FIRST_BYTES, size))
        length = header_length(first, name, file_size=size)
        raw = first[8 : 8 + length]
        if len(raw) < length:
            raw += self._read(ref.repo, ref.revision, ref.file, len(first), 8 + length - len(first))
        return parse_header(raw, name, file_size=size)

    def sha256(self, ref: SourceRef) -> str:
        """As the Hub states it; for a file that it does not keep in LFS, of the (small) downloaded file."""
        return self._file(ref).sha256 or file_sha256(self.fetch(ref))

    def fetch(self, ref: SourceRef) -> Path:
        """The file in the cache, downloaded if it is not there; see the module for what is verified."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        if (kept := self.kept(ref)) is not None:
            return kept
        found = self._file(ref)
        if found.size > self._max_file_bytes:
            raise UserError(
                f"{ref} is {found.size / 2**30:.1f} GiB, more than the {self._max_file_bytes / 2**30:.1f} allowed."
            )
        with self._hub.errors(ref.repo):
            url = hf_hub_url(ref.repo, ref.file, revision=ref.revision, endpoint=self.endpoint)
            meta = get_hf_file_metadata(url, token=self._hub.token, timeout=TIMEOUT, endpoint=self.endpoint)
            self._hub.check_host(meta.location)
            path = Path(
                hf_hub_download(
                    ref.repo,
                    ref.file,
                    revision=ref.revision,
                    endpoint=self.endpoint,
                    cache_dir=self._cache_dir,
                    token=self._hub.token,
                    etag_timeout=TIMEOUT,
                )
            )
        try:
            self._verify(path, ref, found)
        except (ExpertError, ExternalError):
            _drop(path)
            raise
        return path

    def label(self, repo: str) -> str:
        return repo

    def kept(self, ref: SourceRef) -> Path | None:
        """A pinned file that the cache holds whole: its name there is its hash. One that is damaged is dropped."""
        from huggingface_hub import try_to_load_from_cache

        if not _COMMIT.fullmatch(ref.revision) or not is_safetensors(ref.file):
            return None
        with self._hub.errors(ref.repo):
            found = try_to_load_from_cache(ref.repo, ref.file, cache_dir=self._cache_dir, revision=ref.revision)
        if not isinstance(found, str):
            return None
        path = Path(found)
        try:
            read_header(path)
        except ExpertError:
            _drop(path)
            return None
        stated = path.resolve().name
        if _SHA256.fullmatch(stated) and file_sha256(path) != stated:
            _drop(path)
            return None
        return path

    def _verify(self, path: Path, ref: SourceRef, stated: RepoFile) -> None:
        size = path.stat().st_size
        if size != stated.size:
            raise ExternalError(f"{ref} came with {size} bytes, {stated.size} were announced. Try again.")
        if stated.sha256 and file_sha256(path) != stated.sha256:
            raise ExternalError(f"{ref} does not have the sha256 that the Hub states. Try again.")
        read_header(path)

    def _file(self, ref: SourceRef) -> RepoFile:
        if not is_safetensors(ref.file):
            raise ExpertError(f"{ref.file} is not opened: only .safetensors files are.", path=ref.file)
        for file in self._info(ref.repo, ref.revision).files:
            if file.path == ref.file:
                return file
        raise UserError(f"{ref.repo} has no file {ref.file!r} at revision {ref.revision}.")

    def _read(self, repo: str, revision: str, file: str, start: int, count: int) -> bytes:
        from huggingface_hub import hf_hub_url

        with self._hub.errors(repo):
            url = hf_hub_url(repo, file, revision=revision, endpoint=self.endpoint)
        return self._hub.read(url, start, count, repo)


def _drop(path: Path) -> None:
    """Take a bad file out of the cache; else it would be served from there for ever."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _listing(row: Mapping[str, Any], search: Search) -> Listing | None:
    """A repository from its row of the list; None for a row without a name, or one that is for another base."""
    repo = row.get("id") or row.get("modelId")
    if not isinstance(repo, str) or not repo:
        return None
    tags = tuple(t for t in (clean(tag) for tag in listed(row.get("tags"))[:256]) if t)
    bases = [tag.rpartition(":")[2] for tag in tags if tag.startswith("base_model:")]
    if search.base and bases and not any(_same_base(base, search.base) for base in bases):
        return None
    downloads = row.get("downloads")
    created, revision = clean(row.get("createdAt"), 10), clean(row.get("sha"), 64)
    return Listing(
        repo=repo,
        created=created,
        tags=tags[:64],
        downloads=downloads if isinstance(downloads, int) else None,
        revision=revision,
        stamp=revision or clean(row.get("lastModified"), 40) or created,
        outside=_outside(clean(row.get("pipeline_tag")), clean(row.get("library_name")), tags, bases),
    )


def _same_base(base: str, wanted: str) -> bool:
    if base.casefold() == wanted.casefold():
        return True
    family = family_of_words(wanted) or family_of_model_id(wanted)
    return "/" not in wanted and family != UNKNOWN and family_of_model_id(base) == family


def _outside(pipeline: str, library: str, tags: Sequence[str], bases: Sequence[str]) -> str:
    """Why a repository is not for images, told from how the Hub files it; empty if it may be."""
    if pipeline:
        return "" if pipeline in _PICTURES else f"it is for {pipeline}, not for images"
    if _PICTURE_TAGS.intersection(tag.casefold() for tag in tags):
        return ""
    if other := next((tag for tag in _OTHER_TAGS if tag in tags), ""):
        return f"it is for {other}, not for images"
    words = [name for name in (library, *tags) if name in _OF_WORDS]
    if words and not any(family_of_words(base) for base in bases):
        return f"it is an adapter of a language model ({words[0]})"
    return ""
