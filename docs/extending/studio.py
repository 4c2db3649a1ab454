"""A base of one's own: a diffusers folder, and what is known about it, as in ``DIFFGRAPH_BASE=studio:FOLDER``."""

from __future__ import annotations

from pathlib import Path

from diffgraph.bases.profile import BaseProfile
from diffgraph.bases.registry import base, of_folder

HOME = "~/models/studio-sd15"


@base("studio")
def studio(argument: str) -> BaseProfile:
    """What its family says, but for what was found to be better in the studio."""
    plain = of_folder(Path(argument or HOME).expanduser().absolute())
    own = {"name": "studio", "title": "the studio's base", "steps": 12, "guidance": 2.0, "sources": ("shelf",)}
    return BaseProfile.model_validate({**plain.model_dump(), **own})
