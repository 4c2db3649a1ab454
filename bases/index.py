"""What a base pipeline's weights are called and shaped, read from headers only (no torch until a tensor is asked for).

Weights are named by *target*: ``component.parameter``, e.g. ``unet.conv_in.weight``. Text encoders are named without
the ``text_model.`` that transformers < 5 put in front, whichever release wrote the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import ExpertError, UserError
from ..files.hashing import weights_sha256
from ..files.header import GGUF_SUFFIX, Header, TensorInfo, read_header
from ..files.mapped_file import MappedFile
from ..files.quantisation import refuse_declared, with_scales

if TYPE_CHECKING:
    from torch import Tensor

DENOISERS = ("unet", "transformer", "prior")
COMPONENTS = (*DENOISERS, "text_encoder", "text_encoder_2", "text_encoder_3", "vae")
_VARIANT = (
    r"(?:diffusion_pytorch_model|model)(?:\.([a-z0-9_]+)(?:-\d{5}-of-\d{5})?|-\d{5}-of-\d{5}\.([a-z0-9_]+))"
    r"\.safetensors"
)
STEMS = ("diffusion_pytorch_model", "model")
_ATTENTION = MappingProxyType({"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"})
"""What the attention of an autoencoder was called before diffusers 0.17."""
_OLD_ATTENTION = re.compile(r"(?<=attentions\.0)\.(query|key|value|proj_attn)(?=\.|$)")
_MAX_INDEX_BYTES = 16 * 2**20
_DIFFUSERS = "take the diffusers folder of the same model, in bfloat16 or float16"


def target_name(component: str, parameter: str) -> str:
    """The target that a parameter of a component is known by."""
    if component.startswith("text_encoder"):
        parameter = parameter.removeprefix("text_model.")
    elif component == "vae":
        parameter = _OLD_ATTENTION.sub(lambda found: f".{_ATTENTION[found[1]]}", parameter)
    return f"{component}.{parameter}"


def component_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that hold a component's weights: one file, or the shards its index names; without them,
    those of the only variant (fp16) that is there.

    Raises:
        UserError: only pickles, several candidates, or an index that points out of the folder.
    """
    for stem in STEMS:
        if (single := folder / f"{stem}.safetensors").is_file():
            return (single,)
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            return _shards(index)
        found = sorted(folder.glob(f"{stem}.safetensors*.json"))  # of a variant: ….index.fp16.json
        if len(found) == 1:
            return _shards(found[0])
    variants = sorted(folder.glob("*.safetensors"))
    if len(variants) == 1:
        return (variants[0],)
    if variants:
        raise UserError(f"{folder} holds several safetensors files and none has the usual name: keep one")
    if any(folder.glob(f"*{GGUF_SUFFIX}")):
        what = "is GGUF, a quantised format of another kind, which is not read"
        raise UserError(f"what {folder} holds {what}: take the safetensors files of the same model")
    if any(folder.glob("*.bin")) or any(folder.glob("*.ckpt")):
        raise UserError(f"{folder} holds pickles only; DiffGraph opens safetensors only: convert it first")
    return ()


def variant_of(files: Iterable[Path]) -> str | None:
    """The variant ("fp16") that a component's weight files are of, as diffusers asks for it; None for the main one."""
    found = (re.fullmatch(_VARIANT, file.name) for file in files)
    return next((match[1] or match[2] for match in found if match is not None), None)


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
        scaled: the targets whose stored values are multiplied with a scale (`files.quantisation`).
    """

    path: Path
    denoiser: str
    files: Mapping[str, tuple[Path, ...]]
    params: Mapping[str, tuple[Path, str, TensorInfo]]
    scaled: frozenset[str] = frozenset()

    @classmethod
    def open(cls, path: Path | str) -> BaseIndex:
        """Read the headers of every component.

        Raises:
            UserError: no pipeline folder, weights are missing, or they are quantised in a way that is not read.
        """
        path = Path(path)
        if path.suffix.lower() == GGUF_SUFFIX:
            raise UserError(f"{path} is GGUF, a quantised format of another kind, which is not read: {_DIFFUSERS}")
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
        scaled: set[str] = set()
        _refuse_quantised(path, "pipeline")
        for component in COMPONENTS:
            if not _is_declared(declared.get(component)):
                continue
            if not (found := component_files(path / component)):
                raise UserError(f"the pipeline in {path} names a {component}, but its weights are missing")
            _refuse_quantised(path / component, component)
            files[component] = found
            for file in found:
                header = _header(file)
                for key, info in header.tensors.items():
                    params[target_name(component, key)] = (file, key, info)
                scaled.update(target_name(component, key) for key in header.scales)
        denoiser = next((name for name in DENOISERS if name in files), None)
        if denoiser is None:
            raise UserError(f"the pipeline in {path} has no unet and no transformer to merge into")
        return cls(path, denoiser, files, params, frozenset(scaled))

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
        """The parameter in float32, multiplied with its scale where the file keeps one beside it."""
        import torch
        from safetensors import safe_open

        file, key, _ = self.params[target]
        if target in self.scaled:
            return MappedFile(_header(file)).values(key)
        with safe_open(str(file), framework="pt") as opened:
            return opened.get_tensor(key).to(torch.float32)


def _is_declared(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and value[0] is not None


def _header(file: Path) -> Header:
    try:
        header = read_header(file)
    except ExpertError as error:
        raise UserError(f"the base pipeline is damaged: {error}") from error
    try:
        return with_scales(header)
    except ExpertError as error:
        raise UserError(f"nothing can be merged into this base: {error}") from error


def _refuse_quantised(folder: Path, component: str) -> None:
    try:
        refuse_declared(folder, f"the {component}")
    except ExpertError as error:
        raise UserError(f"nothing can be merged into this base: {error}") from error
