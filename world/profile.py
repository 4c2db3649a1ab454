"""The embedded world's base: its profile, registered as ``world``, the base that is meant where none is named."""

from __future__ import annotations

from pathlib import Path

from ..bases.architecture import family_of_model_id
from ..bases.profile import BaseProfile, Demo, MeasureRules, PairingRules, PlannerRules, Size
from ..bases.registry import base
from . import HINT, WorldMissing, world_dir
from .reading import READING

EXPORT = "graph/graph.jsonl"


@base("world", default=True)
def profile(argument: str = "") -> BaseProfile:
    """The profile of the world in the folder ``argument``, else of the one that DIFFGRAPH_WORLD or the clone holds.

    Raises:
        WorldMissing: there is no world, or no base in it.
    """
    folder = world_dir(argument)
    found = sorted((folder / "hub").glob("*/model_index.json"))
    if not found:
        raise WorldMissing(
            f"There is no base pipeline in {folder / 'hub'}. Install DiffGraph anew, or run `make world`."
        )
    where, graph = found[0].parent, folder / EXPORT
    return BaseProfile(
        name="world",
        where=str(where),
        ref=f"world:{where.name}",
        title="the embedded world",
        architecture=family_of_model_id(where.name),
        sizes=(Size(width=64, height=64),),
        steps=16,
        # One expert needs none, which is twice as fast; a subject that shares the weights with a style or a background
        # gains by a little, chosen on the suite ``develop``.
        guidance=1.0,
        composed_guidance=1.5,
        prompt_limit=24,
        vocabulary="closed",
        critic=f"world:{folder}",
        sources=(f"world:{folder}",),
        graph=graph if graph.is_file() else None,
        manifest=folder / "manifest.json",
        mend=HINT,
        acts_unasked=0.9,
        demo=Demo(prompt="a soccer ball in blueprint style under a starry night sky"),
        planner=PlannerRules(
            raise_by=1.25,
            lower_by=0.8,
            highest=1.6,
            lowest=0.2,
            seed_step=1009,
            seeds_first=4,
            next_methods=("np_lora", "magnitude_balanced", "ties", "linear"),
            most_methods=2,
        ),
        measure=MeasureRules(
            strengths=(0.0, 0.5, 1.0, 1.25), references=8, no_shift=0.05, no_gain=0.05, good_gain=0.2, good_level=0.5
        ),
        pairing=PairingRules(shares=(1.0, 0.5, 0.0), probes=24, least_gain=0.05),
        reading=READING,
    )


def folder_of(made: BaseProfile) -> Path:
    """The world's folder: ``hub/``, ``scorers/``, ``graph/`` and the manifest are in it."""
    return made.folder.parent.parent
