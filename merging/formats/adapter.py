"""Adapter files: modules of a base, each changed by one algorithm (`algorithm`), in any known key layout (`names`).

A file may mix algorithms: LyCORIS presets do, and norms and biases come as plain differences beside any of them. A
module's scale is alpha/rank, or alpha/sqrt(rank) for rank-stabilised LoRA (https://arxiv.org/abs/2312.03732). Alpha
comes from ``.alpha`` tensors (kohya) or from the configuration in the metadata (`adapter_config`); where neither
speaks, alpha is the rank. Every key is accounted for, or the file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ...bases.index import BaseIndex
from ...files.header import FLOATS, INTEGERS, Header
from .adapter_config import METADATA_KEYS, AdapterConfig, adapter_configs
from .algorithm import Inputs, Sizes, Update, algorithms
from .dora import by_output, decompose
from .extras import sentences
from .format import Format, TargetInfo, expert_error, register
from .modules import algorithm_of, modules_of
from .places import Adapted, adapted, left_out, widened
from .stated_alpha import ignored, stated_alphas
from .tensors import LazyTensors, check_floats, load_tensors, map_file

if TYPE_CHECKING:
    from torch import Tensor

    from ...files.mapped_file import MappedFile
    from ..deltas.delta import Delta
    from ..deltas.factors import Factors


_MAX_UNKNOWN = 2**28
"""Most values that a delta may have at a place that the base lacks, where no shape bounds it."""


@register
class Adapter(Format):
    name = "adapter"

    def kinds(self) -> frozenset[str]:
        return frozenset().union(*(algorithm.kinds() for algorithm in algorithms().values()))

    def detect(self, header: Header) -> str | None:
        found = [(algorithm_of(module), module) for module in modules_of(header, strict=False)]
        used = {algorithm.name: algorithm for algorithm, _ in found if algorithm is not None}
        if not any(algorithm is not None and algorithm.shows_adapter(module) for algorithm, module in found):
            return "full" if any("bias_diff" in module.roles for _, module in found) else None
        first = min(used.values(), key=lambda algorithm: (algorithm.precedence, algorithm.name))
        return first.file_kind([module for _, module in found])

    def rank(self, header: Header) -> int | None:
        found = [(algorithm_of(module), module) for module in modules_of(header, strict=False)]
        ranks = [algorithm.rank(module) for algorithm, module in found if algorithm is not None]
        return max((rank for rank in ranks if rank is not None), default=None)

    def low_rank(self, header: Header) -> bool:
        used = [(algorithm_of(module), "magnitude" in module.roles) for module in modules_of(header, strict=False)]
        return all(algorithm is None or (algorithm.low_rank and not scaled) for algorithm, scaled in used)

    def targets(self, files: Sequence[Header], base: BaseIndex) -> dict[str, TargetInfo]:
        out: dict[str, TargetInfo] = {}
        header = _single(files)
        configs = _alphas(header)
        check_floats(header, _float_keys(header, base))
        for item in adapted(header, base):
            biases = [key for role, key in item.module.roles.items() if role in ("bias", "bias_diff")]
            weights = tuple(key for key in item.module.keys if key not in biases)
            if item.algorithm is not None:
                sizes = _checked(item)
                _check_alpha(item, sizes, configs)
                columns = sizes.columns + item.more_inputs(sizes)
                for module, rows in item.rows(base, sizes.rows):
                    out[f"{module}.weight"] = TargetInfo(weights, rows, columns)
            for key in biases:
                for module, rows in item.rows(base, _bias_rows(item, key)):
                    out[f"{module}.bias"] = TargetInfo((key,), rows, 1)
        return out

    def read(self, files: Sequence[Header], base: BaseIndex) -> dict[str, Delta]:
        from ..deltas.delta import Delta

        header = _single(files)
        configs = _alphas(header)
        file = map_file(header, _float_keys(header, base))
        out: dict[str, Delta] = {}
        for item in adapted(header, base):
            tensors = LazyTensors(file, item.module.roles)
            scale = 1.0
            if item.algorithm is not None:
                sizes = _checked(item)
                config = _config(item, configs)
                scale = _scale(item, sizes, tensors, config)
                more = item.more_inputs(sizes)
                shape = (sizes.rows, sizes.columns) if more or item.shape is None else item.shape
                if not more and (factors := _as_stored(item, file, scale)) is not None:
                    out[f"{item.place.modules[0]}.weight"] = Delta(shape, factors=[factors])
                    continue
                inputs = Inputs(tensors, scale, shape, lambda item=item: item.place.weight(base), config)  # type: ignore[misc]
                for module, part in item.place.split(base, widened(_update(item, inputs), more)):
                    own = base.shape(f"{module}.weight")
                    rows, columns = part.size()
                    out[f"{module}.weight"] = Delta(own or (rows, columns), part.up, part.down, part.full)
            for role, factor in (("bias", scale), ("bias_diff", 1.0)):
                if role in tensors:
                    column = Update(full=(tensors[role].reshape(-1, 1) * factor))
                    for module, part in item.place.split(base, column):
                        assert part.full is not None
                        out[f"{module}.bias"] = Delta((part.full.shape[0],), full=part.full)
        if bad := [target for target, delta in out.items() if not delta.finite()]:
            load_tensors(
                header, _float_keys(header, base)
            )  # says so if it is the file that holds NaN or infinite values
            raise expert_error(header, "overflows once its scale is applied", bad)
        return out

    def notes(self, files: Sequence[Header], base: BaseIndex) -> tuple[str, ...]:
        header = _single(files)
        return (*sentences(left_out(header, base)), *self._alpha_notes(header))

    def _alpha_notes(self, header: Header) -> tuple[str, ...]:
        modules = modules_of(header, strict=False)
        told = _alphas(header)
        if told and all("alpha" in module.roles for module in modules):
            return ()
        plain = {component: c for component, c in sorted(told.items()) if c.source != METADATA_KEYS[0]}
        if said := [f"{component or 'all modules'}: {c.alpha:g} ({c.source})" for component, c in plain.items()]:
            return (f"alpha stands in the metadata only, and is taken from there: {', '.join(said)}",)
        return () if told or (text := ignored(header)) is None else (text,)


@lru_cache(maxsize=2)
def _alphas(header: Header) -> dict[str, AdapterConfig]:
    """Component ("" for all) -> what metadata says of its scale: a configuration, or plain words.

    Raises:
        ExpertError: neither is understood, or they contradict each other.
    """
    header = header.whole or header  # what is decided for a file holds for every part of it
    configs = adapter_configs(header)
    if all("alpha" in module.roles for module in modules_of(header, strict=False)):
        return configs  # plain words stand back behind tensors
    used = [(algorithm_of(module), module) for module in modules_of(header, strict=False)]
    ranks = {rank for algorithm, module in used if algorithm is not None for rank in [algorithm.rank(module)] if rank}
    for component, stated in stated_alphas(header, ranks).items():
        config = configs.get(component)
        if config is not None and config.alpha != stated.alpha:
            told = f"{config.alpha:g} in {config.source} and {stated.alpha:g} in {stated.source}"
            raise expert_error(header, f"says two alphas in its metadata: {told}, so its scale is not known")
        configs.setdefault(component, stated)
    return configs


def _single(files: Sequence[Header]) -> Header:
    if len(files) != 1:
        raise expert_error(files[0], f"is one of {len(files)} files; an adapter is one file: name it")
    return files[0]


def _checked(item: Adapted) -> Sizes:
    """Sizes of the delta. Raises ExpertError for what does not fit together, or cannot be had without the base."""
    assert item.algorithm is not None
    relative = item.algorithm.relative or "magnitude" in item.module.roles
    if relative and item.shape is None:
        raise item.module.error(f"changes {item.module.name} relative to a weight that this base lacks")
    sizes = item.algorithm.sizes(item.module, item.shape)
    if item.shape is None and sizes.rows * sizes.columns > _MAX_UNKNOWN:
        raise item.module.error(f"claims a weight of {sizes.rows} x {sizes.columns} that this base lacks")
    if "bias" in item.module.roles and item.module.shape("bias") != (sizes.rows,):
        raise expert_error(item.module.header, "has a bias that does not fit its factor", (item.module.roles["bias"],))
    if "magnitude" in item.module.roles:
        if item.algorithm.relative:
            raise item.module.error(f"has a magnitude beside {item.algorithm.name}: not understood")
        assert item.shape is not None
        if (sizes.rows, sizes.columns) == (item.shape[0], math.prod(item.shape[1:])):
            by_output(item.module, item.shape)
    return sizes


def _bias_rows(item: Adapted, key: str) -> int:
    shape = item.module.header.tensors[key].shape
    if len(shape) != 1 or 0 in shape:
        raise expert_error(item.module.header, f"has a bias of shape {shape}", (key,))
    return shape[0]


def _config(item: Adapted, configs: Mapping[str, AdapterConfig]) -> AdapterConfig | None:
    """PEFT's configuration for a module. Raises ExpertError if it speaks of something else than the tensors do."""
    config, algorithm = configs.get(item.component, configs.get("")), item.algorithm
    if config is None or algorithm is None or algorithm.peft_type is None:
        return None
    if config.peft_type is None:
        return None if algorithm.relative or "alpha" in item.module.roles else config
    if config.peft_type != algorithm.peft_type:
        raise item.module.error(f"says that it is {config.peft_type!r} in its metadata, but holds {algorithm.name}")
    if config.dora not in (None, "magnitude" in item.module.roles):
        raise item.module.error(f"says use_dora={config.dora} in its metadata, and its tensors say otherwise")
    return config


def _float_keys(header: Header, base: BaseIndex) -> list[str]:
    """The tensors that must be floats: all that are used but alphas, which some programs write as integers."""
    return [key for item in adapted(header, base) for role, key in item.module.roles.items() if role != "alpha"]


def _check_alpha(item: Adapted, sizes: Sizes, configs: Mapping[str, AdapterConfig]) -> None:
    """Raise ExpertError for what a header shows of the scale: alphas that are no number, a configuration that says
    something else than the tensors do.
    """
    assert item.algorithm is not None
    if (key := item.module.roles.get("alpha")) is not None:
        info = item.module.header.tensors[key]
        if info.numel != 1:
            raise expert_error(item.module.header, "has an alpha that is not one number", (key,))
        if info.dtype not in FLOATS | INTEGERS:
            raise expert_error(item.module.header, f"has an alpha of dtype {info.dtype}, which is no number", (key,))
    config = _config(item, configs)
    item.algorithm.check(item.module, sizes.columns, config)
    if config is not None and not item.algorithm.relative:
        _told(item, sizes, config)


def _scale(item: Adapted, sizes: Sizes, tensors: Mapping[str, Tensor], config: AdapterConfig | None) -> float:
    """What the delta is multiplied with. Raises ExpertError for an alpha of 0 and for sources that disagree."""
    module = item.module
    assert item.algorithm is not None
    key = module.roles.get("alpha")
    alpha = None
    if key is not None and sizes.rank is not None:  # elsewhere alpha has no say, and some write infinity there
        alpha = float(tensors["alpha"].reshape(()))
    if item.algorithm.relative:  # there, alpha is something else, and the algorithm reads it
        return 1.0
    from_config = None if config is None else _told(item, sizes, config)
    if alpha is None or key is None:
        return 1.0 if from_config is None else from_config
    if alpha == 0.0:
        raise expert_error(module.header, "has alpha 0, so it would do nothing", (key,))
    assert sizes.rank is not None
    scale = alpha / sizes.rank
    if from_config is not None and not math.isclose(scale, from_config, rel_tol=1e-3):
        raise expert_error(
            module.header, f"says scale {from_config:g} in its metadata but {scale:g} in its alpha", (key,)
        )
    return scale


def _told(item: Adapted, sizes: Sizes, config: AdapterConfig) -> float | None:
    """The scale that a configuration gives; None where alpha has no say and only plain words speak."""
    if sizes.rank is None and config.peft_type is None:
        return None
    return config.scale(item.module.header, item.path, sizes.rank)


def _as_stored(item: Adapted, file: MappedFile, scale: float) -> Factors | None:
    """The factors as views of the file, for a module that is nothing but them; None if they have to be computed."""
    from ..deltas.factors import STORED, Factors

    roles = item.module.roles
    if item.algorithm is None or len(item.place.modules) > 1 or item.place.swap:
        return None
    if not item.algorithm.plain(item.module) or set(roles) - {"up", "down", "alpha"}:
        return None
    if any(key in file.header.scales for key in roles.values()):
        return None
    up, down = (file.tensor(roles[role]).flatten(1) for role in ("up", "down"))
    return Factors(up, down, scale, file) if up.dtype in STORED and down.dtype in STORED else None


def _update(item: Adapted, inputs: Inputs) -> Update:
    assert item.algorithm is not None
    update = item.algorithm.update(item.module, inputs)
    if "magnitude" not in inputs.tensors:
        return update
    rows = by_output(item.module, inputs.shape)
    full = decompose(inputs.base(), update.matrix(), inputs.tensors["magnitude"], inputs.shape, rows=rows)
    return Update(full=full)
