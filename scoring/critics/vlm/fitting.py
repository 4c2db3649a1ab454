"""A critic held against labelled images: how well it tells yes from no, and the curves that make its P true."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from ....errors import UserError
from .calibration import Calibration, Curve, auroc, ece, fit
from .critic import VlmCritic
from .labels import images, read

FEWEST = 20
"""Labels of a facet from which a curve is fitted."""
_FOLDS = 5
_IMAGES_AT_ONCE = 32


class FacetFit(BaseModel):
    """One facet: how many labels, AUROC, expected calibration error before and after (the latter on labels that the
    curve was not fitted on), the curve, and why there is none.
    """

    model_config = ConfigDict(frozen=True)

    facet: str
    n: int
    shown: int
    auroc: float | None
    ece: float
    ece_after: float | None = None
    curve: Curve | None = None
    why: str = ""


class Fitted(BaseModel):
    """What came of a labelled folder."""

    model_config = ConfigDict(frozen=True)

    facets: tuple[FacetFit, ...]
    unanswered: int
    calibration: Calibration


def fit_folder(
    critic: VlmCritic, folder: Path, *, tell: Callable[[str], None], count: Callable[[int, int, str], None]
) -> Fitted:
    """Ask the critic everything that the labels of a folder know, and fit a curve a facet.

    Args:
        critic: its own calibration does not count.
        folder: images and ``labels.jsonl``.
        tell: told of lines and images that are passed over.
        count: told how many labels are done, of how many.

    Raises:
        UserError: the folder holds no labels, or no image of theirs can be read.
        ExternalError: the critic cannot be asked.
    """
    labels = read(folder, tell)
    said: dict[str, list[tuple[float, bool]]] = {}
    done = unanswered = 0
    pictures = images(folder, labels, tell)
    while part := list(itertools.islice(pictures, _IMAGES_AT_ONCE)):
        pairs = [(image, label) for image, its in part for label in its]
        found = critic.answers([(image, label.wanted) for image, label in pairs])
        for (_, label), p in zip(pairs, found.tolist(), strict=True):
            if np.isnan(p):
                unanswered += 1
            else:
                said.setdefault(label.facet, []).append((p, label.shown))
        done += len(pairs)
        count(done, len(labels), "labels")
    if not said:
        raise UserError(f"None of the labels in {folder} could be held against an image.")
    facets = tuple(_of_facet(facet, *zip(*rows, strict=True)) for facet, rows in sorted(said.items()))
    curves = {one.facet: one.curve for one in facets if one.curve is not None}
    return Fitted(
        facets=facets,
        unanswered=unanswered,
        calibration=Calibration(model=critic.backend.identity, facets=curves),
    )


def _of_facet(facet: str, p: tuple[float, ...], shown: tuple[bool, ...]) -> FacetFit:
    area = auroc(p, shown)
    found = FacetFit(
        facet=facet,
        n=len(p),
        shown=sum(shown),
        auroc=None if np.isnan(area) else round(area, 4),
        ece=round(ece(p, shown), 4),
    )
    if len(p) < FEWEST:
        return found.model_copy(update={"why": f"fewer than {FEWEST} labels"})
    try:
        curve = fit(p, shown)
        after = ece(_held_out(p, shown), shown)
    except UserError as error:
        return found.model_copy(update={"why": str(error)})
    return found.model_copy(update={"curve": curve, "ece_after": round(after, 4)})


def _held_out(p: tuple[float, ...], shown: tuple[bool, ...]) -> list[float]:
    """Every p by a curve that was fitted on the other folds; folds hold both sorts alike, in the order of labels."""
    values, truth = np.asarray(p), np.asarray(shown, dtype=bool)
    fold = np.empty(len(p), dtype=int)
    for sort in (True, False):
        (where,) = np.nonzero(truth == sort)
        fold[where] = np.arange(len(where)) % _FOLDS
    out = np.empty(len(p))
    for number in range(_FOLDS):
        here = fold == number
        if here.any():
            out[here] = fit(values[~here].tolist(), truth[~here].tolist())(values[here])
    return [float(one) for one in out]
