"""Samplers by name: each walks the base's own noise levels, to where the exact solution is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from diffgraph.errors import PlanError
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import Sampler
from diffgraph.merging.plan.samplers import BY_TIMES, FROM_PURE_NOISE, OwnScheduler, possible
from diffgraph.merging.sampling.call import RESCALE, call_arguments
from diffgraph.merging.sampling.schedulers import make_scheduler

SHIFTED = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
BY_SIZE = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
FLOWING = possible(OwnScheduler("FlowMatchEulerDiscreteScheduler", "flow"))
SPREAD = 0.5
"""Standard deviation of the data whose flow is solved."""
_STOCHASTIC = {"lcm", "dpmpp_2m_sde", "dpmpp_3m_sde"}


def flow_solved(sampler: Any, steps: int, sigmas: list[float] | None = None, mu: float | None = None) -> torch.Tensor:
    """Where noise of one standard deviation ends, along the flow of data of standard deviation `SPREAD` around 0.

    The velocity is known in closed form, and so is the end: the noise times `SPREAD`.
    """
    given = ({} if sigmas is None else {"sigmas": sigmas}) | ({} if mu is None else {"mu": mu})
    sampler.set_timesteps(steps, device="cpu", **given)
    sampler.set_begin_index(0)
    sample = torch.tensor([[1.0, -2.0, 0.5]])
    for time in sampler.timesteps:
        level = time / 1000
        variance = (1 - level) ** 2 * SPREAD**2 + level**2
        velocity = (level - (1 - level) * SPREAD**2) / variance * sample
        sample = sampler.step(velocity, time, sample, return_dict=False)[0]
    return sample


@pytest.mark.parametrize("spacing", ["", "_karras", "_exponential", "_beta", "_simple"])
@pytest.mark.parametrize("name", [name for name in FLOWING if name not in _STOCHASTIC and name != "default"])
def test_flow_samplers_reach_the_exact_solution(name: str, spacing: str) -> None:
    exact = SPREAD * torch.tensor([[1.0, -2.0, 0.5]])
    for own, mu in ((SHIFTED, None), (BY_SIZE, 0.8)):
        for sigmas in (None, [1 - step / 40 for step in range(40)]):
            found = flow_solved(make_scheduler(own, name + spacing), 40, sigmas, mu)
            assert (found - exact).abs().max() < (0.15 if name == "euler" else 0.04)
    assert torch.isfinite(flow_solved(make_scheduler(SHIFTED, name), 1)).all()


@pytest.mark.parametrize("name", FLOWING)
def test_flow_samplers_take_the_levels_of_the_base(name: str) -> None:
    given = [1.0, 0.75, 0.5, 0.25]
    for own, mu in ((SHIFTED, None), (BY_SIZE, 0.8)):
        euler = make_scheduler(own, "default")
        euler.set_timesteps(4, sigmas=given, mu=mu)
        made = make_scheduler(own, name)
        made.set_timesteps(4, device="cpu", sigmas=given, mu=mu)
        assert torch.allclose(made.timesteps.unique(), euler.timesteps.unique())
        assert made.config.get("max_shift") == own.config["max_shift"]


@pytest.mark.parametrize("name", sorted(_STOCHASTIC))
def test_noise_on_the_way_comes_from_the_generators_of_the_images(name: str) -> None:
    def drawn(seed: int) -> torch.Tensor:
        return flow_solved(make_scheduler(SHIFTED, name, [torch.Generator().manual_seed(seed)]), 4)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_a_base_that_comes_with_a_solver_keeps_its_shift() -> None:
    sana = diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
    )
    made, euler = make_scheduler(sana, "euler"), make_scheduler(SHIFTED, "euler")
    for each in (made, euler):
        each.set_timesteps(6)
    assert torch.equal(made.sigmas, euler.sigmas)


@pytest.mark.parametrize("name", ["dpmpp_2m_karras", "euler_sgm_uniform", "lcm", "tcd", "ddim_sgm_uniform", "dpm2_a"])
def test_samplers_of_bases_that_predict_noise_keep_what_the_base_says(name: str) -> None:
    own = diffusers.PNDMScheduler(
        beta_schedule="scaled_linear", beta_end=0.012, prediction_type="v_prediction", timestep_spacing="leading"
    )
    made = make_scheduler(own, name)
    assert (made.config.beta_end, made.config.prediction_type) == (0.012, "v_prediction")
    assert made.config.timestep_spacing == ("trailing" if "sgm" in name else "leading")
    assert bool(made.config.get("use_karras_sigmas")) == name.endswith("karras")


@pytest.mark.parametrize("name", ["default", *sorted(FROM_PURE_NOISE)])
def test_zero_terminal_snr_is_kept(name: str) -> None:
    own = diffusers.EulerDiscreteScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    for spacing in ("", "_karras") if name not in BY_TIMES | {"default"} else ("",):
        made = make_scheduler(own, name + spacing)
        assert made.config.rescale_betas_zero_snr
        made.set_timesteps(4)
        assert int(made.timesteps[0]) >= 995


def test_an_impossible_sampler_is_a_sentence() -> None:
    with pytest.raises(PlanError, match=r"'ddim' is not for this base, which follows a flow; possible are default, d"):
        make_scheduler(SHIFTED, "ddim")
    with pytest.raises(PlanError, match="pure noise"):
        make_scheduler(diffusers.EulerDiscreteScheduler(rescale_betas_zero_snr=True), "heun")


def _renamed(pico: Any, folder: Path, name: str, called: str, **scheduler: Any) -> Path:
    """A pico pipeline under another name, its scheduler's configuration changed."""
    base = folder / called
    shutil.copytree(pico(name).base, base)
    config = base / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | scheduler), encoding="utf-8")
    return base


def test_a_base_that_predicts_v_is_sampled_so_whatever_scheduler_lies_beside_it(pico, tmp_path: Path) -> None:
    base = _renamed(pico, tmp_path, "sdxl", "NoobAI-XL-vPred-1.0")
    scheduler = Engine(base, device="cpu").pipe.scheduler
    assert type(scheduler).__name__ == "EulerDiscreteScheduler"
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.rescale_betas_zero_snr
    plain = Engine(pico("sdxl").base, device="cpu").pipe.scheduler
    assert plain.config.prediction_type == "epsilon"
    assert not plain.config.rescale_betas_zero_snr


def test_guidance_is_rescaled_where_a_base_begins_at_pure_noise(pico, tmp_path: Path) -> None:
    base = _renamed(pico, tmp_path, "sdxl", "x", prediction_type="v_prediction", rescale_betas_zero_snr=True)
    text = {"prompt": ["a fox"], "negative_prompt": [""]}
    assert call_arguments(Engine(base, device="cpu").pipe, Sampler(), text)["guidance_rescale"] == RESCALE
    assert "guidance_rescale" not in call_arguments(Engine(pico("sdxl").base, device="cpu").pipe, Sampler(), text)


def test_guidance_of_a_base_of_no_known_family_is_left_as_it_was_tuned(world) -> None:
    pipe = Engine(world.base_dir, device="cpu").pipe
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, rescale_betas_zero_snr=True)
    text = {"prompt": ["a fox"], "negative_prompt": [""]}
    assert "guidance_rescale" not in call_arguments(pipe, Sampler(guidance=1.5), text)
