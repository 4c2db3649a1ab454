"""What a merge will take on a device, from headers and two rates that `engine.device_rates` measures. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from ...bases.index import BaseIndex

ITEM_BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "bfloat16": 2, "float16": 2})


class DeviceRates(BaseModel):
    """How fast a device copies (bytes/s, read and write counted once each) and multiplies in float32 (flop/s)."""

    model_config = ConfigDict(frozen=True)

    device: str
    copy_rate: float
    matmul_rate: float


class ExpertLoad(BaseModel):
    """What one expert brings: its file, its deltas in float32, and the flops of adding its factors to the base."""

    model_config = ConfigDict(frozen=True)

    file_bytes: int
    delta_bytes: int
    flops: int


class Estimate(BaseModel):
    """``peak_bytes``: base, experts, merged weights and scratch on the device at once. ``seconds``: from files on disk
    (already in the page cache) to merged weights, the base being loaded. Both are of the order, not to the digit.
    """

    model_config = ConfigDict(frozen=True)

    device: str
    dtype: str
    peak_bytes: int
    seconds: float
    bytes_moved: int
    flops: int


def estimate(
    base: BaseIndex, loads: Sequence[ExpertLoad], targets: Sequence[str], dense: bool, rates: DeviceRates, dtype: str
) -> Estimate:
    """Estimate a merge.

    Args:
        base: the base.
        loads: one for each expert of the plan that has a weight.
        targets: the weights that the plan changes.
        dense: whether the method forms full matrices of every part (TIES), or adds factors (a sum).
        rates: of the device.
        dtype: of the pipeline's weights.
    """
    item = ITEM_BYTES[dtype]
    sizes = [math.prod(base.shape(target) or ()) for target in targets]
    everything = sum(info.numel for _, _, info in base.params.values())
    touched, largest, parts = sum(sizes), max(sizes, default=0), len(loads)
    scratch = largest * 4 * (2 * parts + 4 if dense and parts > 1 else 3)
    deltas = sum(load.delta_bytes for load in loads)
    moved = sum(load.file_bytes + load.delta_bytes for load in loads) + touched * (item + 4 + 4 + item)
    flops = sum(load.flops for load in loads)
    if dense and parts > 1:
        moved += touched * 4 * 6 * parts  # each part is formed, ranked by magnitude, masked and added
    return Estimate(
        device=rates.device,
        dtype=dtype,
        peak_bytes=everything * item + touched * item + deltas + scratch,
        seconds=moved / rates.copy_rate + flops / rates.matmul_rate,
        bytes_moved=moved,
        flops=flops,
    )
