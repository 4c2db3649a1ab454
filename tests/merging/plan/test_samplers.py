"""The table of samplers: every name is understood, and says which bases it is for."""

from __future__ import annotations

import inspect

import diffusers
import pytest

from diffgraph.errors import PlanError
from diffgraph.merging.plan.samplers import (
    BY_LEVELS,
    BY_TIMES,
    FROM_PURE_NOISE,
    KINDS,
    SPACINGS,
    OwnScheduler,
    canonical,
    possible,
    problem,
    split,
    written,
)

NOISE = OwnScheduler("PNDMScheduler", "noise")
FLOW = OwnScheduler("FlowMatchEulerDiscreteScheduler", "flow")
OTHER = OwnScheduler("SCMScheduler", "other")


@pytest.mark.parametrize("name", KINDS)
def test_every_class_is_there_and_takes_what_the_table_sets(name: str) -> None:
    kind = KINDS[name]
    for cls in filter(None, (kind.noise, kind.flow)):
        parameters = inspect.signature(getattr(diffusers, cls).__init__).parameters
        assert parameters.keys() >= kind.options.keys()
    parameters = inspect.signature(getattr(diffusers, kind.noise).__init__).parameters
    assert (name in BY_TIMES) == ("use_karras_sigmas" not in parameters)
    assert (name in FROM_PURE_NOISE) == ("rescale_betas_zero_snr" in parameters)
    assert (name in BY_LEVELS) == ("timestep_spacing" not in parameters)


@pytest.mark.parametrize("spacing", ["", *SPACINGS])
@pytest.mark.parametrize("name", KINDS)
def test_names_are_read_back_from_every_spelling(name: str, spacing: str) -> None:
    ours = f"{name}_{spacing}" if spacing else name
    assert split(ours) == (name, spacing)
    assert canonical(written(ours)) == canonical(ours) == ours


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m_karras"), ("Euler a", "euler_a"), ("dpmpp_2m_sde", "dpmpp_2m_sde"),
        ("DPM++ 3M SDE Exponential", "dpmpp_3m_sde_exponential"), ("lcm", "lcm"), ("euler simple", "euler_simple"),
        ("DDIM", "ddim"), ("Euler SGM Uniform", "euler_sgm_uniform"), ("euler trailing", "euler_sgm_uniform"),
        ("euler ddim_uniform", "euler_ddim_uniform"), ("uni_pc_bh2", "unipc"), ("k_dpm_2_a", "dpm2_a"), ("", "default"),
    ],
)  # fmt: skip
def test_words_that_people_type(word: str, name: str) -> None:
    assert canonical(word) == name


def test_a_word_that_nobody_knows_names_the_closest() -> None:
    with pytest.raises(PlanError, match="did you mean euler"):
        canonical("eulr")
    with pytest.raises(PlanError, match="spacing 'kl optimal'"):
        canonical("DPM++ 2M KL Optimal")
    with pytest.raises(PlanError, match="dpmpp_2m_karras"):
        canonical("automatic karras")


def test_an_impossible_one_names_those_that_are_possible() -> None:
    assert "follows a flow" in (why := problem("DDIM", FLOW))
    assert all(name in why for name in possible(FLOW))
    assert "euler, heun" in problem("euler_a karras", NOISE)
    assert "possible: karras, exponential" in problem("euler_ddim_uniform", FLOW)
    assert "possible are default" in problem("euler", OTHER)
    assert "pure noise" in problem("heun", OwnScheduler("EulerDiscreteScheduler", "noise", True))
    assert not problem("euler_karras", FLOW)
    assert not problem("default", OTHER)


@pytest.mark.parametrize(
    ("name", "config", "way"),
    [
        ("PNDMScheduler", {"beta_schedule": "scaled_linear"}, "noise"),
        ("DPMSolverMultistepScheduler", {"beta_schedule": "linear", "use_flow_sigmas": True}, "flow"),
        ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}, "flow"),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, "flow"),
        ("EDMDPMSolverMultistepScheduler", {"sigma_data": 0.5}, "other"),
        ("SCMScheduler", {}, "other"),
    ],
)
def test_how_a_base_is_sampled_is_told_by_its_own_scheduler(name: str, config: dict[str, object], way: str) -> None:
    assert OwnScheduler.of(name, config).way == way
