"""Lessons for the world's vision-language model: images with what they show, as questions with their answers.

Eight questions stand behind one image in a row, each blind to the others, so that the image is read once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...scoring.critics.vlm.questions import SHORTLY, YES_NO, open_question, question
from ...scoring.request import Wanted
from ..critic import FACETS, SPOKEN
from .critic_net import Texts
from .made_lessons import UNSAID
from .vlm_parts import END, IMAGE_TOKENS, NO, YES

QUESTIONS, ROOM = 8, 15
"""Questions an image, and tokens that each has room for, its answer included."""
_IGNORED = -100


@dataclass(frozen=True)
class Packed:
    """``ids``, ``positions`` (n, t); ``mask`` (1, 1, t, t), True where a token sees another; ``goals`` (n, t), the
    next token where it is an answer, else -100; ``yes`` (n, t): 1 or 0 at the place of a yes/no answer, else -1.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    goals: Tensor
    yes: Tensor


class Teacher:
    """Makes questions of labels. ``labels`` are (subject, style, background): a class, `NOBODY` or `UNSAID`.

    Args:
        words: the tokenizer.
        banks: facet -> its texts, and which classes each is true of.
        alike: bool (styles, backgrounds, backgrounds): which plain colours cannot be told apart under a style.
        strangers: names of things that no image shows.
    """

    def __init__(self, words: Any, banks: dict[str, Texts], alike: Tensor, strangers: list[str], seed: int) -> None:
        self.words, self.banks, self.strangers = words, banks, strangers
        self.alike = alike.numpy()
        self.truth = {f: banks[f].truth.numpy() for f in FACETS}
        near = banks["subject"].features @ banks["subject"].features.T
        self.near = near.topk(40, dim=1).indices.numpy()
        self.rng = np.random.default_rng(seed)
        prefix = "<|im_start|>user\n<fake_token_around_image><global-img>" + "<image>" * IMAGE_TOKENS
        self.prefix: list[int] = words.encode(prefix + "<fake_token_around_image>", add_special_tokens=False)
        self.yes, self.no = (words.convert_tokens_to_ids(a) for a in (YES, NO))
        self._encoded = cache(self._encode)

    def _encode(self, asked: str, answer: str) -> tuple[list[int], int]:
        """Tokens of a question and its answer, and how many of them are the question's."""
        text = f"{asked}{END}\n<|im_start|>assistant\n"
        first = self.words.encode(text, add_special_tokens=False)
        return [*first, *self.words.encode(answer + END, add_special_tokens=False)], len(first)

    def packed(self, labels: np.ndarray[Any, Any], asked: list[tuple[str, str, str]]) -> Packed:
        """Questions about n images. ``asked``: texts that were asked for where their label is `NOBODY`, else ""."""
        n, start = len(labels), len(self.prefix)
        length = start + QUESTIONS * ROOM
        ids = np.full((n, length), self.words.pad_token_id, np.int64)
        goals, yes = np.full((n, length), _IGNORED, np.int64), np.full((n, length), -1, np.int64)
        ids[:, :start] = self.prefix
        for i in range(n):
            for j, (text, answer) in enumerate(self._questions(labels[i], asked[i])):
                tokens, at = self._encoded(text, answer)
                if len(tokens) > ROOM:
                    continue
                first = start + j * ROOM
                ids[i, first : first + len(tokens)] = tokens
                goals[i, first + at - 1 : first + len(tokens) - 1] = tokens[at:]
                if answer in (YES, NO):
                    goals[i, first + at] = _IGNORED
                    yes[i, first + at - 1] = answer == YES
        within = np.concatenate([np.arange(start), np.tile(np.arange(start, start + ROOM), QUESTIONS)])
        block = np.concatenate([np.zeros(start), np.repeat(np.arange(QUESTIONS) + 1, ROOM)])
        order = np.arange(length)
        sees = (order[None] <= order[:, None]) & ((block[None] == 0) | (block[None] == block[:, None]))
        return Packed(
            torch.from_numpy(ids),
            torch.from_numpy(within)[None].expand(n, -1),
            torch.from_numpy(sees)[None, None],
            torch.from_numpy(goals),
            torch.from_numpy(yes),
        )

    def _questions(self, label: np.ndarray[Any, Any], asked: tuple[str, str, str]) -> list[tuple[str, str]]:
        """Five questions with yes or no, three about the subject; and what each facet is, which is learnt first."""
        out = [self._closed("subject", label, asked[0]) for _ in range(3)]
        out += [self._closed("style", label, asked[1]), self._closed("background", label, asked[2])]
        out += [self._open(facet, label) for facet in FACETS]
        return [one for one in out if one is not None]

    def _closed(self, facet: str, label: np.ndarray[Any, Any], asked: str) -> tuple[str, str] | None:
        """A yes/no question about a facet; None where nobody knows the answer."""
        at = FACETS.index(facet)
        mine, bank = int(label[at]), self.banks[facet]
        if asked and self.rng.random() < 0.6:
            return question(Wanted(facet=facet, text=asked)) + YES_NO, NO
        if mine >= 0 and self.rng.random() < 0.5:
            text = (
                bank.texts[int(self.rng.choice(bank.choices[mine]))]
                if self.rng.random() < 0.4
                else self._own(facet, mine)
            )
            return question(Wanted(facet=facet, text=text)) + YES_NO, YES
        if mine == UNSAID and (facet != "subject" or self.rng.random() < 0.7):
            return None
        other = self._other(facet, label)
        return None if other is None else (question(Wanted(facet=facet, text=other)) + YES_NO, NO)

    def _own(self, facet: str, index: int) -> str:
        bank = self.banks[facet]
        return bank.texts[int(bank.own[index])]

    def _other(self, facet: str, label: np.ndarray[Any, Any]) -> str | None:
        """A text that is not true of the image: half of them close to what is, or names of things nobody draws."""
        at = FACETS.index(facet)
        mine, bank = int(label[at]), self.banks[facet]
        draw = self.rng.random()
        if facet == "subject" and draw < 0.1:
            return str(self.rng.choice(self.strangers))
        for _ in range(8):
            if facet == "subject" and mine >= 0 and draw < 0.45:
                row = int(self.rng.choice(self.near[int(bank.own[mine])][1:]))
            elif draw < 0.8:
                row = int(self.rng.choice(bank.own))
            else:
                row = int(self.rng.integers(len(bank.texts)))
            if mine < 0:
                return bank.texts[row]
            true = self.truth[facet][row]
            if facet == "background":
                true = true & self.alike[max(int(label[1]), 0), mine]
                if true.any():
                    continue
            elif true[mine]:
                continue
            return bank.texts[row]
        return None

    def _open(self, facet: str, label: np.ndarray[Any, Any]) -> tuple[str, str] | None:
        mine = int(label[FACETS.index(facet)])
        if mine < 0:
            return None
        name = self._own(facet, mine)
        return open_question(Wanted(facet=facet, text=name)) + SHORTLY, SPOKEN.get((facet, name), name)


def corpus(banks: dict[str, Texts], strangers: list[str]) -> list[str]:
    """What the tokenizer is learnt from: every text in its questions and as an answer."""
    out = [f"{text} {text}" for text in strangers]
    for facet in FACETS:
        for text in banks[facet].texts:
            out += [question(Wanted(facet=facet, text=text)), text, f" {text}"]
    return out
