"""DiffGraph: agents that find, calibrate, merge and judge community text-to-image experts, prompt by prompt.

Everything public is here and nowhere else. A name is loaded when it is first used, so ``import diffgraph`` is quick
and brings no library with it::

    import diffgraph

    run = diffgraph.generate("octopus, blueprint style", n=2, seed=7)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agents.runs.generate import generate as generate
    from .agents.runs.generate import plan as plan
    from .agents.runs.render import render_plan as render_plan
    from .agents.runs.result import RunResult as RunResult
    from .errors import BaseMissing as BaseMissing
    from .errors import BaseMissing as WorldMissing  # noqa: F401
    from .errors import BudgetExceeded as BudgetExceeded
    from .errors import DiffGraphError as DiffGraphError
    from .errors import ExpertError as ExpertError
    from .errors import ExternalError as ExternalError
    from .errors import PlanError as PlanError
    from .errors import ToolFailed as ToolFailed
    from .errors import ToolRetry as ToolRetry
    from .errors import UserError as UserError
    from .graph.calibration.record import Calibration as Calibration
    from .graph.experts.expert import Expert as Expert
    from .graph.experts.expert import Skill as Skill
    from .graph.experts.expert import SourceRef as SourceRef
    from .graph.reading.request import ExpertOrder as ExpertOrder
    from .graph.reading.request import Orders as Orders
    from .graph.relations.relation import Relation as Relation
    from .graph.selection.activation import Activation as Activation
    from .graph.selection.solver import activate as activate
    from .graph.store.graph_store import GraphStore as GraphStore
    from .graph.store.opening import open_graph as open_graph
    from .merging.engine.engine import Engine as Engine
    from .merging.plan.merge_plan import MergePlan as MergePlan
    from .merging.plan.merge_plan import Method as Method
    from .merging.plan.merge_plan import PlanBase as PlanBase
    from .merging.plan.merge_plan import PlanExpert as PlanExpert
    from .merging.plan.merge_plan import Sampler as Sampler
    from .merging.sampling.pipeline import render as render
    from .scoring.critics.dual_encoder import Critic as Critic
    from .scoring.request import Verdict as Verdict
    from .scoring.request import Wanted as Wanted
    from .settings import Settings as Settings

_HOMES = {
    "agents.runs.generate": ("generate", "plan"),
    "agents.runs.render": ("render_plan",),
    "agents.runs.result": ("RunResult",),
    "errors": (
        "BaseMissing",
        "BudgetExceeded",
        "DiffGraphError",
        "ExpertError",
        "ExternalError",
        "PlanError",
        "ToolFailed",
        "ToolRetry",
        "UserError",
        "WorldMissing",
    ),
    "graph.selection.activation": ("Activation",),
    "graph.selection.solver": ("activate",),
    "graph.calibration.record": ("Calibration",),
    "graph.experts.expert": ("Expert", "Skill", "SourceRef"),
    "graph.reading.request": ("ExpertOrder", "Orders"),
    "graph.relations.relation": ("Relation",),
    "graph.store.opening": ("open_graph",),
    "graph.store.graph_store": ("GraphStore",),
    "merging.engine.engine": ("Engine",),
    "merging.sampling.pipeline": ("render",),
    "merging.plan.merge_plan": ("MergePlan", "Method", "PlanBase", "PlanExpert", "Sampler"),
    "scoring.critics.dual_encoder": ("Critic",),
    "scoring.request": ("Verdict", "Wanted"),
    "settings": ("Settings",),
}
_CALLED = {"WorldMissing": "BaseMissing"}
"""Public name -> its name at home, where that is another."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), _CALLED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
