"""The engines of the merge bench, each used the way its own documentation says, one process each.

``python -m diffgraph.evals.bench.merge_contenders TASK.json`` runs one of them and prints what it measured as one
JSON line.
"""

from __future__ import annotations

import gc
import hashlib
import json
import resource
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch

from .machine import floor, settle, warm
from .merge_inputs import ACTIVE, World, touched

WEIGHTS = ((0.8, 0.6, 0.7, 0.9), (0.5, 1.0, 0.9, 0.6))
"""Of the four experts of plan A, and of plan B."""

LONGEST_SWITCHING_S = 60.0
"""An engine that switched for so long, among so many known experts, is not asked to switch again."""


@dataclass(frozen=True)
class Task:
    """What to measure: one engine, how many experts are known, how often to switch, and threads (0: torch's own)."""

    engine: str
    folder: str
    scale: str
    known: tuple[int, ...]
    switches: int
    threads: int
    device: str = "cpu"


class Contender(ABC):
    """One engine: a base, four experts' files, weights, and a way from one plan to the next."""

    name: ClassVar[str]
    package: ClassVar[str]
    """What must be installed."""
    scales: ClassVar[tuple[str, ...]] = ("sdxl", "pico")
    """Sizes of models that it can merge."""

    def __init__(self, world: World, device: str) -> None:
        self.world, self.device = world, device

    @abstractmethod
    def open(self) -> None:
        """Load the base. Not timed: every engine needs it."""

    @abstractmethod
    def merge(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        """Merge the experts, which are read from their files, into the base's weights."""

    @abstractmethod
    def know(self, experts: Sequence[int]) -> None:
        """Do once what can be done once for experts that later plans may name."""

    @abstractmethod
    def switch(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        """From the plan that is merged to this one."""

    @abstractmethod
    def weight(self, module: str) -> torch.Tensor:
        """A weight as it is now."""


_CONTENDERS: dict[str, type[Contender]] = {}


def contender(cls: type[Contender]) -> type[Contender]:
    """Class decorator: let it take part."""
    _CONTENDERS[cls.name] = cls
    return cls


def contenders() -> dict[str, str]:
    """Name -> the package it needs."""
    return {name: cls.package for name, cls in _CONTENDERS.items()}


def missing(name: str, scale: str) -> str | None:
    """A sentence if an engine cannot run here, else None."""
    package = _CONTENDERS[name].package
    if scale not in _CONTENDERS[name].scales:
        return f"{name} is left out: it knows models of the published shapes only"
    if find_spec(package) is None:
        return f"{name} is left out: {package} is not installed (pip install 'diffgraph[bench]')"
    return None


@contender
class DiffGraph(Contender):
    name, package = "diffgraph", "torch"

    def __init__(self, world: World, device: str) -> None:
        super().__init__(world, device)
        self.digests: list[str] = []
        # Plans pin them. Not by `file_sha256`, which remembers: that the files are these is checked in the timed part.
        for path in world.experts:
            with path.open("rb") as file:
                self.digests.append(hashlib.file_digest(file, "sha256").hexdigest())

    def open(self) -> None:
        from ...merging.engine.engine import Engine

        self.engine = Engine(self.world.base, self.device, "bfloat16")
        self.sha256 = self.engine.base.sha256

    def merge(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        from ...merging.plan.merge_plan import MergePlan, PlanBase, PlanExpert

        pins = tuple(
            PlanExpert(id=str(i), ref=f"file:{i}", sha256=self.digests[i], weight=w)
            for i, w in zip(experts, weights, strict=True)
        )
        base = PlanBase(ref="bench", family="sdxl", sha256=self.sha256)
        plan = MergePlan(base=base, experts=pins, prompt="")
        self.engine.apply(plan, lambda expert: self.world.experts[int(expert.id)])

    def know(self, experts: Sequence[int]) -> None:
        for i in experts:
            self.engine.read(self.world.experts[i], self.digests[i])

    switch = merge

    def weight(self, module: str) -> torch.Tensor:
        return self.engine.weights[f"unet.{module}.weight"]


@contender
class Diffusers(Contender):
    name, package = "diffusers", "diffusers"

    def open(self) -> None:
        import diffusers

        diffusers.utils.logging.disable_progress_bar()
        diffusers.utils.logging.set_verbosity_error()
        self.pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(
            self.world.base, dtype=torch.bfloat16, local_files_only=True
        ).to(self.device)
        self.loaded: set[int] = set()

    def merge(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        self.know(experts)
        self._fuse(experts, weights)

    def know(self, experts: Sequence[int]) -> None:
        for i in experts:
            if i not in self.loaded:
                path = self.world.experts[i]
                self.pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name=f"e{i}")
                self.loaded.add(i)

    def switch(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        self.pipe.unfuse_lora()
        self._fuse(experts, weights)

    def _fuse(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        names = [f"e{i}" for i in experts]
        self.pipe.set_adapters(names, list(weights))
        self.pipe.fuse_lora(adapter_names=names)

    def weight(self, module: str) -> torch.Tensor:
        return self.pipe.unet.get_submodule(module).base_layer.weight.data


@contender
class Peft(Contender):
    """PEFT's weighted adapter in its exact combination (``cat``), merged into the weights."""

    name, package = "peft", "peft"

    def open(self) -> None:
        from diffusers import UNet2DConditionModel

        self.model: Any = UNet2DConditionModel.from_pretrained(self.world.base / "unet", dtype=torch.bfloat16)
        self.model = self.model.to(self.device)
        self.loaded: set[int] = set()

    def know(self, experts: Sequence[int]) -> None:
        from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
        from safetensors.torch import load_file

        for i in experts:
            if i in self.loaded:
                continue
            state = load_file(self.world.experts[i])
            modules = sorted({key.removeprefix("unet.").partition(".lora_")[0] for key in state})
            rank = next(tensor.shape[0] for key, tensor in state.items() if ".lora_A." in key)
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=modules)
            if isinstance(self.model, PeftModel):
                self.model.add_adapter(f"e{i}", config, low_cpu_mem_usage=True)
            else:
                self.model = get_peft_model(self.model, config, adapter_name=f"e{i}", low_cpu_mem_usage=True)
            renamed = {f"base_model.model.{key.removeprefix('unet.')}": tensor for key, tensor in state.items()}
            set_peft_model_state_dict(self.model, renamed, adapter_name=f"e{i}", low_cpu_mem_usage=True)
            self.loaded.add(i)

    def merge(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        self.know(experts)
        names = [f"e{i}" for i in experts]
        self.model.add_weighted_adapter(names, list(weights), "mixed", combination_type="cat")
        self.model.merge_adapter(["mixed"])

    def switch(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        self.model.unmerge_adapter()
        self.model.delete_adapter("mixed")
        self.merge(experts, weights)

    def weight(self, module: str) -> torch.Tensor:
        return self.model.base_model.model.get_submodule(module).base_layer.weight.data


@contender
class SdMecha(Contender):
    """sd-mecha keeps nothing between merges: a switch is the merge of the other plan from the files."""

    name, package = "sd_mecha", "sd_mecha"
    scales = ("sdxl",)

    def open(self) -> None:
        import sd_mecha

        sd_mecha.set_log_level("ERROR")
        self.out: Any = {}

    def merge(self, experts: Sequence[int], weights: Sequence[float]) -> None:
        import sd_mecha
        from safetensors.torch import load_file
        from sd_mecha.extensions.builtin.merge_methods import linear

        # Of its layouts, the one that its LoRAs are read into directly: 1.1.8 cannot convert to "diffusers_unet_only".
        named = {f"unet.{key}": tensor for key, tensor in load_file(self.world.unet).items()}
        base = sd_mecha.model(named, config="sdxl-kohya_but_diffusers")
        recipe = base
        for i, weight in zip(experts, weights, strict=True):
            lora = sd_mecha.model(self.world.kohya[i], config="sdxl-kohya_but_diffusers_kohya_lora")
            # Weights that the LoRA does not touch are those of the recipe so far. sd_mecha.add_difference says the same
            # in one call, but in 1.1.8 it fails on a recipe that it made itself.
            recipe = linear.add_difference(recipe, sd_mecha.convert(lora, base), alpha=weight) | recipe
        self.out = {}
        sd_mecha.merge(
            recipe,
            output=self.out,
            merge_device=self.device,
            merge_dtype=torch.float32,
            output_dtype=torch.bfloat16,
            tqdm=_Silent,
        )

    def know(self, experts: Sequence[int]) -> None:
        pass

    switch = merge

    def weight(self, module: str) -> torch.Tensor:
        return self.out[f"unet.{module}.weight"]


class _Silent:
    """A progress bar that shows nothing."""

    def __init__(self, iterable: Any = None, **_: Any) -> None:
        self._iterable = iterable

    def __iter__(self) -> Any:
        return iter(self._iterable)

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, *_: object) -> None:
        pass

    close = set_postfix = update


def run(task: Task) -> dict[str, Any]:
    """Measure one engine in this process.

    Returns:
        ``files_to_merged_s``, ``switch_s`` (number of known experts -> median), ``peak_rss_mb`` (of merging four
        experts and switching between plans of them; on a GPU ``peak_device_mb`` of its memory, too), ``open_s`` and
        ``base_rss_mb`` (loading the base), ``error`` (of a merged weight beside a correct rounding, which is 1).
    """
    if task.threads:
        torch.set_num_threads(task.threads)
    world = World.at(Path(task.folder), max(task.known))
    engine = _CONTENDERS[task.engine](world, task.device)
    start = time.perf_counter()
    engine.open()
    opened = time.perf_counter() - start
    first, second = range(ACTIVE), range(ACTIVE, 2 * ACTIVE)
    out: dict[str, Any] = {"open_s": opened, "base_rss_mb": _peak_mb(), "switch_s": {}}
    out["files_to_merged_s"] = _seconds(lambda: engine.merge(first, WEIGHTS[0]), task.device)
    out["error"] = _error(engine, world, task.scale, first, WEIGHTS[0])
    now: tuple[range, Sequence[float]] = (first, WEIGHTS[0])
    for known in sorted(task.known):
        engine.know(range(known))
        plans = [(first if known == ACTIVE else second, WEIGHTS[1]), (first, WEIGHTS[0])]
        times: list[float] = []
        while len(times) < task.switches + (known > ACTIVE) and (not times or sum(times) < LONGEST_SWITCHING_S):
            now = plans[1] if now == plans[0] else plans[0]
            times.append(_seconds(lambda plan=now: engine.switch(*plan), task.device))  # type: ignore[misc]
        # The first switch to experts that were never merged may read them from disk: that is not the steady state.
        out["switch_s"][str(known)] = statistics.median(times[known > ACTIVE :] or times)
        if known == ACTIVE:
            out["peak_rss_mb"] = _peak_mb()
            if task.device.startswith("cuda"):
                out["peak_device_mb"] = torch.cuda.max_memory_allocated(task.device) / 2**20
    return out


def _seconds(run: Callable[[], object], device: str) -> float:
    gc.collect()
    settle(device)
    start = time.perf_counter()
    run()
    settle(device)
    return time.perf_counter() - start


def _peak_mb() -> float:
    """Most memory this process ever had resident, pages of mapped files included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _error(engine: Contender, world: World, scale: str, experts: Sequence[int], weights: Sequence[float]) -> float:
    """How far one merged weight is from the sum in float64 (root mean square), beside a correct rounding of that sum,
    which is 1. So no engine is timed for doing something else.
    """
    from safetensors import safe_open

    module = next(name for name in sorted(touched(scale)) if name.endswith("to_q"))
    with safe_open(world.unet, "pt") as file:
        exact = file.get_tensor(f"{module}.weight").double()
    for i, weight in zip(experts, weights, strict=True):
        with safe_open(world.experts[i], "pt") as file:
            up, down = (file.get_tensor(f"unet.{module}.lora_{part}.weight").double() for part in "BA")
        exact += weight * up @ down
    found = engine.weight(module).detach().cpu().double()
    correct = exact.to(torch.bfloat16).double()
    return float((found - exact).norm() / (correct - exact).norm())


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    spec = Task(**{**task, "known": tuple(task["known"])})
    if spec.engine == "floor":
        result: dict[str, Any] = floor(spec.scale, spec.threads, spec.device)
    elif spec.engine == "warm":
        result = warm(World.at(Path(spec.folder), max(spec.known)))
    else:
        result = run(spec)
    print(json.dumps(result))


def to_json(task: Task) -> str:
    return json.dumps(asdict(task))


if __name__ == "__main__":
    main()
