"""Every pico pipeline is one that diffusers opens and draws with, small and quick, and its LoRAs fit it."""

from __future__ import annotations

import pytest
import torch
from diffgraph_pico import experts, pipelines
from diffusers import DiffusionPipeline

from diffgraph.bases.index import BaseIndex
from diffgraph.merging.formats import read_expert

MOST_BYTES = {"sd15": 15e6, "sd21": 25e6, "sdxl": 60e6}
"""Those that are told by the width of the text they read have it; all others are under 3 MB."""


@pytest.mark.parametrize("name", [name for name in pipelines.MAKERS if name != "hidream"])
def test_it_draws(pico, name):
    own = pico(name)
    assert sum(file.stat().st_size for file in own.base.rglob("*.safetensors")) < MOST_BYTES.get(name, 3e6)
    pipe = DiffusionPipeline.from_pretrained(own.base)
    pipe.set_progress_bar_config(disable=True)

    def draw(prompt: str) -> torch.Tensor:
        noise = torch.Generator().manual_seed(0)
        return pipe(
            prompt=prompt, num_inference_steps=2, height=64, width=64, generator=noise, output_type="pt"
        ).images[0]

    fox, whale = draw("a red fox, pixel art"), draw("a whale in the fog")
    assert fox.shape == (3, 64, 64)
    assert bool(fox.isfinite().all())
    assert float((fox - whale).abs().max()) > 0.01, "the words make no difference"


@pytest.mark.parametrize("name", pipelines.MAKERS)
def test_its_experts_change_it(pico, name):
    own = pico(name)
    base = BaseIndex.open(own.base)
    for repository in experts.EXPERTS:
        (file,) = (own.hub / f"{repository}-{name}").glob("*.safetensors")
        expert = read_expert(file, base)
        assert expert.kind in ("lora", "locon")
        assert not expert.missing
        assert all(bool(delta.dense().any()) for delta in expert.deltas.values())
