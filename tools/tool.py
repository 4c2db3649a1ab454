"""Tools by name. One file a tool in this folder; ``@tool("name", agents=(...))`` registers it.

A tool is a function of ``(Context, Args) -> Result``: both are pydantic models. Docstrings and descriptions of ``Args``
are what a brain reads, and it is shown the result as JSON. A tool is idempotent: what it makes is keyed by plan id or
content hash and looked up first.
Errors: ToolRetry goes back to the model, ToolFailed is shown to it, UserError ends the request.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import ToolRetry
from ..plugins import Registry, closest
from .context import Context
from .results import Result as Result

Agent = Literal["planner", "scout", "critic"]
MAX_ARGUMENT_CHARS = 20_000


class Args(BaseModel):
    """Arguments of a tool: frozen, unknown names refused, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        agents: whose brain may call it; none: only the machine itself and the command line do.
        writes: the field of the machine's state that takes the result, or None.
        vocabulary: of the bases that it is for; None: of all.
    """

    name: str
    description: str
    args: type[Args]
    run: Callable[[Context, Any], BaseModel]
    agents: tuple[Agent, ...] = ()
    writes: str | None = None
    vocabulary: Literal["open", "closed"] | None = None


_F = TypeVar("_F", bound=Callable[..., BaseModel])
_TOOLS: Registry[Tool] = Registry("tool", "diffgraph.tools", __package__ or "", error=ToolRetry)


def tool(
    name: str,
    *,
    agents: tuple[Agent, ...] = (),
    writes: str | None = None,
    vocabulary: Literal["open", "closed"] | None = None,
) -> Callable[[_F], _F]:
    """Register a function as a tool. A taken name, a missing docstring, other parameters, or a result that is no model
    fail at import.
    """

    def add(function: _F) -> _F:
        hints = get_type_hints(function)
        parameters = list(inspect.signature(function).parameters)
        args = hints.get(parameters[1]) if len(parameters) == 2 else None
        if not (hints.get(parameters[0]) is Context and isinstance(args, type) and issubclass(args, Args)):
            raise TypeError(f"tool {name!r} must take (ctx: Context, args: some Args)")
        result = hints.get("return")
        if not (isinstance(result, type) and issubclass(result, BaseModel)):
            raise TypeError(f"tool {name!r} must say which model it returns, such as a Result")
        if not function.__doc__:
            raise TypeError(f"tool {name!r} has no docstring for the model to read")
        described = inspect.cleandoc(function.__doc__)
        _TOOLS.add(name, Tool(name, described, args, function, agents, writes, vocabulary))
        return function

    return add


def tools(agent: Agent | None = None) -> dict[str, Tool]:
    """All tools by name, sorted; or those that an agent's brain may call."""
    return {n: t for n, t in _TOOLS.items().items() if agent is None or agent in t.agents}


def get(name: str, agent: Agent | None = None) -> Tool:
    """A tool by name. Raises ToolRetry that names the closest ones (among those the agent may call)."""
    known = tools(agent)
    if agent is not None and name not in known:
        near = closest(name, known, at_least=0.4) or sorted(known)
        raise ToolRetry(f"there is no tool {name[:80]!r} here; did you mean {', '.join(near)}?")
    return _TOOLS.get(name)


def call(ctx: Context, name: str, arguments: Mapping[str, Any], agent: Agent | None = None) -> BaseModel:
    """Validate the arguments and run the tool.

    Raises:
        ToolRetry: unknown tool, or arguments that do not validate; the message says which and why.
        And whatever the tool itself raises.
    """
    found = get(name, agent)
    if sum(len(str(value)) for value in arguments.values()) > MAX_ARGUMENT_CHARS:
        raise ToolRetry(f"the arguments of {name} are longer than {MAX_ARGUMENT_CHARS} characters: shorten them")
    try:
        # Chat models like to write null for what they leave out.
        args = found.args.model_validate({k: v for k, v in arguments.items() if v is not None})
    except ValidationError as error:
        what = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']} (got {str(e['input'])[:80]!r})"
            for e in error.errors()[:8]
        )
        raise ToolRetry(f"{name} cannot take these arguments: {what}") from error
    return found.run(ctx, args)
