"""The offline brain: a LangChain chat model that makes the same tool calls as an LLM would, by rule. No key, no
network, no chance.

It reads what any brain reads (the messages and the tools it was bound to) and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from ...prompts import read_data

RAISE, LOWER = 1.25, 0.8
HIGHEST, LOWEST = 1.6, 0.2
SEED_STEP = 1009
SEEDS_FIRST = 4
"""So many other seeds are tried before weights and methods. Other weights please the critic more often than they are
right: of images that differ in their seeds alone the critic's choice is the better one.
"""
NEXT_METHODS = ("np_lora", "magnitude_balanced", "ties", "linear")
"""Merge methods to turn to, the most promising first; no other is tried by rule.

Each answers another cause of a missing skill: the style reads what the subject is drawn from (`np_lora`), one expert
drowns the others (`magnitude_balanced`), experts pull the same weights in opposite directions (`ties`); and the plain
sum, for a plan that began with something else, of which `concat_sum` has the very numbers. Methods that thin deltas out
at random were made for full fine-tunes, most of whose difference is redundant; images are too dear to try them blindly.
"""
MOST_METHODS = 2
"""How many of them are tried before weight and seed have their turn again."""
_Call = tuple[str, dict[str, Any]]


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
            text, tool_calls=[{"name": n, "args": a, "id": f"call_{made + i}"} for i, (n, a) in enumerate(calls)]
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


class _Transcript:
    """What a conversation holds: the request's data, the tools' results in order, the problems found since."""

    def __init__(self, messages: Sequence[BaseMessage]) -> None:
        texts = [str(m.text) for m in messages if isinstance(m, HumanMessage)]
        request = read_data("request", texts[0]) if texts else None
        self.request: dict[str, Any] = request if isinstance(request, dict) else {}
        self.problems = [p for text in texts for p in _list(read_data("problems", text))]
        self.results = [m for m in messages if isinstance(m, ToolMessage)]

    def last(self, name: str) -> dict[str, Any] | None:
        """The last result of a tool that did not fail."""
        for m in reversed(self.results):
            if m.name == name and m.status != "error":
                return dict(json.loads(str(m.text)))
        return None

    def failures(self, name: str) -> list[str]:
        return [str(m.text) for m in self.results if m.name == name and m.status == "error"]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _plan(seen: _Transcript) -> tuple[list[_Call], str]:
    request = seen.request
    activation = seen.last("activate_experts") or request.get("activation")
    if not activation:
        if seen.failures("activate_experts"):
            return [], seen.failures("activate_experts")[-1]
        return [("activate_experts", {"prompt": request["prompt"]})], ""
    if activation["uncovered"] and not request.get("scouted") and not seen.failures("ask_scout"):
        return [("ask_scout", {"skills": [text[:120] for text in activation["uncovered"][:8]]})], ""
    if not activation["facets"]:
        return [], "Nothing in this prompt can be drawn here."
    # What the check or the tool itself refused is left out; a second refusal for no expert in particular ends the turn.
    refused = {p["expert"] for p in seen.problems if p.get("expert")} | set(request.get("dropped", []))
    failures = seen.failures("propose_plan")
    for failure in failures:
        refused |= {e["id"] for e in activation["experts"] if e["id"] in failure}
    if len(failures) > len(activation["experts"]) + 1:
        return [], f"No plan was accepted: {failures[-1]}"
    return [("propose_plan", revise(activation, request.get("rounds", []), request.get("methods", []), refused))], ""


def revise(
    activation: dict[str, Any], rounds: Sequence[dict[str, Any]], methods: Sequence[str], refused: set[str]
) -> dict[str, Any]:
    """Arguments of ``propose_plan``: the solver's default at first, later the first of the moves below that was not
    tried yet.

    The moves start from the best round so far, in the order in which they paid: other seeds (`SEEDS_FIRST`); weight
    shifted towards the weakest facet; the next merge methods (`NEXT_METHODS`); more shift; and so on with further
    seeds, so there is always a next one. What that round's prompt says stays as it is.
    """
    experts = [e for e in activation["experts"] if e["id"] not in refused]
    if not rounds:
        return {} if not refused else {"experts": [{"id": e["id"]} for e in experts]}
    best = max(rounds, key=lambda r: (r["score"], -rounds.index(r)))
    weights = {e["id"]: e["weight"] for e in best["experts"] if e["id"] not in refused}
    tried = {_signature(r["experts"], r["method"], r["seed"], not r["unsaid"]) for r in rounds}
    for shift, method, seed, say in _moves(best, rounds[0]["seed"], methods, several=len(weights) > 1):
        proposed = [
            _choice(e, w) for e, w in zip(experts, _shifted(activation, experts, weights, best, shift), strict=True)
        ]
        if _signature(proposed, method, seed, say) not in tried:
            return {"experts": proposed, "method": method, "seed": seed, "say": say}
    raise AssertionError("the last moves are new seeds without end")


def _choice(expert: dict[str, Any], weight: float) -> dict[str, Any]:
    return {"id": expert["id"], "weight": round(float(weight), 4)}


def _signature(experts: Sequence[dict[str, Any]], method: str, seed: int, say: bool) -> str:
    return json.dumps([sorted((e["id"], round(float(e["weight"]), 4)) for e in experts), method, seed, say])


def _moves(
    best: dict[str, Any], first: int, methods: Sequence[str], *, several: bool
) -> list[tuple[int, str, int, bool]]:
    """(times that weight is shifted, method, seed, every trigger said), in the order in which they are tried.

    ``first`` is the seed that the request began with.
    """
    method, seed, say = best["method"], best["seed"], not best["unsaid"]
    others = [name for name in NEXT_METHODS if name in methods and name != method] if several else []
    seeds = [(0, method, first + SEED_STEP * k, say) for k in range(1, 100)]
    moves = [*seeds[:SEEDS_FIRST], (1, method, seed, say)]
    moves += [(0, other, seed, say) for other in others[:MOST_METHODS]]
    moves += [(2, method, seed, say), (1, method, seed + SEED_STEP, say)]
    return moves + seeds[SEEDS_FIRST:]


def _shifted(
    activation: dict[str, Any],
    experts: Sequence[dict[str, Any]],
    weights: dict[str, float],
    best: dict[str, Any],
    times: int,
) -> list[float]:
    """Weights moved towards the weakest facet: its expert up, the others down; all down if the base draws it."""
    weak = min(best["facets"], key=lambda text: (best["facets"][text], text), default="")
    drawn_by = next((f["by"] for f in activation["facets"] if weak and weak in (f["trigger"], f["skill"])), None)
    out = []
    for expert in experts:
        weight = weights.get(expert["id"], expert["weight"])
        factor = RAISE if expert["id"] == drawn_by else LOWER
        out.append(min(HIGHEST, max(LOWEST, weight * factor**times)) if times else weight)
    return out


def _judge(seen: _Transcript) -> tuple[list[_Call], str]:
    scores = seen.last("score_images")
    if scores is None:
        if seen.failures("score_images"):
            return [], seen.failures("score_images")[-1]
        return [("score_images", {})], ""
    accept = float(seen.request["accept"])
    if min((image["score"] for image in scores["images"]), default=0.0) >= accept:
        return [("give_verdict", {"decision": "accept", "findings": []})], ""
    findings = [finding for image in scores["images"] for finding in image["findings"]]
    weak = [f"{text!r} is weak ({p:.2f})." for text, p in sorted(scores["facets"].items()) if p < accept]
    told = list(dict.fromkeys(text[:300] for text in findings)) or weak
    return [("give_verdict", {"decision": "revise", "findings": told[:12]})], ""


def _scout(seen: _Transcript) -> tuple[list[_Call], str]:
    wanted = [
        (source, skill) for source in seen.request.get("sources", []) for skill in seen.request.get("missing", [])
    ]
    if seen.results or not wanted:
        return [], "Every source was asked."
    return [("register_experts", {"source": source, "query": skill[:200]}) for source, skill in wanted[:12]], ""
