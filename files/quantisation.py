"""Weights that are stored narrower than they are meant: which scales go with them, or by whom they were quantised.

A number of eight bits with a scale beside it means nothing without that scale. `with_scales` finds, from names, dtypes
and shapes alone, the scales that are exact and simple (one number a tensor, or one an output: then a value is
``float32(stored) * scale``); every other way is refused by its name. `declared` looks into the configuration files
beside. Imports no torch.

The names are facts of the programs' own files: ComfyUI and musubi-tuner (``scale_weight``, ``scaled_fp8``),
compressed-tensors and modelopt (``weight_scale``), bitsandbytes, GPTQ, AWQ, nunchaku, optimum-quanto, torchao, HQQ.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ExpertError
from .header import FLOATS, Header, Scale

FP8 = frozenset({"F8_E4M3", "F8_E5M2"})
_WIDE = frozenset({"F64", "F32", "F16", "BF16"})
NEXT_STEP = "take the bfloat16 or float16 file of the same model, or dequantise it with the program that wrote it"

_SCALES = (".scale_weight", ".weight_scale")
_DROPPED = re.compile(r"\.(scale_input|input_scale|scale_output|output_scale|comfy_quant)$|(^|\.)scaled_fp8$")
"""What says nothing about the stored values: scales of a layer's inputs and outputs, markers."""
_BY_NAME: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("bitsandbytes nf4", r"\.quant_state\.bitsandbytes__nf4$"),
        ("bitsandbytes fp4", r"\.quant_state\.bitsandbytes__fp4$"),
        ("bitsandbytes 4-bit (nf4 or fp4)", r"\.(nested_)?(absmax|quant_map)$|\.quant_state(\.|$)|\.bitsandbytes__"),
        ("bitsandbytes int8", r"\.(SCB|CB|weight_format)$"),
        ("SVDQuant (nunchaku)", r"\.(wscales|wzeros|wtscale|wcscales|smooth_factor(_orig)?)$"),
        ("GPTQ", r"\.g_idx$"),
        ("AWQ or GPTQ", r"\.(qweight|qzeros)$"),
        ("NVFP4 (modelopt)", r"\.(weight_scale_2|weight_global_scale|weight_double_scale)$"),
        ("modelopt", r"\.(weight|input|output)_quantizer(\.|$)|\._?amax$|(^|\.)modelopt_state"),
        ("compressed-tensors", r"\.(weight_packed|weight_zero_point|weight_shape|weight_g_idx)$"),
        (
            "torchao",
            r"\.weight:|[._]qdata$|\.(tensor_impl|layout_tensor|original_weight_tensor)(\.|$)|\._weight_scale$",
        ),
        ("fp8 in blocks (as DeepSeek has it)", r"\.weight_scale_inv$"),
        ("HQQ", r"\.W_q$"),
        ("AQLM", r"\.codebooks$"),
        ("QuIP#", r"\.Qidxs$"),
    )
)
_BY_NAME_AND_DTYPE = (
    ("optimum-quanto", re.compile(r"\._(data|packed)$")),
    ("MXFP4", re.compile(r"[._]blocks$")),
)
"""Names that a plain model may have too, but then for floats."""
_DTYPES = MappingProxyType(
    {
        "F8_E8M0": "MX (block scales in F8_E8M0: MXFP8 or MXFP4)",
        "F4": "FP4 (NVFP4 or MXFP4)",
        "F6_E2M3": "MXFP6",
        "F6_E3M2": "MXFP6",
        "F8_E4M3FNUZ": "fp8 of AMD's kind (F8_E4M3FNUZ)",
        "F8_E5M2FNUZ": "fp8 of AMD's kind (F8_E5M2FNUZ)",
    }
)
_NARROW = frozenset({"I8", "U8", "I16", "I32", "U16", "U32", "I64", "U64"})
_SCALE_WORD = re.compile(r"(^|_)(scales?|zeros?|zero_points?|zp|absmax|amax|qmap|bits|qscale)(_|$)", re.I)
_METADATA = (
    "quantization_config", "_quantization_metadata", "quant_method", "quantization", "quantization_method",
    "quant_config", "quantization_type", "quantized", "quant_type", "hf_quant_config",
)  # fmt: skip
_METHODS = (
    ("svdquant", "SVDQuant (nunchaku)"), ("nunchaku", "SVDQuant (nunchaku)"), ("nvfp4", "NVFP4"), ("mxfp4", "MXFP4"),
    ("mxfp8", "MXFP8"), ("nf4", "bitsandbytes nf4"), ("bitsandbytes", "bitsandbytes"), ("bnb", "bitsandbytes"),
    ("load_in_4bit", "bitsandbytes"), ("load_in_8bit", "bitsandbytes int8"), ("gptq", "GPTQ"), ("awq", "AWQ"),
    ("quanto", "optimum-quanto"), ("torchao", "torchao"), ("compressed-tensors", "compressed-tensors"),
    ("compressed_tensors", "compressed-tensors"), ("modelopt", "modelopt"), ("gguf", "GGUF"), ("hqq", "HQQ"),
    ("aqlm", "AQLM"), ("eetq", "EETQ"), ("fbgemm", "FBGEMM fp8"), ("int8", "int8"), ("int4", "int4"), ("fp4", "FP4"),
)  # fmt: skip
"""(word in a configuration, name of the method); the first that is there counts."""
_FP8_WORDS = re.compile(r"fp8|float8|f8_e|e4m3|e5m2", re.I)
_NO_WORDS = frozenset({"", "none", "null", "no", "false", "{}", "[]", "0", "fp16", "bf16", "fp32", "float16"}) | {
    "bfloat16", "float32",
}  # fmt: skip
_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json", "quanto_qmap.json")
_MAX_CONFIG_BYTES = 4 * 2**20


@dataclass(frozen=True)
class _Found:
    """What a header's names and dtypes say: weight -> its scale, and tensors that say nothing about values."""

    scales: Mapping[str, str]
    dropped: frozenset[str]


def with_scales(header: Header) -> Header:
    """The header without scales and markers among its tensors; which scale goes with which stands in ``scales``.

    The header itself where there is nothing of the kind.

    Raises:
        ExpertError: quantised in a way that is not read; the message names the way and the next step.
    """
    if header.scales:
        return header
    found = _found(header)
    _check_metadata(header, bool(found.scales))
    if not found.scales and not found.dropped:
        return header
    scales = {key: Scale(scale, header.tensors[scale]) for key, scale in found.scales.items()}
    gone = found.dropped.union(found.scales.values())
    tensors = {key: info for key, info in header.tensors.items() if key not in gone}
    if not tensors:
        raise _refused(header, "scaled fp8", "it holds markers and no weights", sorted(gone))
    return replace(header, tensors=MappingProxyType(tensors), scales=MappingProxyType(scales))


def declared(folder: Path) -> str | None:
    """The method by which the weights of a folder were quantised, as the configuration beside them says; None if no.

    Raises:
        ExpertError: a configuration that cannot be read.
    """
    for name in _FILES:
        if (folder / name).is_file():
            return _method(_json(folder / name)) or f"a way that {name} describes"
    for name in ("config.json", "model_index.json"):
        path = folder / name
        if path.is_file() and isinstance(document := _json(path), dict):
            for key in ("quantization_config", "compression_config"):
                if document.get(key):
                    return _method(document[key]) or f"a way that {name} describes"
    return None


def refuse_declared(folder: Path, what: str) -> None:
    """Raise ExpertError if the configuration beside weights says that they are quantised."""
    if (method := declared(folder)) is not None:
        text = f"{what} in {folder} is quantised ({method}, its configuration says), and is not read"
        raise ExpertError(f"{text}: {NEXT_STEP}", path=str(folder))


def _found(header: Header) -> _Found:
    tensors = header.tensors
    for dtype, name in _DTYPES.items():
        if keys := [key for key, info in tensors.items() if info.dtype == dtype]:
            raise _refused(header, name, f"it holds {dtype}", keys)
    for name, pattern in _BY_NAME:
        if keys := [key for key in tensors if pattern.search(key)]:
            raise _refused(header, name, "its tensors are called so", keys)
    for name, pattern in _BY_NAME_AND_DTYPE:
        if keys := [key for key, info in tensors.items() if info.dtype not in _WIDE and pattern.search(key)]:
            raise _refused(header, name, "its tensors are called so", keys)
    scales: dict[str, str] = {}
    for key in tensors:
        for ending in _SCALES:
            if key.endswith(ending):
                weight = f"{key.removesuffix(ending)}.weight"
                if weight in scales:
                    raise _refused(
                        header, "scaled weights", "it gives two scales for one weight", (scales[weight], key)
                    )
                scales[weight] = key
    dropped = frozenset(key for key in tensors if _DROPPED.search(key))
    _check_scales(header, scales)
    if scales or dropped:
        bare = [k for k, i in tensors.items() if i.dtype in FP8 and len(i.shape) > 1 and k not in scales]
        if bare := [key for key in bare if key not in dropped]:
            raise _refused(header, "scaled fp8", "it has scales, and none for some of its weights", bare)
    _check_rest(header, scales, dropped)
    return _Found(scales, dropped)


def _check_scales(header: Header, scales: Mapping[str, str]) -> None:
    """Raise ExpertError for a scale that is none of one number a tensor or one an output, of floats."""
    for weight, key in scales.items():
        info, scale = header.tensors.get(weight), header.tensors[key]
        if info is None:
            raise _refused(header, "scaled weights", "it has a scale without its weight", (key,))
        if info.dtype not in FLOATS:
            raise _refused(header, _integer(info.dtype), f"it holds {info.dtype} with scales", (weight, key))
        if scale.dtype not in _WIDE:
            raise _refused(header, "scaled weights", f"its scale is of dtype {scale.dtype}", (key,))
        if not _simple(info.shape, scale.shape):
            what = f"it scales a weight of shape {info.shape} with {scale.shape}, not one number a tensor or an output"
            raise _refused(header, "weights scaled in blocks or groups", what, (weight, key))


def _simple(weight: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """One number for all, or one for each output (first dimension)."""
    count = math.prod(scale)
    if count == 1:
        return True
    return bool(weight) and count == weight[0] == scale[0]


def _check_rest(header: Header, scales: Mapping[str, str], dropped: frozenset[str]) -> None:
    """Raise ExpertError for integers where weights belong, and for words like scale beside narrow weights."""
    tensors = header.tensors
    ours = {*scales.values(), *dropped}
    for key, info in tensors.items():
        if key in ours:
            continue
        module, _, last = key.rpartition(".")
        if info.dtype in ("I8", "U8", "I16", "U16") and len(info.shape) > 1 and last != "position_ids":
            raise _refused(header, _integer(info.dtype), f"it holds {info.dtype} where weights belong", (key,))
        if last == "weight" and info.dtype in _NARROW:
            raise _refused(header, _integer(info.dtype), f"it holds {info.dtype} where weights belong", (key,))
        if _SCALE_WORD.search(last):
            partner = tensors.get(f"{module}.weight") or tensors.get(module)
            if partner is not None and partner.dtype not in _WIDE:
                raise _refused(header, "scaled weights", "it has scales of a kind that is not understood", (key,))
            if (base := tensors.get(re.sub(r"_(scales?|zeros?|zero_points?)$", "", key))) and base.dtype not in _WIDE:
                raise _refused(header, "scaled weights", "it has scales of a kind that is not understood", (key,))


def _check_metadata(header: Header, scaled: bool) -> None:
    """Raise ExpertError if the header's own words say that it is quantised in a way that its tensors do not settle."""
    for key in _METADATA:
        text = header.metadata.get(key)
        if text is None or text.strip().casefold() in _NO_WORDS:
            continue
        method = _method(text)
        fp8 = bool(_FP8_WORDS.search(text)) and (method is None or scaled)
        if not fp8:
            raise _refused(header, method or "a way that its metadata describes", f"its metadata says so ({key})", ())
    if types := [k for k, text in header.metadata.items() if '"_type"' in text[:4096] and "Tensor" in text[:4096]]:
        raise _refused(header, "torchao", f"its metadata says so ({types[0][:80]})", ())


def _integer(dtype: str) -> str:
    return {"I8": "int8", "U8": "4 or 8 bits packed into bytes"}.get(dtype, f"integers ({dtype})")


def _method(said: Any) -> str | None:
    """The name of a method from a configuration, whatever shape it has."""
    text = said if isinstance(said, str) else json.dumps(said)
    for word in _words(said):
        for known, name in _METHODS:
            if known in word:
                return name
    text = text[:_MAX_CONFIG_BYTES].casefold()
    for known, name in _METHODS:
        if re.search(rf"(?<![a-z0-9]){re.escape(known)}(?![a-z])", text):
            return name
    return f"quant_method {said['quant_method']!r}"[:80] if isinstance(said, dict) and "quant_method" in said else None


def _words(said: Any) -> Iterator[str]:
    """The values that name a method outright, before any other word."""
    if isinstance(said, str) and said.lstrip().startswith("{"):
        try:
            said = json.loads(said)
        except (ValueError, RecursionError):
            return
    if isinstance(said, dict):
        for key in ("quant_method", "method", "quant_backend", "quant_algo", "bnb_4bit_quant_type"):
            if isinstance(value := said.get(key), str):
                yield value.casefold()


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ExpertError(f"{path} is larger than any configuration", path=str(path))
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExpertError(f"{path} cannot be read as JSON", path=str(path)) from error


def _refused(header: Header, method: str, why: str, keys: Iterable[str]) -> ExpertError:
    keys = tuple(keys)
    shown = ", ".join(key[:120] for key in keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    why += f": {shown}" if keys else ""
    text = f"{header.path} is quantised ({method}), and is not read, because {why}. What to do: {NEXT_STEP}"
    return ExpertError(text, path=str(header.path), keys=keys)
