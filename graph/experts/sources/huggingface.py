"""The Hugging Face Hub, through its own client. ``HF_ENDPOINT`` and ``HF_TOKEN`` are honoured, as everywhere.

Only this endpoint and the Hub's own storage hosts are reached. Sizes are bounded before anything is downloaded; length,
hash and header are verified before a path is handed out, so an error page never passes for weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ....errors import ExpertError, ExternalError, UserError
from ....files.hashing import file_sha256
from ....files.header import MAX_HEADER_BYTES, Header, header_length, is_safetensors, parse_header, read_header
from ..card import MAX_CARD_BYTES, clean
from ..expert import SourceRef
from . import Listing, RepoFile, RepoInfo, source

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAX_FILE_BYTES = 24 * 2**30
MAX_LISTED = 100
_STORAGE_HOSTS = ("huggingface.co", "hf.co")
_TIMEOUT = 20.0
MAX_REDIRECTS = 6
_FIRST_BYTES = 100_000  # enough for most headers, so that one request does


@source("huggingface")
class HuggingFace:
    """Adapters and fine-tunes on the Hub; .safetensors only.

    Args:
        endpoint: base URL of the Hub; default ``HF_ENDPOINT`` or https://huggingface.co.
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
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self._cache_dir = cache_dir
        self._token: str | bool | None = False if token == "" else token
        self._max_file_bytes = max_file_bytes
        self._infos: dict[tuple[str, str | None], RepoInfo] = {}

    def list(self, query: str | None = None) -> Iterator[Listing]:
        """Up to 100 repositories tagged ``lora``, most downloaded first."""
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        params: dict[str, str | int] = {"filter": "lora", "sort": "downloads", "limit": MAX_LISTED}
        if query:
            params["search"] = query
        with self._errors("the list of models"):
            # The client's own list_models() sleeps through rate limits for minutes; the caller is told instead.
            response = get_session().get(
                f"{self.endpoint}/api/models",
                params=params,
                headers=build_hf_headers(token=self._token),
                timeout=_TIMEOUT,
            )
            hf_raise_for_status(response)
            models = response.json()
        for model in models[:MAX_LISTED] if isinstance(models, list) else []:
            repo = model.get("id") if isinstance(model, dict) else None
            if isinstance(repo, str):
                yield Listing(
                    repo=repo,
                    created=str(model.get("createdAt") or "")[:10],
                    tags=tuple(clean(t) for t in (model.get("tags") or [])[:64]),
                    downloads=model.get("downloads"),
                )

    def info(self, repo: str) -> RepoInfo:
        return self._info(repo, None)

    def _info(self, repo: str, revision: str | None) -> RepoInfo:
        if (repo, revision) not in self._infos:
            with self._errors(repo):
                found = self._api().model_info(repo, revision=revision, files_metadata=True, timeout=_TIMEOUT)
            if not found.sha:
                raise ExternalError(f"{self.endpoint} names no revision of {repo}.")
            files = tuple(
                RepoFile(path=s.rfilename, size=s.size or 0, sha256=s.lfs.sha256 if s.lfs else None)
                for s in found.siblings or []
            )
            created = found.created_at.date().isoformat() if found.created_at else ""
            info = RepoInfo(repo=repo, revision=found.sha, files=files, created=created)
            self._infos[repo, revision] = self._infos[repo, found.sha] = info
        return self._infos[repo, revision]

    def card(self, repo: str) -> str:
        info = self.info(repo)
        listed = next((f for f in info.files if f.path == "README.md"), None)
        if listed is None:
            return ""
        if listed.size > MAX_CARD_BYTES:
            raise ExpertError(f"The card of {repo} is larger than {MAX_CARD_BYTES} bytes and is not read.", path=repo)
        return self._read(repo, info.revision, "README.md", 0, MAX_CARD_BYTES).decode("utf-8", "replace")

    def header(self, ref: SourceRef) -> Header:
        """Read by range requests: the weights stay where they are."""
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
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        listed = self._file(ref)
        if listed.size > self._max_file_bytes:
            raise UserError(
                f"{ref} is {listed.size / 2**30:.1f} GiB, more than the {self._max_file_bytes / 2**30:.1f} allowed."
            )
        with self._errors(ref.repo):
            url = hf_hub_url(ref.repo, ref.file, revision=ref.revision, endpoint=self.endpoint)
            meta = get_hf_file_metadata(url, token=self._token, timeout=_TIMEOUT, endpoint=self.endpoint)
            self._check_host(meta.location)
            path = Path(
                hf_hub_download(
                    ref.repo,
                    ref.file,
                    revision=ref.revision,
                    endpoint=self.endpoint,
                    cache_dir=self._cache_dir,
                    token=self._token,
                    etag_timeout=_TIMEOUT,
                )
            )
        try:
            self._verify(path, ref, listed)
        except (ExpertError, ExternalError):
            # Else the bad file would be served from the cache for ever.
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        return path

    def label(self, repo: str) -> str:
        return repo

    def _verify(self, path: Path, ref: SourceRef, listed: RepoFile) -> None:
        size = path.stat().st_size
        if size != listed.size:
            raise ExternalError(f"{ref} came with {size} bytes, {listed.size} were announced. Try again.")
        if listed.sha256 and file_sha256(path) != listed.sha256:
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
        """``count`` bytes of a remote file from ``start``; never more, whatever the server sends."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        count = min(count, MAX_HEADER_BYTES + 8)
        headers = build_hf_headers(token=self._token)
        headers |= {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        url = hf_hub_url(repo, file, revision=revision, endpoint=self.endpoint)
        for _ in range(MAX_REDIRECTS):
            self._check_host(url)
            kept = bytearray()
            with (
                self._errors(repo),
                get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=False) as response,
            ):
                if response.is_redirect:
                    url = urljoin(url, response.headers.get("Location", ""))
                    if urlsplit(url).netloc != urlsplit(self.endpoint).netloc:
                        headers.pop("authorization", None)  # storage hosts get a signed address, never the token
                    continue
                if response.is_error:
                    response.read()
                hf_raise_for_status(response)
                skip = start if response.status_code == 200 else 0  # a server may ignore the range
                for block in response.iter_bytes():
                    kept += block
                    if len(kept) >= skip + count:
                        break
            return bytes(kept[skip : skip + count])
        raise ExternalError(f"{self.endpoint} redirects {repo}/{file} without end.")

    def _check_host(self, url: str) -> None:
        host = urlsplit(url).hostname or ""
        own = urlsplit(self.endpoint).hostname
        if host != own and not any(host == h or host.endswith("." + h) for h in _STORAGE_HOSTS):
            raise ExternalError(
                f"{self.endpoint} points to {host}, which is not one of its storage hosts: not followed."
            )

    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self._token)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn the client's errors into ours."""
        from huggingface_hub.errors import (
            DisabledRepoError,
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            HTTPError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        try:
            yield
        except GatedRepoError as error:
            raise UserError(
                f"{what} is gated. Accept its terms at {self.endpoint}/{what}, then set HF_TOKEN or run: hf auth login"
            ) from error
        except DisabledRepoError as error:
            raise UserError(f"{what} has been disabled by the Hub.") from error
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
            raise UserError(
                f"{what} was not found at {self.endpoint}. Check the name; a private one needs HF_TOKEN."
            ) from error
        except OfflineModeIsEnabled as error:
            raise UserError("HF_HUB_OFFLINE is set, so the Hub is not asked. Unset it, or ask another one.") from error
        except HfHubHTTPError as error:
            raise self._failed(what, error.response) from error
        except HTTPError as error:
            raise ExternalError(
                f"{self.endpoint} cannot be reached ({type(error).__name__}). Is there a network?"
            ) from error
        except (OSError, ValueError) as error:
            raise ExternalError(f"Reading {what} from {self.endpoint} failed: {error}") from error

    def _failed(self, what: str, response: Any) -> ExternalError:
        status = response.status_code
        if status == 429:
            seconds = _retry_after(response.headers)
            hint = f" Try again in {seconds:.0f} s." if seconds is not None else " Try again later."
            return ExternalError(f"{self.endpoint} limits the rate of requests.{hint}", retry_after=seconds)
        return ExternalError(
            f"{self.endpoint} answered {status} for {what}.", retry_after=_retry_after(response.headers)
        )


def _retry_after(headers: Any) -> float | None:
    from huggingface_hub.utils import parse_ratelimit_headers

    limits = parse_ratelimit_headers(headers)
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
