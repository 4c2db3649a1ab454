"""What the JSON files of a diffusers folder say of a pipeline: its classes, its scheduler, its denoiser's shape.

The classes decide what diffusers opens a folder with, so they tell its architecture plainly, whatever its widths are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .index import DENOISERS

_MAX_BYTES = 2**20
"""The longest of such files has some kilobytes."""
_TRANSFORMERS: Mapping[str, str] = MappingProxyType(
    {
        "AuraFlowTransformer2DModel": "auraflow",
        "ChromaTransformer2DModel": "chroma",
        "Flux2Transformer2DModel": "flux2",
        "FluxTransformer2DModel": "flux1",
        "HiDreamImageTransformer2DModel": "hidream",
        "Lumina2Transformer2DModel": "lumina2",
        "QwenImageTransformer2DModel": "qwen_image",
        "SD3Transformer2DModel": "sd3",
        "SanaTransformer2DModel": "sana",
        "ZImageTransformer2DModel": "z_image",
    }
)
"""The class of a transformer -> the architecture that it is."""
_BY_TEXT_WIDTH = MappingProxyType({768: "sd15", 1024: "sd21"})
"""The width of the text that the UNets of Stable Diffusion 1 and 2 read."""


@dataclass(frozen=True)
class PipelineConfig:
    """The parts of a folder's JSON files that say how it draws. Empty where a file is missing or damaged.

    Attributes:
        listing: ``model_index.json``.
        denoiser: the denoiser's ``config.json``.
        scheduler: ``scheduler_config.json``.
    """

    listing: Mapping[str, Any] = field(default_factory=dict)
    denoiser: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> PipelineConfig:
        """Read them, as far as they are there."""
        return cls(
            read_json(folder / "model_index.json"),
            next(filter(None, (read_json(folder / part / "config.json") for part in DENOISERS)), {}),
            read_json(folder / "scheduler" / "scheduler_config.json"),
        )

    @property
    def architecture(self) -> str:
        """What the classes say the pipeline is; "" if they do not tell."""
        name = str(self.denoiser.get("_class_name", ""))
        if known := _TRANSFORMERS.get(name):
            return known
        return self._of_unet() if name == "UNet2DConditionModel" else ""

    def _of_unet(self) -> str:
        """Kolors and SDXL by what is added to the times; Stable Diffusion 1 and 2 by the width of the text."""
        width, pipeline = self.denoiser.get("cross_attention_dim"), str(self.listing.get("_class_name", ""))
        if pipeline.startswith("Kolors"):
            return "kolors"
        if self.denoiser.get("addition_embed_type") == "text_time":
            return "kolors" if self.denoiser.get("encoder_hid_dim_type") == "text_proj" else "sdxl"
        return _BY_TEXT_WIDTH.get(width, "") if isinstance(width, int) else ""


def read_json(path: Path) -> dict[str, Any]:
    """What a file of some kilobytes holds, if it is a JSON object; else an empty one."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
