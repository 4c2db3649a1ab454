"""The critic: scores the images of a round and decides between accepting, another round, and the best there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langgraph.types import Command

from .. import prompts
from ..errors import BudgetExceeded, ExternalError
from ..merging.plan.merge_plan import MergePlan
from ..tools.check_plan import PlanArgs
from ..tools.layout_share import coarse_of
from ..tools.merge_and_sample import image_path
from ..tools.results import CriticDecision, Scores
from ..tools.score_images import preferred, score_images, wanted_by
from . import best_images
from .agent import Agent, job_of
from .requests import CriticTurn, Shown
from .state import Round, RoundExpert, RoundImage, State


class Critic(Agent):
    """Node ``critic``."""

    name = "critic"

    def instructions(self, state: State) -> str:
        return prompts.load("critic", accept=f"{self.ctx.settings.accept:g}", budget=str(self.budget_left(state)))

    def turn(self, state: State) -> CriticTurn:
        if self.ctx.profile.vocabulary == "open":
            wanted = tuple(Shown(facet=w.facet, text=w.text) for w in wanted_by(job_of(state)))
        else:
            facets = state.activation.facets if state.activation else ()
            wanted = tuple(Shown(facet=f.facet, text=f.trigger) for f in facets)
        return CriticTurn(wanted=wanted, accept=self.ctx.settings.accept, round=len(state.rounds))

    def critic(self, state: State) -> Command[Literal["critic", "tools", "planner", "record"]]:
        """Let the brain take a step; once it has given its verdict, decide. Where nobody can judge, the images are the
        answer as they are.
        """
        if self.ctx.unjudged:
            return Command(goto="record")
        if state.verdict is not None:
            return self._judged(state, state.verdict, State())
        if self.spent(state):
            note = state.with_notes("The critic's brain gave no verdict; the score alone decided.")
            return self._judged(state, CriticDecision(decision="accept"), State(notes=note))
        change = self.think(state)
        if not change.idle:
            return Command(goto="tools", update=change)
        return Command(
            goto="critic", update=self.nudged(change, "Go on with a tool call: score_images, then give_verdict.")
        )

    def _judged(self, state: State, verdict: CriticDecision, also: State) -> Command[Any]:
        """The decision; where the critic fails on the way (a server is gone, its budget spent), what was judged before
        is the answer, or the images are, unjudged.
        """
        try:
            return self._decide(state, verdict, also)
        except (ExternalError, BudgetExceeded) as error:
            note = f"The critic failed, so its last word is missing. {error}"
            self.ctx.say("critic failed", note)
            rounds, accept = state.rounds, self.ctx.settings.accept
            if rounds and not best_images.weak(rounds, state.n, accept) and not rounds[-1].sent_back:
                rounds = (*rounds[:-1], rounds[-1].model_copy(update={"decision": "accept"}))
            notes = state.changed(also).with_notes(note)
            change = State(rounds=rounds, unjudged=note, notes=notes, scores=None, verdict=None, messages=(), idle=0)
            return Command(goto="record", update=also.changed(change))

    def _decide(self, state: State, verdict: CriticDecision, also: State) -> Command[Any]:
        """Nothing is accepted while one of the request's images is under the mark or lacks something, whatever a brain
        says. Images that will do may still go back; and another is drawn only where that may pay: by `unsure` on a base
        of closed vocabulary, by `worth_drawing` on an open one, which also ends a request that is not expected to gain.
        """
        settings, n, drawn = self.ctx.settings, state.n, best_images.open_slots(state)
        this = self._round(state, self._scores(state), verdict, drawn)
        rounds = (*state.rounds, this)
        kept = best_images.kept(rounds, n)
        disliked = any(rounds[number].sent_back for number, _ in kept)
        good = not disliked and not best_images.weak(rounds, n, settings.accept)
        if self.ctx.profile.vocabulary == "closed":
            again = best_images.unsure(rounds, n, settings.accept, settings.sure)
            pays = bool(again) or not good
        else:
            again = best_images.worth_drawing(rounds, n, settings.image_cost)
            pays = bool(again) or disliked
        goes_on = pays and len(rounds) <= settings.rounds
        accepted = good and not goes_on
        if accepted:
            better = any(rounds[number] is this for number, _ in kept)
            word = "accepted" if better else "no better, what was there before is accepted"
            rounds = (*state.rounds, this.model_copy(update={"decision": "accept"}))
        else:
            word = "good enough, tried once more" if good else "not accepted"
        noted = f"round {len(rounds)}: score {this.score:.2f}: {word}"
        self.ctx.say("verdict", noted, score=this.score, facets=this.facets, accepted=accepted)
        change = State(
            rounds=rounds,
            best=best_images.leading(rounds, n),
            open=tuple(again or drawn),
            scores=None,
            verdict=None,
            proposal=None,
            messages=(),
            idle=0,
        )
        return Command(goto="planner" if goes_on else "record", update=also.changed(change))

    def _scores(self, state: State) -> Scores:
        """What the critic says of this round's images, asked for if the brain did not."""
        if isinstance(state.scores, Scores) and state.scores.plan_id == state.plan_id:
            return state.scores
        return score_images(self.ctx_for(state), PlanArgs(plan_id=state.plan_id))

    def _round(self, state: State, scores: Scores, verdict: CriticDecision, drawn: list[int]) -> Round:
        """This round, as if it did not end the request."""
        plan = self.ctx.load_plan(state.plan_id)
        images = tuple(self._compared(state, plan, one) for one in self._images(scores, drawn))
        enough = all(best_images.good(image, self.ctx.settings.accept) for image in images)
        content = verdict.decision == "accept"
        seen = [finding for image in scores.images for finding in image.findings]
        return Round(
            plan_id=plan.plan_id,
            method=plan.method.name,
            guidance=plan.sampler.guidance,
            unsaid=state.proposal.unsaid if state.proposal else "",
            seed=(plan.seeds[0] - drawn[0]) % 2**32,
            experts=tuple(
                RoundExpert(id=e.id, facet=e.facet, weight=e.weight, coarse=coarse_of(e)) for e in plan.experts
            ),
            score=scores.score,
            facets=scores.facets,
            findings=tuple(dict.fromkeys([*verdict.findings, *seen]))[:20],
            decision="again" if content and enough else "revise",
            sent_back=enough and not content,
            images=images,
        )

    def _compared(self, state: State, plan: MergePlan, image: RoundImage) -> RoundImage:
        """The image, held against the best of its slot so far: by the critic's eye where it can choose between two."""
        if not any(one.slot == image.slot for this in state.rounds for one in this.images):
            return image
        number, incumbent = best_images.kept(state.rounds, state.n)[image.slot]
        ctx, before = self.ctx_for(state), state.rounds[number].plan_id
        chosen = None
        if best_images.good(image, ctx.settings.accept) == best_images.good(incumbent, ctx.settings.accept):
            paths = image_path(ctx, plan.plan_id, image.seed), image_path(ctx, before, incumbent.seed)
            chosen = preferred(ctx, *paths, wanted_by(ctx.job))
        better = best_images.replaces(image, incumbent, chosen, ctx.settings.accept)
        return image.model_copy(update={"preferred": chosen, "better": better})

    def _images(self, scores: Scores, drawn: Sequence[int]) -> list[RoundImage]:
        mark = min(0.5, self.ctx.settings.accept) if self.ctx.profile.vocabulary == "open" else 0.0
        return [
            RoundImage(
                slot=slot,
                **image.model_dump(include={"seed", "score", "facets", "seen", "by"}),
                lacks=tuple(text for text, p in image.facets.items() if p < mark),
            )
            for slot, image in zip(drawn, scores.images, strict=True)
        ]
