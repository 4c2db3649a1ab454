"""The offline brain: a LangChain chat model that makes the same tool calls as an LLM would, by rule. No key, no
network, no chance.

It reads what any brain reads (the messages and the tools it was bound to) and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, TypeVar

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ValidationError

from ...bases.profile import PlannerRules
from ...graph.reading.request import Orders
from ...graph.selection.activation import ActiveExpert
from ...prompts import read_data
from ...settings import Settings
from ...tools.activate_experts import ActivateArgs
from ...tools.ask_scout import AskScoutArgs
from ...tools.check_plan import PlanArgs
from ...tools.give_verdict import VerdictArgs
from ...tools.propose_plan import MAX_EXPERTS, Choice, ProposeArgs
from ...tools.register_experts import RegisterArgs
from ...tools.results import ActivationResult, Scores
from ...tools.tool import Args
from ..requests import CriticTurn, PlannerTurn, ScoutTurn
from ..state import Problem, Round
from .brain import brain

_Call = tuple[str, Args]
_Move = tuple[int, str, int, bool]
_Model = TypeVar("_Model", bound=BaseModel)


@brain("offline")
def made(rest: str, settings: Settings) -> BaseChatModel:
    """This brain; it has no variants."""
    return OfflineBrain()


class OfflineBrain(BaseChatModel):
    """Plans, scouts and judges by rule; deterministic."""

    @property
    def _llm_type(self) -> str:
        return "diffgraph-offline"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """This brain, knowing which tools it may call."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        names = {tool["function"]["name"] for tool in kwargs.get("tools", [])}
        transcript = _Transcript(messages)
        if "propose_plan" in names:
            calls, text = _plan(transcript)
        elif "give_verdict" in names:
            calls, text = _judge(transcript)
        elif "register_experts" in names:
            calls, text = _scout(transcript)
        else:
            calls, text = [], "There is nothing for me to do here."
        made = len(transcript.results)
        message = AIMessage(
            text,
            tool_calls=[
                {"name": name, "args": args.model_dump(mode="json", exclude_unset=True), "id": f"call_{made + i}"}
                for i, (name, args) in enumerate(calls)
            ],
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


class _Transcript:
    """What a conversation holds: the request's data, the tools' results in order, the problems found since."""

    def __init__(self, messages: Sequence[BaseMessage]) -> None:
        self._texts = [str(m.text) for m in messages if isinstance(m, HumanMessage)]
        self.results = [m for m in messages if isinstance(m, ToolMessage)]

    def turn(self, form: type[_Model]) -> _Model | None:
        """The data that the conversation began with, None if there is none of this form."""
        data = read_data("request", self._texts[0]) if self._texts else None
        return _read(form, data)

    def blamed(self) -> set[str]:
        """Experts that the plan check found wrong since."""
        listed = [value for text in self._texts for value in _list(read_data("problems", text))]
        problems = [_read(Problem, value) for value in listed]
        return {problem.expert for problem in problems if problem is not None and problem.expert}

    def last(self, name: str, form: type[_Model]) -> _Model | None:
        """The last result of a tool that did not fail."""
        for m in reversed(self.results):
            if m.name == name and m.status != "error":
                return _read(form, _uncut(str(m.text)))
        return None

    def failures(self, name: str) -> list[str]:
        """What a tool said each time that it failed."""
        return [str(m.text) for m in self.results if m.name == name and m.status == "error"]


def _uncut(text: str) -> object:
    """A tool's result, without the mark that its lists were cut short."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return {key: value for key, value in data.items() if key != "shortened"} if isinstance(data, dict) else data


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _read(form: type[_Model], value: object) -> _Model | None:
    try:
        return form.model_validate(value)
    except ValidationError:
        return None


def _plan(seen: _Transcript) -> tuple[list[_Call], str]:
    turn = seen.turn(PlannerTurn)
    if turn is None:
        return [], "There is no request to plan for."
    activation = seen.last("activate_experts", ActivationResult) or turn.activation
    if activation is None:
        if seen.failures("activate_experts"):
            return [], seen.failures("activate_experts")[-1]
        return [("activate_experts", ActivateArgs(prompt=turn.prompt))], ""
    if activation.uncovered and not turn.scouted and not seen.failures("ask_scout"):
        return [("ask_scout", AskScoutArgs(skills=[text[:120] for text in activation.uncovered[:8]]))], ""
    if not activation.plannable:
        return [], "Nothing in this prompt can be drawn here."
    # What the check or the tool itself refused is left out; a second refusal for no expert in particular ends the turn.
    refused = seen.blamed() | set(turn.dropped)
    failures = seen.failures("propose_plan")
    for failure in failures:
        refused |= {e.id for e in activation.experts if e.id in failure}
    if len(failures) > len(activation.experts) + 1:
        return [], f"No plan was accepted: {failures[-1]}"
    return [("propose_plan", revise(activation, turn.rounds, turn.methods, refused, turn.rules))], ""


def revise(
    activation: ActivationResult,
    rounds: Sequence[Round],
    methods: Sequence[str],
    refused: Set[str],
    rules: PlannerRules | None = None,
) -> ProposeArgs:
    """Arguments of ``propose_plan``: the solver's default at first, later the first of the moves below that was not
    tried yet.

    The moves start from the best round so far, in the order in which they paid: other seeds (``rules.seeds_first``);
    weight shifted towards the weakest facet; the next merge methods (``rules.next_methods``); more shift; and so on
    with further seeds, so there is always a next one, unless the user orders the seed: what is ordered stays. What that
    round's prompt says stays as it is.
    """
    rules = rules or PlannerRules()
    experts = [e for e in activation.experts if e.id not in refused][:MAX_EXPERTS]
    usual = ProposeArgs() if not refused else ProposeArgs(experts=[Choice(id=e.id) for e in experts])
    if not rounds:
        return usual
    best = max(rounds, key=lambda r: (r.score, -rounds.index(r)))
    weights = {e.id: e.weight for e in best.experts if e.id not in refused}
    tried = {_signature([(e.id, e.weight) for e in r.experts], r.method, r.seed, not r.unsaid) for r in rounds}
    moves = _moves(best, rounds[0].seed, methods, rules, several=len(weights) > 1)
    for shift, method, seed, say in _allowed(moves, best, activation.orders):
        shifted = _shifted(activation, experts, weights, best, shift, rules)
        chosen = [(e.id, round(float(w), 4)) for e, w in zip(experts, shifted, strict=True)]
        if _signature(chosen, method, seed, say) not in tried:
            free = {e.id for e in experts if not e.ordered}
            choices = [Choice(id=i, weight=weight if i in free else None) for i, weight in chosen]
            return ProposeArgs(experts=choices, method=method, seed=seed, say=say)
    return usual  # all that is left to try is ordered otherwise


def _allowed(moves: Sequence[_Move], best: Round, orders: Orders) -> list[_Move]:
    """The moves that change nothing that the user orders."""
    kept = [move for move in moves if orders.seed is None or move[2] == best.seed]
    return [move for move in kept if not orders.method or move[1] == best.method]


def _signature(chosen: Sequence[tuple[str, float]], method: str, seed: int, say: bool) -> str:
    return json.dumps([sorted((expert_id, round(float(w), 4)) for expert_id, w in chosen), method, seed, say])


def _moves(best: Round, first: int, methods: Sequence[str], rules: PlannerRules, *, several: bool) -> list[_Move]:
    """(times that weight is shifted, method, seed, every trigger said), in the order in which they are tried.

    ``first`` is the seed that the request began with.
    """
    method, seed, say = best.method, best.seed, not best.unsaid
    others = [name for name in rules.next_methods if name in methods and name != method] if several else []
    seeds = [(0, method, (first + rules.seed_step * k) % 2**32, say) for k in range(1, 100)]
    moves = [*seeds[: rules.seeds_first], (1, method, seed, say)]
    moves += [(0, other, seed, say) for other in others[: rules.most_methods]]
    moves += [(2, method, seed, say), (1, method, (seed + rules.seed_step) % 2**32, say)]
    return moves + seeds[rules.seeds_first :]


def _shifted(
    activation: ActivationResult,
    experts: Sequence[ActiveExpert],
    weights: Mapping[str, float],
    best: Round,
    times: int,
    rules: PlannerRules,
) -> list[float]:
    """Weights moved towards the weakest facet: its expert up, the others down; all down if the base draws it."""
    weak = min(best.facets, key=lambda text: (best.facets[text], text), default="")
    drawn_by = next((f.by for f in activation.facets if weak and weak in (f.trigger, f.skill)), None)
    out = []
    for expert in experts:
        weight = weights.get(expert.id, expert.weight)
        if expert.ordered:
            out.append(weight)
            continue
        factor = rules.raise_by if expert.id == drawn_by else rules.lower_by
        out.append(min(rules.highest, max(rules.lowest, weight * factor**times)) if times else weight)
    return out


def _judge(seen: _Transcript) -> tuple[list[_Call], str]:
    turn = seen.turn(CriticTurn)
    if turn is None:
        return [], "There is no request to judge by."
    scores = seen.last("score_images", Scores)
    if scores is None:
        if seen.failures("score_images"):
            return [], seen.failures("score_images")[-1]
        return [("score_images", PlanArgs())], ""
    if min((image.score for image in scores.images), default=0.0) >= turn.accept:
        return [("give_verdict", VerdictArgs(decision="accept", findings=[]))], ""
    findings = [finding for image in scores.images for finding in image.findings]
    weak = [f"{text!r} is weak ({p:.2f})." for text, p in sorted(scores.facets.items()) if p < turn.accept]
    noted = list(dict.fromkeys(text[:300] for text in findings)) or [text[:300] for text in weak]
    return [("give_verdict", VerdictArgs(decision="revise", findings=noted[:12]))], ""


def _scout(seen: _Transcript) -> tuple[list[_Call], str]:
    turn = seen.turn(ScoutTurn)
    wanted = [(source, skill) for source in turn.sources for skill in turn.missing] if turn else []
    if seen.results or not wanted:
        return [], "Every source was asked."
    return [("register_experts", RegisterArgs(source=source, query=skill[:200])) for source, skill in wanted[:12]], ""
