"""The VAE that a plan names in place of the base's: pinned by content, found again, never taken unseen. No torch."""

from __future__ import annotations

from pathlib import Path

from ...bases.index import component_files
from ...errors import DiffGraphError, ExpertError, PlanError, UserError
from ...files.hashing import weights_sha256
from ...files.header import is_safetensors, read_header
from ...settings import user_path
from .merge_plan import PlanVae


def pin_vae(path: Path | str) -> PlanVae:
    """A VAE as a plan pins it.

    Args:
        path: a .safetensors file, a diffusers VAE folder, or a pipeline folder that has one in ``vae/``.

    Raises:
        UserError: nothing there that could be a VAE.
    """
    found = user_path(path)
    return PlanVae(ref=str(found), sha256=weights_sha256(vae_files(found)))


def vae_files(path: Path) -> tuple[Path, ...]:
    """The weight files of a VAE: the file itself, or those of the folder.

    Raises:
        UserError: nothing there, pickles only, or a safetensors file that holds no VAE.
    """
    folder = vae_folder(path)
    if folder is not None:
        files = component_files(folder)
    else:
        files = (path,) if path.is_file() else ()
        if files and not is_safetensors(path):
            raise UserError(f"{path} is not opened as a VAE: only .safetensors files and diffusers folders are")
    if not files:
        raise UserError(f"there is no VAE at {path}: name a .safetensors file or a diffusers folder with a config.json")
    try:
        names = [name for file in files for name in read_header(file).tensors]
    except ExpertError as error:
        raise UserError(f"{path} is no VAE that can be read: {error}") from error
    if not any("decoder." in name for name in names):
        raise UserError(f"{path} holds no VAE: none of its {len(names)} tensors belongs to a decoder")
    return files


def vae_folder(path: Path) -> Path | None:
    """The diffusers folder that a path names: itself, or its ``vae/``; None for a file."""
    if not path.is_dir():
        return None
    inner = path / "vae"
    return inner if not (path / "config.json").is_file() and inner.is_dir() else path


def located_vae(vae: PlanVae) -> Path:
    """Where a plan's VAE is, its bytes compared with the plan.

    Raises:
        PlanError: it is not there, cannot be read, or has other bytes than the plan pins.
    """
    path = user_path(vae.ref)
    try:
        found = weights_sha256(vae_files(path))
    except (DiffGraphError, OSError) as error:
        raise PlanError(f"the plan's VAE: {error}") from error
    if found != vae.sha256:
        raise PlanError(f"the VAE at {path} is not the one in the plan: {found[:12]}…, not {vae.sha256[:12]}…")
    return path
