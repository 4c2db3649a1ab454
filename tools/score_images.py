"""Tool: what the critic says of a plan's images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from ..errors import BaseMissing, ExternalError, ToolFailed, UserError
from ..files.atomic import write_bytes
from ..files.hashing import file_sha256
from ..graph.reading.languages import is_read
from ..graph.reading.split import split
from ..scoring.atoms import atoms
from ..scoring.protocol import Prefers, choice_identity
from ..scoring.request import WHOLE, Verdict, Wanted
from .check_plan import PlanArgs
from .context import Context, Job
from .merge_and_sample import image_paths
from .results import ActivationResult, Result, ScoredImage, Scores
from .tool import tool

if TYPE_CHECKING:
    from PIL import Image


@tool("score_images", agents=("critic",), writes="scores")
def score_images(ctx: Context, args: PlanArgs) -> Scores:
    """Let the critic score the images of this round: for each wanted facet the probability (0..1) that the image
    shows it.
    """
    plan = ctx.load_plan(args.plan_id or ctx.job.plan_id)
    paths = image_paths(ctx, plan)
    if paths is None:
        raise ToolFailed(f"plan {plan.plan_id[:12]}… has no images yet")
    verdicts = score_files(ctx, paths, wanted_by(ctx.job))
    return summary(plan.plan_id, plan.seeds, verdicts)


def wanted_by(job: Job) -> list[Wanted]:
    """What the critic must find for a request: its atoms as a brain split it, else `wanted_of`."""
    if job.atoms is not None:
        return list(job.atoms.atoms)
    return wanted_of(job.activation) if job.activation else []


def wanted_of(activation: ActivationResult) -> list[Wanted]:
    """What the critic must find. On a base of closed vocabulary: every facet of the request that somebody can draw,
    whatever the plan left out. On an open one: the atoms of what the user typed (`scoring.atoms`), never those of a
    brain's paraphrase; of another language the words as a whole, and what experts claim of them.

    What is ruled out is not asked after: it stands in the negative prompt.
    """
    if activation.vocabulary == "open" and activation.words:
        if (found := atoms_of(activation.words, {f.text: f.facet for f in activation.facets})) is not None:
            return found
        return [*_claimed(activation), Wanted(facet=WHOLE, text=activation.words)]
    return _claimed(activation)


def atoms_of(words: str, known: Mapping[str, str] | None = None) -> list[Wanted] | None:
    """The atoms of English words; None for another language, which the rule does not read."""
    request = split(words)
    return list(atoms(words, known)) if is_read(request) and not request.language else None


def _claimed(activation: ActivationResult) -> list[Wanted]:
    seen: dict[tuple[str, str], Wanted] = {}
    for found in activation.facets:
        text = found.trigger if found.skill in found.trigger else found.skill
        seen.setdefault((found.facet, text), Wanted(facet=found.facet, text=text))
    return list(seen.values())


def preferred(ctx: Context, candidate: Path, incumbent: Path, wanted: Sequence[Wanted]) -> float | None:
    """The probability (0..1) that ``candidate`` shows what is wanted better than ``incumbent``; None where the critic
    cannot choose between two. Kept beside the candidate, as verdicts are.
    """
    critic = ctx.critic
    if not isinstance(critic, Prefers) or not wanted:
        return None
    key = _key(candidate, wanted, choice_identity(critic), incumbent)
    kept = candidate.with_name(f"{candidate.stem}.over-{key}.json")
    try:
        return Preference.model_validate_json(kept.read_bytes()).probability
    except (OSError, ValidationError):
        pass
    a, b = _opened([candidate, incumbent])
    with ctx.machinery.lock, _at_work():
        chosen = Preference(probability=critic.prefer(a, b, list(wanted)))
    write_bytes(kept, chosen.model_dump_json().encode())
    return chosen.probability


class Preference(Result):
    """The probability that one image is better than another."""

    probability: float = Field(ge=0.0, le=1.0)


def score_files(ctx: Context, paths: Sequence[Path], wanted: Sequence[Wanted]) -> list[Verdict]:
    """Verdicts of image files; kept beside each image, keyed by the critic, the request and the file's content. One
    that lacks an answer is not kept: a server that was broken may be asked again.
    """
    out: list[Verdict | None] = [_kept(path, key) for path in paths for key in [_key(path, wanted, critic_id(ctx))]]
    todo = [i for i, verdict in enumerate(out) if verdict is None]
    if todo:
        images = _opened([paths[i] for i in todo])
        critic = ctx.critic
        with ctx.machinery.lock, _at_work():
            scored = critic.score(images, list(wanted))
        for i, verdict in zip(todo, scored, strict=True):
            out[i] = verdict
            if not verdict.unsure:
                kept = _score_path(paths[i], _key(paths[i], wanted, critic_id(ctx)))
                write_bytes(kept, verdict.model_dump_json().encode())
    return [verdict for verdict in out if verdict is not None]


@contextmanager
def _at_work() -> Iterator[None]:
    """A critic that turns out to be misconfigured when it is asked (its key, its model's name) failed, and no more: the
    images are there. A base whose own critic is damaged is to be mended first.
    """
    try:
        yield
    except BaseMissing:
        raise
    except UserError as error:
        raise ExternalError(str(error)) from error


def critic_id(ctx: Context) -> str:
    """Identity of the critic. Raises UserError if its files are not there."""
    return ctx.critic.identity


def _opened(paths: Sequence[Path]) -> list[Image.Image]:
    from PIL import Image

    images = []
    for path in paths:
        with Image.open(path, formats=["PNG"]) as image:
            images.append(image.convert("RGB"))
    return images


def _key(path: Path, wanted: Sequence[Wanted], critic: str, *others: Path) -> str:
    request = json.dumps([w.model_dump() for w in wanted], sort_keys=True)
    told = [critic, file_sha256(path), request, *(file_sha256(other) for other in others)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _score_path(path: Path, key: str) -> Path:
    return path.with_name(f"{path.stem}.score-{key}.json")


def _kept(path: Path, key: str) -> Verdict | None:
    kept = _score_path(path, key)
    try:
        return Verdict.model_validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        return None  # never scored, or damaged: it is scored again


def summary(plan_id: str, seeds: Sequence[int], verdicts: Sequence[Verdict]) -> Scores:
    """Verdicts of a plan's images: the mean score, the mean of each facet, and each image's own."""
    facets = {text: [v.facets[text] for v in verdicts] for text in (verdicts[0].facets if verdicts else {})}
    return Scores(
        plan_id=plan_id,
        score=round(sum(v.score for v in verdicts) / max(1, len(verdicts)), 4),
        facets={text: round(sum(values) / len(values), 4) for text, values in facets.items()},
        images=tuple(
            ScoredImage(
                seed=seed,
                score=round(v.score, 4),
                facets={t: round(p, 4) for t, p in v.facets.items()},
                findings=v.findings,
                seen=v.seen,
                by=v.by,
            )
            for seed, v in zip(seeds, verdicts, strict=True)
        ),
    )
