"""Experts as users name them in orders: by id, by their repository's or file's name, or by their title."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import UserError
from ..graph.experts.expert import Expert
from ..graph.store.graph_store import GraphStore
from ..plugins import closest
from .context import Context
from .fitting import misfit


def called(ctx: Context, name: str) -> tuple[Expert | None, str]:
    """(the one expert for this base that is called so, "") or (None, why there is none).

    One of another or of an unknown family is taken if every weight that its file changes fits the base.
    """
    everyone = [e for e in ctx.store.experts() if e.kind != "base"]
    exact = [e for e in everyone if e.id == name.strip()]
    meant = exact or _folded(everyone, name)
    here = [e for e in meant if e.base_family == ctx.family]
    if not here:
        problems = {e.id: misfit(ctx, e) for e in meant[:8]}
        here = [e for e in meant[:8] if not problems[e.id]]
        if meant and not here:
            return None, f"it is for base family {meant[0].base_family}, and does not fit this base"
    if not here:
        near = _near(name, everyone, ctx.family)
        hint = f"did you mean {' or '.join(near)}?" if near else "`diffgraph experts` lists those that are here"
        return None, f"no expert here is called so; {hint}"
    here = _closest_spelled(here, name)
    if len({e.sha256 for e in here}) > 1:
        return None, f"several experts are called so: {', '.join(e.id for e in here[:4])}"
    if not here[0].usable:
        return None, f"{here[0].id} is switched off" if here[0].off else f"the file of {here[0].id} is gone"
    return here[0], ""


def named(store: GraphStore, name: str, family: str) -> Expert:
    """The expert, or base, that is called so, whatever it fits and whether or not it may be used; those of ``family``
    go first. Raises UserError, with the closest ids, if there is none, and with all of them if there are several.
    """
    if name.strip() in store.some([name.strip()]):
        return store.expert(name.strip())
    meant = _folded(store.experts(), name)
    meant = _closest_spelled([e for e in meant if e.base_family == family] or meant, name)
    if len({e.sha256 for e in meant}) > 1:
        raise UserError(f"Several experts are called {name[:120]!r}: {', '.join(e.id for e in meant[:4])}. Say an id.")
    return meant[0] if meant else store.expert(name)


def _folded(experts: Iterable[Expert], name: str) -> list[Expert]:
    return [e for e in experts if key(name) and key(name) in {key(n) for n in _names(e)}]


def _closest_spelled(experts: list[Expert], name: str) -> list[Expert]:
    """Of several files that a name may mean, those that are spelled so to the letter, else all."""
    if len({e.sha256 for e in experts}) < 2:
        return experts
    said = name.strip().removesuffix(".safetensors")
    spelled = [e for e in experts if said in {n.removesuffix(".safetensors") for n in _names(e)}]
    return spelled or experts


def _near(name: str, experts: Iterable[Expert], family: str) -> list[str]:
    """Ids of experts of the family whose names are like one that nobody has."""
    known: dict[str, str] = {}
    for expert in (e for e in experts if e.base_family == family):
        file = expert.ref.file.rpartition("/")[2].removesuffix(".safetensors")
        known |= dict.fromkeys((expert.title, expert.ref.repo.rpartition("/")[2], file, expert.id), expert.id)
    return list(dict.fromkeys(known[said] for said in closest(name, known, at_least=0.4)))


def key(name: str) -> str:
    """A name as it is compared: letters and digits, the ending of a weight file aside."""
    return re.sub(r"[\W_]+", "", name.casefold().removesuffix(".safetensors"))


def _names(expert: Expert) -> tuple[str, ...]:
    file = expert.ref.file.rpartition("/")[2]
    repo = expert.ref.repo.rpartition("/")[2]
    return (expert.id, expert.id.rpartition("/")[2], expert.title, file, expert.ref.file, repo, *expert.file_names)
