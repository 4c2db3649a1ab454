"""Samplers for bases that follow a flow: diffusers' solvers, over the noise levels that the base's own scheduler takes.

Only diffusers' Euler sampler knows every way in which such bases shift their levels (by a constant, by the size of the
image, with a terminal value), and pipelines hand it levels of their own. So each other sampler asks the base's Euler
sampler for the levels, and walks along these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

_NEARLY_NOISE = 1.0 - 1e-6
"""Stands for a level of 1, whose signal has the logarithm of zero."""
_NEARLY_IMAGE = 1e-4
"""Stands for a level of 0 in a solver that takes the logarithm of the last one."""
_FOR_PIPELINES = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
"""What pipelines read off a scheduler's configuration to shift levels by the size of the image."""


class _Levels:
    """Mixed into a scheduler: levels by the base's own Euler sampler, noise by the generators of the images.

    Attributes:
        own: the base's Euler sampler.
        generators: of the images of a batch; pipelines of such bases do not hand theirs to a scheduler.
        last: the level that is the image.
        noisy: whether a step may draw noise.
        even: whether it needs even levels where a pipeline hands in none: the Euler sampler's own end with a jump next
            to the image, over which a solver of several steps cannot look ahead.
    """

    own: Any
    generators: Any = None
    last = 0.0
    noisy = False
    even = True

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: Any = None, sigmas: Any = None, mu: float | None = None
    ) -> None:
        if sigmas is None and num_inference_steps is not None and self.even:
            sigmas = [1.0 - step / num_inference_steps for step in range(num_inference_steps)]
        self.own.set_timesteps(num_inference_steps, device=device, sigmas=sigmas, mu=mu)
        super().set_timesteps(len(self.own.timesteps), device)  # type: ignore[misc]
        times, levels = self._walk(self.own.timesteps, self.own.sigmas.to("cpu", torch.float32))
        self.timesteps = times.to(device=device, dtype=torch.float32)
        self.sigmas = levels
        self.num_inference_steps = len(self.own.timesteps)

    def _walk(self, times: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        return times, levels.clamp(self.last, _NEARLY_NOISE)

    def _sigma_to_alpha_sigma_t(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - sigma, sigma

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, generator: Any = None, return_dict: bool = True
    ) -> Any:
        noise = {"generator": self.generators if generator is None else generator} if self.noisy else {}
        return super().step(model_output, timestep, sample, **noise, return_dict=return_dict)  # type: ignore[misc]


class FlowDPMSolverMultistep(_Levels, DPMSolverMultistepScheduler):
    """DPM-Solver++ (Lu et al., arXiv 2211.01095), in several steps."""

    noisy = True


class FlowDPMSolverSinglestep(_Levels, DPMSolverSinglestepScheduler):
    """DPM-Solver++ (Lu et al., arXiv 2211.01095), step by step."""

    noisy = True


class FlowUniPC(_Levels, UniPCMultistepScheduler):
    """UniPC (Zhao et al., arXiv 2302.04867)."""


class FlowDEIS(_Levels, DEISMultistepScheduler):
    """DEIS (Zhang and Chen, arXiv 2204.13902)."""

    last = _NEARLY_IMAGE


class FlowHeun(_Levels, FlowMatchHeunDiscreteScheduler):
    """Heun's method: every level but the first is visited twice."""

    even = False

    def _walk(self, times: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        inner = levels[1:-1].repeat_interleave(2)
        return torch.cat([times[:1], times[1:].repeat_interleave(2)]), torch.cat([levels[:1], inner, levels[-1:]])


class FlowLCM(_Levels, FlowMatchLCMScheduler):
    """Consistency sampling: each step draws the image anew and adds fresh noise to it."""

    noisy = True

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: Any = None, sigmas: Any = None, mu: float | None = None
    ) -> None:
        FlowMatchLCMScheduler.set_timesteps(self, num_inference_steps, device=device, sigmas=sigmas, mu=mu)


_CLASSES: Mapping[str, type[Any]] = {
    "DEISMultistepScheduler": FlowDEIS,
    "DPMSolverMultistepScheduler": FlowDPMSolverMultistep,
    "DPMSolverSinglestepScheduler": FlowDPMSolverSinglestep,
    "FlowMatchHeunDiscreteScheduler": FlowHeun,
    "FlowMatchLCMScheduler": FlowLCM,
    "UniPCMultistepScheduler": FlowUniPC,
}


def flow_sampler(own: Any, name: str, options: Mapping[str, object], spacing: Mapping[str, object]) -> Any:
    """A fresh sampler for a base that follows a flow.

    Args:
        own: the base's own scheduler, of whatever class.
        name: a diffusers class, one of those in the table of samplers.
        options: what is set in its configuration.
        spacing: what is set in the configuration of the base's Euler sampler.
    """
    euler = _euler(own, spacing)
    if name == "FlowMatchEulerDiscreteScheduler":
        return euler
    if name == "FlowMatchLCMScheduler":
        return FlowLCM.from_config(euler.config, **options)
    if name == "FlowMatchHeunDiscreteScheduler":
        made = FlowHeun(num_train_timesteps=euler.config["num_train_timesteps"])
    else:
        made = _CLASSES[name](
            num_train_timesteps=euler.config["num_train_timesteps"], prediction_type="flow_prediction", **options
        )
    made.own = euler
    made.register_to_config(**{key: euler.config[key] for key in _FOR_PIPELINES})
    return made


def _euler(own: Any, spacing: Mapping[str, object]) -> Any:
    """The base's Euler sampler; that of a base which comes with another solver has its shift."""
    if isinstance(own, FlowMatchEulerDiscreteScheduler):
        return type(own).from_config(own.config, **spacing)
    config = dict(own.config)
    shift = config.get("shift") or config.get("flow_shift") or 1.0
    said = {
        key: config[key] for key in (*_FOR_PIPELINES, "num_train_timesteps", "use_dynamic_shifting") if key in config
    }
    return FlowMatchEulerDiscreteScheduler(**said, shift=shift, **spacing)
