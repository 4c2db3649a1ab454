"""Short ways to parts and merges, for tests of single methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.methods import MergeMethod, Part, make
from diffgraph.merging.plan.merge_plan import Method


def _make(name: str, **params: Any) -> MergeMethod:
    return make(Method(name=name, params=params))


def _parts(values: Sequence[Any], weights: Sequence[float] | None = None) -> list[Part]:
    out = []
    for index, value in enumerate(values):
        if not isinstance(value, Delta):
            value = Delta.of(torch.as_tensor(value, dtype=torch.float32))
        out.append(Part("abcdef"[index], "subject", 1.0 if weights is None else weights[index], value))
    return out


def _merged(name: str, values: Sequence[Any], weights: Sequence[float] | None = None, **params: Any) -> Tensor:
    delta = _make(name, **params).merge(_parts(values, weights))
    assert delta is not None
    return delta.dense()


@pytest.fixture(scope="session")
def method() -> Callable[..., MergeMethod]:
    """method(name, **params)"""
    return _make


@pytest.fixture(scope="session")
def parts() -> Callable[..., list[Part]]:
    """parts(values, weights=None): values are deltas, tensors, arrays or nested lists; keys are a, b, c, …"""
    return _parts


@pytest.fixture(scope="session")
def merged() -> Callable[..., Tensor]:
    """merged(name, values, weights=None, **params): the dense result."""
    return _merged


@pytest.fixture(scope="session")
def low() -> Callable[..., Delta]:
    """low(seed, rows, columns, rank): random factors."""

    def make_low(seed: int, rows: int, columns: int, rank: int) -> Delta:
        g = torch.Generator().manual_seed(seed)
        return Delta((rows, columns), torch.randn(rows, rank, generator=g), torch.randn(rank, columns, generator=g))

    return make_low
