"""What a plan needs and does not hold: its base, the files of its experts, and what the graph knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..bases import known, registry
from ..bases.key import key_of
from ..errors import DiffGraphError, ExpertError, PlanError, UserError
from ..settings import Settings
from .context import Context
from .events import Emit, silent
from .expert_files import ExpertFinder

if TYPE_CHECKING:
    from ..merging.plan.merge_plan import MergePlan


@dataclass(frozen=True)
class Known:
    """What the graph knows of a plan's experts: by the plan's ids, "" for the base."""

    families: dict[str, str]
    licences: dict[str, str]
    overlaps: dict[tuple[str, str], float]


@dataclass(frozen=True)
class PlanInputs:
    """The graph, the base and the finder of experts, for one command."""

    ctx: Context
    finder: ExpertFinder

    def known(self, plan: MergePlan) -> Known:
        """Families, licences and overlaps of the plan's experts, as far as they are registered."""
        by_sha = {expert.sha256: expert for expert in self.ctx.store.with_files(e.sha256 for e in plan.experts)}
        found = {spec.id: by_sha[spec.sha256] for spec in plan.experts if spec.sha256 in by_sha}
        names = {expert.id: plan_id for plan_id, expert in found.items()}
        overlaps = {
            (names[r.a], names[r.b]): r.value
            for r in (self.ctx.store.relations() if len(found) > 1 else [])
            if r.kind in ("overlap", "duplicate") and r.a in names and r.b in names
        }
        licences = {plan_id: expert.licence for plan_id, expert in found.items()}
        families = {plan_id: expert.base_family for plan_id, expert in found.items()}
        return Known(families, {"": self._base_licence(), **licences}, overlaps)

    def _base_licence(self) -> str:
        from ..graph.experts.card import MAX_CARD_BYTES, parse_card

        card = self.ctx.machinery.base_dir / "README.md"
        if not card.is_file() or card.stat().st_size > MAX_CARD_BYTES:
            return "unknown"
        try:
            return parse_card(card.read_text(encoding="utf-8", errors="replace")).licence
        except ExpertError:
            return "unknown"  # a card that cannot be read says nothing

    def check_base(self, plan: MergePlan) -> None:
        """Raise UserError unless this is the plan's base."""
        from ..merging.plan.pinning import pin_base

        try:
            pin_base(plan, self.ctx.machinery.index)
        except PlanError as error:
            raise UserError(f"{error}. Say --base FOLDER with the base that it was made from.") from error


@contextmanager
def open_inputs(
    base: str | None,
    experts: Sequence[Path] | None,
    plan: MergePlan | None = None,
    *,
    settings: Settings | None = None,
    emit: Emit = silent,
) -> Iterator[PlanInputs]:
    """The inputs of a plan, closed at the end. Loads no model.

    Args:
        base: as ``--base`` names it; None: the one that ``plan`` was made for, if it is known here, else the settings'.
        experts: folders to look for files in, as ``--experts`` names them.
        plan: what they are for.
        settings: where and how; read from the environment if None.
        emit: told of what happens.
    """
    settings = settings or Settings.load()
    named = base if base is not None or plan is None else base_of(plan, settings)
    if named is not None:
        settings = settings.model_copy(update={"base": named})
    with Context.open(settings, emit) as ctx:
        yield PlanInputs(ctx, ExpertFinder(ctx, list(experts or [])))


def base_of(plan: MergePlan, settings: Settings) -> str | None:
    """How a setting names the base with the very weights that a plan pins: the one in force if it is that, else one
    that the home knows or a plug-in brings under the plan's name for it; None if none is here.
    """
    wanted = plan.base.sha256
    with suppress(DiffGraphError):
        if key_of(registry.of_settings(settings)) == wanted:
            return settings.base
    for entry in known.read(settings.root).bases:
        if entry.key == wanted:
            return entry.name
    for name in registry.names():
        with suppress(DiffGraphError):
            profile = registry.chosen(name)
            if profile.ref == plan.base.ref and key_of(profile) == wanted:
                return name
    return None


def read_plan_file(path: Path) -> MergePlan:
    """A plan from its own file, or from a PNG that carries it."""
    if path.suffix.lower() == ".png":
        from ..merging.sampling.png_record import read_plan

        return read_plan(path)
    from ..merging.plan.merge_plan import MergePlan

    return MergePlan.load(path)
