"""How an expert is measured: reference prompts at several strengths, the critic's gain over the base, the fingerprint.

Paper: calibration is what DiffGraph (arXiv 2603.20470) gains most from. Fingerprint: CARLoS (CVPR'26), the image shift
against the base as direction, strength and consistency. Nothing a card says is believed: its claims choose the prompts,
the critic decides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..bases.profile import MeasureRules
from ..errors import ExpertError, PlanError, ToolFailed
from ..graph.calibration.record import Calibration, ReferenceScore, Verdict
from ..graph.calibration.reference_prompts import ReferencePrompt, from_base, from_pool
from ..graph.experts.expert import THINGS, Expert, Skill
from ..graph.reading.split import split
from ..graph.relations.relation import Relation
from ..merging.plan.merge_plan import MergePlan, PlanExpert
from ..scoring.protocol import embedded
from ..scoring.request import WHOLE, Wanted
from ..scoring.request import Verdict as Judged
from .context import Context
from .fitting import misfit
from .layout_share import coarse_share
from .merge_and_sample import image_path, sample_all
from .score_images import atoms_of, critic_id, score_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 3
ATOMS = 2
"""Of how prompts are split into what the critic is asked, where the base does not say it."""
SEED = 0
MAX_SKILLS = 24
DUPLICATE = 0.99
MAX_EXAMPLE = 300
"""Characters of a prompt that an author shows."""


@dataclass(frozen=True)
class Probe:
    """One prompt that an expert is measured on.

    Attributes:
        skill: the claim it tests; None for a reference prompt without a claim.
        words: what its image must show besides ``prompt.wanted``: the atoms of these words.
    """

    prompt: ReferencePrompt
    skill: Skill | None = None
    words: str = ""

    @property
    def wanted(self) -> list[Wanted]:
        """What the critic is asked, none twice."""
        said = [Wanted(facet=facet, text=text) for facet, text in sorted(self.prompt.wanted.items())]
        known = {one.text.casefold() for one in said}
        words = self.words or ("" if said else self.prompt.text)
        found = atoms_of(words) if words else []
        if found is None:
            found = [Wanted(facet=WHOLE, text=words)]
        return said + [one for one in found if one.text.casefold() not in known]


def references(ctx: Context) -> list[ReferencePrompt]:
    """The shared reference prompts: the graph's; if it has none yet, the base's own, else chosen from what the base
    says it can draw. A base of open vocabulary is asked for its own, else the most diverse of our pool are taken, and
    never what another base's graph brought along.

    Raises:
        ToolFailed: the base is not registered, so nobody knows what it can draw.
    """
    most = ctx.profile.measure.references
    own = [ReferencePrompt.of(one.text, dict(one.wanted)) for one in ctx.profile.reference_prompts]
    if ctx.profile.vocabulary == "open":
        return own[:most] or from_pool(most, ctx.store.embedder)
    known = ctx.store.reference_prompts()
    if not known and own:
        known = own
        ctx.store.add_reference_prompts(known)
    if not known:
        base = ctx.store.base(ctx.family)
        if base is None:
            raise ToolFailed(f"the base of family {ctx.family} is not registered: run `diffgraph scout` first")
        known = from_base(base, most, ctx.store.embedder)
        if not known:
            raise ToolFailed(f"{base.id} names no subject that it can draw, so there is nothing to measure against")
        ctx.store.add_reference_prompts(known)
    return known[:most]


def probes(expert: Expert, shared: Sequence[ReferencePrompt], examples: int = 0) -> list[Probe]:
    """The expert's own prompts (prompts that its author shows, ``examples`` at most, then each claimed skill, on
    reference subjects unless it is a subject) and the shared ones.
    """
    step = max(1, -(-len(expert.skills) // MAX_SKILLS))
    own = {probe.prompt.id: probe for probe in shown_by_author(expert, examples)}
    tested = expert.skills[::step]
    others = [skill for skill in tested if skill.facet not in THINGS]
    for skill in tested:
        said = skill.trigger or skill.name
        if skill.facet in THINGS:
            made = [Probe(ReferencePrompt.of(said, {"subject": skill.name}), skill)]
        else:
            # Several looks in one expert share the reference subjects; one look is tried on all of them.
            some = shared[:: max(1, len(others) // 2)] if len(others) > 1 else shared
            made = [
                Probe(
                    ReferencePrompt.of(f"{r.text}, {said}", {**r.wanted, skill.facet: skill.name}),
                    skill,
                    "" if r.wanted else r.text,
                )
                for r in some
            ]
        own.update({probe.prompt.id: probe for probe in made})
    return [*own.values(), *(Probe(p) for p in shared if p.id not in own)]


def shown_by_author(expert: Expert, most: int) -> list[Probe]:
    """Prompts of the pictures that the expert came with, each as a test of the skill that it calls; its trigger is put
    in where it is lacking.
    """
    found: list[Probe] = []
    for example in expert.examples:
        words = (
            split(example).words[:MAX_EXAMPLE].rpartition(" ")[0]
            if len(example) > MAX_EXAMPLE
            else split(example).words
        )
        low = words.casefold()
        called = [s for s in expert.skills if low and (s.trigger or s.name).casefold() in low]
        for skill in called[:1] or expert.skills[:1] if low else ():
            text = words if called else f"{skill.trigger or skill.name}, {words}"
            found.append(Probe(ReferencePrompt.of(text, {skill.facet: skill.name}), skill, words))
    return list({probe.prompt.id: probe for probe in found}.values())[:most]


def context_hash(ctx: Context, shared: Sequence[ReferencePrompt]) -> str:
    """Hash of the circumstances a calibration holds for: base, sampler, critic, reference prompts, strengths."""
    circumstances = {
        "version": VERSION,
        "base": ctx.machinery.base.sha256,
        "sampler": ctx.sampler().model_dump(mode="json"),
        "critic": critic_id(ctx),
        "prompts": [p.id for p in shared],
        "strengths": list(ctx.profile.measure.strengths),
        "seed": SEED,
    }
    if ctx.profile.vocabulary == "open":
        circumstances["atoms"] = ATOMS
    return hashlib.sha256(json.dumps(circumstances, sort_keys=True).encode()).hexdigest()


def known_calibration(ctx: Context, expert: Expert) -> Calibration | None:
    """What an earlier calibration of this very file under these circumstances found."""
    context = context_hash(ctx, references(ctx))
    for found in reversed(ctx.store.calibrations(expert.id, any_base=True)):
        if (found.expert_sha256, found.plan_context_hash) == (expert.sha256, context):
            return found.model_copy(update={"base": ctx.machinery.base.sha256, "critic": critic_id(ctx)})
    return None


def measure(ctx: Context, expert: Expert) -> Calibration:
    """Generate, score and sum up. Images are kept by plan id, so an interrupted measurement goes on where it stopped.

    Raises:
        ToolFailed: another base family, no skill to test, a file that cannot be merged, or claims that the critic does
            not judge.
    """
    if expert.kind == "base":
        raise ToolFailed(f"{expert.id} is a base, which is measured against nothing")
    if wrong := misfit(ctx, expert):
        raise ToolFailed(wrong)
    if not expert.skills:
        raise ToolFailed(f"the card of {expert.id} claims no skill, so there is nothing to test")
    shared = references(ctx)
    todo = probes(expert, shared, len(shared) // 2 if ctx.profile.vocabulary == "open" else 0)
    scored: dict[float, list[Judged]] = {}
    vectors: dict[float, NDArray[np.float32]] = {}
    strengths = ctx.profile.measure.strengths
    for number, strength in enumerate(strengths):
        details = {"expert": expert.id, "done": number, "total": len(strengths)}
        ctx.say("calibrate", f"{expert.id}: {len(todo)} prompts at strength {strength:g}", **details)
        plans = [plan_of(ctx, expert, probe, strength) for probe in todo]
        try:
            sample_all(ctx, plans)
        except (PlanError, ExpertError) as error:
            raise ToolFailed(f"{expert.id} cannot be merged: {error}") from error
        paths = [image_path(ctx, plan.plan_id, SEED) for plan in plans]
        scored[strength] = [score_files(ctx, [path], probe.wanted)[0] for path, probe in zip(paths, todo, strict=True)]
        images = [Image.open(path, formats=["PNG"]).convert("RGB") for path in paths]
        with ctx.machinery.lock:
            where = embedded(ctx.critic, images)
        if where is not None:
            vectors[strength] = where
    found = summed_up(expert, context_hash(ctx, shared), todo, scored, vectors, ctx.profile.measure)
    best = found.best_weight
    left = unasked(ctx, expert, todo, scored[best], best)
    coarse = coarse_share(ctx, expert, best) if found.usable else 1.0
    return found.model_copy(
        update={"base": ctx.machinery.base.sha256, "critic": critic_id(ctx), "unasked": left, "coarse": coarse}
    )


def unasked(
    ctx: Context, expert: Expert, todo: Sequence[Probe], scored: Sequence[Judged], strength: float
) -> dict[str, float]:
    """What is left of a look when its trigger is not said: images of the bare reference prompts, scored for it."""
    bare = [probe for probe in todo if probe.skill is None]
    paths = [image_path(ctx, plan_of(ctx, expert, probe, strength).plan_id, SEED) for probe in bare]
    left: dict[str, float] = {}
    for skill in dict.fromkeys(probe.skill for probe in todo):
        if skill is None or skill.facet in THINGS or not bare:
            continue
        said = _told(skill.name, [v for v, probe in zip(scored, todo, strict=True) if probe.skill == skill])
        unsaid = _told(skill.name, score_files(ctx, paths, [Wanted(facet=skill.facet, text=skill.name)]))
        if not (said and unsaid):
            continue  # the critic does not judge its facet
        level = float(np.mean(said))
        left[skill.name] = round(min(1.0, float(np.mean(unsaid)) / level), 4) if level > 0 else 0.0
    return left


def _told(text: str, verdicts: Sequence[Judged]) -> list[float]:
    return [v.facets[text] for v in verdicts if _tells(v, text)]


def _tells(verdict: Judged, text: str) -> bool:
    """Whether the critic measured it; an answer that it did not get is no 0.5."""
    return text in verdict.facets and text not in verdict.unsure


def plan_of(ctx: Context, expert: Expert, probe: Probe, strength: float) -> MergePlan:
    """The plan of one probe at one strength; at 0 it is the bare base, whose images all experts share."""
    facet = probe.skill.facet if probe.skill else expert.skills[0].facet
    member = PlanExpert(id=expert.id, ref=str(expert.ref), sha256=expert.sha256, weight=strength, facet=facet)
    return MergePlan(
        base=ctx.machinery.base,
        experts=(member,) if strength else (),
        prompt=probe.prompt.text,
        sampler=ctx.sampler(),
        seeds=(SEED,),
    )


def summed_up(
    expert: Expert,
    context: str,
    todo: Sequence[Probe],
    scored: dict[float, list[Judged]],
    vectors: dict[float, NDArray[np.float32]],
    rules: MeasureRules,
) -> Calibration:
    """Numbers from verdicts and embeddings: ``scored[s][i]`` and ``vectors[s][i]`` belong to probe i at strength s.

    Without vectors, where the critic does not embed, there is no fingerprint, and the verdict rests on the scores.
    """
    own = [i for i, probe in enumerate(todo) if probe.skill is not None]
    strengths = [s for s in scored if s > 0]
    # The strength at which the own prompts do best as a whole, what must be kept included; the lower one on a tie.
    best = max(strengths, key=lambda s: (round(float(np.mean([scored[s][i].score for i in own])), 4), -s))
    gains: dict[str, list[float]] = {}
    claimed: list[tuple[float, float]] = []
    for i in own:
        skill = todo[i].skill
        assert skill is not None
        for wanted in todo[i].wanted:
            if not (_tells(scored[best][i], wanted.text) and _tells(scored[0.0][i], wanted.text)):
                continue  # nobody can tell: that is no zero
            value, before = (scored[s][i].facets[wanted.text] for s in (best, 0.0))
            gains.setdefault(wanted.facet, []).append(value - before)
            if wanted.text == skill.name:
                gains.setdefault(skill.name, []).append(value - before)
                claimed.append((value, before))
    if not claimed:
        facets = ", ".join(sorted({skill.facet for skill in expert.skills}))
        raise ToolFailed(f"the critic cannot tell about what {expert.id} claims ({facets}), so nothing is known of it")
    shift, consistency, direction = _fingerprint(vectors[best] - vectors[0.0]) if vectors else (None, None, ())
    level, gain = float(np.mean([v for v, _ in claimed])), float(np.mean([v - b for v, b in claimed]))
    return Calibration(
        expert_id=expert.id,
        expert_sha256=expert.sha256,
        plan_context_hash=context,
        scores=tuple(
            ReferenceScore(
                prompt_id=probe.prompt.id,
                strength=s,
                metric="critic",
                base=round(scored[0.0][i].score, 4),
                value=round(scored[s][i].score, 4),
            )
            for s in strengths
            for i, probe in enumerate(todo)
        ),
        gain={name: round(float(np.mean(values)), 4) for name, values in sorted(gains.items())},
        direction=direction,
        strength_shift=None if shift is None else round(shift, 4),
        consistency=consistency,
        best_weight=best,
        verdict=verdict(shift, level, gain, rules),
    )


def _fingerprint(shifts: NDArray[np.float32]) -> tuple[float, float, tuple[float, ...]]:
    """(mean length, consistency, direction) of what an expert does to images; ``shifts`` is (images, dimensions)."""
    lengths = np.linalg.norm(shifts, axis=1)
    mean = shifts.mean(0)
    direction = mean / np.linalg.norm(mean) if np.linalg.norm(mean) > 1e-6 else np.zeros_like(mean)
    cosines = (shifts @ direction) / np.maximum(lengths, 1e-6)
    consistency = round(float(np.clip(cosines.mean(), -1.0, 1.0)), 4)
    return float(lengths.mean()), consistency, tuple(round(float(x), 5) for x in direction)


def verdict(shift: float | None, level: float, gain: float, rules: MeasureRules) -> Verdict:
    """The sentence about an expert, from the means over its own prompts: the shift of their images (None: unknown), and
    level and gain of the skills that it claims.
    """
    if shift is not None and shift < rules.no_shift:
        return "no effect"
    if gain < rules.no_gain:
        return "does not do what the card says"
    return "works" if gain >= rules.good_gain and level >= rules.good_level else "weak"


def relate(ctx: Context, expert: Expert) -> list[Relation]:
    """Overlap of an expert's delta with every other one of its base, exact; a cosine over 0.99 is a duplicate.

    Experts whose files cannot be read have no overlap; they are told about and left out.
    """
    from ..merging.deltas.overlap import overlap

    found: list[Relation] = []
    known = {(r.a, r.b, r.kind): r for r in ctx.store.relations(expert.id)}
    for other in ctx.store.experts(expert.base_family):
        if other.id == expert.id:
            continue
        pair = sorted([(expert.id, expert.sha256), (other.id, other.sha256)])
        note = "cosine of the deltas of " + " and ".join(sha[:12] for _, sha in pair)
        old = known.get((pair[0][0], pair[1][0], "overlap"))
        if old is not None and old.note == note:
            found.append(old)
            continue
        own = ctx.engine.read(ctx.fetch(expert.ref, expert.sha256), expert.sha256)
        try:
            theirs = ctx.engine.read(ctx.fetch(other.ref, other.sha256), other.sha256)
        except ExpertError as error:
            ctx.say("skipped", f"no overlap with {other.id}: {error}", expert=other.id)
            continue
        cosine = round(overlap(own, theirs), 6)
        relations = [Relation(a=expert.id, b=other.id, kind="overlap", value=cosine, note=note)]
        if cosine > DUPLICATE or expert.sha256 == other.sha256:
            relations.append(Relation(a=expert.id, b=other.id, kind="duplicate", value=max(0.0, cosine), note=note))
        for relation in relations:
            ctx.store.put_relation(relation)
        found += relations
    return found
