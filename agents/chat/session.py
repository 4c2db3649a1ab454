"""What a chat remembers between lines: the open graph and machinery, the console, a seed, a number of images."""

from __future__ import annotations

from dataclasses import dataclass

from ...terminal import CleanConsole
from ...tools.context import Context


@dataclass
class Session:
    """One chat. Prompts are drawn with ``seed, seed + 1, …``, ``n`` images each."""

    ctx: Context
    console: CleanConsole
    seed: int = 0
    n: int = 1
