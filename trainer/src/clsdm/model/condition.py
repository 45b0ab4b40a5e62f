"""Stage 2's network: X-rays -> CT estimate (the posterior mean) and condition features on the latent grid.

``lift="geometry"`` is ours: every voxel of the lift grid is projected into every view with its real cone- or fan-beam geometry,
and that view's 2-D features are sampled there, with the depth along the ray and whether the panel covered it; the raw
intensities are sampled at every CT voxel too, so that no detail has to pass through features. Views are fused by two
averages, weighted by how much each ray runs along y (frontal) and along x (lateral): whatever their number (1 to 8) and
order, a voxel gets what the frontal and what the lateral views say, and how much of either there was.
``lift="parallel"`` is the published scheme (images replicated along the nearest volume axis), kept for comparison, with
the axes that docs/method.md, 2.4 corrects: frontal (z, x) along y, lateral (z, y) along x.

A 3-D U-Net then has the two heads of the published network (docs/method.md, 1): the CT estimate in voxels, and features where
its resolution is that of the latents. It runs on the lift grid, half as fine as the CT: what the eight voxels of a block
need is in the channels, and no convolution runs at full resolution.

With ``fine`` widths that U-Net works on a CT of half the resolution, at a fifth of the cost, and a second one refines its
estimate: a Laplacian pyramid (Burt and Adelson 1983) of two levels. Most of what two views tell is in the coarse one, so it
can be trained first and longest.

Axis order: images (B, V, 2, row, column) with channels intensity and mask; volumes (B, C, z, y, x).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from clsdm.geometry.cameras import Cameras, voxel_axis, voxel_centres
from clsdm.geometry.lift import DIRECTIONS, Rays, coverage, fuse, lift_rays, look_up, parallel_rays
from clsdm.model.blocks import Attention, VoxelNorm, conv, depth_to_space, space_to_depth, zeroed

FOLD = 2  # CT voxels along the edge of a lift voxel
MOSTLY_AIR = -0.8  # where the estimate starts, in the unit range


@dataclass(frozen=True)
class ConditionConfig:
    """Sizes of the condition network.

    Attributes:
        lift: "geometry" (ours) or "parallel" (as published).
        image_channels: widths of the 2-D U-Net, at 1/2, 1/4, ... of the detector's resolution.
        features: 2-D features sampled by each lift voxel.
        channels: widths of the 3-D U-Net, at 1/2, 1/4, ... of the CT grid; it must reach down to the latent grid.
        blocks: residual blocks at each level of it, on the way down and on the way up.
        condition_channels: condition features handed to the denoiser.
        mean: whether the denoiser starts from the estimate's latents; else it has the aligned features alone, as published.
        contrast_channels: width of the space in which X-ray and CT latents are contrasted.
        fine: widths of a second 3-D U-Net, at 1/2, 1/4, ... of the CT grid, which refines the estimate of the first;
            ``channels`` are then at 1/4, 1/8, ... of it. Empty: there is none.
    """

    lift: Literal["geometry", "parallel"] = "geometry"
    image_channels: tuple[int, ...] = (32, 64, 128)
    features: int = 20
    channels: tuple[int, ...] = (64, 128, 192)
    blocks: int = 1
    condition_channels: int = 16
    mean: bool = True
    contrast_channels: int = 32
    fine: tuple[int, ...] = ()

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def fold(self) -> int:
        """CT voxels along the edge of a voxel of ``channels``' finest level."""
        return 2 * FOLD if self.fine else FOLD

    @property
    def lifted_channels(self) -> int:
        """Channels of a voxel of a lift grid: features, depth and coverage, the intensities of its CT voxels, its place."""
        return DIRECTIONS * (self.features + 2) + DIRECTIONS * FOLD**3 + 3


@dataclass(frozen=True)
class Condition:
    """The information of the X-rays.

    Attributes:
        features: (B, condition_channels, m, m, m) for the denoiser.
        mean: (B, latent_channels, m, m, m) the estimate's normalised latents, where sampling starts; zero (the mean over
            all patients) in a model whose denoiser has the features alone.
        estimate: (B, 1, n, n, n) CT in the unit range, the posterior mean; not clamped.
    """

    features: Tensor
    mean: Tensor
    estimate: Tensor

    def repeated(self, count: int) -> Condition:
        """The condition of one set of X-rays, for ``count`` samples at once."""
        return Condition(*(part.expand(count, *part.shape[1:]) for part in vars(self).values()))


class Block(nn.Module):
    """Norm - conv - SiLU - conv with a shortcut: one norm and one activation, which cost a CPU as much as a conv does."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.norm = VoxelNorm(width)
        self.conv1 = conv(dims, width, width)
        self.conv2 = zeroed(conv(dims, width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(self.norm(x))))


class UNet(nn.Module):
    """A U-Net in two or three dimensions, with attention at its coarsest level; skips are added."""

    def __init__(self, dims: int, stem: nn.Module, widths: tuple[int, ...], blocks: int = 1) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.stem = stem
        self.down = nn.ModuleList(level(dims, width, blocks) for width in widths)
        self.shrink = nn.ModuleList(conv(dims, fine, coarse, stride=2) for fine, coarse in pairs)
        self.middle = nn.Sequential(Attention(widths[-1], kind="voxel"), Block(dims, widths[-1]))
        self.grow = nn.ModuleList(conv(dims, coarse, fine, kernel=1) for fine, coarse in pairs)
        self.up = nn.ModuleList(level(dims, width, blocks) for width in widths[:-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """The way up, one tensor per level, finest first."""
        x = self.stem(x)
        skips = []
        for index, block in enumerate(self.down):
            x = block(self.shrink[index - 1](x) if index else x)
            skips.append(x)
        levels = [self.middle(skips.pop())]
        for grow, block in zip(reversed(self.grow), reversed(self.up), strict=True):
            levels.append(block(F.interpolate(grow(levels[-1]), scale_factor=2.0, mode="nearest") + skips.pop()))
        return levels[::-1]


def level(dims: int, width: int, blocks: int) -> nn.Module:
    """The residual blocks at one resolution."""
    return nn.Sequential(*[Block(dims, width) for _ in range(blocks)])


def head(dims: int, inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
    """Normalise, activate, project."""
    return nn.Sequential(VoxelNorm(inputs), nn.SiLU(), conv(dims, inputs, outputs, kernel=kernel))


class Refinement(nn.Module):
    """The detail that X-rays add to an estimate at twice its resolution; nothing before it is trained."""

    def __init__(self, config: ConditionConfig) -> None:
        super().__init__()
        self.volume = UNet(3, conv(3, config.lifted_channels + FOLD**3, config.fine[0]), config.fine)
        self.to_detail = head(3, config.fine[0], FOLD**3)
        zeroed(self.to_detail.get_submodule("2"))

    def forward(self, estimate: Tensor, lifted: Tensor) -> Tensor:
        """(B, 1, n/2, n/2, n/2) and what is lifted (B, C, n/2, n/2, n/2) -> (B, 1, n, n, n)."""
        enlarged = F.interpolate(estimate, scale_factor=2.0, mode="trilinear")
        levels = self.volume(torch.cat((lifted, space_to_depth(enlarged)), dim=1))
        return enlarged + depth_to_space(self.to_detail(levels[0]).float())


class ConditionNet(nn.Module):
    """X-rays on the virtual detector -> CT estimate and condition features."""

    COARSE = ("image", "to_image_features", "volume", "to_estimate")
    """What :meth:`coarse` goes through: with ``fine`` widths, all of the estimate of a network without on half the grid."""

    def __init__(self, config: ConditionConfig, ct_size: int, cube_mm: float, factor: int) -> None:
        """``ct_size`` voxels along the edge of the CT cube, ``factor`` of them along the edge of a latent voxel."""
        super().__init__()
        self.latent_level = (factor // config.fold).bit_length() - 1
        if not 0 <= self.latent_level < len(config.channels):
            raise ValueError(f"condition.channels: {len(config.channels)} levels do not reach latents at 1/{factor}")
        self.config = config
        self.size = ct_size // config.fold
        self.cube_mm = cube_mm
        width = config.image_channels[0]
        self.image = UNet(2, conv(2, 2, width, kernel=5, stride=2), config.image_channels)
        self.to_image_features = head(2, width, config.features, kernel=1)
        stem = conv(3, config.lifted_channels, config.channels[0])
        self.volume = UNet(3, stem, config.channels, config.blocks)
        self.to_estimate = head(3, config.channels[0], FOLD**3)
        nn.init.constant_(self.to_estimate.get_parameter("2.bias"), MOSTLY_AIR)
        self.to_features = head(3, config.channels[self.latent_level], config.condition_channels)
        self.refine = Refinement(config) if config.fine else None

    def forward(self, images: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """(B, V, 2, size, size) and their cameras -> CT estimate (B, 1, n, n, n) in the unit range, not clamped, and
        condition features (B, condition_channels, m, m, m)."""
        maps = self.image_features(images)
        levels = self.volume(self.lift(images, maps, cameras, self.size))
        estimate, features = self._estimate(levels), self.to_features(levels[self.latent_level]).float()
        if self.refine is not None:
            estimate = self.refine(estimate, self.lift(images, maps, cameras, 2 * self.size))
        return estimate, features

    def coarse(self, images: Tensor, cameras: Cameras) -> Tensor:
        """The estimate before it is refined, (B, 1, n/2, n/2, n/2) in the unit range, not clamped."""
        return self._estimate(self.volume(self.lift(images, self.image_features(images), cameras, self.size)))

    def _estimate(self, levels: list[Tensor]) -> Tensor:
        return depth_to_space(self.to_estimate(levels[0]).float())

    def image_features(self, images: Tensor) -> Tensor:
        """(B, V, 2, size, size) -> (B, V, features, size/2, size/2)."""
        return self.to_image_features(self.image(images.flatten(0, 1))[0]).float().unflatten(0, images.shape[:2])

    def lift(self, images: Tensor, maps: Tensor, cameras: Cameras, size: int) -> Tensor:
        """The condition of ``size``³ voxels, (B, lifted_channels, z, y, x)."""
        places = voxel_centres(size, 2.0 / size, maps.device).movedim(-1, 0).expand(len(maps), -1, -1, -1, -1)
        features = self.lift_features(images, maps, cameras, size)
        return torch.cat((features, self.lift_intensities(images, cameras, size), places), dim=1)

    def lift_features(self, images: Tensor, maps: Tensor, cameras: Cameras, size: int) -> Tensor:
        """(B, 2 (features + 2), z, y, x): learned features of ``size``³ voxels, with depth and coverage, from the frontal
        and from the lateral views."""
        rays = self._rays(cameras, size)
        per_view = torch.cat((look_up(maps, rays.where), rays.depth[:, :, None]), dim=2)
        fused, weight = fuse(per_view, rays.direction, coverage(images[:, :, 1], rays.where))
        return torch.cat((fused, weight), dim=1)

    def lift_intensities(self, images: Tensor, cameras: Cameras, size: int) -> Tensor:
        """(B, 2 * 8, z, y, x): the images' own intensities at voxels half as large, folded into channels."""
        rays = self._rays(cameras, FOLD * size)
        fused, _ = fuse(look_up(images[:, :, :1], rays.where), rays.direction, coverage(images[:, :, 1], rays.where))
        return space_to_depth(fused)

    def _rays(self, cameras: Cameras, size: int) -> Rays:
        axis_mm = voxel_axis(size, self.cube_mm / size, cameras.source.device)
        return lift_rays(cameras, axis_mm) if self.config.lift == "geometry" else parallel_rays(cameras, axis_mm)
