"""Calls that wait for somebody else, several at a time, none of them for ever."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


def side_by_side(jobs: Sequence[Callable[[], T]], at_once: int, seconds: float) -> list[T]:
    """The values of all jobs, in order.

    Args:
        jobs: are begun in order.
        at_once: so many threads work on them. They are daemons: nobody who leaves must wait for a server.
        seconds: for one job.

    Raises:
        TimeoutError: a job took longer.
        Exception: whatever the first job that failed raised. Jobs that were not begun are given up.
    """
    waiting = deque((Future[T](), job) for job in jobs)
    futures = [future for future, _ in waiting]

    def work() -> None:
        while waiting:
            try:
                future, job = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            with _Into(future):
                future.set_result(job())

    for _ in range(min(at_once, len(jobs))):
        threading.Thread(target=work, name="diffgraph-critic", daemon=True).start()
    try:
        # Jobs begin in order, so the one that is waited for here has begun: its time runs.
        return [future.result(timeout=seconds) for future in futures]
    finally:
        waiting.clear()


class _Into(Generic[T]):
    """Hands what is raised inside to a future."""

    def __init__(self, future: Future[T]) -> None:
        self.future = future

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self.future.set_exception(error)
        return True
