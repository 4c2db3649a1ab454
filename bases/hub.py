"""A base on the Hugging Face Hub: its configs and .safetensors files, pinned to a commit, through the Hub's own client.

Files lie in that client's cache (``HF_HOME``), where other programs find them too. ``HF_ENDPOINT``, ``HF_TOKEN`` and
``HF_HUB_OFFLINE`` mean what they always do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import ExternalError, UserError
from ..files.hashing import file_sha256
from ..files.header import is_safetensors
from .hub_errors import TIMEOUT, HubErrors
from .locations import LISTING

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_CONFIG = re.compile(r"\.(json|txt|model|jinja)$")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb")
_WEIGHTS = re.compile(
    r"^(?:diffusion_pytorch_model|model)(?:\.(?P<a>[a-z0-9_]+))?(?:-\d{5}-of-\d{5})?(?:\.(?P<b>[a-z0-9_]+))?"
    r"\.safetensors(?:\.index(?:\.(?P<c>[a-z0-9_]+))?\.json)?$"
)
"""A component's weights, a shard of them or their index; one of a, b, c is the variant, "" the main precision."""
_LAST = "config.json"
"""Of a model that is no pipeline the file that is downloaded when all others are here."""
_MAX_LISTING = 2**20
_MAX_CONFIG = 64 * 2**20


@dataclass(frozen=True)
class OnHub:
    """A snapshot of a repository on this machine: ``folder`` holds it, or ``file`` is its one .safetensors file."""

    revision: str
    folder: Path
    file: Path | None = None


def fetch(repo: str, revision: str, tell: Callable[[str], None]) -> OnHub:
    """A base's files, downloaded unless they are here, at one commit.

    Args:
        repo: "owner/name".
        revision: a branch, tag or commit; "" for the default branch.
        tell: told what is downloaded.

    Raises:
        UserError: no such repository, gated, pickles only, no base in it, no room, or offline and not in the cache.
        ExternalError: the Hub fails, or sends other bytes than it announces.
    """
    from huggingface_hub import HfApi

    kept = cached(repo, revision)
    if kept is not None and (re.fullmatch(r"[0-9a-f]{40}", revision) or _offline()):
        return kept
    try:
        with HubErrors(_endpoint()).errors(repo):
            info = HfApi(endpoint=_endpoint()).model_info(
                repo, revision=revision or None, files_metadata=True, timeout=TIMEOUT
            )
    except ExternalError:
        if kept is not None:
            return kept  # the Hub cannot be asked what is newest; what is here is pinned and whole
        raise
    if not info.sha:
        raise ExternalError(f"{_endpoint()} names no revision of {repo}.")
    siblings = list(info.siblings or [])
    listed = next((s for s in siblings if s.rfilename == LISTING), None)
    if listed is None:
        return OnHub(info.sha, Path(), _download(repo, info.sha, _only_file(repo, siblings), tell))
    if (listed.size or 0) > _MAX_LISTING:
        raise UserError(f"{LISTING} of {repo} is larger than any list of components.")
    folder = _one(repo, info.sha, LISTING).parent
    wanted = wanted_files(repo, _components(repo, folder / LISTING), siblings)
    _room(folder, sum(s.size or 0 for s in wanted if not (folder / s.rfilename).exists()), repo)
    for sibling in wanted:
        _download(repo, info.sha, sibling, tell)
    return OnHub(info.sha, folder)


def configs(repo: str) -> Path:
    """A folder with the configs, tokenizers and scheduler of a pipeline, without weights. Raises as `fetch` does."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if _offline():
        found = try_to_load_from_cache(repo, LISTING, cache_dir=cache_folder())
        if isinstance(found, str):
            return Path(found).parent
        raise UserError("it is not in the Hub's cache, and HF_HUB_OFFLINE is set")
    with HubErrors(_endpoint()).errors(repo):
        info = HfApi(endpoint=_endpoint()).model_info(repo, files_metadata=True, timeout=TIMEOUT)
    if not info.sha:
        raise ExternalError(f"{_endpoint()} names no revision of {repo}.")
    folder = _one(repo, info.sha, LISTING).parent
    names = _components(repo, folder / LISTING)
    for sibling in info.siblings or []:
        small = (sibling.size or 0) <= _MAX_CONFIG and _CONFIG.search(sibling.rfilename)
        if small and PurePosixPath(sibling.rfilename).parts[0] in names and ".index." not in sibling.rfilename:
            _one(repo, info.sha, sibling.rfilename)
    return folder


def model(repo: str, revision: str = "") -> Path:
    """A folder with a model's configs, tokenizer and weights (one precision, safetensors), downloaded unless they are
    here. For what is no pipeline: encoders that score images. Raises as `fetch` does.
    """
    from huggingface_hub import HfApi

    kept = _kept(repo, revision, _LAST)
    if kept is not None and (re.fullmatch(r"[0-9a-f]{40}", revision) or _offline()):
        return kept
    try:
        with HubErrors(_endpoint()).errors(repo):
            info = HfApi(endpoint=_endpoint()).model_info(
                repo, revision=revision or None, files_metadata=True, timeout=TIMEOUT
            )
    except ExternalError:
        if kept is not None:
            return kept
        raise
    top = [s for s in info.siblings or [] if "/" not in s.rfilename]
    weights = _weights([s for s in top if s.rfilename.startswith("model")])
    small = [s for s in top if _CONFIG.search(s.rfilename) and (s.size or 0) <= _MAX_CONFIG and s not in weights]
    if not info.sha or not weights or _LAST not in {s.rfilename for s in small}:
        raise UserError(
            f"{repo} has no model.safetensors with its {_LAST}. Pickles are not opened, because they can run code: "
            "take a repository or a revision with .safetensors files."
        )
    # Whoever finds the last one finds them all.
    paths = [
        _download(repo, info.sha, sibling, lambda text: None)
        for sibling in [*weights, *sorted(small, key=lambda s: s.rfilename == _LAST)]
    ]
    return paths[-1].parent


def cache_folder() -> Path:
    """Where the Hub's client keeps repositories."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(repo: str, revision: str) -> OnHub | None:
    """What the Hub client's cache holds of a base, without asking the Hub; None unless it is whole."""
    folder = _kept(repo, revision, LISTING)
    if folder is None:
        return None
    try:
        names = _components(repo, folder / LISTING)
    except UserError:
        return None
    missing = [name for name in names if not any((folder / name).glob("*"))]
    weights = [name for name in names if any((folder / name).glob("config.json"))]
    unweighed = [
        name for name in weights if _is_network(folder / name) and not any((folder / name).glob("*.safetensors"))
    ]
    return None if missing or unweighed else OnHub(folder.name, folder)


def _kept(repo: str, revision: str, name: str) -> Path | None:
    """The folder of a snapshot in the Hub client's cache that holds a file, the newest where no revision is said."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, cache_dir=cache_folder(), revision=revision or None)
    if isinstance(found, str) or revision:
        return Path(found).parent if isinstance(found, str) else None
    here = cache_folder().glob(f"models--{repo.replace('/', '--')}/snapshots/*/{name}")
    return max((path.parent for path in here), key=lambda path: path.stat().st_mtime, default=None)


def wanted_files(repo: str, components: tuple[str, ...], siblings: list[RepoSibling]) -> list[RepoSibling]:
    """The files of a pipeline that are downloaded: configs, and of each component the weights in their main precision.

    Raises:
        UserError: a component's weights are pickles only.
    """
    wanted = [s for s in siblings if "/" not in s.rfilename and (s.rfilename in (LISTING, "README.md"))]
    for component in components:
        inside = [s for s in siblings if PurePosixPath(s.rfilename).parts[0] == component]
        weights = _weights(inside)
        pickles = [s.rfilename for s in inside if s.rfilename.casefold().endswith(_PICKLES)]
        if pickles and not weights:
            raise UserError(
                f"{repo} has only pickles for its {component} ({pickles[0]}). They are not opened, because they can "
                "run code: take a repository, or a revision, with .safetensors files."
            )
        wanted += [s for s in inside if _CONFIG.search(s.rfilename) and ".index." not in s.rfilename] + weights
    return wanted


def _weights(inside: list[RepoSibling]) -> list[RepoSibling]:
    """Of a component's .safetensors files, with their index, those of no variant, else of fp16, bf16, or whichever."""
    by_variant: dict[str, list[RepoSibling]] = {}
    for sibling in inside:
        if (found := _WEIGHTS.match(PurePosixPath(sibling.rfilename).name)) is not None:
            by_variant.setdefault(found["a"] or found["b"] or found["c"] or "", []).append(sibling)
    whole = [v for v, files in sorted(by_variant.items()) if any(is_safetensors(f.rfilename) for f in files)]
    best = next((v for v in ("", "fp16", "bf16", *whole) if v in whole), None)
    if best is not None:
        return by_variant[best]
    files = [s for s in inside if is_safetensors(s.rfilename)]
    return files if len(files) == 1 else []


def _only_file(repo: str, siblings: list[RepoSibling]) -> RepoSibling:
    """The one weight file of a repository without a pipeline. Raises UserError if it is not plain which is meant."""
    files = [s for s in siblings if is_safetensors(s.rfilename) and "/" not in s.rfilename]
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(sorted(s.rfilename for s in files)[:6])
        raise UserError(f"{repo} holds no diffusers pipeline but several files ({names}): download one and name it.")
    pickles = [s.rfilename for s in siblings if s.rfilename.casefold().endswith(_PICKLES)]
    if pickles:
        raise UserError(
            f"{repo} holds only pickles ({pickles[0]}). They are not opened, because they can run code: take a "
            "repository with .safetensors files."
        )
    raise UserError(f"{repo} holds no diffusers pipeline ({LISTING} is missing) and no .safetensors file.")


def _components(repo: str, listing: Path) -> tuple[str, ...]:
    try:
        declared = json.loads(listing.read_text(encoding="utf-8"))
        found = [
            name for name, value in declared.items()
            if isinstance(value, list) and len(value) == 2 and value[0] and name != "safety_checker"
        ]  # fmt: skip
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{LISTING} of {repo} cannot be read as JSON.") from error
    if any(re.fullmatch(r"[A-Za-z0-9_]+", name) is None for name in found):
        raise UserError(f"{LISTING} of {repo} names components that cannot be.")
    return tuple(found)


def _is_network(folder: Path) -> bool:
    """Whether a component's folder is one of weights: schedulers and tokenizers have no config.json of a model."""
    return folder.name.startswith(("unet", "transformer", "prior", "vae", "text_encoder", "image_encoder"))


def _download(repo: str, revision: str, sibling: RepoSibling, tell: Callable[[str], None]) -> Path:
    """One file at a commit, its size and hash as announced."""
    size = sibling.size or 0
    if size > 50 * 2**20:
        tell(f"{repo}: {sibling.rfilename}, {size / 1e9:.2f} GB")
    path = _one(repo, revision, sibling.rfilename)
    lfs = getattr(sibling.lfs, "sha256", None) if sibling.lfs else None
    if (size and path.stat().st_size != size) or (lfs and file_sha256(path) != lfs):
        # Else the bad file would be served from the cache for ever.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise ExternalError(f"{repo}/{sibling.rfilename} does not have the size and sha256 that the Hub states. Again?")
    return path


def _one(repo: str, revision: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    how: dict[str, Any] = {"cache_dir": cache_folder(), "endpoint": _endpoint(), "etag_timeout": TIMEOUT}
    with HubErrors(_endpoint()).errors(repo):
        return Path(hf_hub_download(repo, name, revision=revision, **how))


def _room(folder: Path, size: int, repo: str) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            f"{repo} takes {size / 1e9:.2f} GB and {free / 1e9:.2f} GB are free in {folder}. Set HF_HOME to a folder "
            "with more."
        )


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
