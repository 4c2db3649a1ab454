"""How a base is held follows from what it takes and what is free; what is set stands."""

from __future__ import annotations

import pytest

from diffgraph.bases.profile import BaseProfile, MemoryPolicy, Size
from diffgraph.merging.plan.check import check
from diffgraph.merging.plan.footprint import Footprint
from diffgraph.merging.plan.memory import RESERVE, DeviceMemory, Room, Wanted, place
from diffgraph.merging.plan.merge_plan import Sampler
from diffgraph.settings import Settings

SIDE = Size(width=512, height=512)


def gpu(free, bfloat16=True):
    return DeviceMemory(device="cuda", total=free, free=free, bfloat16=bfloat16)


def room(free, **more):
    return Room(**({"memory": gpu(free), "released": "float16", "size": SIDE} | more))


def test_less_and_less_room_offloads_more_and_more(world):
    free = RESERVE + 2**31
    whole = place(world.base, room(free))
    assert (whole.offload, whole.vae_tiling, whole.batch, whole.fits) == ("none", False, 16, True)
    one = place(world.base, room(free, wanted=Wanted(batch=1)))
    seen = []
    for spare in range(one.peak + 2000, one.peak - 400_000, -2000):
        held = place(world.base, room(RESERVE + spare))
        seen.append((held.offload, held.vae_tiling))
    order = [("none", False), ("model", False), ("group", False)]
    places = [order.index(way) for way in seen if way in order]
    assert places == sorted(places)
    assert set(order[:2]) <= set(seen)
    tight = place(world.base, room(1))
    assert not tight.fits
    assert "MAY NOT FIT" in tight.sentence()


def test_batches_take_what_is_left(world):
    one = place(world.base, room(2**40, wanted=Wanted(batch=1)))
    image = place(world.base, room(2**40, wanted=Wanted(batch=2))).activations - one.activations
    held = place(world.base, room(RESERVE + one.peak + 3 * image))
    assert held.batch == 4
    assert place(world.base, room(RESERVE + one.peak + 3 * image - 1)).batch == 3
    assert place(world.base, room(1, wanted=Wanted(batch=7))).batch == 7


@pytest.mark.parametrize(
    ("memory", "released", "wanted", "dtype"),
    [
        (gpu(2**40), "float16", None, "bfloat16"),
        (gpu(2**40, bfloat16=False), "float16", None, "float16"),
        (gpu(2**40, bfloat16=False), "bfloat16", None, "bfloat16"),
        (gpu(2**40), "float32", None, "float32"),
        (DeviceMemory(device="cpu", total=0, free=2**40), "float16", None, "float32"),
        (DeviceMemory(device="cpu", total=0, free=2**40), "float16", "bfloat16", "bfloat16"),
    ],
)
def test_the_dtype_is_the_devices_best_or_what_is_set(world, memory, released, wanted, dtype):
    held = place(world.base, Room(memory=memory, released=released, size=SIDE, wanted=Wanted(dtype=wanted)))
    assert held.dtype == dtype
    assert held.weights == Footprint(world.base).item(dtype) * sum(Footprint(world.base).values.values())


def test_what_is_set_stands(world):
    settings = Settings(dtype="float16", offload="group", vae_tiling="on", batch=3)
    profile = BaseProfile(name="x", where="/x", ref="folder:x", memory=MemoryPolicy(dtype="bfloat16"), sizes=(SIDE,))
    held = place(world.base, Room.of(profile, settings, gpu(2**40), Sampler(width=1024, height=768)))
    assert (held.dtype, held.offload, held.vae_tiling, held.batch) == ("float16", "group", True, 3)
    assert (held.size.width, held.size.height) == (1024, 768)
    cpu = DeviceMemory(device="cpu", total=0, free=2**40)
    assert place(world.base, Room.of(profile, settings, cpu)).offload == "none"


def test_larger_images_take_more_and_tiles_bound_the_vae(world):
    footprint = Footprint(world.base)
    sizes = [Size(width=side, height=side) for side in (256, 512, 1024, 2048)]
    taken = [footprint.activations(size, "float32") for size in sizes]
    assert taken == sorted(taken)
    tiled = footprint.activations(sizes[-1], "float32", tiled=True)
    assert tiled <= taken[-1]


def test_the_check_of_a_plan_says_what_it_takes(world):
    here = room(2**34, size=Size(width=64, height=64))
    report = check(world.plan(world.expert("owl")), world.base, world.locate, room=here)
    said = report.memory.sentence()
    assert said.startswith("weights ")
    assert "bfloat16" in said
    assert said.endswith("for 64x64, batch 16; free 16.0 GiB on cuda: no offload")
    assert 0 < report.memory.merged < place(world.base, here).weights
    assert check(world.plan(), world.base, world.locate).memory is None
