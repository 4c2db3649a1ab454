"""The model card that goes with a merge: parents, method, licence, and how to make it again. Imports no torch.

Ids and licences were written by strangers: they appear as JSON strings in the front matter and in backticks below it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..plan.licence import output_licence, parents_of
from ..plan.merge_plan import MergePlan


def model_card(plan: MergePlan, licences: Mapping[str, str], what: str, details: Mapping[str, str]) -> str:
    """A README.md in the form that hubs read.

    Args:
        plan: the recipe.
        licences: expert id -> licence, and "" -> the base's; those left out are unknown.
        what: what the file is, in a few words ("LoRA of rank 8").
        details: more lines for the table, name -> text.
    """
    licence = output_licence(parents_of(plan, licences))
    known = "other" if licence.id == "unknown" or " AND " in licence.id else licence.id
    front = {
        "license": known,
        **({"license_name": licence.id} if known == "other" else {}),
        "base_model": plan.base.ref,
        "base_model_relation": "merge",
        "library_name": "diffusers",
        "tags": ["text-to-image", "diffusers", "merge", "diffgraph"],
    }
    lines = ["---", *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in front.items()), "---", ""]
    lines += [f"# {_plain(plan.prompt) or 'Merge'}", "", f"{what}, merged by DiffGraph from the parents below.", ""]
    lines += ["| parent | weight | sha256 | licence |", "|---|---|---|---|"]
    lines += [_row(plan.base.ref, "base", plan.base.sha256, licences.get("", "unknown"))]
    for expert in plan.experts:
        if expert.weight != 0.0:
            lines += [_row(expert.id, f"{expert.weight:g}", expert.sha256, licences.get(expert.id, "unknown"))]
    triggers = [expert.trigger for expert in plan.experts if expert.trigger]
    facts = {
        "method": plan.method.name + (f" {json.dumps(plan.method.params)}" if plan.method.params else ""),
        "plan": plan.plan_id,
        **({"trigger words": ", ".join(triggers)} if triggers else {}),
        **details,
    }
    lines += ["", licence.sentence()[0].upper() + licence.sentence()[1:] + ".", ""]
    lines += [f"- {name}: `{_plain(text)}`" for name, text in facts.items()]
    lines += ["", "The plan stands in the weights' metadata; merging it again gives the same bytes:", ""]
    lines += ["```json", json.dumps(plan.model_dump(mode="json"), indent=2, sort_keys=True), "```", ""]
    return "\n".join(lines)


def _row(parent: str, weight: str, sha256: str, licence: str) -> str:
    return f"| `{_plain(parent)}` | {weight} | `{sha256[:12]}…` | `{_plain(licence)}` |"


def _plain(text: str) -> str:
    """One line without what Markdown would take for its own in a table cell."""
    return " ".join(text.replace("`", "'").replace("|", "/").split())
