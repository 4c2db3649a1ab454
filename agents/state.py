"""The machine's state as typed models, and the one place that dumps them for the checkpoint.

Nodes read a `State` and hand back a `State` that holds what changes, and only that. In the checkpoint stands plain
JSON: ids, paths, hashes, numbers and bounded texts, never an image or a tensor.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, Required, TypedDict

from pydantic import BeforeValidator, Field, JsonValue, ValidationError

from ..errors import UserError
from ..graph.experts.expert import Frozen
from ..graph.reading.request import Orders
from ..tools.results import (
    ActivationResult,
    Atoms,
    CriticDecision,
    Found,
    MissingSkills,
    Proposal,
    ScoredImage,
    Scores,
)
from .brains.messages import Message, Tokens

VERSION = 2
"""Of what is checkpointed. Version 1 had no number; it is still read."""

Status = Literal["accepted", "best effort", "uncovered", "unjudged", "no image"]
"""accepted: the critic says the image shows all of the prompt. best effort: an image, but below the mark. uncovered:
an image of what could be drawn, parts of the prompt are named as missing. unjudged: an image that nobody has judged,
because no critic fits the base. no image: nothing to draw, and a sentence
says why."""


class Request(TypedDict):
    """What a run starts with. Only ``prompt`` is needed; ``orders`` is a dumped `Orders`."""

    prompt: Required[str]
    n: NotRequired[int]
    seed: NotRequired[int]
    compare: NotRequired[bool]
    run_dir: NotRequired[str]
    orders: NotRequired[dict[str, JsonValue]]


class RoundExpert(Frozen):
    """An expert of a round's plan; ``coarse`` is the share of its weight in the base's coarsest blocks."""

    id: str
    facet: str
    weight: float
    coarse: float = 1.0


class RoundImage(Frozen):
    """An image of a round, and which of the request's images (from 0) it is for.

    Attributes:
        facets: each wanted text -> the probability (0..1) that the image shows it.
        seen: a wanted text that is missing -> what is there instead, where the critic can say.
        by: who judged.
        preferred: the probability (0..1) that it is better than the best image of its slot before it, by a critic that
            can choose between two; None where nobody chose.
        lacks: what the critic says it does not show; on a base of closed vocabulary the score alone decides.
        better: whether it took the place of that image; None for the first, and where the scores decide.
    """

    slot: int
    seed: int
    score: float
    facets: dict[str, float]
    seen: dict[str, str] = Field(default_factory=dict)
    by: str = ""
    preferred: float | None = None
    better: bool | None = None
    lacks: tuple[str, ...] = ()


class Round(Frozen):
    """One turn of plan, images, scores.

    Attributes:
        unsaid: the trigger that the plan's prompt leaves out, or empty.
        seed: the request's first seed as this round shifted it.
        decision: `accept` ends the request; `again`: these images will do, but others are missing or may be better;
            `revise`.
        sent_back: whether a brain was not content with images that are all good enough by their scores.
    """

    plan_id: str
    method: str
    guidance: float
    unsaid: str
    seed: int
    experts: tuple[RoundExpert, ...]
    score: float
    facets: dict[str, float]
    findings: tuple[str, ...]
    decision: Literal["accept", "again", "revise"]
    sent_back: bool = False
    images: tuple[RoundImage, ...]


class Problem(Frozen):
    """Why a plan cannot be carried out. ``expert`` is who causes it, or empty."""

    code: str = ""
    message: str
    expert: str = ""
    fatal: bool = True


class AnswerImage(Frozen):
    """An image of the answer: what the critic says of it, the plan that drew it, and that plan's round (from 1).
    ``facets``, ``seen`` and ``by`` are as in `RoundImage`.
    """

    seed: int
    score: float
    facets: dict[str, float]
    findings: tuple[str, ...]
    seen: dict[str, str] = Field(default_factory=dict)
    by: str = ""
    plan_id: str
    round: int


class AnswerScores(Frozen):
    """What the critic says of the answer's images together; ``plan_id`` is the plan of most of them."""

    plan_id: str
    score: float
    facets: dict[str, float]
    images: tuple[AnswerImage, ...]


class Comparison(Frozen):
    """What the base alone, or one expert alone, made of the same prompt and seed; ``file`` lies in the run folder.
    Where nobody judges, ``score`` is None, and ``facets`` and ``images`` are empty.
    """

    plan_id: str
    score: float | None = None
    facets: dict[str, float] = Field(default_factory=dict)
    images: tuple[ScoredImage, ...] = ()
    label: str
    file: str


def _empty_is_none(value: object) -> object:
    return None if value == {} else value


_EMPTY = BeforeValidator(_empty_is_none)  # version 1 wrote {} for what is not there


class State(Frozen):
    """Everything the machine remembers between two steps; what is checkpointed.

    The fields ``activation``, ``proposal``, ``missing``, ``found``, ``atoms``, ``scores`` and ``verdict`` take the
    results of the tools that are registered with that field.

    Attributes:
        version: of this form.
        orders: what the user ordered outside the prompt.
        agent: whose turn it is: planner, scout or critic; the tools step returns there.
        messages: the conversation of that agent; starts afresh with each turn.
        steps: how many steps each agent has taken.
        idle: answers in a row with which a brain did nothing.
        failures: calls of the brain that failed in this run.
        tokens: what the brain's server says it has read and written in this run.
        calibrate: experts that wait for calibration.
        dropped: experts that the plan check refused.
        best: index of the round that the answer, or most of its images, comes from.
        unjudged: why the critic's word on the last images is missing, as a sentence.
        open: which of the request's images are to be drawn again; empty: all.
        notes: sentences for the user: what failed or was replaced on the way.
    """

    version: int = VERSION
    prompt: str = ""
    n: int = 1
    seed: int = 0
    compare: bool = True
    run_dir: str = ""
    orders: Orders = Orders()

    agent: str = ""
    messages: tuple[Message, ...] = ()
    steps: dict[str, int] = Field(default_factory=dict)
    idle: int = 0
    failures: int = 0
    tokens: Tokens | None = None

    activation: Annotated[ActivationResult | None, _EMPTY] = None
    missing: Annotated[MissingSkills | None, _EMPTY] = None
    found: tuple[Found, ...] = ()
    scouted: bool = False
    calibrate: tuple[str, ...] = ()

    proposal: Annotated[Proposal | None, _EMPTY] = None
    plan_id: str = ""
    problems: tuple[Problem, ...] = ()
    dropped: tuple[str, ...] = ()
    atoms: Annotated[Atoms | None, _EMPTY] = None
    scores: Annotated[Scores | AnswerScores | None, _EMPTY] = None
    verdict: Annotated[CriticDecision | None, _EMPTY] = None
    rounds: tuple[Round, ...] = ()
    best: int = 0
    unjudged: str = ""
    open: tuple[int, ...] = ()

    images: tuple[str, ...] = ()
    comparison: tuple[Comparison, ...] = ()
    uncovered: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    status: Status | None = None
    message: str = ""

    def changed(self, change: State) -> State:
        """This state with another's fields in place of its own, as far as they were set there."""
        return self.model_copy(update={name: getattr(change, name) for name in change.model_fields_set})

    def with_notes(self, *sentences: str) -> tuple[str, ...]:
        """The notes with more sentences, none twice."""
        return tuple(dict.fromkeys([*self.notes, *(s for s in sentences if s)]))


def dumped(change: State) -> dict[str, JsonValue]:
    """What changes, as plain JSON for LangGraph's channels."""
    return change.model_dump(mode="json", include=set(change.model_fields_set))


def loaded(values: object) -> State:
    """The state from what a checkpoint holds, this version's or an older one's.

    Raises:
        UserError: a later version's, or what no version wrote.
    """
    fields = {k: v for k, v in values.items() if k in State.model_fields} if isinstance(values, dict) else values
    version = fields.get("version", 1) if isinstance(fields, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise UserError(
            "This run was made by a later version of DiffGraph, which must take it up. Or run the prompt anew."
        )
    try:
        return State.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"The checkpoint of this run cannot be read ({where}: {first['msg']}). Run the prompt anew."
        ) from error
