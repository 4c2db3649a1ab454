"""From a plan's words to what its pipeline is handed: the words themselves, or what its text encoders make of them.

Words that every encoder reads whole, and that have no weights, are handed over as they are: the pipeline encodes them.
Where CLIP alone reads (Stable Diffusion 1, 2, XL), longer prompts, weights, BREAK and skipped layers go through `compel
<https://github.com/damian0815/compel>`_: encoded in stretches of CLIP's 75 tokens that are laid one behind the other.
Its parser is not used, as it has a syntax of its own: the pieces come from `plan.prompt_weights`. For all other
pipelines the signs of weights are taken off, and `plan.prompt_fit` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ...errors import PlanError
from ..plan.prompt_fit import CLIP_CLASSES, WEIGHING, clip_skip_problem
from ..plan.prompt_weights import Piece, chunks, is_weighted, taken_off, words
from .call import zeroed

Pair = tuple[str, str]
"""A prompt and its negative prompt."""


def text_arguments(pipe: Any, prompts: Sequence[Pair], clip_skip: int | None = None) -> dict[str, Any]:
    """The arguments of a pipeline's call that carry the words.

    Args:
        pipe: the pipeline, its weights those that the prompts are encoded with.
        prompts: one pair an image. If one of them is encoded here, all are, and all must be of one length: hand over
            one at a time where `is_encoded` says so.
        clip_skip: as `Sampler.clip_skip`.

    Returns:
        ``prompt`` and ``negative_prompt``, or their embeddings.

    Raises:
        PlanError: the encoders have no such layer.
    """
    if problem := clip_skip_problem(_encoder_layers(pipe), weighs(pipe), clip_skip):
        raise PlanError(problem)
    if not weighs(pipe):
        return {"prompt": [_bare(p) for p, _ in prompts], "negative_prompt": [_bare(n) for _, n in prompts]}
    if not any(is_encoded(pipe, pair, clip_skip) for pair in prompts):
        return {"prompt": [words(p) for p, _ in prompts], "negative_prompt": [words(n) for _, n in prompts]}
    encoded = [_encode_pair(pipe, pair, clip_skip) for pair in prompts]
    return {name: torch.cat([one[name] for one in encoded]) for name in encoded[0]}


def weighs(pipe: Any) -> bool:
    """Whether the pipeline's text encoders can be handed weights and stretches: they are CLIP's, and nothing else."""
    encoders = [type(encoder).__name__ for _, encoder in _encoders(pipe)]
    return type(pipe).__name__ in WEIGHING and bool(encoders) and all(name in CLIP_CLASSES for name in encoders)


def is_encoded(pipe: Any, pair: Pair, clip_skip: int | None = None) -> bool:
    """Whether `text_arguments` encodes a pair itself: it is weighted, too long for one stretch, or skips layers."""
    if not weighs(pipe):
        return False
    return clip_skip is not None or any(is_weighted(text) or _is_long(pipe, words(text)) for text in pair)


def _bare(prompt: str) -> str:
    return taken_off(prompt)[0]


def _encoders(pipe: Any) -> list[tuple[Any, Any]]:
    """The pipeline's (tokenizer, text encoder), in order."""
    ends = ("", "_2", "_3", "_4")
    found = [(getattr(pipe, f"tokenizer{end}", None), getattr(pipe, f"text_encoder{end}", None)) for end in ends]
    return [(tokenizer, encoder) for tokenizer, encoder in found if tokenizer is not None and encoder is not None]


def _encoder_layers(pipe: Any) -> int:
    """Of the shallowest CLIP; 0 where there is none."""
    clip = [encoder for _, encoder in _encoders(pipe) if type(encoder).__name__ in CLIP_CLASSES]
    return min((int(encoder.config.num_hidden_layers) for encoder in clip), default=0)


def _limit(tokenizer: Any, encoder: Any) -> int:
    """Tokens of one stretch, its two markers among them."""
    return min(int(tokenizer.model_max_length), int(encoder.config.max_position_embeddings))


def _is_long(pipe: Any, text: str) -> bool:
    return any(
        len(_tokens(tokenizer, _expanded(pipe, text, tokenizer))) + 2 > _limit(tokenizer, encoder)
        for tokenizer, encoder in _encoders(pipe)
    )


def _tokens(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text, without markers."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    return ids


def _expanded(pipe: Any, text: str, tokenizer: Any) -> str:
    """The text with each embedding's name in it followed by those of its further vectors, as diffusers writes it."""
    return str(pipe.maybe_convert_prompt(text, tokenizer)) if hasattr(pipe, "maybe_convert_prompt") else text


class _Layer:
    """A text encoder whose last hidden states are those that the pipeline conditions on, for compel.

    Stable Diffusion 1 and 2 take the last layer, or with ``clip_skip`` n the n-th from the end, through CLIP's last
    norm. Stable Diffusion XL was trained on the second from the end without that norm, so that is where it begins:
    ``clip_skip`` 2 is what it does anyway, 1 too (A1111 leaves XL alone), 3 is one layer earlier.
    """

    def __init__(self, encoder: Any, clip_skip: int | None, *, xl: bool) -> None:
        self._encoder, self._xl = encoder, xl
        self._from_end = max(2, clip_skip or 2) if xl else clip_skip
        self.device, self.dtype = encoder.device, encoder.dtype

    def __call__(self, ids: Tensor, mask: Tensor | None = None, **_: Any) -> SimpleNamespace:
        out = self._encoder(ids, attention_mask=mask, output_hidden_states=True, return_dict=True)
        hidden = out.last_hidden_state
        if self._from_end is not None:
            hidden = out.hidden_states[-self._from_end]
            if not self._xl:
                hidden = getattr(self._encoder, "text_model", self._encoder).final_layer_norm(hidden)
        return SimpleNamespace(last_hidden_state=hidden, text_embeds=getattr(out, "text_embeds", None))


def _encode_pair(pipe: Any, pair: Pair, clip_skip: int | None) -> dict[str, Tensor]:
    """What the pipeline would encode a prompt and its negative prompt to, both as long as the longer one."""
    xl = len(_encoders(pipe)) > 1 or getattr(pipe, "text_encoder_2", None) is not None
    device = pipe._execution_device
    sides: list[list[Tensor]] = [[], []]
    pooled: list[Tensor] = []
    for tokenizer, encoder in _encoders(pipe):
        compel = _compel(tokenizer, _Layer(encoder, clip_skip, xl=xl), _limit(tokenizer, encoder), device)
        made = [_conditioned(compel, _stretches(pipe, tokenizer, text)) for text in pair]
        for side, tensor in zip(sides, compel.pad_conditioning_tensors_to_same_length(made), strict=True):
            side.append(tensor)
        if xl and type(encoder).__name__ == "CLIPTextModelWithProjection":
            firsts = ["".join(piece.text for piece in _stretches(pipe, tokenizer, text)[0]) for text in pair]
            pooled = [compel.conditioning_provider.get_pooled_embeddings([text], device=device) for text in firsts]
    out = {
        name: torch.cat(side, dim=-1)
        for name, side in zip(("prompt_embeds", "negative_prompt_embeds"), sides, strict=True)
    }
    names = ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    out |= dict(zip(names, pooled, strict=True)) if pooled else {}
    if not pair[1] and zeroed(pipe):
        out |= {name: torch.zeros_like(tensor) for name, tensor in out.items() if name.startswith("negative_")}
    return {name: tensor.to(device) for name, tensor in out.items()}


def _compel(tokenizer: Any, encoder: _Layer, limit: int, device: torch.device) -> Any:
    from compel import Compel, SplitLongTextMode

    return Compel(
        tokenizer=tokenizer,
        text_encoder=encoder,
        truncate_long_prompts=False,
        split_long_text_mode=SplitLongTextMode.PHRASES,  # at a comma where there is one, as A1111 does
        device=str(device),
        model_max_length=limit,
    )


def _stretches(pipe: Any, tokenizer: Any, text: str) -> list[list[Piece]]:
    """The pieces that have tokens at all, the names of embeddings in them written out; one empty one if none has."""
    found = [[Piece(_expanded(pipe, piece.text, tokenizer), piece.weight) for piece in some] for some in chunks(text)]
    return [[piece for piece in some if _tokens(tokenizer, piece.text)] or [Piece("")] for some in found]


def _conditioned(compel: Any, stretches: Sequence[Sequence[Piece]]) -> Tensor:
    """(1, tokens, width) of a prompt. Negative weights count as 0: compel has no meaning for them."""
    from compel.prompt_parser import Conjunction, FlattenedPrompt, Fragment

    prompts = [FlattenedPrompt([Fragment(text, max(0.0, weight)) for text, weight in some]) for some in stretches]
    tensor: Tensor = compel.build_conditioning_tensor_for_conjunction(Conjunction(prompts))[0]
    return tensor
