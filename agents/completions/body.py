"""What a chat-completions server sends, as a message; or the reason why it is none."""

from __future__ import annotations

import json

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import InvalidToolCall, ToolCall

from ..brains.answers import Unreadable, arguments, clean

_SHOWN = 200


class NoAnswer(ValueError):
    """A body that holds no answer; the message ends the sentence "The brain's server sent …"."""


def message_of(body: bytes) -> AIMessage:
    """The message in a server's answer to a chat completion.

    Servers differ: arguments come as a text or as an object, content as a text, as parts or as null. All that is
    read; what lacks the parts that make an answer is refused.

    Raises:
        NoAnswer: no JSON, an error told with status 200, no choices, no message.
    """
    data = _parsed(body)
    if not isinstance(data, dict):
        raise NoAnswer(f"a {_kind(data)} where an answer belongs")
    choices = data.get("choices")
    if not choices:
        for key in ("error", "detail", "message"):
            if data.get(key):
                raise NoAnswer(f"an error in place of an answer: {_told(data[key])}")
        raise NoAnswer("an answer without choices")
    first = choices[0] if isinstance(choices, list) else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(message, dict):
        raise NoAnswer("an answer without a message")
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for name, args, call_id in _calls(message):
        try:
            calls.append(ToolCall(name=name, args=arguments(args), id=call_id, type="tool_call"))
        except Unreadable as error:
            shown = args if isinstance(args, str) else repr(args)[:_SHOWN]
            invalid.append(
                InvalidToolCall(name=name, args=shown, id=call_id, error=str(error), type="invalid_tool_call")
            )
    return AIMessage(
        _text(message.get("content")), tool_calls=calls, invalid_tool_calls=invalid, usage_metadata=_usage(data)
    )


def _parsed(body: bytes) -> object:
    text = body.decode("utf-8", "replace").strip().removeprefix("\ufeff")
    if not text:
        raise NoAnswer("an empty answer")
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.startswith("<"):
            raise NoAnswer("a web page. Does OPENAI_BASE_URL end in /v1?") from error
        if text.startswith(("data:", "event:")):
            raise NoAnswer("a stream, which nobody asked for") from error
        raise NoAnswer(f"what is no JSON: {clean(text[:60])!r}") from error
    return value


def _kind(value: object) -> str:
    return {"list": "list", "str": "text", "NoneType": "null"}.get(type(value).__name__, "number")


def _told(error: object) -> str:
    said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return clean(said if isinstance(said, str) else repr(said)[:_SHOWN])[:_SHOWN]


def _text(content: object) -> str:
    """Text of a message: a string, or the texts of its parts; anything else says nothing."""
    if isinstance(content, str):
        return clean(content)
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return clean("".join(part for part in parts if isinstance(part, str)))
    return ""


_MOST_CALLS = 1000
"""Of an answer that are read; a million empty ones fit into what a server may send, and would take a gigabyte."""


def _calls(message: dict[str, object]) -> list[tuple[str, object, str]]:
    """(name, arguments, id) of each call, as they stand there; "" for a name or an id that is no text."""
    listed = message.get("tool_calls")
    if isinstance(listed, dict):
        listed = [listed]
    entries = listed if isinstance(listed, list) else []
    if not entries and isinstance(message.get("function_call"), dict):
        entries = [message["function_call"]]  # as servers wrote it before there were several
    found = []
    for entry in entries[:_MOST_CALLS]:
        if not isinstance(entry, dict):
            continue
        function = entry.get("function")
        call = function if isinstance(function, dict) else entry
        name, call_id = call.get("name"), entry.get("id")
        args = call.get("arguments", call.get("parameters"))
        found.append((name if isinstance(name, str) else "", args, call_id if isinstance(call_id, str) else ""))
    return found


def _usage(data: dict[str, object]) -> UsageMetadata | None:
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
    read, written = (c if isinstance(c, int) and not isinstance(c, bool) and 0 <= c < 2**53 else 0 for c in counts)
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
