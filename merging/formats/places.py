"""Where the modules of an adapter file lie in a base, each place once; and which of them are left out, and why.

Two cases that look like faults are none. Some trainers write a projection twice, under its original name (fused, if it
was) and under ours: ours counts (https://github.com/huggingface/diffusers/issues/13203). And a model that was made from
another by giving it more inputs (FLUX.1 Fill, inpainting UNets) has the other's inputs first: what was made for those
changes those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from ...bases.index import BaseIndex
from ...files.header import Header
from .algorithm import Algorithm, Module, Sizes, Update
from .extras import PROJECTION, not_in_base
from .format import expert_error
from .modules import algorithm_of, modules_of
from .names import BaseModules, ModuleNames

if TYPE_CHECKING:
    from torch import Tensor

TWICE = "is written a second time under the base's own names, which count"
_INPUTS = re.compile(r"\.(x_embedder|img_in|conv_in|pos_embed\.proj)$")
"""Modules that take a denoiser's inputs: the only ones that models with more inputs have wider."""


@dataclass(frozen=True)
class Adapted:
    """One module of the file, with its algorithm (None if only its bias changes) and its place in the base."""

    module: Module
    algorithm: Algorithm | None
    place: BaseModules
    shape: tuple[int, ...] | None
    """Shape of the weight in the base, fused parts stacked; None if the base lacks it."""

    @property
    def component(self) -> str:
        return self.place.modules[0].partition(".")[0]

    @property
    def path(self) -> str:
        """The module's name within its component, as PEFT's patterns look at it."""
        return self.place.modules[0].partition(".")[2]

    def rows(self, base: BaseIndex, total: int) -> list[tuple[str, int]]:
        """How the file's rows are shared out among the base's modules. ExpertError if fused ones do not add up."""
        if len(self.place.modules) > 1 and self.shape is not None and total != self.shape[0]:
            have = f"{self.shape[0]} rows together, {self.module.name} has {total}"
            raise self.module.error(
                f"does not fit this base (another family?): {', '.join(self.place.modules)} have {have}"
            )
        return self.place.rows(base, total)

    def more_inputs(self, sizes: Sizes) -> int:
        """Inputs (kernel positions included) that the base's weight has after those that the file changes."""
        if self.shape is None or len(self.place.modules) > 1 or not _INPUTS.search(self.place.modules[0]):
            return 0
        if self.algorithm is None or self.algorithm.relative or "magnitude" in self.module.roles:
            return 0
        columns, kernel = prod(self.shape[1:]), prod(self.shape[2:])
        return max(0, columns - sizes.columns) if sizes.columns % kernel == 0 and sizes.rows == self.shape[0] else 0


def adapted(header: Header, base: BaseIndex) -> tuple[Adapted, ...]:
    """The modules of a file with their places in the base, each place once.

    Raises:
        ExpertError: keys that are not understood, names that lead nowhere, a place that is taken twice.
    """
    return _placed(header, base)[0]


def left_out(header: Header, base: BaseIndex) -> tuple[tuple[str, str], ...]:
    """(key, why) of the modules that a merge leaves out."""
    return _placed(header, base)[1]


def widened(update: Update, more: int) -> Update:
    """An update that leaves ``more`` further inputs as they are."""
    return update if not more else Update(update.up, _padded(update.down, more), _padded(update.full, more))


def _padded(part: Tensor | None, more: int) -> Tensor | None:
    from torch.nn.functional import pad

    return None if part is None else pad(part, (0, more))


@lru_cache(maxsize=2)
def _placed(header: Header, base: BaseIndex) -> tuple[tuple[Adapted, ...], tuple[tuple[str, str], ...]]:
    """(modules with their places, what is left out)."""
    out: list[tuple[str, str]] = []
    return tuple(_places(header, base, out)), tuple(out)


def _places(header: Header, base: BaseIndex, out: list[tuple[str, str]]) -> Iterator[Adapted]:
    names, taken = ModuleNames(base), dict[str, Module]()
    unknown: list[str] = []
    ours = _under_our_names(header.whole or header, base)
    for module in modules_of(header):
        algorithm = algorithm_of(module)
        if algorithm is None and set(module.roles) != {"bias_diff"}:
            raise module.error(f"says nothing about {module.name} but {', '.join(sorted(module.roles))}")
        if {"bias", "bias_diff"} <= set(module.roles):
            raise module.error(f"changes the bias of {module.name} in two ways")
        place = names.find(module.name)
        known = place is not None and place.shape(base) is not None
        if not known and not_in_base(module.name, base) == PROJECTION:
            out.extend((key, PROJECTION) for key in module.keys)
            continue
        if place is None:
            unknown.extend(module.keys)
            continue
        if place.original and ours.issuperset(place.modules):
            out.extend((key, TWICE) for key in module.keys)
            continue
        for name in place.modules:
            if name in taken:
                raise expert_error(header, f"has two adapters for {name}", (*taken[name].keys, *module.keys))
            taken[name] = module
        yield Adapted(module, algorithm, place, place.shape(base))
    if unknown:
        raise expert_error(header, "names modules that this base does not have, in a flat layout", unknown)


@lru_cache(maxsize=2)
def _under_our_names(header: Header, base: BaseIndex) -> frozenset[str]:
    """The base's modules that a file names as diffusers does."""
    names = ModuleNames(base)
    found = [names.find(module.name) for module in modules_of(header, strict=False)]
    return frozenset(name for place in found if place is not None and not place.original for name in place.modules)
