"""The critic: scores the images of a round and decides between accepting, another round, and the best there is."""

from __future__ import annotations

from typing import Any, Literal

from langgraph.types import Command

from .. import prompts
from ..tools.layout_share import coarse_of
from ..tools.tool import call
from . import best_images
from .conversation import Turn, told
from .state import Round, State


class Critic(Turn):
    """Node ``critic``."""

    name = "critic"

    def instructions(self, state: State) -> str:
        return prompts.load("critic", accept=f"{self.ctx.settings.accept:g}", budget=str(self.budget_left(state)))

    def request(self, state: State) -> dict[str, Any]:
        wanted = [{"facet": f["facet"], "text": f["trigger"]} for f in state["activation"]["facets"]]
        return {"wanted": wanted, "accept": self.ctx.settings.accept, "round": len(state.get("rounds", []))}

    def critic(self, state: State) -> Command[Literal["critic", "tools", "planner", "record"]]:
        """Let the brain take a step; once it has given its verdict, decide."""
        if state.get("verdict"):
            return self._decide(state, state["verdict"], {})
        if self.spent(state):
            note = {"notes": told(state, "The critic's brain gave no verdict; the score alone decided.")}
            return self._decide(state, {"decision": "accept", "findings": []}, note)
        update = self.think(state)
        if not update["idle"]:
            return Command(goto="tools", update=update)
        return Command(
            goto="critic", update=self.nudged(update, "Go on with a tool call: score_images, then give_verdict.")
        )

    def _decide(self, state: State, verdict: dict[str, Any], also: dict[str, Any]) -> Command[Any]:
        """Nothing is accepted while one of the request's images is under the mark, whatever a brain says; images above
        it may still go back, and get another try where that may pay (`slots.unsure`).
        """
        scores = state.get("scores") or {}
        if scores.get("plan_id") != state["plan_id"]:
            scores = call(self.ctx_for(state), "score_images", {"plan_id": state["plan_id"]})
        n, drawn = state.get("n", 1), best_images.open_slots(state)
        this = self._round(state, scores, verdict, drawn)
        rounds = [*state.get("rounds", []), this]
        kept = best_images.kept(rounds, n)
        disliked = any(best_images.sent_back(rounds[number]) for number, _ in kept)
        good = not disliked and not best_images.weak(rounds, n, self.ctx.settings.accept)
        unsure = best_images.unsure(rounds, n, self.ctx.settings.accept, self.ctx.settings.sure)
        left = len(rounds) <= self.ctx.settings.rounds
        accepted = good and not (unsure and left)
        if accepted:
            this["decision"] = "accept"
            better = any(rounds[number] is this for number, _ in kept)
            word = "accepted" if better else "no better, what was there before is accepted"
        else:
            word = "good enough, tried once more" if good else "not accepted"
        told_so = f"round {len(rounds)}: score {this['score']:.2f}: {word}"
        self.ctx.say("verdict", told_so, score=this["score"], facets=this["facets"], accepted=accepted)
        update = {
            **also,
            "rounds": rounds,
            "best": best_images.leading(rounds, n),
            "open": unsure or drawn,
            "scores": {},
            "verdict": {},
            "proposal": {},
            "messages": [],
            "idle": 0,
        }
        return Command(goto="planner" if left and not accepted else "record", update=update)

    def _round(self, state: State, scores: dict[str, Any], verdict: dict[str, Any], drawn: list[int]) -> Round:
        """This round, as if it did not end the request."""
        plan = self.ctx.load_plan(state["plan_id"])
        enough = all(image["score"] >= self.ctx.settings.accept for image in scores["images"])
        content = verdict["decision"] == "accept"
        seen = [finding for image in scores["images"] for finding in image["findings"]]
        return {
            "plan_id": plan.plan_id,
            "method": plan.method.name,
            "guidance": plan.sampler.guidance,
            "unsaid": (state.get("proposal") or {}).get("unsaid", ""),
            "seed": (plan.seeds[0] - drawn[0]) % 2**32,
            "experts": [
                {"id": e.id, "facet": e.facet, "weight": e.weight, "coarse": coarse_of(e)} for e in plan.experts
            ],
            "score": scores["score"],
            "facets": scores["facets"],
            "findings": list(dict.fromkeys([*verdict["findings"], *seen]))[:20],
            "decision": "again" if content and enough else "revise",
            "sent_back": enough and not content,
            "images": [
                {"slot": slot, **{key: image[key] for key in ("seed", "score", "facets")}}
                for slot, image in zip(drawn, scores["images"], strict=True)
            ],
        }
