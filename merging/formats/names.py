"""Where in a base the module that a file names lies, in any known key layout. No torch until weights are asked for.

Known are: diffusers and PEFT (dotted names, with or without the component in front), kohya and A1111 (flat names:
``lora_unet_…``, ``lora_te1_…``), LyCORIS and OneTrainer (``lycoris_…``, ``lora_transformer_…``), ComfyUI and ai-toolkit
(``diffusion_model.…``), XLabs; and, under any of these prefixes, the names of a model's original code (`layouts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...bases.index import COMPONENTS, BaseIndex, target_name
from .algorithm import Update
from .layouts import fused_names, original_names

if TYPE_CHECKING:
    from torch import Tensor

_FLAT = MappingProxyType(
    dict.fromkeys(("lora_unet_", "oft_unet_", "lora_transformer_", "lycoris_"), "denoiser")
    | dict.fromkeys(("lora_te_", "lora_te1_", "oft_te_", "oft_te1_"), "text_encoder")
    | dict.fromkeys(("lora_te2_", "oft_te2_"), "text_encoder_2")
    | dict.fromkeys(("lora_te3_", "oft_te3_"), "t5")
)
_DOTTED = MappingProxyType(
    {"model.diffusion_model.": "denoiser", "diffusion_model.": "denoiser"}
    | {"text_encoders.clip_l.transformer.": "text_encoder", "text_encoders.clip_g.transformer.": "text_encoder_2"}
    | {"text_encoders.t5xxl.transformer.": "t5"}
    | {"clip_l.": "text_encoder", "clip_g.": "text_encoder_2", "t5.": "t5"}
    | dict.fromkeys(("lora_unet.", "lora_transformer."), "denoiser")
    | {"lora_te.": "text_encoder", "lora_te1.": "text_encoder", "lora_te2.": "text_encoder_2", "lora_te3.": "t5"}
)

_CUT = 4
"""So many letters lack where ``diffusion_model.`` was cut off names that began with ``transformer.``, which is shorter:
``transformer.transformer_blocks.0`` became ``sformer_blocks.0`` (https://github.com/huggingface/diffusers/issues/13484).
"""


@dataclass(frozen=True)
class BaseModules:
    """The modules of the base that one module of a file stands for.

    Attributes:
        modules: ``component.module`` names. Several where the file fuses projections that the base keeps apart: then
            the rows of the file's module are theirs, one after the other.
        swap: the file has the two halves of the rows the other way round (shift before scale).
        original: found by a name of the model's original code, not by diffusers'.
    """

    modules: tuple[str, ...]
    swap: bool = False
    original: bool = False

    def shape(self, base: BaseIndex) -> tuple[int, ...] | None:
        """Shape of the weight, fused ones stacked; None if the base lacks one."""
        shapes = [base.shape(f"{module}.weight") for module in self.modules]
        known = [shape for shape in shapes if shape]
        return (sum(s[0] for s in known), *known[0][1:]) if len(known) == len(shapes) else None

    def rows(self, base: BaseIndex, total: int) -> list[tuple[str, int]]:
        """How ``total`` rows are shared out. What is too many or too few shows at the last module."""
        out, left = [], total
        for module in self.modules[:-1]:
            shape = base.shape(f"{module}.weight")
            assert shape is not None  # `ModuleNames.find` gives fused places only where all parts exist
            out.append((module, shape[0]))
            left -= shape[0]
        return [*out, (self.modules[-1], left)]

    def weight(self, base: BaseIndex) -> Tensor:
        """The base's weight as the file would have it: float32, (rows, columns)."""
        import torch

        parts = [base.tensor(f"{module}.weight") for module in self.modules]
        whole = torch.cat([part.reshape(part.shape[0], -1) for part in parts])
        return _swapped(whole) if self.swap else whole

    def split(self, base: BaseIndex, update: Update) -> Iterator[tuple[str, Update]]:
        """An update of the file's module, as updates of the base's modules: rows are split, down factors shared."""
        up, full = (_swapped(part) if self.swap and part is not None else part for part in (update.up, update.full))
        at = 0
        for module, rows in self.rows(base, update.size()[0]):
            part = slice(at, at + rows)
            if len(self.modules) == 1:
                yield module, Update(up, update.down, full)
            else:
                yield (
                    module,
                    Update(
                        None if up is None else up[part].contiguous(),
                        update.down,
                        None if full is None else full[part].contiguous(),
                    ),
                )
            at += rows


def _swapped(rows: Tensor) -> Tensor:
    import torch

    return torch.cat(rows.chunk(2)[::-1])


class ModuleNames:
    """The names that lead to one base's modules."""

    def __init__(self, base: BaseIndex) -> None:
        self._base = base
        self._modules = frozenset(base.by_underscore.values())
        prefix = f"{base.denoiser}."
        own = [module.removeprefix(prefix) for module in self._modules if module.startswith(prefix)]
        original = original_names(own)
        shapes = {module: base.shape(f"{prefix}{module}.weight") or () for module in own}
        self._original = {name: self._place(*rule, shapes) for name, rule in original.items()}
        for name, parts in fused_names(own).items():
            if len({shapes[part][1:] for part in parts}) == 1:
                self._original.setdefault(name, self._place(parts, False, shapes))
        self._flat = {name.replace(".", "_"): place for name, place in self._original.items()}
        self._cut = {module[_CUT:]: module for module in own if len(module) > 2 * _CUT}

    def _place(self, modules: tuple[str, ...], swap: bool, shapes: dict[str, tuple[int, ...]]) -> BaseModules:
        # Modulations have 2 rows a channel (shift, scale) at a model's end and 6 elsewhere; only those 2 are swapped.
        shape = shapes[modules[0]]
        swap = swap and len(shape) == 2 and shape[0] == 2 * shape[1]
        return BaseModules(tuple(f"{self._base.denoiser}.{module}" for module in modules), swap, original=True)

    def find(self, written: str) -> BaseModules | None:
        """The place of a module as a file writes it; None for a flat name that leads nowhere.

        A dotted name that leads nowhere is a place that the base lacks (coverage tells of it).
        """
        for prefix, where in _FLAT.items():
            if written.startswith(prefix):
                return self._flat_name(self._component(where), written.removeprefix(prefix))
        name = written.removeprefix("base_model.model.")
        for prefix, where in _DOTTED.items():
            if name.startswith(prefix):
                return self._dotted(self._component(where), name.removeprefix(prefix))
        component, _, rest = name.partition(".")
        return self._dotted(component, rest) if component in COMPONENTS and rest else self._dotted(None, name)

    def _component(self, where: str) -> str:
        if where == "denoiser":
            return self._base.denoiser
        if where == "t5":  # the third encoder of SD3, the second of FLUX.1
            return "text_encoder_3" if "text_encoder_3" in self._base.files else "text_encoder_2"
        return where

    def _flat_name(self, component: str, flat: str) -> BaseModules | None:
        if component.startswith("text_encoder"):
            flat = flat.removeprefix("text_model_")
        for name in dict.fromkeys((flat, flat.removesuffix("_"))):  # some converters leave a "_" at the end
            if (module := self._base.by_underscore.get(f"{component}_{name}")) is not None:
                return BaseModules((module,))
            if component == self._base.denoiser and name in self._flat:
                return self._flat[name]
        return None

    def _dotted(self, component: str | None, name: str) -> BaseModules:
        target = target_name(component or self._base.denoiser, name)
        if target not in self._modules and component in (None, self._base.denoiser):
            if name in self._original:
                return self._original[name]
            target = target_name(self._base.denoiser, self._cut.get(name, name))
        return BaseModules((target,))
