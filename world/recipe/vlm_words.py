"""The words of the world's vision-language model, and where they start: where the critic's own texts lie.

To say whether an image shows a thing is to compare two vectors, and a model that has to find both from answers alone
is at chance for long. The published critic knows where each text lies in its spaces. Part of the residual stream is
given to them: a token starts at the mean of the texts that it occurs in, an image where the critic sees it, and two
heads of the first layer start out comparing the two. All of it is learnt on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...scoring.critics.dual_encoder_net import DualEncoder
from .critic_net import Texts

ROOMS = {"subject": (0, 64), "style": (64, 32), "background": (96, 32)}
"""Facet -> where its space starts in the residual stream, and how many principal directions of it there are."""
_LENGTH = 0.5
"""Of a token's part in a space: about twice the length of what it starts with elsewhere."""
_SHARP = 0.5
_SLOW = [*range(16, 32), *range(48, 64)]
"""Dimensions of a head that rotary positions (arXiv 2104.09864) hardly turn over the length of a question."""


class Words(nn.Module):
    """The text model with a layer that takes what the critic's tower sees for visual tokens."""

    def __init__(self, model: Any, width: int) -> None:
        super().__init__()
        self.text, self.lm_head = model.model.text_model, model.lm_head
        self.join = nn.Linear(width, model.config.text_config.hidden_size, bias=False)

    @torch.no_grad()
    def start(self, words: Any, banks: Mapping[str, Texts], net: DualEncoder) -> None:
        """Begin where the texts of ``net`` lie; ``banks`` holds those texts, ``words`` is the tokenizer."""
        embeds, answers = self.text.get_input_embeddings().weight, self.lm_head.weight
        nn.init.normal_(self.join.weight, std=0.002)
        for number, (facet, (at, size)) in enumerate(ROOMS.items()):
            bank = banks[facet]
            vectors = net.texts[facet](bank.features)
            vectors = vectors - vectors.mean(0)
            basis = torch.linalg.svd(vectors, full_matrices=False).Vh[:size]
            placed = vectors @ basis.T
            placed = _LENGTH * placed / placed.norm(dim=1).mean()
            room = slice(at, at + size)
            _place(embeds, room, words, [f" {text}" for text in bank.texts], placed)
            _place(embeds, room, words, bank.texts, placed)
            _place(answers, room, words, bank.texts, placed)
            width = net.config.embed
            self.join.weight[room, number * width : (number + 1) * width] = _LENGTH * basis / width**0.5
        self._compare()

    def _compare(self) -> None:
        """Heads 0 and 2 of the first layer ask for the subject: half of its directions each."""
        attention = self.text.layers[0].self_attn
        for head, share, first in ((0, 0, 0), (2, 1, len(_SLOW))):
            for i, dim in enumerate(_SLOW):
                for weight, row in ((attention.q_proj.weight, head), (attention.k_proj.weight, share)):
                    line = weight[row * attention.head_dim + dim]
                    line.zero_()
                    line[first + i] = _SHARP


def _place(weight: Tensor, room: slice, words: Any, texts: list[str], placed: Tensor) -> None:
    """Put every token of ``texts`` at the mean of the texts that it occurs in; ``placed`` (texts, directions)."""
    where: dict[int, list[int]] = {}
    for row, text in enumerate(texts):
        for token in words.encode(text, add_special_tokens=False):
            where.setdefault(token, []).append(row)
    for token, rows in where.items():
        weight[token, room] = placed[rows].mean(0)
