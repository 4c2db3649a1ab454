"""What the user is told: the request's limits, the status, the sentence."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError
from ..merging.plan.merge_plan import MergePlan
from ..tools.score_images import wanted_by
from . import best_images
from .agent import job_of
from .state import AnswerScores, State, Status

MAX_WORDS = 300
MAX_CHARS = 4000
MAX_IMAGES = 64
_MOST = 6
"""Things that a sentence lists."""


def checked_prompt(prompt: object) -> str:
    """The prompt with its blanks tidied. Raises UserError if it is empty or too long."""
    if not isinstance(prompt, str):
        raise UserError("The prompt must be a text.")
    tidy = " ".join("".join(c if c.isprintable() else " " for c in prompt).split())
    if not tidy:
        raise UserError('The prompt is empty. Say what to draw, for example "octopus, blueprint style".')
    words = len(tidy.split())
    if words > MAX_WORDS or len(tidy) > MAX_CHARS:
        raise UserError(
            f"The prompt has {words} words and {len(tidy)} characters; "
            f"up to {MAX_WORDS} words and {MAX_CHARS} characters are read. "
            "Name the subject, the style and the background; leave the rest out."
        )
    return tidy


def checked_n(n: object) -> int:
    """How many images. Raises UserError outside 1..64."""
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MAX_IMAGES:
        raise UserError(f"The number of images must be a whole number from 1 to {MAX_IMAGES}, not {n!r}.")
    return n


def checked_seed(seed: object) -> int:
    """The first seed. Raises UserError outside 0 .. 2^32 - 1."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise UserError(f"The seed must be a whole number from 0 to {2**32 - 1}, not {seed!r}.")
    return seed


def missing_parts(state: State, plan: MergePlan | None) -> tuple[str, ...]:
    """What of the prompt the image does not try to show: what nobody can draw, and what lost its expert on the way. On
    a base of open vocabulary nothing: it draws what no expert does.
    """
    if state.activation is None or state.activation.vocabulary == "open":
        return ()
    used = {e.id for e in plan.experts} if plan else set()
    lost = [f.text for f in state.activation.facets if plan and f.by != "base" and f.by not in used]
    return tuple(dict.fromkeys([*state.activation.uncovered, *lost]))


def of_images(
    state: State, plan: MergePlan, images: Sequence[str], scores: AnswerScores, *, accept: float, accepted: bool
) -> State:
    """The end of a run with images: status and sentence. ``accept`` is the score from which one may be accepted."""
    uncovered = missing_parts(state, plan)
    score, each = f"The critic gives the image {scores.score:.2f}", [i.score for i in scores.images]
    if len(each) > 1:
        score = f"The critic gives the {len(each)} images {scores.score:.2f} on average, the weakest {min(each):.2f}"
    weak = sorted((p, t) for t, p in scores.facets.items() if p < 0.5)
    status: Status
    if accepted:
        status, message = "accepted", f"{score}: accepted."
    else:
        status = "best effort"
        rest = f"; weakest is {weak[0][1]!r} ({weak[0][0]:.2f})" if weak else ""
        count = len(state.rounds)
        after = f"after {count} rounds{rest}. This is the best of them." if count > 1 else f"after one round{rest}."
        if min(each) < accept:
            why = "which is under the mark"
        elif any(best.lacks for _, best in best_images.kept(state.rounds, state.n)):
            why = "but something that was asked for is missing"
        elif any(state.rounds[image.round - 1].sent_back for image in scores.images):
            why = "which is good enough, but the brain that judges sent it back"
        else:
            why = "which is good enough, though another try came to nothing"
        message = f"{score}, {why}, {after}"
    if uncovered:
        status = "uncovered"
        message = f"Nothing here draws {quoted(uncovered)}, so the image leaves it out. {message}"
    change = State(
        plan_id=plan.plan_id,
        images=tuple(images),
        scores=scores,
        uncovered=uncovered,
        status=status,
        message=f"{message}{_not_shown(state, scores)}{_of_experts(state, plan)}",
    )
    read = state.activation.read if state.activation else state.prompt
    if " ".join(read.split()) != state.prompt:
        change = change.changed(State(notes=state.with_notes(f"The planner read the prompt as: {read}")))
    return change


def _not_shown(state: State, scores: AnswerScores) -> str:
    """On a base of open vocabulary: which of the wanted things an image lacks, what is there instead where the critic
    says, and what nobody judged.
    """
    if state.activation is None or state.activation.vocabulary == "closed":
        return ""
    lacking: dict[str, str] = {}
    for image in scores.images:
        for text, p in image.facets.items():
            if p < 0.5:
                seen = image.seen.get(text, "")
                lacking.setdefault(text, f"{text[:80]!r}" + (f" (there is {seen[:80]!r} instead)" if seen else ""))
    asked = [wanted.text for wanted in wanted_by(job_of(state))]
    unjudged = [text for text in asked if all(text not in image.facets for image in scores.images)]
    said = ""
    if lacking:
        every = all(text in image.facets and image.facets[text] < 0.5 for image in scores.images for text in lacking)
        who = "It does" if len(scores.images) == 1 else "They do" if every else "Some of them do"
        shown = list(lacking.values())
        more = f" and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
        said += f" {who} not show {', '.join(shown[:_MOST])}{more}."
    if unjudged:
        said += f" The critic cannot tell about {quoted(unjudged)}."
    return said


def of_unjudged(state: State, plan: MergePlan, images: Sequence[str], why: str) -> State:
    """The end of a run whose images nobody has judged; ``why`` is a sentence."""
    uncovered = missing_parts(state, plan)
    message = f"Nobody has judged the {'image' if len(images) == 1 else 'images'}. {why}{_of_experts(state, plan)}"
    if uncovered:
        message = f"Nothing here draws {quoted(uncovered)}, so the image leaves it out. {message}"
    return State(
        plan_id=plan.plan_id,
        images=tuple(images),
        scores=None,
        uncovered=uncovered,
        status="uncovered" if uncovered else "unjudged",
        message=message,
    )


def _of_experts(state: State, plan: MergePlan) -> str:
    """On a base of open vocabulary: who helped, who of them was never measured, what was left to the base."""
    found = state.activation
    if found is None or found.vocabulary == "closed":
        return ""
    unmeasured = [e.id for e in found.experts if not e.calibrated and e.id in {p.id for p in plan.experts}]
    said = ""
    if not plan.experts:
        said += " No expert was merged: the base draws this alone."
    elif found.left_to_base:
        said += f" The base itself draws {quoted(found.left_to_base)}."
    if unmeasured:
        verb = "was" if len(unmeasured) == 1 else "were"
        said += f" Never measured here {verb} {', '.join(unmeasured)}."
    return said


def without_image(state: State, brain: str) -> State:
    """The end of a run without an image: status and sentence."""
    uncovered = missing_parts(state, None)
    known = sorted({f.trigger for f in state.activation.facets}) if state.activation else []
    if state.problems:
        message = "No plan could be carried out: " + " ".join(p.message.rstrip(".") + "." for p in state.problems[:3])
    elif state.activation and state.activation.vocabulary == "open":
        message = "The prompt only orders or rules out, so there is nothing to draw. Say what the image is to show."
    elif state.activation:
        rest = f" It could only do {quoted(known)}." if known else ""
        message = f"Nothing here draws {quoted(uncovered or [state.prompt])}, so there is no image.{rest}"
        message += " `diffgraph experts` lists what is known."
        if brain == "offline":
            message += " Prompts are read as English, German, French, Spanish, Italian, Portuguese, Russian, Japanese"
            message += " or Chinese."
    else:
        message = "No plan came about. " + " ".join(state.notes[-2:])
    return State(status="no image", message=message, uncovered=uncovered, images=(), plan_id="")


def counted(images: Sequence[object]) -> str:
    """``1 image``, ``2 images``."""
    return f"{len(images)} image{'' if len(images) == 1 else 's'}"


def quoted(texts: Sequence[str], most: int = _MOST) -> str:
    """``'a', 'b' and 2 more``."""
    shown = ", ".join(repr(text[:80]) for text in texts[:most])
    return shown + (f" and {len(texts) - most} more" if len(texts) > most else "")
