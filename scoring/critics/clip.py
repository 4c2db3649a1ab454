"""A critic for any open base: CLIP asked zero-shot whether an image shows a thing (Radford et al. 2021).

Each wanted thing is put as a caption in several media ("a photo of a fox", "a drawing of a fox"), their vectors
averaged. P is its share of a softmax, at the model's own scale, against captions that leave the thing out ("a photo",
"a photo of something else"). Such probabilities are not calibrated, and CLIP hardly counts or tells relations: a vision
model that is asked questions (``vlm``) sees more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bases.profile import BaseProfile
from ..clip_model import ClipModel
from ..pretrained import folder
from ..protocol import CriticSetup, critic
from ..request import WHOLE, Verdict, Wanted, geometric_mean
from .vlm.questions import said, with_article, without

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
"""Of the captions: part of the identity, because others get other answers."""
MEDIA = ("a photo", "a drawing", "a picture")
_EXAMPLE = "openai/clip-vit-large-patch14"
_UNSURE = 0.5


def captions(wanted: Wanted) -> list[str]:
    """What is held against the image for a wanted thing, one caption a medium."""
    text = said(wanted)
    match wanted.facet:
        case "style":
            return [f"{medium} in {without(text, ' style')} style" for medium in MEDIA]
        case "background":
            return [f"{medium} with {with_article(without(text, ' background'))} background" for medium in MEDIA]
        case "text":
            return [f'{medium} with the text "{text}"' for medium in MEDIA]
        case "lighting":
            return [f"{medium} with {text} lighting" for medium in MEDIA]
        case "subject" | "object" | "attribute":
            return [f"{medium} of {with_article(text)}" for medium in MEDIA]
        case _ if wanted.facet == WHOLE:
            return [text]
        case _:
            return [f"{medium} of {text}" for medium in MEDIA]


def empty() -> list[list[str]]:
    """Captions that leave everything out, by what they say instead."""
    return [list(MEDIA), [f"{medium} of something else" for medium in MEDIA]]


@critic("clip")
class ClipCritic:
    """``DIFFGRAPH_CRITIC=clip:PATH_OR_ID``: a folder, or an id on the Hub, of a CLIP model of transformers."""

    def __init__(self, setup: CriticSetup) -> None:
        self.clip = ClipModel(folder(setup.argument, "clip", _EXAMPLE), setup.device)
        self._vectors: dict[tuple[str, ...], np.ndarray[Any, Any]] = {}

    @cached_property
    def identity(self) -> str:
        """Hash of the model's files and of the captions' form. Raises UserError if there are no weights."""
        return hashlib.sha256(f"clip {VERSION} {self.clip.identity}".encode()).hexdigest()

    def fits(self, base: BaseProfile) -> bool:
        """It has seen what people put on the web, which is what an open base draws; a closed one has its own looks."""
        return base.vocabulary == "open"

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict an image, in order; the score is the geometric mean of what is wanted."""
        seen = self.clip.images(images)
        return [self._verdict(wanted, row.tolist()) for row in self.probabilities(seen, wanted)]

    def probabilities(self, seen: np.ndarray[Any, Any], wanted: Sequence[Wanted]) -> np.ndarray[Any, Any]:
        """Image vectors (n, d) -> P that image i shows wanted thing j: float64 (n, n_wanted)."""
        against = np.stack([self._text(captions) for captions in empty()])
        found = np.zeros((len(seen), len(wanted)), np.float64)
        for column, want in enumerate(wanted):
            texts = np.concatenate([self._text(captions(want))[None], against])
            logits = self.clip.scale * (seen.astype(np.float64) @ texts.T)
            shares = np.exp(logits - logits.max(1, keepdims=True))
            found[:, column] = shares[:, 0] / shares.sum(1)
        return found

    def prefer(self, a: Image.Image, b: Image.Image, wanted: Sequence[Wanted]) -> float:
        """P that ``a`` shows what is wanted better: a softmax over the two images, the mean of all that is wanted.

        The order of the two makes no difference, so they are asked about once.
        """
        if not wanted:
            return 0.5
        texts = np.stack([self._text(captions(want)) for want in wanted]).astype(np.float64)
        first, second = (self.clip.images([a, b]).astype(np.float64) @ texts.T).mean(1)
        return float(1 / (1 + np.exp(-self.clip.scale * (first - second))))

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        """Images -> float32 (n, dimensions), unit vectors."""
        return self.clip.images(images)

    def _text(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        """The unit vector of the mean of some captions."""
        key = tuple(texts)
        if key not in self._vectors:
            mean = self.clip.texts(texts).mean(0)
            self._vectors[key] = mean / np.linalg.norm(mean)
        return self._vectors[key]

    def _verdict(self, wanted: Sequence[Wanted], chances: Sequence[float]) -> Verdict:
        facets: dict[str, float] = {}
        for want, p in zip(wanted, chances, strict=True):
            facets[want.text] = min(p, facets.get(want.text, 1.0))  # one text under two facets: the worse of the two
        findings = [
            f"The {want.facet} {said(want)!r} is hardly there ({p:.2f})."
            for want, p in zip(wanted, chances, strict=True)
            if p < _UNSURE
        ]
        if not facets:
            findings.append("Nothing in the request can be judged.")
        score = min(1.0, geometric_mean(facets.values())) if facets else 0.0
        return Verdict(score=score, facets=facets, findings=tuple(findings), by=f"clip {self.clip.where.name}")
