"""Which experts a ComfyUI node loads: told from the names of its inputs, so nodes of third parties need no list.

Known shapes: ``lora_name`` with ``strength_model`` and ``strength_clip`` (ComfyUI's own), numbered ones (LoRA Stacker,
CR LoRA Stack, rgthree's stack, easy loraStack), rows ``{"on", "lora", "strength"}`` (Power Lora Loader), lists of
``{"name", "strength", "active"}`` and ``<lora:…>`` texts (LoRA Manager, tag loaders).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import civitai
from .comfy_graph import Graph, Node
from .prompt_tags import without_tags
from .recipe import MAX_EXPERTS, ForeignExpert, weight
from .values import integer, name, text

_FIELD = re.compile(r"lora(?:_file|_name)?(?:_?(\d{1,3}))?(?:_name)?", re.I)
_MODEL = (
    "strength_model{i}", "model_str{i}", "model_weight{i}", "model_strength{i}", "lora_model_strength{i}",
    "lora{i}_model_strength", "lora_wt{i}", "lora_weight{i}", "lora_strength{i}", "lora{i}_strength", "strength{i}",
    "weight{i}",
)  # fmt: skip
_SIMPLE = ("lora_wt{i}", "lora{i}_strength", "lora_weight{i}", "strength{i}", "weight{i}")
_CLIP = (
    "strength_clip{i}", "clip_str{i}", "clip_weight{i}", "clip_strength{i}", "lora_clip_strength{i}",
    "lora{i}_clip_strength",
)  # fmt: skip
_OFF = frozenset({"off", "false", "disable", "disabled", "no"})


def experts_of(graph: Graph, node: Node) -> list[ForeignExpert]:
    """What a node loads that is switched on; nothing for a node that loads no expert."""
    if _is_off(node.inputs.get("toggle")) or _is_off(node.inputs.get("enabled")):
        return []
    rows = [row for value in node.inputs.values() for row in _rows(value)]
    found = [one for row in rows[:MAX_EXPERTS] if (one := _row(row)) is not None]
    count = integer(node.inputs.get("lora_count", node.inputs.get("num_loras")))
    for field, value in node.inputs.items():
        match = _FIELD.fullmatch(field)
        if match and (not match[1] or count is None or int(match[1]) <= count):
            found += _field(graph, node, field, value, match[1] or "")
    if not found and not rows and "lora" in node.kind.lower():
        found += [one for value in node.inputs.values() for one in without_tags(text(value))[1]]
    return found[:MAX_EXPERTS]


def _is_off(value: object) -> bool:
    return value is False or (isinstance(value, str) and value.strip().lower() in _OFF)


def _rows(value: object) -> list[Mapping[str, object]]:
    """The rows that an input holds: one, a list of them, or a list wrapped as the editor does."""
    if isinstance(value, dict):
        inner = value.get("__value__")
        value = inner if isinstance(inner, list) else [value]
    if not isinstance(value, list):
        return []
    return [row for row in value[:MAX_EXPERTS] if isinstance(row, dict) and ("lora" in row or "strength" in row)]


def _row(row: Mapping[str, object]) -> ForeignExpert | None:
    if row.get("on", True) is False or row.get("active", True) is False:
        return None
    model = weight(row.get("strength", row.get("strength_model")))
    clip = weight(row.get("strengthTwo", row.get("clipStrength", row.get("strength_clip"))))
    return _expert(row.get("lora") or row.get("name"), model, clip)


def _field(graph: Graph, node: Node, field: str, value: object, number: str) -> list[ForeignExpert]:
    """The expert that one input names, with the weights that stand beside it."""
    if isinstance(value, dict):
        value = value.get("content")
    called = graph.word(node, field) if graph.link(value) is not None else value
    suffix = f"_{number}" if number else ""
    padded = (suffix, f"_{int(number)}", f"_{int(number):02d}") if number else ("",)
    if any(_is_off(node.inputs.get(f"switch{mark}")) for mark in padded):
        return []
    simple = name(node.inputs.get("input_mode", node.inputs.get("mode"))).lower() == "simple"
    model_names = (*_SIMPLE, *_MODEL) if simple else _MODEL
    model, clip = (
        weight(graph.number(node, *(pattern.format(i=mark) for pattern in patterns for mark in dict.fromkeys(padded))))
        for patterns in (model_names, () if simple else _CLIP)
    )
    if node.kind.lower().endswith("modelonly"):
        clip = 0.0
    one = _expert(called, model, clip)
    return [one] if one is not None else []


def _expert(called: object, model: float | None, clip: float | None) -> ForeignExpert | None:
    said = name(called)
    if not said or said.lower() == "none":
        return None
    clip = None if clip == model else clip
    where = civitai.place(said)
    return ForeignExpert(name=said, weight=model, clip_weight=clip, where=where)
