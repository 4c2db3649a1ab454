"""Several bases by turns: the engines used last stay loaded, within a budget of bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cache import ByteCache
from .engine import Engine


class Engines:
    """Base folder -> its `Engine`, loaded when first asked for; the least recently used leaves first.

    Args:
        budget_bytes: of base weights in all. The engine asked for last stays even if it alone is larger.
        options: device, dtype and whatever else `Engine` takes, the same for all.
    """

    def __init__(self, budget_bytes: int, **options: Any) -> None:
        self._options = options
        self._loaded: ByteCache[Engine] = ByteCache(budget_bytes, lambda engine: engine.nbytes)

    def __len__(self) -> int:
        return len(self._loaded)

    def get(self, base_dir: Path | str) -> Engine:
        """The engine of a base, with whatever plan it had last. Raises UserError as `Engine` does."""
        key = str(Path(base_dir).resolve())
        engine = self._loaded.get(key)
        if engine is None:
            engine = Engine(base_dir, **self._options)
            self._loaded.put(key, engine)
        return engine
