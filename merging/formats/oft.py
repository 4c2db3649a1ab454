"""OFT: blocks of the weight are turned, ``W' = R W``; the canonical delta ``(R - I) W`` is a function of the base.

Three spellings of the block-diagonal R, each with its own side (https://arxiv.org/abs/2306.07280):

- ``oft_blocks`` (k, b, b), kohya and LyCORIS: Q = X - Xᵀ, scaled down to the norm alpha·outputs if it is longer
  (alpha 0 or absent: free, as LyCORIS has it; kohya's own files are ``oft_unet_…`` and there 0 means no turn at all);
  R = (I + Q)(I - Q)⁻¹ acts on the outputs as Rᵀ W. ``rescale`` multiplies the rows afterwards. kohya's FLUX files have
  ``oft_blocks.0``, ``.1``, … for the parts of a fused projection.
- ``oft_diag`` (k, b, b), LyCORIS of 2023: R itself, already orthogonal; on the outputs as Rᵀ W.
- ``oft_R`` (k, b (b-1)/2), PEFT: the upper triangle of a skew Q; R by its Cayley-Neumann series or exactly, as the
  configuration in the metadata says; on the inputs, W Rᵀ.
"""

from __future__ import annotations

import math
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from .algorithm import Algorithm, Inputs, Module, Sizes, Update, register

if TYPE_CHECKING:
    from torch import Tensor

    from .adapter_config import AdapterConfig

_LISTED = re.compile(r"^(?P<module>.+)\.oft_blocks\.(?P<index>[0-3])$")
_BLOCKS = ("oft_blocks", *(f"oft_blocks_{i}" for i in range(4)))
_FOREIGN = ("oft_r", "oft_s")
_ORTHOGONAL = 0.02
"""How far RᵀR of a stored rotation may be from I: half precision and some rounding, no more."""


@register
class OFT(Algorithm):
    name = "oft"
    kind = "oft"
    reference_url = "https://arxiv.org/abs/2306.07280"
    precedence = 30
    peft_type = "OFT"
    relative = True
    more_roles = _BLOCKS[1:]
    parts = MappingProxyType({name: name for name in ("oft_blocks", "oft_diag", "oft_R", "rescale", *_FOREIGN)})

    def alias(self, key: str) -> tuple[str, str] | None:
        found = _LISTED.match(key)
        return None if found is None else (found["module"], f"oft_blocks_{found['index']}")

    def rank(self, module: Module) -> int | None:
        return None

    def sizes(self, module: Module, weight: tuple[int, ...] | None) -> Sizes:
        if old := [role for role in _FOREIGN if role in module.roles]:
            raise module.error(
                f"is OFT by PEFT before 0.15 ({old[0]}), whose formula has changed since: not understood"
            )
        spelled = sorted(role for role in module.roles if role in (*_BLOCKS, "oft_diag", "oft_R"))
        if not spelled or (len(spelled) > 1 and spelled != list(_BLOCKS[1 : len(spelled) + 1])):
            raise module.error(f"spells the rotation of {module.name} in no way that is understood")
        if weight is None:
            return Sizes(0, 0, None)
        rows, columns = weight[0], math.prod(weight[1:])
        if spelled == ["oft_R"]:
            _triangle(module, columns)
        elif (found := sum(_blocks(module, role) for role in spelled)) != rows:
            raise module.error(f"turns {found} outputs; the base's {module.name} has {rows}")
        if "rescale" in module.roles and module.shape("rescale") != (rows, *(1 for _ in weight[1:])):
            raise module.error(f"has a rescale of shape {module.shape('rescale')} for a weight of shape {weight}")
        return Sizes(rows, columns, None)

    def check(self, module: Module, columns: int, config: AdapterConfig | None) -> None:
        if "oft_R" not in module.roles:
            return
        if config is None:
            what = (
                "is OFT by PEFT without its configuration; save it with diffusers' save_lora_weights and its metadata"
            )
            raise module.error(what)
        shared = module.shape("oft_R")[0] * _triangle(module, columns) != columns
        if shared and not config.block_share:
            raise module.error("shares one block among all inputs, but its metadata does not say so")

    def update(self, module: Module, inputs: Inputs) -> Update:
        import torch

        base = inputs.base().to(torch.float64)
        if "oft_R" in inputs.tensors:
            delta = _peft(module, inputs, base)
        else:
            roles = sorted(role for role in inputs.tensors if role in (*_BLOCKS, "oft_diag"))
            turns = [_turn(module, role, inputs) for role in roles]
            parts = base.split([turn.shape[0] * turn.shape[1] for turn in turns])
            delta = torch.cat([_turned(t, p) for t, p in zip(turns, parts, strict=True)])
        if "rescale" in inputs.tensors:
            rescale = inputs.tensors["rescale"].to(torch.float64).reshape(-1, 1)
            delta = rescale * delta + (rescale - 1) * base
        return Update(full=delta.to(torch.float32))


def _blocks(module: Module, role: str) -> int:
    shape = module.shape(role)
    if len(shape) == 4:
        raise module.error("is BOFT (butterfly factors): not understood")
    if len(shape) != 3 or shape[1] != shape[2] or 0 in shape:
        raise module.error(f"has blocks of shape {shape}, which are no OFT")
    return shape[0] * shape[1]


def _triangle(module: Module, columns: int) -> int:
    """Block size, from the length of a triangle's upper half."""
    shape = module.shape("oft_R")
    size = (1 + math.isqrt(1 + 8 * shape[1])) // 2 if len(shape) == 2 else 0
    if size < 2 or size * (size - 1) // 2 != shape[1] or shape[0] == 0:
        raise module.error(f"has an oft_R of shape {shape}, which is no list of triangles")
    if shape[0] * size != columns and not (shape[0] == 1 and columns % size == 0):
        raise module.error(f"turns {shape[0]} x {size} inputs; the base's {module.name} has {columns}")
    return size


def _turn(module: Module, role: str, inputs: Inputs) -> Tensor:
    """R - I by blocks, (k, b, b) float64."""
    import torch

    blocks = inputs.tensors[role].to(torch.float64)
    eye = torch.eye(blocks.shape[1], dtype=torch.float64)
    if role == "oft_diag":
        if float((blocks.mT @ blocks - eye).abs().max()) > _ORTHOGONAL:
            raise module.error("has an oft_diag that is not orthogonal (LyCORIS of October 2023): not understood")
        return blocks - eye
    skew = blocks - blocks.mT
    alpha = float(inputs.tensors["alpha"].reshape(())) if "alpha" in inputs.tensors else 0.0
    kohya = module.name.startswith("oft_")
    if alpha < 0 or (kohya and alpha == 0):
        raise module.error(f"has alpha {alpha:g}, which allows no turn at all")
    limit, norm = alpha * blocks.shape[0] * blocks.shape[1], float(skew.norm())
    if limit and norm > limit:
        skew = skew * (limit / norm)
    # (I + Q)(I - Q)⁻¹ - I = 2 Q (I - Q)⁻¹, which does not lose the digits that I takes up.
    return 2 * torch.linalg.solve(eye - skew, skew, left=False)


def _turned(turn: Tensor, part: Tensor) -> Tensor:
    """(Rᵀ - I) W by blocks of rows."""
    grouped = part.reshape(turn.shape[0], turn.shape[1], -1)
    return (turn.mT @ grouped).reshape(part.shape)


def _peft(module: Module, inputs: Inputs, base: Tensor) -> Tensor:
    """W (Rᵀ - I), on the inputs."""
    import torch

    config = inputs.config
    assert config is not None  # `check` saw to it
    size = _triangle(module, base.shape[1])
    vectors = inputs.tensors["oft_R"].to(torch.float64)
    rows, columns = torch.triu_indices(size, size, 1)
    skew = torch.zeros(vectors.shape[0], size, size, dtype=torch.float64)
    skew[:, rows, columns] = vectors
    skew = skew - skew.mT
    turn = _neumann(skew, config.neumann_terms) if config.neumann_terms else _cayley(skew)
    grouped = base.reshape(base.shape[0], -1, size)
    return torch.einsum("ogi,gji->ogj", grouped, turn.expand(grouped.shape[1], -1, -1)).reshape(base.shape)


def _cayley(skew: Tensor) -> Tensor:
    """PEFT's exact Cayley transform (I - Q)(I + Q)⁻¹, less I. It turns the other way than PEFT's series does."""
    import torch

    eye = torch.eye(skew.shape[1], dtype=skew.dtype)
    return torch.linalg.solve(eye + skew, -2 * skew, left=False)


def _neumann(skew: Tensor, terms: int) -> Tensor:
    """PEFT's series of the Cayley transform, less I: 2 Q + 2 Q² + … with the last power counted once."""
    import torch

    if terms < 2:
        return torch.zeros_like(skew)
    total = 2 * skew
    if terms > 2:
        power = skew @ skew
        total = total + 2 * power
        for _ in range(3, terms - 1):
            power = power @ skew
            total = total + 2 * power
        total = total + power @ skew
    return total
