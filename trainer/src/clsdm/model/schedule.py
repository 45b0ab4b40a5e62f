"""How latents and noise are mixed over time: flows (ours) and the variance-preserving diffusion (published).

A schedule makes a training pair (``mix``: the noisy latent and what the denoiser must predict for it); the samplers in
``sampler`` run it backwards. Time runs from 0 to 1; for the flows t = 1 is data, for the diffusion t = 0 is.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clsdm.limits import STEPS, TRAIN_STEPS

MOST_NOISE, LEAST_BETA, MOST_BETA = 10.0, 1e-8, 0.999


@dataclass(frozen=True)
class ProcessConfig:
    """Which process the denoiser is trained for.

    Attributes:
        kind: "flow", straight paths; "trigflow", paths along a quarter of a circle; or "ddpm".
        noise: from which a flow starts around the aligned mean: white in the "latent", or in the CT like the "error" of
            the estimate (``clsdm.model.noise``).
        source_noise: its standard deviation, relative to how far each latent channel is from its mean on average, or to
            the errors.
        steps: default number of sampler steps.
        train_steps: discrete time steps of the diffusion.
        beta_start: first noise variance of the sqrt-linear schedule.
        beta_end: last one.
    """

    kind: Literal["flow", "trigflow", "ddpm"] = "flow"
    noise: Literal["latent", "error"] = "latent"
    source_noise: float = 1.0
    steps: int = 6
    train_steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0155

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        most = min(STEPS, self.train_steps) if self.kind == "ddpm" else STEPS
        for name, low, high in (
            ("train_steps", 1, TRAIN_STEPS),
            ("steps", 1, most),
            ("source_noise", 0.0, MOST_NOISE),
            ("beta_start", LEAST_BETA, self.beta_end),
            ("beta_end", LEAST_BETA, MOST_BETA),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: expected {low:g} to {high:g}, found {value!r:.40}")
        if self.noise == "error" and self.kind == "ddpm":
            raise ValueError("noise: expected 'latent' with kind 'ddpm', found 'error'")


@dataclass(frozen=True)
class FlowSchedule:
    """Rectified flow (Liu et al. 2022) on the residual from the aligned mean.

    x_t = (1 - t) * noise + t * (z - mean); the denoiser predicts the velocity (z - mean) - noise. It starts where
    stage 2 ended, so it only has to add what the mean cannot know.
    """

    length: ClassVar[float] = 1.0
    """Of a path, as the velocity counts it."""

    def mix(self, latents: Tensor, mean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy residual and target velocity, for t in [0, 1] (B,)."""
        end, t = latents - mean, _expand(t, latents)
        return (1.0 - t) * noise + t * end, end - noise


@dataclass(frozen=True)
class TrigSchedule:
    """The same on an arc (TrigFlow: Lu & Song, ICLR 2025): x_t = cos(a) * noise + sin(a) * (z - mean), a = t * pi / 2.

    Where noise and residual have one covariance, so has every x_t, and the best linear prediction of the velocity
    cos(a) * (z - mean) - sin(a) * noise is 0: a denoiser that has learnt nothing leaves the noise as it is.
    """

    length: ClassVar[float] = math.pi / 2.0

    def mix(self, latents: Tensor, mean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy residual and target velocity, for t in [0, 1] (B,)."""
        end, angle = latents - mean, _expand(t * self.length, latents)
        return angle.cos() * noise + angle.sin() * end, angle.cos() * end - angle.sin() * noise


@dataclass(frozen=True)
class DiffusionSchedule:
    """Discrete variance-preserving diffusion with sqrt-linear betas (Rombach et al. 2022)."""

    train_steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0155

    def alphas_cumprod(self, device: torch.device | str = "cpu") -> Tensor:
        """(train_steps,) cumulative products of 1 - beta, computed in double precision."""
        betas = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.train_steps, dtype=torch.float64) ** 2
        return (1.0 - betas).cumprod(0).float().to(device)

    def mix(self, latents: Tensor, mean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latent and the noise, for t in [0, 1) (B,) rounded down to a discrete step; ``mean`` is not used."""
        alpha = _expand(self.alphas_cumprod(latents.device)[self.index(t)], latents)
        return alpha.sqrt() * latents + (1.0 - alpha).sqrt() * noise, noise

    def index(self, t: Tensor) -> Tensor:
        """Discrete step of continuous time."""
        return (t * self.train_steps).long().clamp(0, self.train_steps - 1)


Schedule = FlowSchedule | TrigSchedule | DiffusionSchedule


def make_schedule(config: ProcessConfig) -> Schedule:
    """The schedule of a process."""
    if config.kind == "ddpm":
        return DiffusionSchedule(config.train_steps, config.beta_start, config.beta_end)
    return FlowSchedule() if config.kind == "flow" else TrigSchedule()


def _expand(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
