"""What was measured of one expert on the reference prompts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from ..experts.expert import Frozen

Verdict = Literal["works", "weak", "no effect", "does not do what the card says"]


class ReferenceScore(Frozen):
    """One edge expert–reference prompt: a metric's value at one strength, beside the base's value."""

    prompt_id: str
    strength: float
    metric: str
    base: FiniteFloat
    value: FiniteFloat


class Calibration(Frozen):
    """All that one calibration of one expert found.

    It holds for the file ``expert_sha256``, for the base whose key is ``base``, and for the circumstances in
    ``plan_context_hash`` (that base, sampler, critic) only.

    Attributes:
        base: key of the base that it was measured on (`bases.key`); "" where nobody wrote it down.
        critic: identity of the critic that judged; "" where nobody wrote it down.
        gain: facet or skill name -> mean score gained over the base at ``best_weight`` (same unit as the metric, 0..1).
        direction: unit vector, the mean shift of the image embedding against the base (CARLoS fingerprint); empty
            where the critic embeds no images, and no fingerprint is known.
        strength_shift: mean length of that shift at ``best_weight``; None where none is known.
        consistency: mean cosine between single shifts and ``direction``, -1..1; None where none is known.
        best_weight: the strength at which the expert did best.
        unasked: skill name -> share of its level (0..1) that is left when the prompt does not say its trigger; measured
            for all but subjects.
        coarse: share of its weight in the base's coarsest blocks (`bases.layout_blocks`) with which a look does best
            beside a subject's expert; 1 where that was not measured.
    """

    expert_id: str
    expert_sha256: str
    plan_context_hash: str
    base: str = ""
    critic: str = ""
    scores: tuple[ReferenceScore, ...] = ()
    gain: dict[str, FiniteFloat] = Field(default_factory=dict)
    direction: tuple[FiniteFloat, ...] = ()
    strength_shift: FiniteFloat | None = None
    consistency: FiniteFloat | None = None
    best_weight: FiniteFloat = 1.0
    verdict: Verdict
    unasked: dict[str, FiniteFloat] = Field(default_factory=dict)
    coarse: FiniteFloat = 1.0

    @property
    def usable(self) -> bool:
        """Whether the expert may be chosen at all."""
        return self.verdict in ("works", "weak")
