"""Messages between brains and the machine: typed, bounded, and LangChain's classes made from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import Field, JsonValue

from ...graph.experts.expert import Frozen

MAX_CONVERSATION = 60_000
"""Characters of a conversation that are kept; of what is beyond, old results and arguments are cut first."""
MAX_RESULT = 12_000
CUT = "(cut)"


class ToolCall(Frozen):
    """A tool that a brain calls."""

    name: str
    args: dict[str, JsonValue]
    id: str


class InvalidCall(Frozen):
    """A call whose arguments cannot be read: how they begin, and why."""

    name: str
    id: str
    args: str
    error: str


class Tokens(Frozen):
    """Tokens read and written, as a brain's server counts them."""

    read: int = 0
    written: int = 0

    def plus(self, other: Tokens | None) -> Tokens:
        """Both together."""
        return self if other is None else Tokens(read=self.read + other.read, written=self.written + other.written)


class System(Frozen):
    """Instructions."""

    role: Literal["system"] = "system"
    content: str


class Human(Frozen):
    """What the machine says to a brain."""

    role: Literal["human"] = "human"
    content: str


class Answer(Frozen):
    """What a brain says: its text and its tool calls; ``left_out`` counts calls beyond those that are taken."""

    role: Literal["ai"] = "ai"
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidCall, ...] = ()
    left_out: int = 0
    tokens: Tokens | None = None


class ToolResult(Frozen):
    """The answer to a tool call: JSON, or a sentence where it failed."""

    role: Literal["tool"] = "tool"
    content: str
    id: str
    name: str
    failed: bool = False


Message = Annotated[System | Human | Answer | ToolResult, Field(discriminator="role")]


def bounded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A conversation of at most `MAX_CONVERSATION` characters, as far as cutting old results and arguments goes.

    The oldest are cut first; instructions, the request and the last result of each tool stay.
    """
    out = list(messages)
    over = sum(map(_length, out)) - MAX_CONVERSATION
    last = {m.name: i for i, m in enumerate(out) if isinstance(m, ToolResult) and not m.failed}
    for i, message in enumerate(out):
        if over <= 0:
            break
        if isinstance(message, ToolResult) and last.get(message.name) != i:
            out[i] = message.model_copy(update={"content": CUT, "failed": True})
        elif isinstance(message, Answer):
            calls = tuple(call.model_copy(update={"args": {}}) for call in message.tool_calls)
            out[i] = message.model_copy(update={"content": message.content[:200], "tool_calls": calls})
        over -= _length(message) - _length(out[i])
    return tuple(out)


def _length(message: Message) -> int:
    if isinstance(message, Answer):
        arguments = [*(str(c.args) for c in message.tool_calls), *(c.args for c in message.invalid)]
        return len(message.content) + sum(map(len, arguments))
    return len(message.content)


def to_langchain(messages: Sequence[Message]) -> list[AnyMessage]:
    """The classes that a chat model takes."""
    out: list[AnyMessage] = []
    for m in messages:
        match m:
            case System():
                out.append(SystemMessage(m.content))
            case Human():
                out.append(HumanMessage(m.content))
            case ToolResult():
                status = "error" if m.failed else "success"
                out.append(ToolMessage(m.content, tool_call_id=m.id, name=m.name, status=status))
            case Answer():
                # A call whose arguments cannot be read is shown to the brain as it was meant, without arguments.
                calls = [{"name": c.name, "args": c.args, "id": c.id} for c in m.tool_calls]
                calls += [{"name": c.name, "args": {}, "id": c.id} for c in m.invalid]
                out.append(AIMessage(m.content, tool_calls=calls))
    return out
