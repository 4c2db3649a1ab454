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
    from .agents.run import RunResult as RunResult
    from .agents.run import generate as generate
    from .errors import BudgetExceeded as BudgetExceeded
    from .errors import DiffGraphError as DiffGraphError
    from .errors import ExpertError as ExpertError
    from .errors import ExternalError as ExternalError
    from .errors import PlanError as PlanError
    from .errors import ToolFailed as ToolFailed
    from .errors import ToolRetry as ToolRetry
    from .errors import UserError as UserError
    from .errors import WorldMissing as WorldMissing
    from .graph.activation import Activation as Activation
    from .graph.activation import activate as activate
    from .graph.calibration import Calibration as Calibration
    from .graph.expert import Expert as Expert
    from .graph.expert import Skill as Skill
    from .graph.expert import SourceRef as SourceRef
    from .graph.relation import Relation as Relation
    from .graph.shipped import open_graph as open_graph
    from .graph.store import GraphStore as GraphStore
    from .merging.engine import Engine as Engine
    from .merging.pipeline import render as render
    from .merging.plan import MergePlan as MergePlan
    from .merging.plan import Method as Method
    from .merging.plan import PlanBase as PlanBase
    from .merging.plan import PlanExpert as PlanExpert
    from .merging.plan import Sampler as Sampler
    from .scoring.critic import Critic as Critic
    from .scoring.request import Verdict as Verdict
    from .scoring.request import Wanted as Wanted
    from .settings import Settings as Settings

_HOMES = {
    "agents.run": ("RunResult", "generate"),
    "errors": (
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
    "graph.activation": ("Activation", "activate"),
    "graph.calibration": ("Calibration",),
    "graph.expert": ("Expert", "Skill", "SourceRef"),
    "graph.relation": ("Relation",),
    "graph.shipped": ("open_graph",),
    "graph.store": ("GraphStore",),
    "merging.engine": ("Engine",),
    "merging.pipeline": ("render",),
    "merging.plan": ("MergePlan", "Method", "PlanBase", "PlanExpert", "Sampler"),
    "scoring.critic": ("Critic",),
    "scoring.request": ("Verdict", "Wanted"),
    "settings": ("Settings",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
