"""How the bases of a family draw, one file a family. A file registers itself with `family`.

Adding one: a new file here, or in your own package under the entry-point group ``diffgraph.families``, that calls
``family(Family(...))``. Nothing else is edited. Values come from the makers' cards and diffusers' pipelines.
"""

from __future__ import annotations

from ...plugins import Registry
from ..profile import Family, Size

_FAMILIES: Registry[Family] = Registry("base family", "diffgraph.families", __name__)
GENERIC = "generic"
"""The family of bases that no other family is for."""


def family(data: Family) -> Family:
    """Register a family under its name. A name twice is an error at import."""
    _FAMILIES.add(data.name, data)
    return data


def variant(of: Family, name: str, ecosystem: str, **changes: object) -> Family:
    """Register a family that differs from another one of its architecture in a few values."""
    return family(Family.model_validate(of.model_dump() | changes | {"name": name, "ecosystem": ecosystem}))


def sizes(*sides: tuple[int, int]) -> tuple[Size, ...]:
    """Native sizes, (width, height) each, the usual one first."""
    return tuple(Size(width=width, height=height) for width, height in sides)


def families() -> dict[str, Family]:
    """All registered families by name."""
    return _FAMILIES.items()


def get(name: str) -> Family:
    """A family by name. Raises UserError that names the closest ones."""
    return _FAMILIES.get(name)


def family_for(architecture: str, ecosystem: str = "") -> Family:
    """The family of an architecture and ecosystem, else the architecture's plain one, else the generic one."""
    known = [data for data in families().values() if data.architecture and data.architecture == architecture]
    for wanted in (ecosystem, ""):
        for data in known:
            if data.ecosystem == wanted:
                return data
    return get(GENERIC)
