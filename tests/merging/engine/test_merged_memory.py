"""Places of merged weights: their own, stable, and touched before they are needed."""

from __future__ import annotations

import resource
from pathlib import Path

import torch
from torch import Tensor

from diffgraph.merging.engine.free_memory import available_bytes
from diffgraph.merging.engine.merged_memory import MergedMemory

CPU = torch.device("cpu")
CHUNK = 64 * 2**20


def place(buffers: MergedMemory, name: str, mib: int) -> Tensor:
    return buffers.of(name, torch.empty(mib * 2**19, dtype=torch.bfloat16))


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_every_target_keeps_a_place_of_its_own():
    buffers = MergedMemory(CPU)
    buffers.prepare(3 * CHUNK).join()
    some = {name: place(buffers, name, mib) for name, mib in (("a", 20), ("b", 20), ("c", 40), ("d", 100), ("e", 1))}
    for value, tensor in enumerate(some.values()):
        tensor.fill_(value)
    for value, (name, tensor) in enumerate(some.items()):
        assert bool((tensor == value).all())
        assert buffers.of(name, tensor).data_ptr() == tensor.data_ptr()
    assert buffers.nbytes == sum(tensor.nbytes for tensor in some.values())


def test_prepared_memory_is_touched_before_it_is_written():
    cold, warm = MergedMemory(CPU), MergedMemory(CPU)
    warm.prepare(4 * CHUNK).join()
    needed = {}
    for name, buffers in (("cold", cold), ("warm", warm)):
        tensors = [place(buffers, str(i), 64) for i in range(4)]
        before = faults()
        for tensor in tensors:
            tensor.fill_(1)
        needed[name] = faults() - before
    assert needed["cold"] >= 4 * CHUNK // 2**21  # at least one for every huge page
    assert needed["warm"] < needed["cold"] // 4


def test_what_is_prepared_is_not_more_than_what_was_asked_for():
    buffers = MergedMemory(CPU)
    tensors = [place(buffers, "own", 64)]
    buffers.prepare(2 * CHUNK).join()
    tensors += [place(buffers, str(i), 64) for i in range(3)]  # the third has to be made on the spot
    assert len({tensor.data_ptr() for tensor in tensors}) == 4
    buffers.prepare(CHUNK - 1).join()  # less than a chunk: nothing
    before = faults()
    place(buffers, "late", 64).fill_(1)
    assert faults() - before >= CHUNK // 2**21


def test_a_merge_that_is_ahead_leaves_the_thread_less_to_do():
    buffers = MergedMemory(CPU)
    thread = buffers.prepare(8 * CHUNK)
    tensors = [place(buffers, str(i), 64) for i in range(8)]
    for value, tensor in enumerate(tensors):
        tensor.fill_(value)
    thread.join()
    assert [int(tensor[0]) for tensor in tensors] == list(range(8))
    assert len({tensor.data_ptr() for tensor in tensors}) == 8


def test_available_memory_is_told_in_bytes():
    assert available_bytes() > 2**26 or not Path("/proc/meminfo").exists()


def test_pieces_fill_the_chunks_that_are_there():
    buffers = MergedMemory(CPU)
    buffers.prepare(3 * CHUNK).join()
    before = faults()
    for i, mib in enumerate((40, 40, 40, 20, 20, 20, 4, 4, 4)):  # in three chunks of 64, if tails are used
        place(buffers, str(i), mib).fill_(1)
    assert faults() - before < CHUNK // 2**21
