"""How much memory this process may still take, and when Python looks for what it may give back. Imports no torch."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import BudgetExceeded, UserError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SHARE = 0.85
"""Of what is left: the rest is for what allocators keep back and for objects that are no tensors."""


def parse_bytes(text: str) -> int:
    """``1GB``, ``800 MiB``, ``2e9`` -> bytes. Raises UserError for anything else, or nothing at all."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]i?)?b?\s*", text.casefold())
    if found is None or (size := int(float(found[1]) * _UNITS[found[2] or ""])) < 1:
        raise UserError(f"{text!r} is no amount of memory: say 1GB or 800MB")
    return size


def resident_bytes() -> int:
    """Bytes of memory this process holds now; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return 0
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Bytes of memory that the machine can give without swapping; 0 where the system does not tell."""
    listing = Path("/proc/meminfo")
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", listing.read_text("ascii"), re.M) if listing.is_file() else None
    return 1024 * int(found[1]) if found is not None else 0


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage in cycles meanwhile: making many small objects starts one again and again, each of which
    walks through every module of a large pipeline.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def left_of(limit: int) -> int:
    """The bytes of tensors that may be alive if the process as a whole is to stay under ``limit``.

    Raises:
        BudgetExceeded: the interpreter and its libraries are over the limit already.
    """
    taken = resident_bytes()
    left = int((limit - taken) * _SHARE)
    if left <= 0:
        raise BudgetExceeded(
            f"Python and its libraries take {taken / 1e6:.0f} MB of the {limit / 1e6:.0f} MB: give more"
        )
    return left
