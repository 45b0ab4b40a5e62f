"""Stage 1, perceptual compression: a variational autoencoder of CT cubes (Rombach et al. 2022, in three dimensions).

Input and output are CT in the unit range [-1, 1], (B, 1, z, y, x). With ``stem="space-to-depth"`` the first and last
halving of resolution are a re-arrangement of voxels, so no convolution ever runs at full resolution: about a tenth of
the published network's arithmetic (docs/method.md, 3.3). ``stem="conv"`` is the published network.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from clsdm.model.blocks import Attention, Norm, ResBlock3D, Upsample, conv, depth_to_space, norm, space_to_depth, zeroed

INITIAL_LOG_VARIANCE = -8.0


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of the autoencoder; ``channels`` has one entry per resolution, finest first.

    ``narrow_upsample`` lets each up-sampling convolution also reduce the width, which halves the decoder's arithmetic at
    the finer level; the published network does not. ``shortcut`` adds to encoder and decoder the linear map between a
    latent voxel and the block of voxels under it (residual autoencoding, Chen et al. 2024, DC-AE): training starts where
    a principal component analysis of blocks would end, and a mean of latents decodes to nearly the mean of volumes.
    ``norm`` is "group" in the published network.
    """

    stem: Literal["conv", "space-to-depth"] = "space-to-depth"
    channels: tuple[int, ...] = (32, 64)
    res_blocks: int = 1
    latent_channels: int = 8
    attention: bool = False
    narrow_upsample: bool = True
    shortcut: bool = True
    norm: Norm = "voxel"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def factor(self) -> int:
        """How many voxels of the CT lie along the edge of one latent voxel."""
        return 2 ** (len(self.channels) - (self.stem == "conv"))


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian over latents, each field (B, C, z, y, x)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Reparametrised sample."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self) -> Tensor:
        """KL divergence from the unit Gaussian, summed over a volume's latents and averaged over the batch."""
        terms = self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance
        return 0.5 * terms.flatten(1).sum(1).mean()


class Encoder(nn.Module):
    """CT -> mean and log-variance of the latents."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        patches = config.stem == "space-to-depth"
        self.stem = conv(3, 8 if patches else 1, config.channels[0])
        self.patches = patches
        self.levels = nn.ModuleList()
        width = config.channels[0]
        for index, channels in enumerate(config.channels):
            blocks: list[nn.Module] = []
            for _ in range(config.res_blocks):
                blocks.append(ResBlock3D(width, channels, kind=config.norm))
                width = channels
            if index + 1 < len(config.channels):
                blocks.append(conv(3, width, width, stride=2))
            self.levels.append(nn.Sequential(*blocks))
        self.middle = middle(width, config.attention, config.norm)
        self.out = nn.Sequential(norm(width, kind=config.norm), nn.SiLU(), conv(3, width, 2 * config.latent_channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(space_to_depth(x) if self.patches else x)
        for level in self.levels:
            x = level(x)
        return self.out(self.middle(x))


class Decoder(nn.Module):
    """Latents -> CT; one residual block more per level than the encoder, as published."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patches = config.stem == "space-to-depth"
        width = config.channels[-1]
        self.stem = conv(3, config.latent_channels, width)
        self.middle = middle(width, config.attention, config.norm)
        self.levels = nn.ModuleList()
        for index, channels in reversed(list(enumerate(config.channels))):
            blocks: list[nn.Module] = []
            for _ in range(config.res_blocks + 1):
                blocks.append(ResBlock3D(width, channels, kind=config.norm))
                width = channels
            if index:
                narrow = config.channels[index - 1] if config.narrow_upsample else width
                blocks.append(Upsample(3, width, narrow))
                width = narrow
            self.levels.append(nn.Sequential(*blocks))
        self.out = nn.Sequential(norm(width, kind=config.norm), nn.SiLU(), conv(3, width, 8 if self.patches else 1))

    def forward(self, z: Tensor) -> Tensor:
        z = self.middle(self.stem(z))
        for level in self.levels:
            z = level(z)
        z = self.out(z)
        return depth_to_space(z) if self.patches else z


def middle(width: int, attention: bool, kind: Norm) -> nn.Module:
    """The blocks at the coarsest resolution."""
    inner = [Attention(width, head_width=width, kind=kind)] if attention else []
    return nn.Sequential(ResBlock3D(width, width, kind=kind), *inner, ResBlock3D(width, width, kind=kind))


class Autoencoder(nn.Module):
    """Encoder and decoder; the latents of :meth:`encode` are raw, ``model`` normalises them."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantise = conv(3, 2 * config.latent_channels, 2 * config.latent_channels, kernel=1)
        self.unquantise = conv(3, config.latent_channels, config.latent_channels, kernel=1)
        self.to_latent: nn.Module | None = None
        self.from_latent: nn.Module | None = None
        if config.shortcut:
            voxels = config.factor**3
            self.to_latent = conv(3, voxels, config.latent_channels, kernel=1)
            self.from_latent = conv(3, config.latent_channels, voxels, kernel=1)
            for layer in (self.encoder.out[-1], self.decoder.out[-1]):
                zeroed(layer)

    @torch.no_grad()
    def start_from_blocks(self, mean: Tensor, covariance: Tensor) -> None:
        """Set the linear shortcut to the principal components of blocks of voxels, with unit-variance latents.

        Everything else then adds nothing at first, and the posterior is narrow.

        Args:
            mean: (factor³,) of the blocks of the training volumes, in the order of ``space_to_depth``.
            covariance: (factor³, factor³) of them.

        Raises:
            ValueError: the autoencoder has no shortcut.
        """
        if self.to_latent is None or self.from_latent is None:
            raise ValueError("autoencoder: start_from_blocks needs shortcut=True")
        count = self.config.latent_channels
        variance, vectors = torch.linalg.eigh(covariance.double())
        deviation, basis = variance[-count:].flip(0).clamp_min(1e-12).sqrt(), vectors[:, -count:].flip(1)
        analysis, synthesis = (basis / deviation).T, basis * deviation
        for layer, weight, bias in (
            (self.to_latent, analysis, -analysis @ mean.double()),
            (self.from_latent, synthesis, mean.double()),
        ):
            layer.get_parameter("weight").copy_(weight[..., None, None, None])
            layer.get_parameter("bias").copy_(bias)
        narrow = self.quantise.get_parameter("bias")
        narrow[:count], narrow[count:] = 0.0, INITIAL_LOG_VARIANCE

    def encode(self, x: Tensor) -> Posterior:
        """(B, 1, n, n, n) in [-1, 1] -> posterior over (B, C, n/f, n/f, n/f)."""
        mean, log_variance = self.quantise(self.encoder(x)).float().chunk(2, dim=1)
        if self.to_latent is not None:
            mean = mean + self.to_latent(space_to_depth(x, self.config.factor)).float()
        return Posterior(mean, log_variance.clamp(-30.0, 20.0))

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, m, m, m) -> (B, 1, f m, f m, f m), not clamped."""
        unit = self.decoder(self.unquantise(z)).float()
        if self.from_latent is not None:
            unit = unit + depth_to_space(self.from_latent(z), self.config.factor).float()
        return unit

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Posterior]:
        """Round trip; without ``noise`` through the posterior's mean."""
        posterior = self.encode(x)
        return self.decode(posterior.mean if noise is None else posterior.sample(noise)), posterior
