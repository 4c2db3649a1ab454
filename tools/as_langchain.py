"""Our tools as LangChain tools, for binding to a chat model."""

from __future__ import annotations

from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from .context import Context
from .tool import Agent, Tool, call, tools


def bindable(ctx: Context, agent: Agent) -> list[BaseTool]:
    """The tools that an agent's brain may call on the context's base, bound to ``ctx``."""
    here = (None, ctx.profile.vocabulary)
    return [_structured(ctx, tool, agent) for tool in tools(agent).values() if tool.vocabulary in here]


def _structured(ctx: Context, tool: Tool, agent: Agent) -> BaseTool:
    def run(**arguments: Any) -> Any:
        return call(ctx, tool.name, arguments, agent).model_dump(mode="json")

    return StructuredTool(name=tool.name, description=tool.description, args_schema=tool.args, func=run)
