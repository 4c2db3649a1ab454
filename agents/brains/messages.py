"""Messages between the plain form that the state keeps and LangChain's classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage

Plain = dict[str, Any]


def system(text: str) -> Plain:
    return {"role": "system", "content": text}


def human(text: str) -> Plain:
    return {"role": "human", "content": text}


def ai(message: AIMessage) -> Plain:
    """An answer of a brain: its text, its tool calls, and those whose arguments were no JSON."""
    return {
        "role": "ai",
        "content": str(message.text),
        "tool_calls": [
            {"name": c["name"], "args": c["args"], "id": c["id"] or f"call_{i}"} for i, c in _calls(message)
        ],
        "invalid": [
            {
                "name": c["name"] or "",
                "id": c["id"] or f"invalid_{i}",
                "args": str(c["args"])[:2000],
                "error": str(c["error"])[:300],
            }
            for i, c in enumerate(message.invalid_tool_calls)
        ],
    }


def _calls(message: AIMessage) -> list[tuple[int, ToolCall]]:
    return list(enumerate(message.tool_calls))


def result(call: Plain, content: object, *, failed: bool = False) -> Plain:
    """The answer to one tool call; what is not a string is written as JSON."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, sort_keys=True)
    return {"role": "tool", "content": text, "id": call["id"], "name": call["name"], "failed": failed}


def to_langchain(messages: Sequence[Plain]) -> list[AnyMessage]:
    """The classes that a chat model takes."""
    out: list[AnyMessage] = []
    for m in messages:
        if m["role"] == "system":
            out.append(SystemMessage(m["content"]))
        elif m["role"] == "human":
            out.append(HumanMessage(m["content"]))
        elif m["role"] == "tool":
            status = "error" if m["failed"] else "success"
            out.append(ToolMessage(m["content"], tool_call_id=m["id"], name=m["name"], status=status))
        else:
            # A call whose arguments were no JSON is shown to the model as it was meant, without arguments.
            calls = [*m["tool_calls"], *({"name": c["name"], "args": {}, "id": c["id"]} for c in m["invalid"])]
            out.append(AIMessage(m["content"], tool_calls=calls))
    return out
