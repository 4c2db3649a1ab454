"""A single .safetensors file as a diffusers folder: converted once, by diffusers' own converters, at the file's dtypes.

What a file seldom holds (configs, tokenizers, the scheduler; of a transformer alone also text encoders and the VAE)
comes from the parts: a diffusers folder of the same architecture. Everything after that is an ordinary folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExpertError, UserError
from ..files.atomic import check_room, new_folder, write_bytes
from ..files.header import Header, read_header
from ..files.quantisation import NEXT_STEP, with_scales
from . import flux_names
from .architecture import family_of_header
from .index import DENOISERS, component_files
from .locations import LISTING

MODEL = "model.diffusion_model."
BARE = "diffusion_model."
_VAE = ("first_stage_model.", "vae.")
_ENCODERS: dict[str, tuple[str, ...]] = {
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0.", "text_encoders.clip_l."),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoders.clip_g."),
    "text_encoder_3": (),
}
_T5 = ("text_encoders.t5xxl.",)
_OTHER = tuple(prefix for prefixes in (_VAE, *_ENCODERS.values(), _T5) for prefix in prefixes)
_ADAPTER = (".lora_A.", ".lora_B.", ".lora_up.", ".lora_down.", "lora_unet_", "lora_te", ".hada_w1_a", ".lokr_w1")
_FLOATS_OF = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_FLOATS = frozenset({*_FLOATS_OF, "F8_E4M3", "F8_E5M2"})
_NO_WEIGHTS = frozenset({"v_pred", "ztsnr", "edm_mean", "edm_std", "logvar"})
_WEIGHTS_MB = 64
"""Files of the parts from this size on are linked rather than copied where the disk allows it."""
ORIGIN = "single_file.json"
"""In the converted folder: what the file was called, and what it said of itself."""
_SAID = ("modelspec.", "ss_base_model_version", "ss_sd_model_name", "sd_merge_")
_MOST_SAID = 400


class NotThese(Exception):
    """The parts do not fit the file; the text says why."""


@dataclass(frozen=True)
class Contents:
    """What a single file holds.

    Attributes:
        header: the file's.
        architecture: of its denoiser; None where the weights do not tell.
        prefix: what stands before the names of the denoiser's weights.
        denoiser: numbers that its denoiser has.
    """

    header: Header
    architecture: str | None
    prefix: str
    denoiser: int

    def holds(self, name: str, class_name: str) -> bool:
        """Whether the weights of a pipeline's component are in the file."""
        if name in DENOISERS:
            return True
        encoder = _T5 if _is_t5(name, class_name) else _ENCODERS.get(name, ())
        wanted = _VAE if name == "vae" else encoder
        return any(key.startswith(wanted) for key in self.header.tensors) if wanted else False

    def dtype(self, name: str = "", class_name: str = "") -> str:
        """The narrowest dtype that holds all numbers of a component as they are; without a name, of the whole file."""
        mine = _VAE if name == "vae" else _T5 if _is_t5(name, class_name) else _ENCODERS.get(name, ())
        found = {
            info.dtype
            for key, info in self.header.tensors.items()
            if not name or (key.startswith(mine) if name not in DENOISERS else not key.startswith(_OTHER))
        }
        wide = (found & _FLOATS) - {"F8_E4M3", "F8_E5M2"}
        return _FLOATS_OF[next(iter(wide))] if len(wide) == 1 else "float32" if wide else "bfloat16"


def _is_t5(name: str, class_name: str) -> bool:
    """Whether a component is a T5 encoder; its tokenizer's class begins so too."""
    return name.startswith("text_encoder") and class_name.startswith("T5")


_VAE_ALONE = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
"""What the weights of a VAE begin with where it is shared without a pipeline around it."""


def contents(file: Path) -> Contents:
    """What a single file holds, from its header.

    Raises:
        UserError: damaged, quantised in a way that is not read, an adapter, or without a denoiser.
    """
    try:
        header = read_header(file)
        plain = with_scales(header)
    except ExpertError as error:
        raise UserError(f"{file} cannot be a base: {error}") from error
    if plain.scales:
        raise UserError(f"{file} holds scaled fp8 weights, which are not converted: {NEXT_STEP}.")
    if any(mark in key for key in header.tensors for mark in _ADAPTER):
        raise UserError(f"{file} is an adapter (a LoRA or its kin), not a base: `diffgraph scout` takes it.")
    own = [key for key in header.tensors if not key.startswith(_OTHER)]
    prefix = next((p for p in (MODEL, BARE) if any(key.startswith(p) for key in own)), "")
    denoiser = [key for key in own if key.startswith(prefix) and key not in _NO_WEIGHTS]
    architecture = family_of_header(plain)
    if all(key.startswith(_VAE_ALONE) for key in own):
        raise UserError(f"{file} holds no unet and no transformer: it is a VAE alone, which `--vae` takes.")
    if not denoiser or (not prefix and architecture is None and len(denoiser) < len(header.tensors)):
        raise UserError(f"{file} holds no unet and no transformer, so nothing can be drawn with it.")
    return Contents(header, architecture, prefix, sum(header.tensors[key].numel for key in denoiser))


def convert(file: Path, found: Contents, parts: Path, out: Path) -> tuple[str, ...]:
    """Write a file as a diffusers folder, whole or not at all.

    Args:
        file: a .safetensors file.
        found: what it holds.
        parts: a diffusers folder whose configs fit, and which has the components that the file lacks.
        out: the folder to write.

    Returns:
        The components whose weights came from ``parts``.

    Raises:
        NotThese: the parts do not fit.
        UserError: no room, or the folder cannot be written.
    """
    import torch

    listing = json.loads((parts / LISTING).read_text(encoding="utf-8"))
    named = {
        name: (str(value[0]), str(value[1]))
        for name, value in listing.items()
        if isinstance(value, list) and len(value) == 2 and value[0] and value[1] and name != "safety_checker"
    }
    inside = {name for name, (_, class_name) in named.items() if found.holds(name, class_name)}
    outside = [name for name in named if name not in inside]
    if missing := [name for name in outside if not _complete(parts, name, named[name])]:
        raise NotThese(f"{parts} has no {' and no '.join(missing)}, and neither has the file")
    weights = tuple(name for name in outside if any(_weights_in(parts / name)))
    copied = sum(f.stat().st_size for name in outside for f in (parts / name).rglob("*") if f.is_file())
    out.parent.mkdir(parents=True, exist_ok=True)
    check_room(out, file.stat().st_size + copied)
    with new_folder(out) as made:
        for name, component in _loaded(file, found, parts, str(listing.get("_class_name", "")), named, inside).items():
            _check(name, component, found)
            with _quiet():
                component.to(getattr(torch, found.dtype(name, named[name][1])))
                component.save_pretrained(made / name, safe_serialization=True)
        for name in outside:
            _take(parts / name, made / name)
        write_bytes(made / LISTING, (parts / LISTING).read_bytes())
        _predicts_v(made, found.header)
        said = {k: v[:_MOST_SAID] for k, v in found.header.metadata.items() if k.startswith(_SAID)}
        write_bytes(made / ORIGIN, json.dumps({"name": file.name, "metadata": said}, indent=1).encode())
    return weights


def _loaded(
    file: Path, found: Contents, parts: Path, pipeline: str, named: dict[str, tuple[str, str]], inside: set[str]
) -> dict[str, Any]:
    """The components that are in the file, read by diffusers. Raises NotThese if it cannot with these configs."""
    import diffusers
    import torch
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    made: Any = getattr(diffusers, pipeline, None)
    (denoiser,) = [name for name in inside if name in DENOISERS] or [""]
    network: Any = getattr(diffusers, named.get(denoiser, ("", ""))[1], None)
    how: dict[str, Any] = {"config": str(parts), "local_files_only": True, "torch_dtype": getattr(torch, found.dtype())}
    try:
        with _quiet():
            if inside == {denoiser} and hasattr(network, "from_single_file"):
                return {denoiser: network.from_single_file(_source(file, found), subfolder=denoiser, **how)}
            if found.prefix != BARE and hasattr(made, "from_single_file"):
                nothing = dict.fromkeys((name for name in named if name not in inside), None)
                pipe = made.from_single_file(str(file), **how, **nothing)
                return {name: getattr(pipe, name) for name in inside}
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError, SingleFileComponentError) as error:
        said = " ".join(str(error).split())[:300]
        if "meta tensor" in said:
            raise NotThese(f"the file lacks weights that a {pipeline or 'pipeline'} of these configs has") from error
        raise NotThese(f"with the configs in {parts}, diffusers says: {said}") from error
    raise NotThese(f"diffusers reads no single file for a {pipeline or 'pipeline'}")


def _source(file: Path, found: Contents) -> Any:
    """What diffusers reads a denoiser from: the file, or its weights under the names that it knows."""
    odd = flux_names.of_other_width(found.header.tensors, found.prefix)
    if found.prefix != BARE and not odd:
        return str(file)
    from safetensors.torch import load_file

    weights = {key.removeprefix(found.prefix): value for key, value in load_file(file).items()}
    return flux_names.renamed(weights) if odd else weights


def _check(name: str, component: Any, found: Contents) -> None:
    """Raise NotThese unless every weight of a component came from the file."""
    if hasattr(component, "tie_weights"):
        component.tie_weights()  # T5 has its embeddings under two names, files under one
    lost = [key for key, param in component.named_parameters() if param.is_meta]
    if lost:
        raise NotThese(f"the file lacks weights of the {name} ({lost[0]}{', …' if len(lost) > 1 else ''})")
    if name in DENOISERS and (has := sum(p.numel() for p in component.parameters())) > found.denoiser:
        raise NotThese(f"the {name} has {has} numbers, the file only {found.denoiser}")


def _complete(parts: Path, name: str, named: tuple[str, str]) -> bool:
    """Whether the parts have a component: its weights, if it is a network, else its files."""
    folder = parts / name
    if not folder.is_dir():
        return False
    network = name in (*DENOISERS, "vae") or name.startswith(("text_encoder", "image_encoder"))
    return not network or any(_weights_in(folder))


def _weights_in(folder: Path) -> tuple[Path, ...]:
    try:
        return component_files(folder)
    except UserError:
        return ()


def _take(source: Path, target: Path) -> None:
    """A component's folder of the parts: small files are copied, big ones linked, which takes no room."""
    weights = _weights_in(source)
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        if path.suffix in (".safetensors", ".bin", ".ckpt", ".pt", ".msgpack", ".h5") and path not in weights:
            continue
        where = target / path.relative_to(source)
        where.parent.mkdir(parents=True, exist_ok=True)
        if path.stat().st_size >= _WEIGHTS_MB * 2**20:
            with contextlib.suppress(OSError):  # another disk
                os.link(path.resolve(), where)
                continue
        shutil.copyfile(path, where)


def _predicts_v(made: Path, header: Header) -> None:
    """Write into the scheduler's config what two empty tensors say: ``v_pred`` and ``ztsnr``, as NoobAI has them."""
    config = made / "scheduler" / "scheduler_config.json"
    change: dict[str, object] = {}
    if "v_pred" in header.tensors:
        change["prediction_type"] = "v_prediction"
    if "ztsnr" in header.tensors:
        change |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if change and config.is_file():
        known = json.loads(config.read_text(encoding="utf-8"))
        write_bytes(config, json.dumps({**known, **change}, indent=2).encode())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the loaders' progress bars and remarks; both libraries are left as they were."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (level, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(level)
            if bars:
                library.enable_progress_bar()
