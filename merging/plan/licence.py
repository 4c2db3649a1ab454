"""The licence of a merge: the strictest of its parents'. What is unknown stays unknown. Imports no torch.

A licence is known by what it asks of whoever passes the work on. One whose conditions include all the others' speaks
for the merge; where none does, all of them hold together. This is bookkeeping for honest people, not legal advice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from .merge_plan import MergePlan

UNKNOWN = "unknown"
_A = "attribution"
_SHARE = "share-alike"
_USE = "use restrictions"
_NC = "non-commercial"
_ND = "no derivatives"
_AND = " and "


def _table(*rows: tuple[str, tuple[str, ...]]) -> Mapping[str, frozenset[str]]:
    return MappingProxyType({name: frozenset(conditions) for names, conditions in rows for name in names.split()})


def _civitai() -> list[tuple[str, tuple[str, ...]]]:
    """Every licence that Civitai's flags can describe: ``civitai`` with the parts that hold."""
    parts = (("by", _A), ("nc", _NC), ("nd", _ND), ("sa", _SHARE))
    chosen = [[one for one, holds in zip(parts, held, strict=True) if holds] for held in product((0, 1), repeat=4)]
    return [("-".join(["civitai", *(name for name, _ in some)]), tuple(asked for _, asked in some)) for some in chosen]


CONDITIONS = _table(
    ("cc0-1.0 unlicense 0bsd pddl wtfpl", ()),
    ("mit apache-2.0 bsd bsd-2-clause bsd-3-clause isc zlib bsl-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0", (_A,)),
    ("afl-3.0 artistic-2.0 ecl-2.0 ms-pl ncsa postgresql cdla-permissive-2.0", (_A,)),
    ("cc-by-sa-3.0 cc-by-sa-4.0 gpl gpl-2.0 gpl-3.0 agpl-3.0 lgpl lgpl-2.1 lgpl-3.0 mpl-2.0 epl-2.0", (_A, _SHARE)),
    ("openrail creativeml-openrail-m openrail++ bigscience-openrail-m bigscience-bloom-rail-1.0", (_A, _USE)),
    ("faipl-1.0-sd", (_A, _USE, _SHARE)),
    ("cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0", (_A, _NC)),
    ("cc-by-nc-sa-3.0 cc-by-nc-sa-4.0", (_A, _NC, _SHARE)),
    ("flux-1-dev-non-commercial-license flux-dev-non-commercial-license sai-nc-community", (_A, _USE, _NC)),
    ("cc-by-nd-4.0", (_A, _ND)),
    ("cc-by-nc-nd-3.0 cc-by-nc-nd-4.0", (_A, _NC, _ND)),
    *_civitai(),
)
"""Licence ids as model cards write them -> what they ask. Any other is as good as unknown."""


class OutputLicence(BaseModel):
    """The licence that a merge comes out with.

    Attributes:
        id: a licence id, several joined with " AND " where none includes the others, or ``unknown``.
        conditions: what is asked, all together; empty if unknown.
        unknown: which parents' licences are not known, as ``id (what it says)``.
        problem: why the merge may not be passed on at all, or "".
    """

    model_config = ConfigDict(frozen=True)

    id: str
    conditions: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    problem: str = ""

    def sentence(self) -> str:
        """One line for a person."""
        if self.unknown:
            return f"licence of the output: unknown, because that of {', '.join(self.unknown)} is"
        asks = f" ({', '.join(self.conditions)})" if self.conditions else ""
        return f"licence of the output: {self.id}{asks}{'; ' + self.problem if self.problem else ''}"


def parents_of(plan: MergePlan, licences: Mapping[str, str]) -> dict[str, str]:
    """Parent -> licence (``unknown`` where none is given), for the base (by its ref) and each expert with a weight."""
    ids = [(plan.base.ref, licences.get("", "unknown"))]
    return dict(ids + [(e.id, licences.get(e.id, "unknown")) for e in plan.experts if e.weight != 0.0])


def output_licence(parents: Mapping[str, str]) -> OutputLicence:
    """The licence of a merge from its parents' (id -> licence, or several joined with " AND "; the base among them)."""
    said = {parent: " ".join(licence.casefold().split()) or UNKNOWN for parent, licence in parents.items()}
    strange = tuple(
        parent if licence == UNKNOWN else f"{parent} ({licence!r})"
        for parent, licence in sorted(said.items())
        if not all(name in CONDITIONS for name in licence.split(_AND))
    )
    if strange or not said:
        return OutputLicence(id=UNKNOWN, unknown=strange)
    names = sorted({name for licence in said.values() for name in licence.split(_AND)})
    strictest = [name for name in names if not any(CONDITIONS[name] < CONDITIONS[other] for other in names)]
    conditions = tuple(sorted(frozenset().union(*(CONDITIONS[name] for name in names))))
    return OutputLicence(id=" AND ".join(strictest), conditions=conditions, problem=_problem(strictest))


def _problem(names: Iterable[str]) -> str:
    if closed := [name for name in names if _ND in CONDITIONS[name]]:
        return f"{' and '.join(closed)} does not allow a changed work to be passed on"
    alike = [name for name in names if _SHARE in CONDITIONS[name]]
    if len(alike) > 1:
        return f"{' and '.join(alike)} each ask for themselves alone, so the merge can be under neither"
    return ""
