"""What every training step of the recipe shares: seeding, precision, checkpoints, progress, learning-rate schedule."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...files.atomic import new_file

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision() -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast where the device computes in it: matrix products and convolutions run 2 to 10 times faster.

    A CPU without bf16 instructions emulates them, 10 to 20 times slower than float32: there, float32 it is.
    """
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=_computes_in_bf16())


def _computes_in_bf16() -> bool:
    if DEVICE.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def learning_rate(peak: float, step: int, steps: int, warmup: int = 50) -> float:
    """Linear warm-up, then linear decay to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0.02, 1 - (step - warmup) / max(steps - warmup, 1))


@dataclass
class Loop:
    """A resumable training loop: yields step numbers, logs the loss, saves every ``every`` steps and at the end.

    ``state`` names what is saved and restored (modules, optimisers, tensors with ``state_dict``). An interrupted run
    starts again from its last checkpoint and draws the same random numbers from there on.
    """

    name: str
    folder: Path
    steps: int
    state: dict[str, Any]
    seed: int = 0
    every: int = 200
    log_every: int = 50
    curve: list[tuple[int, float]] = field(default_factory=list)
    start: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / f"{self.name}.ckpt"
        torch.manual_seed(self.seed)
        if self.file.exists():
            saved = torch.load(self.file, weights_only=True, map_location=DEVICE)
            for key, part in self.state.items():
                part.load_state_dict(saved["state"][key])
            self.start, self.curve = saved["step"], [tuple(c) for c in saved["curve"]]
            torch.manual_seed(self.seed + self.start)

    def __iter__(self) -> Iterator[int]:
        began, total, count = time.time(), 0.0, 0
        for step in range(self.start, self.steps):
            self.loss = torch.zeros(())
            yield step
            total, count = total + float(self.loss), count + 1
            if (step + 1) % self.log_every == 0 or step + 1 == self.steps:
                rate = (time.time() - began) / (step + 1 - self.start)
                self.curve.append((step + 1, round(total / count, 5)))
                left = rate * (self.steps - step - 1)
                print(
                    f"{self.name}: step {step + 1}/{self.steps} loss {total / count:.4f} {rate:.3f} s/step, "
                    f"{left / 60:.1f} min left",
                    flush=True,
                )
                total, count = 0.0, 0
            if (step + 1) % self.every == 0 or step + 1 == self.steps:
                self._save(step + 1)

    def _save(self, step: int) -> None:
        with new_file(self.file) as file:
            torch.save(
                {"step": step, "curve": self.curve, "state": {k: v.state_dict() for k, v in self.state.items()}}, file
            )
        (self.folder / f"{self.name}.curve.json").write_text(json.dumps(self.curve))


class Ema:
    """An exponential moving average of a module's parameters."""

    def __init__(self, module: torch.nn.Module, decay: float = 0.995) -> None:
        self.decay, self.module = decay, module
        self.shadow = {k: p.detach().clone() for k, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the module's parameters; the first steps move faster, so that the start is forgotten."""
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.shadow.values()), [p.detach() for p in self.module.parameters()], 1 - decay)

    def copy_to(self, module: torch.nn.Module) -> None:
        module.load_state_dict({**module.state_dict(), **self.shadow})

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.shadow

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for key, value in state.items():
            self.shadow[key].copy_(value)
