"""The machine's state: JSON-plain, ids, paths, hashes and numbers only, never an image or a tensor."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, Required, TypedDict

Status = Literal["accepted", "best effort", "uncovered", "no image"]
"""accepted: the critic says the image shows all of the prompt. best effort: an image, but below the mark. uncovered:
an image of
what could be drawn, parts of the prompt are named as missing. no image: nothing to draw, and a sentence says why."""


class Request(TypedDict):
    """What a run starts with. Only ``prompt`` is needed."""

    prompt: Required[str]
    n: NotRequired[int]
    seed: NotRequired[int]
    compare: NotRequired[bool]
    run_dir: NotRequired[str]


class Round(TypedDict):
    """One turn of plan, images, scores."""

    plan_id: str
    method: str
    guidance: float
    unsaid: str
    seed: int
    experts: list[dict[str, Any]]
    score: float
    facets: dict[str, float]
    findings: list[str]
    decision: str
    """`accept` ends the request; `again`: these images will do, but others are missing or may be better; `revise`."""
    sent_back: NotRequired[bool]
    """See `slots.sent_back`; rounds of former versions have none."""
    images: list[dict[str, Any]]
    """Of each: ``slot`` (which of the request's images it is for), ``seed``, ``score``, ``facets``."""


class State(TypedDict, total=False):
    """Everything the machine remembers between two steps; what is checkpointed.

    The fields ``activation``, ``proposal``, ``missing``, ``found``, ``scores`` and ``verdict`` take the results of
    the tools that are registered with that field.
    """

    prompt: str
    n: int
    seed: int
    compare: bool
    run_dir: str

    agent: str
    """Whose turn it is: planner, scout or critic; the tools step returns there."""
    messages: list[dict[str, Any]]
    """The conversation of that agent, in plain form; starts afresh with each turn."""
    steps: dict[str, int]
    """How many steps each agent has taken."""
    idle: int
    """Answers in a row with which a brain did nothing."""

    activation: dict[str, Any]
    missing: dict[str, Any]
    found: list[dict[str, Any]]
    scouted: bool
    calibrate: list[str]
    """Experts that wait for calibration."""

    proposal: dict[str, Any]
    plan_id: str
    problems: list[dict[str, Any]]
    dropped: list[str]
    """Experts that the plan check refused."""
    scores: dict[str, Any]
    verdict: dict[str, Any]
    rounds: list[Round]
    best: int
    """Index of the round that the answer, or most of its images, comes from."""
    open: list[int]
    """Slots (numbers of the request's images) that are to be drawn again; see `slots`."""

    images: list[str]
    comparison: list[dict[str, Any]]
    uncovered: list[str]
    notes: list[str]
    """Sentences for the user: what failed or was replaced on the way."""
    status: Status
    message: str
