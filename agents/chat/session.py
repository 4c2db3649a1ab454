"""What a chat remembers between lines: the open graph and machinery, the console, and what is ordered."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType

from ...bases import registry
from ...graph.reading.request import Orders
from ...settings import Settings
from ...terminal import CleanConsole
from ...tools.context import Context
from ..runs.result import RunResult


@dataclass
class Session:
    """One chat; a context manager, for it opens the base that it draws with.

    Attributes:
        seed: of the first image of every prompt; None: what the prompt says, else any.
        n: how many images a prompt; None: what the prompt says, else one.
        orders: hold for every prompt, over what is ordered in it.
        last: what was drawn last.
    """

    settings: Settings
    console: CleanConsole
    seed: int | None = None
    n: int | None = None
    orders: Orders = field(default_factory=Orders)
    last: RunResult | None = None

    def __enter__(self) -> Session:
        self._stack = ExitStack()
        self.ctx = self._stack.enter_context(Context.open(self.settings))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def use_base(self, base: str) -> None:
        """Draw with another base from here on. Raises UserError, and keeps the one in use, if there is no such base."""
        settings = self.settings.model_copy(update={"base": base})
        registry.of_settings(settings)
        self._stack.close()
        self.settings = settings
        self.ctx = self._stack.enter_context(Context.open(settings))
