"""What the embedded world really holds, written down by hand in ``_truth.yaml``."""

from __future__ import annotations

from functools import cache

import yaml

from .items import Frozen
from .suite import FOLDER


class Truth(Frozen):
    """What the embedded world really holds: which repository knows which skill, and which are decoys."""

    subject: dict[str, tuple[str, ...]]
    style: dict[str, tuple[str, ...]]
    background: dict[str, tuple[str, ...]]
    base: dict[str, tuple[str, ...]]
    """Facet -> what the base draws itself."""
    decoys: dict[str, str]
    """What is wrong with it -> expert id."""

    def experts(self, facet: str, name: str) -> tuple[str, ...]:
        """Ids of the experts that know a skill (any of them is right); none for what the base draws or nobody knows."""
        if facet == "subject":
            return tuple(e for e, names in self.subject.items() if name in names)
        return (self.style if facet == "style" else self.background).get(name, ())


@cache
def truth() -> Truth:
    """The world's truth (``suites/_truth.yaml``)."""
    return Truth.model_validate(yaml.safe_load((FOLDER / "_truth.yaml").read_text(encoding="utf-8")))
