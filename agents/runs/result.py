"""What a run folder says: the request (``run.json``) and the result (``result.json``), of this version or older."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, JsonValue, ValidationError

from ...errors import UserError
from ...graph.experts.expert import Frozen
from ...graph.reading.request import Orders, Part, Unmet
from ...graph.selection.activation import ActiveExpert, FacetMatch
from ...merging.plan.merge_plan import MergePlan
from ...tools.events import Event
from ...tools.results import ActivationResult, Rejected
from ..brains.messages import Tokens
from ..state import VERSION, AnswerScores, Comparison, Round, Status
from . import folder

_Model = TypeVar("_Model", bound=BaseModel)


class RunRequest(Frozen):
    """What a run was asked, and the thread of its checkpoints. Version 1 had no number.

    ``orders`` are those outside the prompt; ``base`` is the setting that named the base, "" the default.
    """

    version: int = VERSION
    prompt: str = ""
    n: int = 1
    seed: int = 0
    compare: bool = True
    run_dir: str = ""
    thread: str = ""
    brain: str = ""
    base: str = ""
    orders: Orders = Orders()


class RunResult(Frozen):
    """How a request ended.

    Attributes:
        run_dir: the run folder; ``index.html`` in it explains everything.
        plan: the plan of the images, None if there are none. Where several were asked for and rounds differ, the plan
            of most of them; each image's own is in its file, and its id in ``scores``.
        images: their files, in the order in which they were asked for.
        scores: the critic's, None if there are no images or nobody has judged them.
        uncovered: parts of the prompt that the images do not try to show.
        timings: seconds in each node, ``first_image`` and ``total``.
        trace: all events.
        status: "accepted", "best effort", "uncovered", "unjudged" or "no image".
        message: the same as a sentence.
        notes: what failed or was replaced on the way.
        facets: what somebody here can draw of the prompt, and who.
        activation: all of how the prompt was read; None for a run that was read from its folder.
        comparison: what the base alone and each expert alone made of it.
        rounds: every round's plan, score and findings.
        tokens: what the brain's server says it has read and written; None if it does not say.
        orders: all that was ordered beside the words, in the prompt and outside it.
        unmet: orders that were not obeyed, each with the reason.
        left_to_base: what no expert covers on a base of open vocabulary, which draws it by itself.
    """

    run_dir: Path
    plan: MergePlan | None
    images: tuple[Path, ...]
    scores: AnswerScores | None
    uncovered: tuple[str, ...]
    timings: dict[str, float]
    trace: tuple[Event, ...]
    status: Status
    message: str = ""
    notes: tuple[str, ...] = ()
    facets: tuple[FacetMatch, ...] = ()
    activation: ActivationResult | None = None
    comparison: tuple[Comparison, ...] = ()
    rounds: tuple[Round, ...] = ()
    tokens: Tokens | None = None
    orders: Orders = Orders()
    unmet: tuple[Unmet, ...] = ()
    left_to_base: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """The page that explains the run."""
        return self.run_dir / folder.PAGE

    def to_json(self) -> dict[str, JsonValue]:
        """One JSON document: plan, uncovered facets, images, scores, timings, status; and, where there are any, tokens,
        orders, and orders that were not obeyed.
        """
        data = self.model_dump(mode="json")
        order = (
            *("status", "message", "notes", "run_dir", "page", "plan_id", "plan", "facets", "uncovered", "images"),
            *("scores", "comparison", "rounds", "timings"),
        )
        data |= {"page": str(self.page), "plan_id": self.plan.plan_id if self.plan else None}
        data["scores"] = data["scores"] or {}
        said = {"tokens": self.tokens is not None, "orders": self.orders.said, "unmet": bool(self.unmet)}
        said["left_to_base"] = bool(self.left_to_base)
        return {key: data[key] for key in (*order, *(key for key in said if said[key]))}


class RunScores(AnswerScores):
    """``scores.json``: what the critic says of the answer, and of every round; ``best`` is the index of the round that
    most of the answer comes from.
    """

    rounds: tuple[Round, ...]
    best: int


class PlannedRequest(Frozen):
    """What would be merged for a prompt; ``plan`` is None if nothing can be drawn. ``left_to_base`` is what no expert
    covers on a base of open vocabulary, which draws it by itself; ``aside`` are the stretches of the prompt that are no
    words to draw: orders, exclusions, text that the base does not write, and what is left out, with the reason.
    """

    plan: MergePlan | None
    prompt: str
    facets: tuple[FacetMatch, ...]
    experts: tuple[ActiveExpert, ...]
    uncovered: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    left_to_base: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    unmet: tuple[Unmet, ...] = ()
    orders: Orders = Orders()
    notes: tuple[str, ...] = ()
    """What of the plan's words the base does not read or obey."""
    aside: tuple[Part, ...] = ()

    @property
    def plan_id(self) -> str | None:
        """The plan's id, if there is one."""
        return self.plan.plan_id if self.plan else None

    def to_json(self) -> dict[str, JsonValue]:
        """The document of ``plan --json``."""
        return {"plan_id": self.plan_id, **self.model_dump(mode="json")}


class _Written(Frozen):
    """``result.json`` as it is written."""

    version: int = 1
    status: Status
    message: str
    notes: tuple[str, ...]
    run_dir: str
    page: str
    plan_id: str | None
    plan: MergePlan | None
    facets: tuple[FacetMatch, ...]
    uncovered: tuple[str, ...]
    images: tuple[Path, ...]
    scores: AnswerScores | None
    comparison: tuple[Comparison, ...]
    rounds: tuple[Round, ...]
    timings: dict[str, float]
    tokens: Tokens | None = Field(default=None)
    orders: Orders = Orders()
    unmet: tuple[Unmet, ...] = ()
    left_to_base: tuple[str, ...] = ()


def read_request(run_dir: Path) -> RunRequest:
    """The request of a run folder. Raises UserError if there is none, it is damaged, or a later version wrote it."""
    return _read(RunRequest, run_dir / folder.REQUEST)


def read_result(run_dir: Path) -> RunResult:
    """The result of a run that had ended, from its folder. Raises UserError as `read_request` does."""
    found = _read(_Written, run_dir / folder.RESULT)
    fields = {name: getattr(found, name) for name in RunResult.model_fields if name in _Written.model_fields}
    here = {"run_dir": run_dir, "images": tuple(run_dir / path.name for path in found.images)}
    return RunResult(**{**fields, **here}, trace=tuple(folder.read_trace(run_dir / folder.TRACE)))


def _read(form: type[_Model], path: Path) -> _Model:
    data = folder.read_json(path)
    version = data.get("version", 1)
    if isinstance(version, int) and version > VERSION:
        raise UserError(f"{path} was written by a later version of DiffGraph, which must read it.")
    if data.get("scores") == {}:
        data["scores"] = None
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path} is damaged ({'.'.join(map(str, first['loc']))}: {first['msg']}).") from error
