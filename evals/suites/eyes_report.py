"""What the suite of the eyes tells: the tables of its report, and the figures that ``--json`` ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from ..stats import Estimate
from .eyes_figures import Figures

GROUPS = {
    "all": "All images",
    "three": "Images of prompts with three things wanted",
    "aimed": "Of these, the ones that were meant to be right",
}
WANTED, BOTH = "wanted", "with decoys"


@dataclass(frozen=True)
class Measured:
    """One critic's figures.

    Attributes:
        fits: whether it says that it can judge the base.
        facets: group, which questions (`WANTED` or `BOTH`), facet -> figures.
        pairs: group -> share of right forced choices, by prompt.
        choices: how many pairs that were.
        chooses: whether it can choose between images itself; else its scores were compared.
        refused: images that it could not judge, and why.
        rows: every answer with its truth, for the log.
    """

    fits: bool
    facets: Mapping[tuple[str, str, str], Figures]
    pairs: Mapping[str, Estimate]
    choices: Mapping[str, int]
    chooses: bool
    refused: Mapping[str, str]
    rows: Sequence[Mapping[str, JsonValue]] = ()


@dataclass(frozen=True)
class Images:
    """What the critics were shown: how many images of how many prompts, and which were passed over."""

    folder: str
    count: int
    prompts: int
    three: int
    by_arm: Mapping[str, tuple[int, float]]
    """Arm -> its images, and the share of them that shows all that is wanted."""
    passed_over: Mapping[str, str]


def summary(measured: Mapping[str, Measured]) -> dict[str, JsonValue]:
    """critic -> facet -> AUROC, ECE and number of answers, over all images, decoys among the questions."""
    found: dict[str, JsonValue] = {}
    for name, one in measured.items():
        found[name] = {
            facet: {"auroc": f.auroc, "ece": f.ece, "n": f.n}
            for (group, questions, facet), f in one.facets.items()
            if (group, questions) == ("all", BOTH)
        }
    return found


def details(measured: Mapping[str, Measured], images: Images) -> dict[str, JsonValue]:
    """All figures: by group, by critic, by questions, by facet; pairs; images."""
    groups: dict[str, JsonValue] = {}
    for group in GROUPS:
        critics: dict[str, JsonValue] = {}
        for name, one in measured.items():
            kinds: dict[str, JsonValue] = {}
            for questions in (WANTED, BOTH):
                kinds[questions.replace(" ", "_")] = {
                    facet: f.model_dump(mode="json")
                    for (g, q, facet), f in one.facets.items()
                    if (g, q) == (group, questions)
                }
            found = one.pairs.get(group)
            kinds["pairs"] = None if found is None else {
                "right": round(found.mean, 4), "low": round(found.low, 4), "high": round(found.high, 4),
                "prompts": found.n, "n": one.choices[group],
            }  # fmt: skip
            critics[name] = kinds
        groups[group] = critics
    return {
        "groups": groups,
        "critics": {
            name: {"fits": one.fits, "prefers": one.chooses, "refused": dict(one.refused)}
            for name, one in measured.items()
        },
        "images": {
            "folder": images.folder,
            "count": images.count,
            "prompts": images.prompts,
            "three": images.three,
            "by_arm": {arm: {"count": n, "all_shown": round(share, 4)} for arm, (n, share) in images.by_arm.items()},
            "passed_over": dict(images.passed_over),
        },
    }


_HEAD = (
    "critic",
    "facet",
    "AUROC",
    "ECE",
    "answers",
    "shown",
    "yes to what is not there (p ≥ .5)",
    "the same at 90 % true yes",
)


def markdown(title: str, measured: Mapping[str, Measured], images: Images) -> str:
    """Tables by group: of what is wanted, the harder question, and with a decoy a facet; then pairs and images."""
    lines = [
        f"# {title}",
        "",
        f"{images.count} images of {images.prompts} prompts, {images.three} of prompts with three things wanted.",
        "",
    ]
    for group, told in GROUPS.items():
        for questions, what in ((WANTED, "only what is wanted"), (BOTH, "what is wanted, and a decoy a facet")):
            lines += [f"## {told}: {what}", "", "| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
            for name, one in measured.items():
                for (g, q, facet), f in one.facets.items():
                    if (g, q) == (group, questions):
                        lines.append(_row(name, facet, f))
            lines.append("")
    lines += [
        "## Which of two images of a prompt shows more",
        "",
        "| critic | all | three things wanted | meant to be right | pairs | by |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in measured.items():
        cells = [str(one.pairs.get(group) or "") for group in GROUPS]
        how = "choosing" if one.chooses else "comparing scores"
        lines.append(f"| {name} | {' | '.join(cells)} | {one.choices.get('all', 0)} | {how} |")
    lines += ["", "## The images", "", "| arm | images | all shown |", "|---|---|---|"]
    lines += [f"| {arm or 'none named'} | {n} | {share:.0%} |" for arm, (n, share) in images.by_arm.items()]
    passed = {
        **images.passed_over,
        **{f"{name}, {i}": w for name, one in measured.items() for i, w in one.refused.items()},
    }
    if passed:
        lines += ["", "## Passed over", "", *(f"- {where}: {why}" for where, why in passed.items())]
    odd = [name for name, one in measured.items() if not one.fits]
    if odd:
        lines += ["", f"Not meant for this base: {', '.join(odd)}."]
    return "\n".join(lines) + "\n"


def _row(name: str, facet: str, f: Figures) -> str:
    area = "" if f.auroc is None else f"{f.auroc:.3f} [{f.low:.3f}, {f.high:.3f}]"
    shares = ["" if v is None else f"{v:.2f}" for v in (f.shown, f.false_yes, f.false_yes_at_90)]
    facet = facet.replace("|", "\\|")
    return f"| {name} | {facet} | {area} | {f.ece:.3f} | {f.n} | {' | '.join(shares)} |"
