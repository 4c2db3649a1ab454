"""What a base takes of a device's memory, from headers: its weights, and the activations of an image. No torch.

With ``item`` the bytes of one value:

- *weights*: all parameters of all components.
- *denoiser*, an image: ``passes * item * (skips + WORKING * widest)``. ``widest`` is the most that one layer reads and
  writes: tokens * (inputs + outputs), where a UNet's tokens are the latents' pixels at the layer's level, a
  transformer's the patches and the words. ``skips`` is what a UNet's way down keeps for its way up. ``passes`` is 2
  under classifier-free guidance, whose two halves are one call.
- *VAE*, an image: ``item * WORKING * widest`` of its decoder; in float32 where its configuration asks for that; of one
  tile where it decodes in tiles. A batch is decoded at once.

Denoiser and VAE work one after the other, so the larger of the two counts, and `LIBRARIES` once. ``python -m
diffgraph.evals.bench.memory_bench`` holds both against the peak of a run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType

from ...bases.index import BaseIndex
from ...bases.profile import Dtype, Size

ITEM_BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "bfloat16": 2, "float16": 2})
WORKING = 2.5
"""What a layer reads and writes, and beside that its normed input, its residual and a kernel's workspace."""
WORDS = 512
"""Tokens of words that a transformer reads beside the image's."""
TILE = 512
"""Side in pixels of what a VAE decodes at once in tiles."""
SCALE = 8
"""Pixels to a side of a latent, where the VAE's layers do not tell."""
PATCH = 2
"""Latents to a side of a transformer's patch."""
LIBRARIES = 64 * 2**20
"""What libraries take for themselves once they draw."""
_BLOCK = re.compile(r"\b(down_blocks|up_blocks)\.(\d+)\.")
_UNSEEN = frozenset({"safety_checker"})


class Footprint:
    """What a base takes, from its headers.

    Args:
        base: the base.
        passes: of the denoiser in one call: 2 under classifier-free guidance, else 1.
    """

    def __init__(self, base: BaseIndex, passes: int = 2) -> None:
        self.base, self.passes = base, passes

    @staticmethod
    def item(dtype: Dtype) -> int:
        """Bytes of a value."""
        return ITEM_BYTES[dtype]

    @cached_property
    def values(self) -> dict[str, int]:
        """Component -> parameters. A component that nothing merges into counts by its files, taken for 16 bit."""
        found = dict.fromkeys(self.base.files, 0)
        for target, (_, _, info) in self.base.params.items():
            found[target.partition(".")[0]] += info.numel
        for file in sorted(self.base.path.glob("*/*.safetensors")) if self.base.path.is_dir() else ():
            name = file.parent.name
            if name not in self.base.files and name not in _UNSEEN:
                found[name] = found.get(name, 0) + file.stat().st_size // 2
        return found

    @cached_property
    def matrices(self) -> int:
        """Values of the denoiser's matrices: what nearly every expert changes."""
        return sum(shape[0] * shape[1] for _, shape in self._shapes(self.base.denoiser) if len(shape) == 2)

    def activations(self, size: Size, dtype: Dtype, images: int = 1, *, tiled: bool = False) -> int:
        """Bytes at the peak of drawing so many images at once.

        Args:
            size: of an image.
            dtype: of the weights.
            images: in the batch.
            tiled: whether the VAE decodes in tiles.
        """
        return LIBRARIES + images * max(self._denoising(size, dtype), self._decoding(size, dtype, tiled))

    def _denoising(self, size: Size, dtype: Dtype) -> int:
        widest, skips = self._unet(size) if self.base.denoiser in ("unet", "prior") else (self._transformer(size), 0)
        return int(self.passes * self.item(dtype) * (skips + WORKING * widest))

    def _decoding(self, size: Size, dtype: Dtype, tiled: bool) -> int:
        width, height = (min(TILE, side) if tiled else side for side in (size.width, size.height))
        pixels = width * height
        levels = self._vae_levels
        widest = 0.0
        for name, shape in self._shapes("vae"):
            if name.startswith("decoder.") and len(shape) >= 2:
                up = _level(name, "up_blocks")
                if up is None:
                    up = 0 if "conv_in" in name or "mid_block" in name else levels - 1
                doubled = min(levels - 1, up + ("upsamplers" in name))
                widest = max(widest, (shape[0] + shape[1]) * pixels / 4 ** (levels - 1 - doubled))
        item = 4 if self._vae_upcast else self.item(dtype)
        return int(item * WORKING * widest)

    def _unet(self, size: Size) -> tuple[float, float]:
        """(the most values that a layer reads and writes, those that wait for the way up)."""
        latents = size.width * size.height / self._scale**2
        down = {_level(name, "down_blocks") for name, _ in self._shapes(self.base.denoiser)} - {None}
        deepest = max(len(down) - 1, 0)
        widest = skips = 0.0
        for name, shape in self._shapes(self.base.denoiser):
            if len(shape) < 2 or "time_emb" in name or "add_embedding" in name or "attn2.to_k" in name:
                continue
            depth = _level(name, "down_blocks")
            up = _level(name, "up_blocks")
            level = depth if depth is not None else deepest - up if up is not None else _edge(name, deepest)
            tokens = latents / 4**level
            widest = max(widest, tokens * (shape[0] + shape[1]))
            if depth is not None and (name.endswith(".conv2.weight") or "downsamplers" in name):
                skips += tokens / (4 if "downsamplers" in name else 1) * shape[0]
        return widest, skips

    def _transformer(self, size: Size) -> float:
        tokens = size.width * size.height / (self._scale * PATCH) ** 2 + WORDS
        blocks = (s for name, s in self._shapes(self.base.denoiser) if len(s) == 2 and re.search(r"\.\d+\.", name))
        return max((tokens * (shape[0] + shape[1]) for shape in blocks), default=0.0)

    def _shapes(self, component: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(name within the component, shape) of its weights."""
        for target, (_, _, info) in self.base.params.items():
            name, _, rest = target.partition(".")
            if name == component:
                yield rest, info.shape

    @cached_property
    def _vae_levels(self) -> int:
        found = {_level(name, "up_blocks") for name, _ in self._shapes("vae") if name.startswith("decoder.")} - {None}
        return len(found)

    @property
    def _scale(self) -> int:
        return 2 ** (self._vae_levels - 1) if self._vae_levels else SCALE

    @cached_property
    def _vae_upcast(self) -> bool:
        """Whether its configuration says that it needs float32."""
        try:
            said = json.loads((self.base.path / "vae" / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(said, dict) and said.get("force_upcast") is True


def _level(name: str, blocks: str) -> int | None:
    found = _BLOCK.search(name)
    return int(found[2]) if found is not None and found[1] == blocks else None


def _edge(name: str, deepest: int) -> int:
    """The level of a layer that is in no block: the middle's is the deepest, the first and last layers' is 0."""
    return deepest if name.startswith("mid_block") else 0
