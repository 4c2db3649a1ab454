"""What each agent's brain is told when its turn begins: typed, and shown to it as one block of JSON."""

from __future__ import annotations

from pydantic import JsonValue

from ..bases.profile import PlannerRules
from ..graph.experts.expert import Frozen
from ..tools.results import ActivationResult
from .state import Round


class Turn(Frozen):
    """The data that a conversation starts with."""

    def to_json(self) -> dict[str, JsonValue]:
        """What was said, and only that."""
        return self.model_dump(mode="json", include=set(self.model_fields_set))


class PlannerTurn(Turn):
    """The user's request, what is known of it, and how the rounds went; ``rules`` is what revision by rule goes by."""

    prompt: str
    n: int = 1
    seed: int = 0
    scouted: bool = False
    dropped: tuple[str, ...] = ()
    activation: ActivationResult | None = None
    rounds: tuple[Round, ...] = ()
    methods: tuple[str, ...] = ()
    rules: PlannerRules = PlannerRules()


class ScoutTurn(Turn):
    """The skills that are missing, and where the scout may look."""

    missing: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class Shown(Frozen):
    """Something that the images must show."""

    facet: str
    text: str


class CriticTurn(Turn):
    """What the images must show, and the score from which one may be accepted."""

    wanted: tuple[Shown, ...] = ()
    accept: float
    round: int = 0
