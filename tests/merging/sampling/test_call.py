"""Each family's pipeline is called with what it takes, and nothing that it would drop or change without a word."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffgraph_pico import pipelines
from PIL import Image

from diffgraph.errors import PlanError
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import MergePlan, PlanBase, Sampler
from diffgraph.merging.plan.samplers import OwnScheduler, possible
from diffgraph.merging.sampling.call import call_arguments, side_multiple, takes_negative
from diffgraph.merging.sampling.encoding import text_arguments
from diffgraph.merging.sampling.pipeline import render

WITHOUT_NEGATIVE = {"flux1", "flux2", "flux2_klein"}
SMALL = [name for name in pipelines.MAKERS if name != "hidream"]
"""HiDream draws images of one area only, that of 1024 x 1024."""


@pytest.fixture(scope="module")
def engines(pico) -> Any:
    """Family -> an engine over its pico pipeline, loaded once."""
    loaded: dict[str, Engine] = {}

    def engine(name: str) -> Engine:
        if name not in loaded:
            loaded[name] = Engine(pico(name).base, device="cpu")
        return loaded[name]

    return engine


def no_experts(_ref: str) -> Path:
    raise AssertionError("these plans have no experts")


def drawn(engine: Engine, *, negative: str = "", **sampler: Any) -> Image.Image:
    said = {"steps": 2, "guidance": 3.0, "width": 64, "height": 64} | sampler
    base = PlanBase(ref="folder:pico", family="any", sha256=engine.base.sha256)
    plan = MergePlan(base=base, prompt="a red fox", negative_prompt=negative, sampler=Sampler(**said), seeds=(3,))
    return render(engine, plan, no_experts)[0]


@pytest.mark.parametrize("name", SMALL)
def test_every_family_draws_at_the_size_that_is_asked_for(engines, name: str) -> None:
    image = drawn(engines(name), width=96)
    assert image.size == (96, 64)
    assert drawn(engines(name), width=96).tobytes() == image.tobytes()
    assert drawn(engines(name), width=96, guidance=1.0).size == (96, 64)


@pytest.mark.parametrize("name", pipelines.MAKERS)
def test_nothing_is_handed_over_that_the_call_does_not_take(engines, name: str) -> None:
    pipe = engines(name).pipe
    takes = inspect.signature(type(pipe).__call__).parameters
    side = 1024 if name == "hidream" else 64
    for guidance in (0.0, 1.0, 4.5):
        given = call_arguments(pipe, Sampler(guidance=guidance, width=side, height=side), _text())
        assert given.keys() <= takes.keys()
        assert ("negative_prompt" in given) <= (name not in WITHOUT_NEGATIVE)
        assert given.get("guidance_scale", given.get("true_cfg_scale")) == guidance


@pytest.mark.parametrize("name", SMALL)
def test_a_negative_prompt_acts_or_is_refused(engines, name: str) -> None:
    engine = engines(name)
    assert takes_negative(engine.pipe) == (name not in WITHOUT_NEGATIVE)
    if name in WITHOUT_NEGATIVE:
        with pytest.raises(PlanError, match="takes no negative prompt"):
            drawn(engine, negative="blurry")
        return
    assert drawn(engine, negative="a whale in the fog").tobytes() != drawn(engine).tobytes()
    with pytest.raises(PlanError, match="take one over 1"):
        drawn(engine, negative="blurry", guidance=1.0)


def test_the_undistilled_klein_takes_a_negative_prompt_by_its_encoding(engines) -> None:
    engine = engines("flux2_klein")
    engine.pipe.register_to_config(is_distilled=False)
    try:
        assert drawn(engine, negative="a whale in the fog").tobytes() != drawn(engine).tobytes()
    finally:
        engine.pipe.register_to_config(is_distilled=True)


def test_an_empty_negative_prompt_is_what_the_base_was_trained_with(engines) -> None:
    """Zeros on Stable Diffusion XL, as plain diffusers has it where none is given; its encoding elsewhere."""
    pipe, noise = engines("sdxl").pipe, torch.Generator("cpu").manual_seed(3)
    said = {"num_inference_steps": 2, "guidance_scale": 3.0, "width": 64, "height": 64, "output_type": "np"}
    plain = pipe("a red fox", generator=noise, **said).images[0]
    ours = drawn(engines("sdxl"))
    assert np.abs(np.asarray(ours) / 255.0 - plain).max() < 0.51 / 255
    encoded = text_arguments(pipe, [("a (red:1.2) fox", "")])
    assert not encoded["negative_prompt_embeds"].any()
    assert not encoded["negative_pooled_prompt_embeds"].any()
    assert "negative_prompt" in call_arguments(engines("sd15").pipe, Sampler(), {"negative_prompt": [""]})


def test_only_flux1_schnell_reads_fewer_tokens(engines) -> None:
    for name in ("flux1", "flux2", "flux2_klein"):
        assert "max_sequence_length" not in call_arguments(engines(name).pipe, Sampler(), {})


@pytest.mark.parametrize("name", SMALL)
def test_a_size_that_would_be_changed_is_a_sentence(engines, name: str) -> None:
    engine = engines(name)
    multiple = side_multiple(engine.pipe)
    assert multiple == {"sd15": 8, "sd21": 8, "sdxl": 8, "sana": 32}.get(name, 16)
    with pytest.raises(PlanError, match=f"multiples of {multiple}.*nearest:? 64x64"):
        drawn(engine, width=66, height=66)


def test_hidream_names_the_size_that_it_would_make(engines) -> None:
    pipe = engines("hidream").pipe
    with pytest.raises(PlanError, match="512x512 would become 1024x1024"):
        call_arguments(pipe, Sampler(width=512, height=512), _text())
    assert call_arguments(pipe, Sampler(width=1024, height=1024), _text())["width"] == 1024


@pytest.mark.parametrize("name", ["sd15", "sd3", "flux1", "qwen", "z_image", "sana", "auraflow", "lumina2", "flux2"])
def test_every_possible_sampler_draws(engines, name: str) -> None:
    engine = engines(name)
    own = engine.pipe.scheduler
    images = {}
    for sampler in possible(OwnScheduler.of(type(own).__name__, own.config)):
        images[sampler] = drawn(engine, name=sampler, steps=3).tobytes()
    assert len(set(images.values())) > len(images) // 2
    assert drawn(engine, name="lcm", steps=3).tobytes() == images["lcm"]
    with pytest.raises(PlanError, match=r"possible|there is no sampler"):
        drawn(engine, name="ddim" if name != "sd15" else "er_sde")


def _text() -> dict[str, list[str]]:
    return {"prompt": ["a red fox"], "negative_prompt": [""]}
