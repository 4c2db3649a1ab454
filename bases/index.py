"""What a base pipeline's weights are called and shaped, read from headers only (no torch until a tensor is asked for).

Weights are named by *target*: ``component.parameter``, e.g. ``unet.conv_in.weight``. Text encoders are named without
the ``text_model.`` that transformers < 5 put in front, whichever release wrote the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExpertError, UserError
from ..files.hashing import weights_sha256
from ..files.header import Header, TensorInfo, read_header

if TYPE_CHECKING:
    from torch import Tensor

DENOISERS = ("unet", "transformer", "prior")
COMPONENTS = (*DENOISERS, "text_encoder", "text_encoder_2", "text_encoder_3", "vae")
_STEMS = ("diffusion_pytorch_model", "model")
_MAX_INDEX_BYTES = 16 * 2**20


def target_name(component: str, parameter: str) -> str:
    """The target that a parameter of a component is known by."""
    if component.startswith("text_encoder"):
        parameter = parameter.removeprefix("text_model.")
    return f"{component}.{parameter}"


def component_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that hold a component's weights: one file, or the shards its index names.

    Raises:
        UserError: only pickles, several candidates, or an index that points out of the folder.
    """
    for stem in _STEMS:
        if (single := folder / f"{stem}.safetensors").is_file():
            return (single,)
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            return _shards(index)
    variants = sorted(folder.glob("*.safetensors"))
    if len(variants) == 1:
        return (variants[0],)
    if variants:
        raise UserError(f"{folder} holds several safetensors files and none has the usual name: keep one")
    if any(folder.glob("*.bin")) or any(folder.glob("*.ckpt")):
        raise UserError(f"{folder} holds pickles only; DiffGraph opens safetensors only: convert it first")
    return ()


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        if index.stat().st_size > _MAX_INDEX_BYTES:
            raise UserError(f"{index} is larger than any index of shards")
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index} is not an index of shards") from error
    if not names or any(not isinstance(n, str) or Path(n).name != n for n in names):
        raise UserError(f"{index} names files outside its folder")
    return tuple(index.parent / name for name in sorted(names))


@dataclass(frozen=True, eq=False)
class BaseIndex:
    """The parameters of a diffusers pipeline folder. Two are equal only if they are one object.

    Attributes:
        path: the folder.
        denoiser: name of the component that denoises ("unet" or "transformer").
        files: component -> its weight files.
        params: target -> (file, key in that file, tensor info).
    """

    path: Path
    denoiser: str
    files: Mapping[str, tuple[Path, ...]]
    params: Mapping[str, tuple[Path, str, TensorInfo]]

    @classmethod
    def open(cls, path: Path | str) -> BaseIndex:
        """Read the headers of every component. Raises UserError if this is no pipeline folder, or lacks weights."""
        path = Path(path)
        listing = path / "model_index.json"
        if not listing.is_file():
            raise UserError(f"there is no diffusers pipeline in {path}: model_index.json is missing")
        try:
            declared = json.loads(listing.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UserError(f"{listing} cannot be read as JSON") from error
        if not isinstance(declared, dict):
            raise UserError(f"{listing} is not a JSON object")
        files: dict[str, tuple[Path, ...]] = {}
        params: dict[str, tuple[Path, str, TensorInfo]] = {}
        for component in COMPONENTS:
            if not _is_declared(declared.get(component)):
                continue
            if not (found := component_files(path / component)):
                raise UserError(f"the pipeline in {path} names a {component}, but its weights are missing")
            files[component] = found
            for file in found:
                for key, info in _header(file).tensors.items():
                    params[target_name(component, key)] = (file, key, info)
        denoiser = next((name for name in DENOISERS if name in files), None)
        if denoiser is None:
            raise UserError(f"the pipeline in {path} has no unet and no transformer to merge into")
        return cls(path, denoiser, files, params)

    @cached_property
    def sha256(self) -> str:
        """Identity of the base: sha256 of the denoiser's weights (what `PlanBase.sha256` pins)."""
        return weights_sha256(self.files[self.denoiser])

    @cached_property
    def order(self) -> Mapping[str, int]:
        """Target -> its place among all, in the order in which they stand in their files, one file after the other."""
        places = sorted(
            self.params, key=lambda target: (str(self.params[target][0]), self.params[target][2].start, target)
        )
        return {target: place for place, target in enumerate(places)}

    @cached_property
    def by_underscore(self) -> Mapping[str, str]:
        """``component.module`` with its dots as underscores -> with dots: how kohya's flat names are undone."""
        modules = {target.rpartition(".")[0] for target in self.params}
        return {module.replace(".", "_"): module for module in sorted(modules)}

    def shape(self, target: str) -> tuple[int, ...] | None:
        """Shape of a parameter, or None if the base has no such target."""
        entry = self.params.get(target)
        return None if entry is None else entry[2].shape

    def tensor(self, target: str) -> Tensor:
        """The parameter as it stands in the file, in float32."""
        import torch
        from safetensors import safe_open

        file, key, _ = self.params[target]
        with safe_open(str(file), framework="pt") as opened:
            return opened.get_tensor(key).to(torch.float32)


def _is_declared(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and value[0] is not None


def _header(file: Path) -> Header:
    try:
        return read_header(file)
    except ExpertError as error:
        raise UserError(f"the base pipeline is damaged: {error}") from error
