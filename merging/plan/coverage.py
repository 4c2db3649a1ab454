"""How much of an expert must fit a base. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence


def coverage_problem(expert: str, targets: Sequence[str], missing: Sequence[str], allow_partial: bool) -> str | None:
    """A sentence if too little of an expert fits the base, else None. Nothing at all is never allowed."""
    if not missing:
        return None
    names = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
    if len(missing) == len(targets):
        return f"nothing of expert {expert} fits this base; it changes {names}"
    if allow_partial:
        return None
    share = 1 - len(missing) / len(targets)
    return (
        f"only {share:.0%} of expert {expert} fits this base (set allow_partial to merge it anyway); missing: {names}"
    )
