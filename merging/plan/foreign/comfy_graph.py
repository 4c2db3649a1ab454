"""The graph of nodes that ComfyUI ran, as data that can be walked: cycles, dead links and odd values do no harm."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from .values import MAX_TEXT, integer, name, number, text

T = TypeVar("T")
MAX_NODES = 5_000
MAX_INPUTS = 300
_MAX_VALUE_NODES = 100
_VALUE_NAMES = ("value", "int", "float", "number", "seed", "noise_seed", "Value", "Number", "int_value", "float_value")
_ARITHMETIC = frozenset({"expression", "operation", "op", "operator"})
_NO_TEXT = ("clip", "model", "vae", "image", "latent", "samples", "seed", "control", "mask", "lora_stack", "pipe")
_TEXT_MARKS = ("text", "string", "prompt", "value", "str", "wildcard", "positive", "negative", "文本", "input")
_NOT_TEXT = frozenset({"delimiter", "clean_whitespace", "separator", "mode", "select_to_add_wildcard"})


@dataclass(frozen=True)
class Node:
    """One node: its class, and its inputs, where a link is ``[node id, number of the output]``."""

    id: str
    kind: str
    inputs: Mapping[str, object]


class Graph:
    """The nodes of a document in ComfyUI's API form, at most `MAX_NODES`; entries that are no nodes are left out."""

    def __init__(self, document: Mapping[str, object]) -> None:
        found: dict[str, Node] = {}
        for key, value in document.items():
            if not isinstance(value, dict) or not isinstance(value.get("inputs"), dict):
                continue
            if len(found) >= MAX_NODES:
                break
            inputs = {
                str(field): _unwrapped(said)
                for (field, said), _ in zip(value["inputs"].items(), range(MAX_INPUTS), strict=False)
            }
            found[str(key)] = Node(str(key), name(value.get("class_type")), MappingProxyType(inputs))
        self.nodes: Mapping[str, Node] = MappingProxyType(found)
        self.cut = len(found) >= MAX_NODES

    def link(self, value: object) -> Node | None:
        """The node that an input's value links to; None for a value of its own."""
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
            return self.nodes.get(str(value[0]))
        return None

    def links(self, node: Node) -> Iterator[tuple[str, Node]]:
        """(name of the input, the node before it) for each link of a node."""
        for field, value in node.inputs.items():
            if (before := self.link(value)) is not None:
                yield field, before

    def upstream(
        self, start: Iterable[Node], through: Callable[[Node], Iterable[Node]] | None = None
    ) -> Iterator[Node]:
        """The nodes from ``start`` against the links, nearest first, each once.

        ``through`` gives the nodes that come next from one; by default all that are linked to it.
        """
        waiting = deque(start)
        seen = {node.id for node in waiting}
        while waiting:
            node = waiting.popleft()
            yield node
            after = through(node) if through else (before for _, before in self.links(node))
            for before in after:
                if before.id not in seen:
                    seen.add(before.id)
                    waiting.append(before)

    def number(self, node: Node, *fields: str) -> float | None:
        """The first of the fields that is a number, or that links to nodes which hold one."""
        return _first(number, self._values(node, fields))

    def integer(self, node: Node, *fields: str) -> int | None:
        """As `number`, exactly."""
        return _first(integer, self._values(node, fields))

    def word(self, node: Node, *fields: str) -> str:
        """The first of the fields that is a short text, here or in the nodes that it links to."""
        return next(
            (said for value in self._values(node, fields) if isinstance(value, str) and (said := name(value))), ""
        )

    def _values(self, node: Node, fields: tuple[str, ...]) -> Iterator[object]:
        """The fields' own values, else values under the same or a telling name in what they link to."""
        for field in fields:
            value = node.inputs.get(field)
            before = self.link(value)
            if before is None:
                yield value
                continue
            for source, _ in zip(self.upstream([before], self._same(fields)), range(_MAX_VALUE_NODES), strict=False):
                if _ARITHMETIC & source.inputs.keys():
                    break  # a sum is not worked out: no value is better than a wrong one
                yield from (source.inputs.get(known) for known in (*fields, *_VALUE_NAMES))

    def _same(self, fields: tuple[str, ...]) -> Callable[[Node], list[Node]]:
        """Through a node that passes a value on under its own name, by that name; else by every link."""

        def through(node: Node) -> list[Node]:
            named = [before for field in fields if (before := self.link(node.inputs.get(field))) is not None]
            return named or [before for _, before in self.links(node)]

        return through

    def texts(self, node: Node, field: str) -> str:
        """The text of a field, or the texts of the nodes that it links to, in order, each once."""
        value = node.inputs.get(field)
        before = self.link(value)
        if before is None:
            return text(value)
        found: dict[str, None] = {}
        seen, length = {before.id}, 0
        waiting = list(reversed(_text_inputs(before)))
        while waiting and length < MAX_TEXT:
            key, said = waiting.pop()
            linked = self.link(said)
            if linked is not None and linked.id not in seen and len(seen) < _MAX_VALUE_NODES:
                seen.add(linked.id)
                waiting += reversed(_text_inputs(linked))
            elif isinstance(said, str) and any(mark in key.lower() for mark in _TEXT_MARKS):
                found.setdefault(text(said).strip().rstrip(","))
                length += len(said)
        return text(", ".join(filter(None, found)))


def _text_inputs(node: Node) -> list[tuple[str, object]]:
    """The inputs of a node that may lead to text. A node that shows or fills in a text has it twice."""
    inputs = [
        (key, value)
        for key, value in node.inputs.items()
        if key not in _NOT_TEXT and not any(key.lower().startswith(mark) for mark in _NO_TEXT)
    ]
    if node.inputs.get("populated_text"):
        return [(key, value) for key, value in inputs if key == "populated_text"]
    shows = "show" in node.kind.lower() and any(isinstance(value, list) for _, value in inputs)
    return [(key, value) for key, value in inputs if isinstance(value, list) or not shows]


def _unwrapped(value: object) -> object:
    """Servers keep each value in a list of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _first(read: Callable[[object], T | None], values: Iterable[object]) -> T | None:
    return next((found for value in values if (found := read(value)) is not None), None)
