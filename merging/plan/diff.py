"""What differs between two plans, field by field, for a person and as data. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from .merge_plan import MergePlan


class Change(BaseModel):
    """One field that differs; ``None`` where one of the plans does not have it."""

    model_config = ConfigDict(frozen=True)

    field: str
    before: JsonValue = None
    after: JsonValue = None

    def sentence(self) -> str:
        """``experts[world/ink].weight: 1.0 -> 0.7``, or with a + or - where one side has nothing."""
        if self.before is None:
            return f"+ {self.field}: {_text(self.after)}"
        if self.after is None:
            return f"- {self.field}: {_text(self.before)}"
        return f"  {self.field}: {_text(self.before)} -> {_text(self.after)}"


def differences(one: MergePlan, other: MergePlan) -> tuple[Change, ...]:
    """Every field that differs, in the order of the fields; experts are compared by id, and empty if the plans are
    one (equal ids of plan).

    A different order of the same experts is a change of its own: it decides who comes first under a switch.
    """
    before, after = (_keyed(plan) for plan in (one, other))
    return tuple(Change(field=name, before=a, after=b) for name, a, b in _walk("", before, after))


def _keyed(plan: MergePlan) -> dict[str, Any]:
    """The plan as JSON, its experts by id."""
    data = plan.model_dump(mode="json")
    experts = data.pop("experts")
    data["experts"] = {f"[{expert['id']}]": {k: v for k, v in expert.items() if k != "id"} for expert in experts}
    return data | {"order of experts": [expert["id"] for expert in experts]}


def _walk(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if path == "order of experts" and set(before) != set(after):
        return  # told by the experts themselves
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        if before != after:
            yield path, before, after
        return
    for name in dict.fromkeys([*before, *after]):
        joined = f"{path}{name}" if name.startswith("[") else f"{path}.{name}".lstrip(".")
        yield from _walk(joined, before.get(name), after.get(name))


def _text(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)
