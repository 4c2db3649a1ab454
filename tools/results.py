"""What tools return: frozen models, which the machine's state, the page and the command line read by name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..graph.experts.expert import Frozen
from ..graph.reading.request import Orders, Unmet
from ..graph.selection.activation import ActiveExpert, FacetMatch
from ..scoring.request import Wanted


class Result(Frozen):
    """The result of a tool: frozen, nothing unknown in it, plain JSON when it is dumped."""


class Rejected(Result):
    """An expert that claims a wanted skill and was not chosen."""

    id: str
    why: str


class ActivationResult(Result):
    """How a prompt was read.

    Attributes:
        read: the words that were read: the user's, or a brain's translation of them.
        prompt: what is sampled: the canonical prompt, facet by facet, or on a base of open vocabulary the user's own
            words with triggers put in; empty if nothing can be drawn.
        facets: what somebody here can draw, in order; ``by`` is an expert's id or ``base``.
        experts: the solver's choice and weights, rounded so that two machines agree on the text.
        uncovered: what nobody here can draw; nothing on a base of open vocabulary.
        left_to_base: what no expert covers there, which the base draws by itself.
        vocabulary: of the base.
        rejected: who claims a wanted skill and was not chosen; at most 20.
        excluded: what the prompt rules out. orders: what it orders. words: the words to draw, as typed.
        unmet: orders that cannot be obeyed here, each with the reason.
    """

    read: str
    prompt: str
    facets: tuple[FacetMatch, ...]
    experts: tuple[ActiveExpert, ...]
    uncovered: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    excluded: tuple[str, ...] = ()
    orders: Orders = Orders()
    words: str = ""
    unmet: tuple[Unmet, ...] = ()
    left_to_base: tuple[str, ...] = ()
    vocabulary: Literal["open", "closed"] = "closed"

    @property
    def plannable(self) -> bool:
        """Whether there is anything to plan for."""
        return bool(self.prompt if self.vocabulary == "open" else self.facets)

    @property
    def drawable(self) -> bool:
        """Whether an image makes sense: something can be drawn, and a missing subject is not passed over in silence."""
        if self.vocabulary == "open":
            return self.plannable
        return bool(self.facets) and (not self.uncovered or any(f.facet == "subject" for f in self.facets))


class ProposedExpert(Result):
    """An expert of a plan; ``coarse`` is the share of its weight in the base's coarsest blocks."""

    id: str
    facet: str
    trigger: str
    weight: float
    coarse: float


class Proposal(Result):
    """A plan that was proposed and kept; ``unsaid`` is the trigger that its prompt leaves out, or empty."""

    plan_id: str
    prompt: str
    unsaid: str
    method: str
    guidance: float
    experts: tuple[ProposedExpert, ...]
    seeds: tuple[int, ...]


class MissingSkills(Result):
    """What the scout is asked to look for."""

    skills: tuple[str, ...]


class Refused(Result):
    """A repository that could not be registered."""

    repo: str
    why: str


class Found(Result):
    """What was registered at a source; ``claiming`` are experts that claim the missing skill and were never measured,
    best first.
    """

    source: str
    registered: tuple[str, ...]
    refused: tuple[Refused, ...]
    claiming: tuple[str, ...]


class SearchHit(Result):
    """A skill like the query; ``score`` is the similarity (0..1), ``calibration`` the verdict or "not calibrated"."""

    expert: str
    facet: str
    skill: str
    trigger: str
    score: float
    calibration: str


class SearchHits(Result):
    """Skills nearest to the query, the nearest first."""

    hits: tuple[SearchHit, ...]


class ScoredImage(Result):
    """What the critic says of one image: ``facets`` maps each wanted text to a probability (0..1), ``seen`` a wanted
    text that is missing to what is there instead, where the critic can say; ``by`` is who judged.
    """

    seed: int
    score: float
    facets: dict[str, float]
    findings: tuple[str, ...]
    seen: dict[str, str] = Field(default_factory=dict)
    by: str = ""


class Scores(Result):
    """What the critic says of a plan's images: the mean score, the mean of each facet, and each image's own."""

    plan_id: str
    score: float
    facets: dict[str, float]
    images: tuple[ScoredImage, ...]


class Atoms(Result):
    """The user's request split into single things that an image must show."""

    atoms: tuple[Wanted, ...]


class CriticDecision(Result):
    """What the critic's brain makes of a round."""

    decision: Literal["accept", "revise"]
    findings: tuple[str, ...] = ()


class Measured(Result):
    """What a calibration found; ``fresh`` is false if it was known already. ``strength_shift`` and ``consistency`` are
    None where the critic embeds no images.
    """

    expert: str
    fresh: bool
    verdict: str
    best_weight: float
    gain: dict[str, float]
    strength_shift: float | None
    consistency: float | None
    duplicates: tuple[str, ...]


class NotMeasured(Result):
    """An expert that could not be calibrated, and why."""

    expert: str
    failed: str


class RunRecorded(Result):
    """Whether a run was remembered; false if it was known already."""

    run_id: str
    recorded: bool
