"""What a brain says, read in one place: bounded, plain JSON, tool calls in whichever form they come.

Whatever is stored or shown of a brain went through here. A call that cannot be read becomes an `InvalidCall`, which
goes back to the brain with the reason; nothing in an answer can raise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Set
from typing import NoReturn

from langchain_core.messages import AIMessage
from pydantic import JsonValue

from .messages import Answer, InvalidCall, Tokens, ToolCall

MAX_TEXT = 2000
"""Characters of an answer's text that are kept."""
MAX_CALLS = 8
"""Calls of one answer that are taken."""
MAX_ARGUMENTS = 8000
"""Characters of one call's arguments."""
MAX_DEPTH = 12
MAX_NAME = 80
_SHOWN = 200
"""Characters of arguments that cannot be read, kept to be shown."""
_READ = 40_000
"""Characters of an answer's text in which calls are looked for."""
_LARGEST = 2**63 - 1


class Unreadable(ValueError):
    """Arguments that cannot be taken; the message is for the brain."""


def answer_of(said: AIMessage, tools: Set[str]) -> Answer:
    """A chat model's message as an answer; calls written into its text are understood if they name a tool."""
    text = clean(str(said.text))
    found: list[tuple[str, object, str]] = [(c["name"], c["args"], c["id"] or "") for c in said.tool_calls]
    found += [(c["name"] or "", c["args"] or "", c["id"] or "") for c in said.invalid_tool_calls]
    if not found:
        found = [(name, args, "") for name, args in calls_in(text[:_READ], tools)]
        text = "" if found else text
    calls: list[ToolCall] = []
    invalid: list[InvalidCall] = []
    ids: set[str] = set()
    for number, (name, args, given) in enumerate(found[:MAX_CALLS]):
        name = clean(name)[:MAX_NAME] or "nameless"
        call_id = given if _good_id(given) and given not in ids else f"call_{number}"
        ids.add(call_id)
        try:
            calls.append(ToolCall(name=name, args=arguments(args), id=call_id))
        except Unreadable as error:
            shown = clean(args if isinstance(args, str) else repr(args)[:_SHOWN])[:_SHOWN]
            invalid.append(InvalidCall(name=name, id=call_id, args=shown, error=str(error)))
    return Answer(
        content=text[:MAX_TEXT],
        tool_calls=tuple(calls),
        invalid=tuple(invalid),
        left_out=max(0, len(found) - MAX_CALLS),
        tokens=_tokens(said),
    )


def clean(text: str) -> str:
    """The text without lone surrogates, which no encoding can write, and without NUL."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def arguments(value: object) -> dict[str, JsonValue]:
    """A call's arguments as plain JSON: an object, or a text that holds one (servers encode it once, twice or not).

    Raises:
        Unreadable: no JSON, no object, too long or too deep, NaN or infinite, or an integer beyond 64 bits.
    """
    for _ in range(3):
        if not isinstance(value, str):
            break
        if len(value) > MAX_ARGUMENTS:
            raise Unreadable(f"the arguments are longer than {MAX_ARGUMENTS} characters: shorten them")
        value = parsed(value) if value.strip() else {}
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable("the arguments are no JSON object")
    room = [MAX_ARGUMENTS]
    return {_key(key, room): _plain(item, room, 1) for key, item in value.items()}


def parsed(text: str) -> object:
    """A JSON text. Raises Unreadable."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the arguments are not valid JSON: {str(error)[:100]}") from error


def _refuse(name: str) -> NoReturn:
    raise Unreadable(f"{name} is no number of JSON")


def _plain(value: object, room: list[int], depth: int) -> JsonValue:
    if depth > MAX_DEPTH:
        raise Unreadable(f"the arguments are nested deeper than {MAX_DEPTH} levels")
    room[0] -= 1
    if room[0] < 0:
        raise Unreadable(f"the arguments are longer than {MAX_ARGUMENTS} characters: shorten them")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > _LARGEST:
            raise Unreadable("a whole number in the arguments is too large")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unreadable("a number in the arguments is not finite")
        return value
    if isinstance(value, str):
        return _key(value, room)
    if isinstance(value, list | tuple):
        return [_plain(item, room, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_key(key, room): _plain(item, room, depth + 1) for key, item in value.items()}
    raise Unreadable(f"the arguments hold a {type(value).__name__}, which is no JSON")


def _key(text: object, room: list[int]) -> str:
    room[0] -= len(text) if isinstance(text, str) else 0
    if not isinstance(text, str) or room[0] < 0:
        raise Unreadable(f"the arguments are longer than {MAX_ARGUMENTS} characters: shorten them")
    return clean(text)


def _good_id(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_NAME and text.isascii() and text.isprintable()


def _tokens(said: AIMessage) -> Tokens | None:
    usage = said.usage_metadata
    if usage is None:
        return None
    return Tokens(read=min(usage["input_tokens"], _LARGEST), written=min(usage["output_tokens"], _LARGEST))


def calls_in(text: str, tools: Set[str]) -> list[tuple[str, object]]:
    """Tool calls that a model without a tool parser writes into its text: (name, arguments).

    Known forms: ``<tool_call>{…}</tool_call>`` (Hermes, Qwen), ``<function=name>{…}</function>`` (Llama),
    ``[TOOL_CALLS][…]`` (Mistral), ``<|python_tag|>{…}``, a fence of three backticks, and an object or a list alone.
    """
    text = text.rpartition("</think>")[2].strip()
    found: list[tuple[str, object]] = []
    for name, block in _blocks(text):
        try:
            value = parsed(block)
        except Unreadable:
            continue
        found += [(name, value)] if name in tools else _named(value, tools, 0)
    return found


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Pieces of a text that may be JSON, each with the name of the function that stands outside it, or ""."""
    if "<tool_call>" in text:
        for part in text.split("<tool_call>")[1:]:
            yield "", part.partition("</tool_call>")[0].strip()
    elif "<function=" in text:
        for part in text.split("<function=")[1:]:
            name, _, rest = part.partition(">")
            yield name.strip(), rest.partition("</function>")[0].strip() or "{}"
    elif "```" in text:
        for part in text.split("```")[1::2]:
            yield "", part.strip().removeprefix("json").strip()
    else:
        yield "", text.removeprefix("[TOOL_CALLS]").removeprefix("<|python_tag|>").strip()


def _named(value: object, tools: Set[str], depth: int) -> list[tuple[str, object]]:
    """The calls in a piece of JSON, if it is one, a list of some, or an object around them."""
    if depth > 4:
        return []
    if isinstance(value, list):
        return [call for item in value[: 4 * MAX_CALLS] for call in _named(item, tools, depth + 1)]
    if not isinstance(value, dict):
        return []
    inner = value.get("function")
    if isinstance(inner, Mapping):
        return _named(dict(inner), tools, depth + 1)
    if "tool_calls" in value:
        return _named(value["tool_calls"], tools, depth + 1)
    for key in ("name", "tool", "function"):
        if isinstance(value.get(key), str) and value[key] in tools:
            args: object = next((value[k] for k in ("arguments", "parameters", "args", "input") if k in value), {})
            return [(value[key], args)]
    return []
