"""The model as one object: autoencoder, condition network and denoiser, with the latents' normalisation as data.

Latents are normalised per channel with mean and standard deviation over the training set (never one batch: docs/method.md,
2.7); only this module knows about it. Everything outside works with normalised latents. How far they lie from the aligned
mean, or how large and how smooth the errors of the estimate are, is stored too: it is the scale of what sampling has to add.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import Detector
from clsdm.model.autoencoder import Autoencoder, AutoencoderConfig
from clsdm.model.blocks import channels_last
from clsdm.model.condition import Condition, ConditionConfig, ConditionNet
from clsdm.model.denoiser import UNet3D, UNetConfig
from clsdm.model.noise import SCALES, frequencies, like_errors
from clsdm.model.sampler import Tick, sample_dpmpp_2m, sample_flow, silent
from clsdm.model.schedule import DiffusionSchedule, ProcessConfig, Schedule, make_schedule
from clsdm.volume.ct import Grid

ERROR_BLOCKS = 16
"""Blocks along the edge of the cube for which the estimate's error is known."""

UNKNOWN_ERROR_HU = 150.0


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build the networks."""

    grid: Grid = field(default_factory=lambda: Grid(64, 6.0))
    detector: Detector = field(default_factory=lambda: Detector(128, 480.0))
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    denoiser: UNetConfig = field(default_factory=UNetConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.process.noise == "error" and not self.condition.mean:
            raise ValueError("process.noise: expected 'latent' with condition.mean false, found 'error'")

    @property
    def latent_size(self) -> int:
        """Voxels along the edge of the latent grid."""
        return self.grid.size // self.autoencoder.factor


class CLSDM(nn.Module):
    """The three stages' networks."""

    latent_mean: Tensor
    latent_std: Tensor
    residual_std: Tensor
    error_hu: Tensor
    error_scale: Tensor
    error_spectrum: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        latent = config.autoencoder.latent_channels
        self.config = config
        self.autoencoder = Autoencoder(config.autoencoder)
        self.condition = ConditionNet(
            config.condition, config.grid.size, config.grid.cube_mm, config.autoencoder.factor
        )
        self.denoiser = UNet3D(2 * latent + config.condition.condition_channels, latent, config.denoiser)
        self.register_buffer("latent_mean", torch.zeros(latent))
        self.register_buffer("latent_std", torch.ones(latent))
        self.register_buffer("residual_std", torch.ones(latent))
        self.register_buffer("error_hu", torch.full((ERROR_BLOCKS,) * 3, UNKNOWN_ERROR_HU))
        if config.process.noise == "error":
            self.register_buffer("error_scale", torch.ones(SCALES))
            self.register_buffer("error_spectrum", torch.ones(frequencies(config.grid.size)))
        self.register_load_state_dict_pre_hook(_without_error_map)
        channels_last(self)

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, m, m, m) of one latent."""
        size = self.config.latent_size
        return self.config.autoencoder.latent_channels, size, size, size

    @property
    def noise_shape(self) -> tuple[int, int, int, int]:
        """Of the unit Gaussian noise for one sample: that of a latent, or (1, n, n, n)."""
        size = self.config.grid.size
        return (1, size, size, size) if self.config.process.noise == "error" else self.latent_shape

    def error_map_hu(self) -> Tensor:
        """(1, 1, n, n, n) standard deviation of the estimate's error on the validation patients."""
        return F.interpolate(self.error_hu[None, None], [self.config.grid.size] * 3, mode="trilinear")

    @property
    def schedule(self) -> Schedule:
        """The process that the denoiser is trained for."""
        return make_schedule(self.config.process)

    def encode(self, unit: Tensor) -> Tensor:
        """CT (B, 1, n, n, n) in [-1, 1] -> normalised latents (posterior mean)."""
        mean = self.autoencoder.encode(unit).mean
        return (mean - _channels(self.latent_mean)) / _channels(self.latent_std)

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents -> CT in the unit range, not clamped."""
        return self.autoencoder.decode(latents * _channels(self.latent_std) + _channels(self.latent_mean))

    def align(self, images: Tensor, cameras: Cameras) -> Condition:
        """X-rays on the virtual detector (B, V, 2, s, s) -> posterior mean, its latents, and condition features."""
        estimate, features = self.condition(images, cameras)
        latents = self.encode(estimate.clamp(-1.0, 1.0)).float()
        return Condition(features, latents if self.config.condition.mean else torch.zeros_like(latents), estimate)

    def denoise(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The denoiser's raw output at ``x`` (B, C, m, m, m) and time ``t`` in [0, 1] (B,)."""
        return self.denoiser(torch.cat((x, condition.mean, condition.features), dim=1), 1000.0 * t)

    def start(self, condition: Condition, noise: Tensor) -> Tensor:
        """(B, C, m, m, m) where the process starts: unit noise (B, *noise_shape) at its scale.

        Noise like the estimate's errors is added to it in the CT; what the encoder makes of the sum is a latent like any other.
        """
        process = self.config.process
        if process.kind == "ddpm":
            return noise
        if process.noise == "latent":
            return process.source_noise * _channels(self.residual_std) * noise
        unit = condition.estimate.float().clamp(-1.0, 1.0)
        error = like_errors(noise, unit, self.error_scale, self.error_spectrum)
        return self.encode(unit + process.source_noise * error).float() - condition.mean

    def draw(self, condition: Condition, noise: Tensor, steps: int | None = None, tick: Tick = silent) -> Tensor:
        """One sample of the normalised latents per condition.

        Args:
            condition: of :meth:`align`.
            noise: (B, *noise_shape) unit Gaussian; the same noise gives the same sample.
            steps: evaluations of the denoiser; the model's default if None.
            tick: progress.

        Returns:
            (B, C, m, m, m) normalised latents.
        """
        steps, schedule = self.config.process.steps if steps is None else steps, self.schedule

        def predict(x: Tensor, t: Tensor) -> Tensor:
            return self.denoise(x, t, condition).float()

        start = self.start(condition, noise)
        if isinstance(schedule, DiffusionSchedule):
            return sample_dpmpp_2m(predict, schedule, start, steps, tick)
        return condition.mean + sample_flow(predict, start, steps, tick, schedule.length)


def _without_error_map(model: nn.Module, weights: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights of before there was a map of errors: the same error everywhere."""
    weights.setdefault(f"{prefix}error_hu", torch.full((ERROR_BLOCKS,) * 3, UNKNOWN_ERROR_HU))


def _channels(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)
