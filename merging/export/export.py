"""A plan written to disk: one LoRA, the merged denoiser, or a whole diffusers folder. Whole or not at all.

Every file says in its ``__metadata__`` what it was made of (``diffgraph``: the plan, its id, the parents' hashes) and
the sha256 of its tensors (``modelspec.hash_sha256``); equal plans give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from ...bases.index import component_files
from ...errors import PlanError, UserError
from ...files.atomic import check_room, new_file, new_folder, write_bytes
from ...files.tensor_io import copy_file, entries_of, file_size, write_tensors
from ..deltas.delta import Delta
from ..engine.stream import FileMerge, OutputFile
from ..plan.licence import output_licence, parents_of
from .lora_names import Layout, fits_lora, lora_tensors
from .model_card import model_card

Form = Literal["lora", "denoiser", "pipeline"]
LISTING = "model_index.json"
_SMALL = frozenset({".json", ".txt", ".model", ".jinja"})
RECIPE = "diffgraph"
"""Key in ``__metadata__`` that holds the plan and the parents' hashes, as JSON."""
CARD = "README.md"


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the file or folder.
        form: "lora", "denoiser" or "pipeline".
        plan_id: of the plan.
        size_bytes: of the weights written.
        targets: weights that the plan changed in it.
        rank: largest rank of a LoRA, None for full weights.
        energy_lost: share of the squared norm of all deltas that a smaller rank or the form could not keep.
        left_out: targets that a LoRA cannot hold and that a given rank allowed to be left out.
        licence: of the output.
        sha256: file name -> sha256 of its tensors' bytes.
    """

    path: Path
    form: Form
    plan_id: str
    size_bytes: int
    targets: int
    rank: int | None
    energy_lost: float
    licence: str
    left_out: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path), "left_out": list(self.left_out), "sha256": dict(self.sha256)}


def refuse_existing(path: Path, force: bool) -> None:
    """Raise UserError if something is there that would be replaced: at all, or with ``force`` something precious.

    A folder is only ever replaced if it is a pipeline's.
    """
    there = [each for each in ([path] if path.suffix != ".safetensors" else [path, card_of(path)]) if each.exists()]
    if there and not force:
        raise UserError(f"{there[0]} is there already: choose another name, or say --force to replace it")
    if path.is_dir() and any(path.iterdir()) and not (path / LISTING).is_file():
        raise UserError(f"{path} is a folder with other things in it and is not replaced: choose another name")


def recipe(merge: FileMerge, licences: Mapping[str, str]) -> dict[str, str]:
    """``__metadata__`` of whatever is written: equal for equal plans and licences."""
    plan = merge.plan
    document = {
        "version": 1,
        "plan_id": plan.plan_id,
        "plan": plan.model_dump(mode="json"),
        "parents": {plan.base.ref: plan.base.sha256} | {e.spec.id: e.spec.sha256 for e in merge.experts},
        "licence": output_licence(parents_of(plan, licences)).id,
    }
    return {"format": "pt", RECIPE: json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)}


def truncate(delta: Delta, rank: int) -> tuple[Delta, float]:
    """The nearest delta of rank at most ``rank`` (truncated SVD), and the squared norm of what that leaves out."""
    if delta.full is not None or delta.up is None or delta.down is None:
        u, s, vh = torch.linalg.svd(delta.matrix(), full_matrices=False)
    else:
        left, r = torch.linalg.qr(delta.up)
        right, t = torch.linalg.qr(delta.down.T)
        u, s, vh = torch.linalg.svd(r @ t.T, full_matrices=False)
        u, vh = left @ u, vh @ right.T
    root = s[:rank].sqrt()
    small = Delta(delta.shape, (u[:, :rank] * root).contiguous(), (root[:, None] * vh[:rank]).contiguous())
    return small, float(s[rank:].to(torch.float64).square().sum())


def export_lora(
    merge: FileMerge,
    path: Path,
    licences: Mapping[str, str],
    *,
    layout: Layout = "diffusers",
    rank: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> ExportReport:
    """Write the merge as one LoRA file, scale folded in (alpha is the rank), and its card beside it.

    Without ``rank`` the merged factors are kept as they are, exactly; with it every delta has at most that rank, what
    that loses is reported, and what no LoRA can hold (norms, biases, embeddings) is left out and counts as lost.

    Args:
        merge: the plan and its files.
        path: the ``.safetensors`` file to make.
        licences: as for `model_card`.
        layout: names of the tensors.
        rank: largest rank, or None.
        dtype: of the factors.

    Raises:
        PlanError: without a rank, a full-rank delta or a target that no LoRA can hold; values ``dtype`` cannot hold.
        BudgetExceeded: a delta that cannot be held whole within the merge's budget.
        UserError: the file cannot be written.
    """
    kept: dict[str, Delta] = {}
    left_out: list[str] = []
    total = lost = 0.0
    for target in merge.targets:
        merge.check_whole(target)
        if (delta := merge.delta(target)) is None:
            continue
        energy = delta.norm() ** 2
        total += energy
        if rank is not None and not fits_lora(target, delta.shape):
            left_out.append(target)
            lost += energy
            continue
        _refuse_what_does_not_fit(merge, target, delta, rank)
        if rank is not None and (delta.rank is None or delta.rank > rank):
            delta, missing = truncate(delta, rank)
            lost += missing
        kept[target] = delta
    merge.check_silent()
    if not kept:
        raise PlanError("nothing of this merge can be written as a LoRA; write full weights")
    tensors, metadata = lora_tensors(kept, merge.base, layout, dtype)
    if bad := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise PlanError(f"the merged LoRA has values that {dtype} cannot hold: lower the weights ({bad[0]})")
    metadata |= recipe(merge, licences)
    check_room(path, file_size(entries_of(tensors), metadata))
    with new_file(path) as file:
        digest = write_tensors(file, tensors, metadata)
        size = file.seek(0, 2)
    largest = max(delta.rank or 0 for delta in kept.values())
    report = ExportReport(
        path=path,
        form="lora",
        plan_id=merge.plan.plan_id,
        size_bytes=size,
        targets=len(kept),
        rank=largest,
        energy_lost=lost / total if total else 0.0,
        licence=output_licence(parents_of(merge.plan, licences)).id,
        left_out=tuple(left_out),
        sha256={path.name: digest},
    )
    details = {"key layout": layout, "energy lost": f"{report.energy_lost:.2%}", "tensors' sha256": digest}
    _write_card(card_of(path), merge, licences, f"LoRA of rank {largest}", details)
    return report


def _refuse_what_does_not_fit(merge: FileMerge, target: str, delta: Delta, rank: int | None) -> None:
    if rank is None and not fits_lora(target, delta.shape):
        what = f"the merge changes {target}, which no LoRA can hold"
        raise PlanError(f"{what}: write full weights, or give a rank, and it is left out and counted as lost")
    if rank is None and delta.rank is None:
        what = f"{merge.plan.method.name} gives a full matrix at {target}"
        raise PlanError(f"{what}: give a rank to compress it to, or write full weights")


def export_denoiser(
    merge: FileMerge, path: Path, licences: Mapping[str, str], *, dtype: torch.dtype | None = None
) -> ExportReport:
    """Write the merged denoiser as one file with diffusers' names (shards become one file), and its card beside it.

    Raises:
        PlanError: the plan also changes other components, which need a folder.
        BudgetExceeded: a weight that cannot be merged within the budget.
        UserError: it cannot be written.
    """
    base = merge.base
    if other := [component for component in merge.components if component != base.denoiser]:
        raise PlanError(f"the plan also changes {', '.join(other)}: write a folder, which holds every component")
    output = OutputFile.over(base.files[base.denoiser], base.denoiser, dtype)
    output.check(merge)
    metadata = recipe(merge, licences)
    check_room(path, file_size(output.entries, metadata))
    with new_file(path) as file:
        digest = output.write(merge, file, metadata)
        size = file.seek(0, 2)
        merge.check_silent()
    report = _report(merge, path, "denoiser", size, licences, {path.name: digest})
    details = {"tensors' sha256": digest, "dtype": _dtype_name(dtype)}
    _write_card(card_of(path), merge, licences, f"Full weights of the {base.denoiser}", details)
    return report


def export_pipeline(
    merge: FileMerge, path: Path, licences: Mapping[str, str], *, dtype: torch.dtype | None = None
) -> ExportReport:
    """Write a diffusers folder: the base's, with the plan's weights in place, in the same files and shards.

    Only what the pipeline declares is copied: configurations, tokenizers, and the weights of its components.

    Raises:
        BudgetExceeded: a weight that cannot be merged within the budget.
        UserError: it cannot be written.
    """
    base = merge.base
    outputs = {file: OutputFile.over([file], c, dtype) for c, files in base.files.items() for file in files}
    metadata = recipe(merge, licences)
    for output in outputs.values():
        output.check(merge)
    others = _other_files(base.path, base.files)
    weights = sum(file_size(output.entries, metadata) for output in outputs.values())
    check_room(path, weights + sum(file.stat().st_size for file in others))
    digests: dict[str, str] = {}
    with new_folder(path) as made:
        for source in others:
            with new_file(_inside(made, base.path, source)) as file:
                copy_file(source, file)
        for source, output in outputs.items():
            with new_file(_inside(made, base.path, source)) as file:
                digests[source.relative_to(base.path).as_posix()] = output.write(merge, file, metadata)
        merge.check_silent()
        details = {"dtype": _dtype_name(dtype)} | {f"tensors' sha256 of {name}": d for name, d in digests.items()}
        _write_card(made / CARD, merge, licences, "A whole pipeline", details)
    return _report(merge, path, "pipeline", weights, licences, digests)


def _other_files(folder: Path, weights: Mapping[str, Sequence[Path]]) -> list[Path]:
    """What else belongs to a pipeline: its listing, the small files of its components, the weights of components that
    no expert ever touches (an image encoder, say).
    """
    declared = json.loads((folder / LISTING).read_text(encoding="utf-8"))
    out = [folder / LISTING]
    for name in sorted(declared):
        if name.startswith("_") or not (component := folder / name).is_dir():
            continue
        small = (file for file in sorted(component.iterdir()) if file.suffix in _SMALL and file.is_file())
        out += small
        if name not in weights:
            out += component_files(component)
    return out


def _inside(made: Path, base: Path, source: Path) -> Path:
    target = made / source.relative_to(base)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def card_of(path: Path) -> Path:
    """Where the card of a single file lies: beside it."""
    return path.with_suffix(".md")


def _write_card(
    path: Path, merge: FileMerge, licences: Mapping[str, str], what: str, details: Mapping[str, str]
) -> None:
    write_bytes(path, model_card(merge.plan, licences, what, details).encode())


def _report(
    merge: FileMerge,
    path: Path,
    form: Form,
    size: int,
    licences: Mapping[str, str],
    digests: Mapping[str, str],
) -> ExportReport:
    """The report of full weights, which lose nothing."""
    licence = output_licence(parents_of(merge.plan, licences)).id
    return ExportReport(path, form, merge.plan.plan_id, size, len(merge.targets), None, 0.0, licence, (), digests)


def _dtype_name(dtype: torch.dtype | None) -> str:
    return "as in the base" if dtype is None else str(dtype).removeprefix("torch.")
