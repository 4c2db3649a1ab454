"""A plan pins bytes, and this is where they are compared. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from ...bases.index import BaseIndex
from ...errors import ExpertError, PlanError
from ...files.hashing import weights_sha256
from ..formats.read import expert_files
from .merge_plan import MergePlan, PlanExpert

Locate = Callable[[PlanExpert], Path]
"""Gives the local file (or diffusers folder) of a plan's expert."""


def pin_base(plan: MergePlan, base: BaseIndex) -> None:
    """Raise PlanError unless the plan was made for these very base weights."""
    if plan.base.sha256 != base.sha256:
        raise PlanError(
            f"the plan is for base {plan.base.ref} with sha256 {plan.base.sha256[:12]}…, "
            f"but {base.path.name} has {base.sha256[:12]}…"
        )


def pin_experts(plan: MergePlan) -> list[PlanExpert]:
    """The plan's experts of non-zero weight, sorted by sha256. Raises PlanError if two are the same file."""
    active = sorted((e for e in plan.experts if e.weight != 0.0), key=lambda e: e.sha256)
    for one, two in itertools.pairwise(active):
        if one.sha256 == two.sha256:
            raise PlanError(f"experts {one.id} and {two.id} are the same file; keep one of them")
    return active


def located(spec: PlanExpert, locate: Locate) -> Path:
    """The path of an expert, its bytes compared with the plan.

    Raises:
        PlanError: other bytes than the plan pins.
        ExpertError: nothing readable there.
    """
    path = locate(spec)
    files = tuple(header.path for header in expert_files(path)) if path.is_dir() else (path,)
    try:
        found = weights_sha256(files)
    except OSError as error:
        raise ExpertError(f"{path}: cannot be read: {error.strerror or error}", path=str(path)) from error
    if found != spec.sha256:
        raise PlanError(
            f"the file of expert {spec.id} is not the one in the plan: {found[:12]}…, not {spec.sha256[:12]}…"
        )
    return path
