"""How a base is held on a device: dtype, offload, VAE tiling, batch, by what it takes (`footprint`) and what is free.

Nothing is offloaded where everything fits; then models, one at a time; then layers. Tiles, whose seams change pixels a
little, are the last resort of each. What a user sets stands, and what that takes is told. No torch.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ...bases.index import BaseIndex
from ...bases.profile import BaseProfile, Dtype, Size
from ...settings import Settings
from .footprint import Footprint
from .merge_plan import Sampler

Offload = Literal["none", "model", "group"]
_ONE_MEMORY = ("cpu", "mps")
"""Devices that use the machine's own memory."""
RESERVE = 512 * 2**20
"""Of what is free, never promised: contexts of libraries, kernels' workspaces, fragmentation."""
MOST_IMAGES = 16
"""The largest batch that is chosen."""
SQUARE = Size(width=512, height=512)
"""For a base that knows no size of its own."""
LAYERS = 0.05
"""Share of the largest model that is on the device at once where layers are offloaded."""


class DeviceMemory(BaseModel):
    """What a device has: its type, bytes in all and free, and whether it multiplies bfloat16 in hardware."""

    model_config = ConfigDict(frozen=True)

    device: str
    total: int
    free: int
    bfloat16: bool = False


class Wanted(BaseModel):
    """What a user sets; None leaves the choice to `place`."""

    model_config = ConfigDict(frozen=True)

    dtype: Dtype | None = None
    offload: Offload | None = None
    vae_tiling: bool | None = None
    batch: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Wanted:
        """What settings say; "auto" is None."""
        tiling = {"auto": None, "on": True, "off": False}[settings.vae_tiling]
        dtype = None if settings.dtype == "auto" else settings.dtype
        offload = None if settings.offload == "auto" else settings.offload
        return cls(dtype=dtype, offload=offload, vae_tiling=tiling, batch=settings.batch)


class Room(BaseModel):
    """What `place` chooses by, beside the base's own weights.

    Attributes:
        memory: of the device.
        released: the dtype that the base's profile names.
        size: of the images.
        passes: of the denoiser in one call: 2 under classifier-free guidance, else 1.
        wanted: what the user sets.
    """

    model_config = ConfigDict(frozen=True)

    memory: DeviceMemory
    released: Dtype = "float32"
    size: Size
    passes: int = 2
    wanted: Wanted = Wanted()

    @classmethod
    def of(cls, profile: BaseProfile, settings: Settings, memory: DeviceMemory, sampler: Sampler | None = None) -> Room:
        """For images of a base, of the sampler's size where it names one."""
        own = profile.sizes[0] if profile.sizes else SQUARE
        width, height = (None, None) if sampler is None else (sampler.width, sampler.height)
        return cls(
            memory=memory,
            released=profile.memory.dtype,
            size=Size(width=width or own.width, height=height or own.height),
            passes=2 if profile.guidance_kind == "cfg" else 1,
            wanted=Wanted.of(settings),
        )


class Placement(BaseModel):
    """How a base is held, and what that takes of the device, in bytes.

    Attributes:
        device: its type.
        dtype: of the weights.
        offload: what leaves the device between its turns: nothing, whole models, or layers.
        vae_tiling: whether the VAE decodes in tiles.
        batch: images that are drawn at once where many are asked for.
        size: of the images that this was reckoned for.
        weights: on the device at once, the largest model alone where models are offloaded.
        merged: their merged copies.
        activations: of one batch.
        free: what was free before.
    """

    model_config = ConfigDict(frozen=True)

    device: str
    dtype: Dtype
    offload: Offload
    vae_tiling: bool
    batch: int
    size: Size
    weights: int
    merged: int
    activations: int
    free: int

    @property
    def peak(self) -> int:
        """All that is on the device at once, at most."""
        return self.weights + self.merged + self.activations

    @property
    def fits(self) -> bool:
        """Whether that is free; True where nobody knows what is."""
        return not self.free or self.peak <= self.free

    def sentence(self) -> str:
        """One line for a person."""
        held = {"none": "no offload", "model": "models are offloaded", "group": "layers are offloaded"}[self.offload]
        tiled = ", the VAE decodes in tiles" if self.vae_tiling else ""
        free = f"free {_gib(self.free)} on {self.device}" if self.free else f"on {self.device}"
        short = "" if self.fits else "; THIS MAY NOT FIT: take a smaller size, or a base in a smaller dtype"
        return (
            f"weights {_gib(self.weights)} {self.dtype} + {_gib(self.merged)} merged + {_gib(self.activations)} for "
            f"{self.size.width}x{self.size.height}, batch {self.batch}; {free}: {held}{tiled}{short}"
        )


def place(base: BaseIndex, room: Room, merged: int | None = None) -> Placement:
    """Choose how a base is held.

    Args:
        base: the base.
        room: what decides beside it.
        merged: values that a plan changes; None where no plan is known: all matrices of the denoiser.

    Returns:
        The first way that fits, or the one that takes least if none does.
    """
    footprint, dtype = Footprint(base, room.passes), picked_dtype(room)
    copies = footprint.matrices if merged is None else merged
    ways: list[Placement] = []
    for offload in _offloads(room):
        for tiled in (False, True) if room.wanted.vae_tiling is None else (room.wanted.vae_tiling,):
            one = _way(footprint, dtype, offload, tiled, copies, room)
            ways.append(one)
            if not one.free or one.peak + RESERVE <= one.free:
                return _with_batch(one, footprint, room)
    return _with_batch(min(ways, key=lambda one: one.peak), footprint, room)


def picked_dtype(room: Room) -> Dtype:
    """The dtype of the weights: what is wanted, else float32 on a CPU and for a base whose profile says so, else
    bfloat16 where the device has it, else what the base's family was released in.
    """
    if room.wanted.dtype is not None:
        return room.wanted.dtype
    if room.memory.device == "cpu" or room.released == "float32":
        return "float32"
    return "bfloat16" if room.memory.bfloat16 else room.released


def _offloads(room: Room) -> tuple[Offload, ...]:
    if room.memory.device in _ONE_MEMORY:
        return ("none",)  # there is nowhere to go
    return ("none", "model", "group") if room.wanted.offload is None else (room.wanted.offload,)


def _way(footprint: Footprint, dtype: Dtype, offload: Offload, tiled: bool, copies: int, room: Room) -> Placement:
    item, sizes = footprint.item(dtype), footprint.values.values()
    whole = sum(sizes) if offload == "none" else max(sizes, default=0)
    return Placement(
        device=room.memory.device,
        dtype=dtype,
        offload=offload,
        vae_tiling=tiled,
        batch=1,
        size=room.size,
        weights=math.ceil(whole * item * (LAYERS if offload == "group" else 1.0)),
        merged=copies * item if offload == "none" else 0,  # else merged beside the base, in the machine's memory
        activations=footprint.activations(room.size, dtype, 1, tiled=tiled),
        free=room.memory.free,
    )


def _with_batch(one: Placement, footprint: Footprint, room: Room) -> Placement:
    """The same with the batch that is wanted, else with as many images as fit."""

    def needed(images: int) -> int:
        return footprint.activations(one.size, one.dtype, images, tiled=one.vae_tiling)

    left = one.free - RESERVE - one.weights - one.merged
    batch = room.wanted.batch or MOST_IMAGES
    while room.wanted.batch is None and one.free and batch > 1 and needed(batch) > left:
        batch -= 1
    return one.model_copy(update={"batch": batch, "activations": needed(batch)})


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
