"""What a base's text encoders take of a prompt, told from configurations and tokenizers alone. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from ...errors import UserError
from .prompt_weights import chunks, taken_off

WEIGHING = frozenset({"StableDiffusionPipeline", "StableDiffusionXLPipeline"})
"""Pipelines whose prompts may have weights and any length (`sampling.encoding`)."""
CLIP_CLASSES = frozenset({"CLIPTextModel", "CLIPTextModelWithProjection"})
CLIP_LIMIT = 77
_SLOTS = ("", "_2", "_3", "_4")
_MAX_CONFIG_BYTES = 2**20
_MOST_TOKENS = 10**6
"""A tokenizer that has no limit says a number far beyond this."""


class Encoder(BaseModel):
    """One text encoder of a base: its class, its layers (0: not told), its tokenizer's folder, and how many tokens that
    says it reads (None: it does not say).
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    layers: int
    tokenizer: Path
    limit: int | None

    @property
    def clip(self) -> bool:
        return self.kind in CLIP_CLASSES


class TextSide(BaseModel):
    """How a base reads: its pipeline's class, and its text encoders in order."""

    model_config = ConfigDict(frozen=True)

    pipeline: str
    encoders: tuple[Encoder, ...]

    @property
    def weighs(self) -> bool:
        """Whether words may have weights, and prompts any length."""
        return self.pipeline in WEIGHING and bool(self.encoders) and all(encoder.clip for encoder in self.encoders)

    @property
    def clip_layers(self) -> int:
        """Layers of its shallowest CLIP; 0 where there is none."""
        return min((encoder.layers for encoder in self.encoders if encoder.clip), default=0)


def text_side(base: Path) -> TextSide | None:
    """How the base in a diffusers folder reads; None where no pipeline's configuration is there to tell."""
    declared = _json(base / "model_index.json")
    if not isinstance(name := declared.get("_class_name"), str):
        return None
    found = []
    for slot in _SLOTS:
        match declared.get(f"text_encoder{slot}"):
            case [str(), str(kind)]:
                config, said = _json(base / f"text_encoder{slot}" / "config.json"), base / f"tokenizer{slot}"
                most = _json(said / "tokenizer_config.json").get("model_max_length")
                layers = config.get("num_hidden_layers")
                found.append(
                    Encoder(
                        kind=kind,
                        layers=layers if isinstance(layers, int) else 0,
                        tokenizer=said,
                        limit=int(most) if isinstance(most, int | float) and 0 < most < _MOST_TOKENS else None,
                    )
                )
    return TextSide(pipeline=name, encoders=tuple(found))


def clip_skip_problem(layers: int, weighs: bool, clip_skip: int | None) -> str:
    """Why a base cannot skip layers of CLIP so ("" if it can, or is not asked to).

    Args:
        layers: of its CLIP; 0 if that is not known.
        weighs: whether CLIP is all that reads its prompts (`TextSide.weighs`).
        clip_skip: as `Sampler.clip_skip`.
    """
    if clip_skip is None:
        return ""
    if not weighs:
        return "clip skip is for Stable Diffusion 1, 2 and XL, where CLIP alone reads the prompt: leave it out here"
    if layers and clip_skip > layers:
        return f"clip skip {clip_skip} is more than this base's text encoder has layers: 1 to {layers} are possible"
    return ""


def prompt_notes(base: Path, prompt: str, negative: str = "", limit: int | None = None) -> tuple[str, ...]:
    """What of a plan's words is not obeyed or not read, as sentences; empty if all is.

    Args:
        base: a diffusers folder.
        prompt, negative: as in the plan.
        limit: tokens that the base's longest reader is asked to read, where its profile knows.
    """
    side = text_side(base)
    if side is None:
        return ()
    notes: list[str] = []
    if side.weighs:
        below = [
            piece.text.strip()
            for text in (prompt, negative)
            for some in chunks(text)
            for piece in some
            if piece.weight < 0
        ]
        return (
            (f"a weight under 0 counts as 0: {', '.join(below)}; to keep it out, name it in the negative prompt",)
            if below
            else ()
        )
    for text in (prompt, negative):
        bare, weighted = taken_off(text)
        if weighted:
            signs = ", ".join(weighted)
            notes.append(f"not obeyed: {signs}. This base's text encoders take no weights; the words are drawn without")
        notes += _unread(side, bare, limit)
    return tuple(dict.fromkeys(notes))


class Spans(NamedTuple):
    """Where each token of a text ends in it, and how many markers stand around them."""

    ends: tuple[int, ...]
    markers: int


class Spanning(Protocol):
    """What `cut` asks of a tokenizer."""

    def spans(self, text: str) -> Spans: ...


def cut(tokenizer: Spanning, text: str, limit: int) -> tuple[str, ...]:
    """The words at the end of a text that an encoder of so many tokens, markers included, does not read whole."""
    read = tokenizer.spans(text)
    room = max(0, limit - read.markers)
    if len(read.ends) <= room:
        return ()
    at = read.ends[room - 1] if room else 0
    while 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum():
        at -= 1  # a word that is read in part is not read
    return tuple(word for word in text[at:].split() if any(char.isalnum() for char in word))


class FileTokenizer:
    """A tokenizer from the files of a base: tokenizer.json, or CLIP's vocabulary and merges.

    Raises:
        UserError: there is none that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = _opened(folder)

    def spans(self, text: str) -> Spans:
        read = self._tokenizer.encode(text)
        marks = read.special_tokens_mask
        ends = tuple(end for (_, end), special in zip(read.offsets, marks, strict=True) if not special)
        return Spans(ends, sum(marks))


@lru_cache(maxsize=8)
def _opened(folder: Path) -> Any:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else _clip_from_parts(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"there is no tokenizer in {folder} that tells how much of a prompt is read") from error
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises no other kind
        if type(error) is Exception:
            raise UserError(f"the tokenizer in {folder} cannot be read: {error}") from error
        raise
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _clip_from_parts(folder: Path) -> str:
    """CLIP's tokenizer as JSON, from the vocabulary and merges that older releases of a base hold in its place."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines if line[:1] != "#") if right]
    first, last = "<|startoftext|>", "<|endoftext|>"
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, end_of_word_suffix="</w>", unk_token=last))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, vocab[first]), (last, vocab[last])]
    )
    return str(made.to_str())


def _unread(side: TextSide, text: str, limit: int | None) -> Iterator[str]:
    """What each encoder leaves unread. What one of them reads is not lost, but it is said who does not."""
    lost: dict[Encoder, tuple[str, ...]] = {}
    for encoder in side.encoders:
        most = (encoder.limit or CLIP_LIMIT) if encoder.clip else limit or encoder.limit
        # No token is shorter than a byte, so a short text is read whole by any tokenizer.
        short = most is None or len(text.encode()) + 2 <= most
        lost[encoder] = () if short or most is None else cut(FileTokenizer(encoder.tokenizer), text, most)
    least = min(lost.values(), key=len, default=())
    if least:
        yield f"cut: the text encoders of this base do not read the end of the prompt: {' '.join(least)}"
    for encoder, words in lost.items():
        if len(words) > len(least):
            yield f"{encoder.kind} does not read the prompt from {words[0]!r} on; the other text encoder does"


def _json(path: Path) -> dict[str, Any]:
    """A configuration; empty where it is not there or cannot be read."""
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
