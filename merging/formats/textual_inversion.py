"""Textual inversion: new tokens with learnt embeddings (https://arxiv.org/abs/2208.01618). Nothing of the base changes.

So there is no delta to merge: a plan that lists one as an expert is refused, and the message says what to do instead.
`read_embedding` gives the vectors, checked against the base, and `Embedding.add_to` puts them into a pipeline's
tokenizer and text encoders. Known layouts: A1111 (``emb_params``), diffusers (one tensor named by its token), SDXL and
SD3 (``clip_l``, ``clip_g``, ``t5xxl``), and pivotal tuning (``text_encoders_0``, ``text_encoders_1``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from ...bases.index import BaseIndex
from ...errors import UserError
from ...files.header import FLOATS, Header, read_header
from ...files.quantisation import with_scales
from .format import Format, TargetInfo, expert_error, register
from .tensors import load_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from ..deltas.delta import Delta

_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
_KNOWN = MappingProxyType(
    {"clip_l": 0, "clip_g": 1, "t5xxl": 2, "t5": 2, "text_encoders_0": 0, "text_encoders_1": 1, "text_encoders_2": 2}
)
"""Key -> number of the encoder it is for."""
_OUTPUTS = frozenset(f"{key}_out" for key in ("clip_l", "clip_g", "t5", "t5xxl"))
"""OneTrainer's vectors for what a text encoder gives out: no token of a tokenizer can stand for them."""
_TABLES = ("embeddings.token_embedding.weight", "shared.weight")
_MAX_VECTORS = 128
_MAX_TENSORS = 8


@dataclass(frozen=True)
class Embedding:
    """The vectors of one textual inversion.

    Attributes:
        path: the file.
        token: the word that stands for the vectors in a prompt.
        vectors: text encoder -> (n, width) float32; the same n for all.
    """

    path: Path
    token: str
    vectors: Mapping[str, Tensor]

    @property
    def tokens(self) -> tuple[str, ...]:
        """One token a vector, as diffusers names them: ``<owl>``, ``<owl>_1``, …"""
        count = next(iter(self.vectors.values())).shape[0]
        return (self.token, *(f"{self.token}_{i}" for i in range(1, count)))

    def add_to(self, pipe: Any) -> None:
        """Add the tokens to a diffusers pipeline's tokenizers and text encoders (which grow by n rows).

        Prompts with several vectors must pass through ``pipe.maybe_convert_prompt``, as its own ``__call__`` does.

        Raises:
            UserError: the pipeline cannot take textual inversions, or has the token already.
        """
        if not hasattr(pipe, "load_textual_inversion"):
            raise UserError(f"{type(pipe).__name__} cannot take textual inversions")
        for encoder, vectors in self.vectors.items():
            tokenizer = getattr(pipe, encoder.replace("text_encoder", "tokenizer"))
            if self.token in tokenizer.get_vocab():
                raise UserError(f"the tokenizer for {encoder} has a token {self.token!r} already")
            pipe.load_textual_inversion(
                vectors.clone(), token=self.token, tokenizer=tokenizer, text_encoder=getattr(pipe, encoder)
            )


@register
class TextualInversion(Format):
    name = "textual_inversion"

    def detect(self, header: Header) -> str | None:
        if len(header.tensors) > _MAX_TENSORS:
            return None
        known = all(key == "emb_params" or key in _KNOWN or key in _OUTPUTS or _is_token(key) for key in header.keys)
        return "textual_inversion" if known and all(len(t.shape) <= 2 for t in header.tensors.values()) else None

    def rank(self, header: Header) -> int | None:
        return None

    def targets(self, files: Sequence[Header], base: BaseIndex) -> dict[str, TargetInfo]:
        self._refuse(files[0])

    def read(self, files: Sequence[Header], base: BaseIndex) -> dict[str, Delta]:
        self._refuse(files[0])

    def _refuse(self, header: Header) -> NoReturn:
        what = "is a textual_inversion: it adds tokens and changes no weight, so there is nothing to merge"
        todo = "load it into the pipeline with merging.formats.textual_inversion.read_embedding(…).add_to(pipe)"
        raise expert_error(header, f"{what}; {todo}", header.keys)


def read_embedding(path: Path | str, base: BaseIndex, token: str | None = None) -> Embedding:
    """Read a textual inversion for the text encoders of ``base``.

    Args:
        path: the ``.safetensors`` file.
        base: the pipeline it is for.
        token: the word for it in a prompt; by default the one that the file names, or the file's stem.

    Raises:
        ExpertError: not a textual inversion; vectors of a width that no text encoder of the base has (another family),
            or of different number for different encoders; NaN; an encoder that the base lacks.
    """
    header = with_scales(read_header(path))
    if TextualInversion().detect(header) is None:
        raise expert_error(header, "is no textual inversion", header.keys)
    if outputs := [key for key in header.keys if key in _OUTPUTS]:
        what = "holds vectors for the output of a text encoder, which no token can stand for"
        raise expert_error(header, f"{what}: train the embedding without 'output embedding'", outputs)
    widths = _widths(base)
    places: dict[str, str] = {}
    for key in header.keys:
        encoder = _encoder(header, key, widths)
        if encoder in places.values():
            raise expert_error(header, f"has two tensors for {encoder}", header.keys)
        places[key] = encoder
    shapes = [header.tensors[key].shape for key in places]
    counts = {shape[0] if len(shape) == 2 else 1 for shape in shapes}
    if len(counts) != 1 or not 0 < next(iter(counts)) <= _MAX_VECTORS:
        raise expert_error(
            header, f"has {sorted(counts)} vectors; one number from 1 to {_MAX_VECTORS} is right", header.keys
        )
    loaded = load_tensors(header, header.keys)
    vectors = {encoder: loaded[key].reshape(-1, widths[encoder]) for key, encoder in sorted(places.items())}
    named = next((key for key in header.keys if _is_token(key)), None)
    return Embedding(header.path, token or named or header.path.stem, MappingProxyType(vectors))


def _is_token(key: str) -> bool:
    return len(key) > 2 and key.startswith("<") and key.endswith(">")


def _widths(base: BaseIndex) -> dict[str, int]:
    """Text encoder -> width of its token embeddings."""
    out: dict[str, int] = {}
    for encoder in _ENCODERS:
        shapes = [base.shape(f"{encoder}.{table}") for table in _TABLES]
        if shape := next((shape for shape in shapes if shape is not None), None):
            out[encoder] = shape[1]
    return out


def _encoder(header: Header, key: str, widths: Mapping[str, int]) -> str:
    """The text encoder that a tensor is for: by its key, or by its width where the key does not tell."""
    info = header.tensors[key]
    if info.dtype not in FLOATS or not info.shape or 0 in info.shape:
        raise expert_error(header, f"holds no vectors but {info.dtype} of shape {info.shape}", (key,))
    fitting = [encoder for encoder, width in widths.items() if width == info.shape[-1]]
    if key in _KNOWN:
        wanted = _ENCODERS[_KNOWN[key]]
        if key.startswith("t5") and wanted not in widths:  # the third encoder of SD3, the second of FLUX.1
            wanted = "text_encoder_2"
        fitting = [encoder for encoder in fitting if encoder == wanted]
    if len(fitting) != 1:
        what = f"has vectors of width {info.shape[-1]}; the base's text encoders have {dict(widths)}"
        raise expert_error(header, what + (" (which of them is it for?)" if fitting else " (another family?)"), (key,))
    return fitting[0]
