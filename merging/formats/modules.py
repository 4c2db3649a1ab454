"""The modules of an adapter file, by the names of its tensors: which tensor plays which role, for which algorithm."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

from ...files.header import Header
from .algorithm import COMMON, Algorithm, Module, algorithms
from .foreign_kinds import foreign
from .format import expert_error

_TAKEN_APART = re.compile(r"\.to\.([qkv]|out)(?=\.|$)")
"""Projections whose names a converter took apart at their underscores."""


@cache
def _pattern() -> tuple[re.Pattern[str], Mapping[str, str]]:
    """The regular expression of tensor names, and part -> role. ``default`` is PEFT's name of an adapter."""
    parts = dict(COMMON) | {part: role for algorithm in algorithms().values() for part, role in algorithm.parts.items()}
    words = "|".join(sorted(map(re.escape, parts), key=len, reverse=True))
    text = rf"^(?P<module>.+)\.(?P<part>{words})(?:\.(?!(?:weight|bias)$)[^.]+)?(?:\.(?P<param>weight|bias))?$"
    return re.compile(text), parts


def _split(key: str) -> tuple[str, str | None]:
    """(module, role) of a key, role None if the key is not understood."""
    for algorithm in algorithms().values():
        if found := algorithm.alias(key):
            return found
    pattern, parts = _pattern()
    if match := pattern.match(key):
        role = parts[match["part"]]
        if match["param"] == "bias":
            role = "bias" if role == "up" else ""
        return match["module"], role or None
    return key, None


def modules_of(header: Header, *, strict: bool = True) -> list[Module]:
    """The modules of a file. Raises ExpertError for keys that are not understood and roles that are taken twice."""
    found, problem = _grouped(header)
    if strict and problem is not None:
        raise expert_error(header, *problem)
    return found


@lru_cache(maxsize=2)  # a header is asked about several times in a row: its kind, its rank, its targets
def _grouped(header: Header) -> tuple[list[Module], tuple[str, Sequence[str]] | None]:
    """The modules of a file, as far as it is understood, and what is not: the first name that is taken twice, or else
    all keys that say nothing.
    """
    grouped: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    twice: tuple[str, Sequence[str]] | None = None
    for key in header.keys:
        name, role = _split(key)
        name = _TAKEN_APART.sub(r".to_\1", name)
        if role is None:
            unknown.append(key)
            continue
        roles = grouped.setdefault(name, {})
        if role in roles and twice is None:
            twice = f"has two keys for the {role} of {name}", (roles[role], key)
        roles[role] = key
    problem = twice or ((_what(unknown), unknown) if unknown else None)
    return [Module(header, name, roles) for name, roles in grouped.items()], problem


def _what(unknown: Sequence[str]) -> str:
    found = foreign(unknown)
    return "has keys that are not understood" + ("" if found is None else f" (they are {found[0]})")


def algorithm_of(module: Module) -> Algorithm | None:
    """The algorithm whose parts a module has; None if it has none's."""
    used = _used(frozenset(module.roles))
    if len(used) > 1:
        raise module.error(f"mixes {' and '.join(a.name for a in used)} in {module.name}: not understood")
    return used[0] if used else None


@cache
def _used(roles: frozenset[str]) -> tuple[Algorithm, ...]:
    """The algorithms that some of the roles belong to."""
    return tuple(algorithm for algorithm in algorithms().values() if algorithm.roles() & roles)
