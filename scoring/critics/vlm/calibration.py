"""Per facet, what a model's P(yes) is worth: curves fitted on labelled images, kept in a small JSON file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from ....errors import UserError
from ....files.atomic import write_bytes

LEAST = 1e-6
"""A probability is at least this and at most one minus this before its logit is taken."""
_MOST_BYTES = 2**20


class Curve(BaseModel):
    """Platt's curve: p becomes sigmoid(slope · logit(p) + shift). It never changes which of two p is higher."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: FiniteFloat = Field(default=1.0, gt=0)
    shift: FiniteFloat = 0.0

    def __call__(self, p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Probabilities (any shape; nan stays nan) -> calibrated ones."""
        return expit(self.slope * logit(p) + self.shift)


class Calibration(BaseModel):
    """Curves by facet; a facet without one is left as the model says it.

    ``model`` is the identity of the one that they were fitted for; "": they are taken for any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    facets: dict[str, Curve] = Field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Hash of the curves."""
        return hashlib.sha256(self.model_dump_json(include={"facets"}).encode()).hexdigest()

    def of(self, facet: str, p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Probabilities of one facet -> calibrated ones."""
        return self.facets[facet](p) if facet in self.facets else p

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """What a file holds. Raises UserError if it is not there or holds no calibration."""
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise UserError(f"{path} is larger than any calibration.")
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(f"The calibration {path} cannot be read ({error.strerror}).") from error
        except ValidationError as error:
            raise UserError(f"{path} holds no calibration of a critic; `diffgraph critic fit` writes one.") from error

    def write(self, path: Path) -> None:
        """Write the file. Raises UserError if it cannot be."""
        write_bytes(path, (self.model_dump_json(indent=1) + "\n").encode())


def logit(p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """log(p / (1 - p)), with p kept from 0 and 1."""
    inside = np.clip(np.asarray(p, dtype=np.float64), LEAST, 1 - LEAST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def expit(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """1 / (1 + exp(-x)) for finite x, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))


def fit(p: Sequence[float], shown: Sequence[bool]) -> Curve:
    """The likeliest curve given labels (Platt 1999).

    A normal prior, slope 1 ± 1 and shift 0 ± 10, keeps it finite where labels part cleanly; a few dozen labels outweigh
    it.

    Args:
        p: what the model said.
        shown: what is true.

    Raises:
        UserError: the labels are all yes or all no, or the model says yes where the truth is no more often than not.
    """
    said, truth = logit(np.asarray(p)), np.asarray(shown, dtype=np.float64)
    if truth.min() == truth.max():
        raise UserError("it needs labels of both sorts, shown and not shown")
    inputs, start, prior = np.stack([said, np.ones_like(said)]), np.array([1.0, 0.0]), np.array([1.0, 0.01])

    def loss(at: np.ndarray[Any, Any]) -> float:
        z = at @ inputs
        return float((np.logaddexp(0, z) - truth * z).sum() + (prior * (at - start) ** 2).sum() / 2)

    at = start
    for _ in range(200):  # Newton's steps, halved until they gain; the loss is convex
        now = expit(at @ inputs)
        slope_of = inputs @ (now - truth) + prior * (at - start)
        step = np.linalg.solve((inputs * (now * (1 - now))) @ inputs.T + np.diag(prior), slope_of)
        while loss(at - step) > loss(at) and float(np.abs(step).max()) > 1e-10:
            step = step / 2
        at = at - step
        if float(np.abs(step).max()) < 1e-9:
            break
    slope, shift = (float(v) for v in at)
    if slope <= 0:
        raise UserError("the model is no better than chance on it")
    return Curve(slope=slope, shift=shift)


def auroc(p: Sequence[float], shown: Sequence[bool]) -> float:
    """Probability that an image that shows it gets more than one that does not, ties half; nan without both sorts."""
    values, truth = np.asarray(p, dtype=np.float64), np.asarray(shown, dtype=bool)
    right, wrong = int(truth.sum()), int((~truth).sum())
    if not right or not wrong:
        return float("nan")
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2)[place]
    return float((ranks[truth].sum() - right * (right + 1) / 2) / (right * wrong))


def ece(p: Sequence[float], shown: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error: over bins of equal width, how far the mean p lies from the share that is true."""
    values, truth = np.asarray(p, dtype=np.float64), np.asarray(shown, dtype=np.float64)
    place = np.minimum((values * bins).astype(int), bins - 1)
    gaps = [abs(float(values[place == b].sum() - truth[place == b].sum())) for b in range(bins)]
    return sum(gaps) / len(values)
