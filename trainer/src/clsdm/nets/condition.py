"""Stage 2's network: X-rays -> condition features and a CT estimate on the latent grid.

``lift="geometry"`` is ours: every voxel of the lift grid is projected into every view with its real cone-beam geometry,
and that view's 2-D features are sampled there, with the depth along the ray and whether the panel covered it; the raw
intensities are sampled at every CT voxel too, so that no detail has to pass through features. Views are fused by two
averages, weighted by how much each ray runs along y (frontal) and along x (lateral): whatever their number (1 to 8) and
order, a voxel gets what the frontal and what the lateral views say, and how much of either there was.
``lift="parallel"`` is the published scheme (images replicated along the nearest volume axis), kept for comparison, with
the axes that METHOD.md 2.4 corrects: frontal (z, x) along y, lateral (z, y) along x.

Axis order: images (B, V, 2, row, column) with channels intensity and mask; volumes (B, C, z, y, x).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from clsdm.geometry import Cameras, voxel_centres
from clsdm.nets.blocks import Attention, ResBlock2D, ResBlock3D, Upsample, conv, norm, space_to_depth

DIRECTIONS = 2  # frontal and lateral average


@dataclass(frozen=True)
class ConditionConfig:
    """Sizes of the condition network.

    Attributes:
        lift: "geometry" (ours) or "parallel" (as published).
        image_channels: widths of the 2-D U-Net, at 1/2, 1/4, ... of the detector's resolution.
        features: 2-D features sampled by each voxel.
        fused: features on the lift grid after the views are averaged.
        folded: of them, features per lift voxel handed to the 3-D U-Net, eight lift voxels to a latent voxel.
        channels: widths of the 3-D U-Net, at 1, 1/2, 1/4, ... of the latent grid.
        condition_channels: condition features handed to the denoiser.
        contrast_channels: width of the space in which X-ray and CT latents are contrasted.
    """

    lift: Literal["geometry", "parallel"] = "geometry"
    image_channels: tuple[int, ...] = (32, 64, 128)
    features: int = 24
    fused: int = 48
    folded: int = 16
    channels: tuple[int, ...] = (96, 160, 224)
    condition_channels: int = 16
    contrast_channels: int = 32

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class Condition:
    """What the X-rays say, on the latent grid.

    Attributes:
        features: (B, condition_channels, m, m, m) for the denoiser.
        mean: (B, latent_channels, m, m, m) estimate of the normalised latents, their posterior mean.
    """

    features: Tensor
    mean: Tensor


class SkipUNet(nn.Module):
    """The way through a U-Net, in two or three dimensions; subclasses make its parts, finest resolution first."""

    stem: nn.Module
    down: nn.ModuleList
    shrink: nn.ModuleList
    middle: nn.Module
    grow: nn.ModuleList
    up: nn.ModuleList
    out: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips = []
        for index, block in enumerate(self.down):
            x = block(self.shrink[index - 1](x) if index else x)
            skips.append(x)
        x = self.middle(skips.pop())
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat((grow(x), skips.pop()), dim=1))
        return self.out(x)


class ImageEncoder(SkipUNet):
    """A 2-D U-Net: (N, 2, size, size) -> (N, features, size/2, size/2)."""

    def __init__(self, widths: tuple[int, ...], features: int) -> None:
        super().__init__()
        self.stem = conv(2, 2, widths[0], kernel=5, stride=2)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        for index, width in enumerate(widths):
            if index:
                self.shrink.append(conv(2, widths[index - 1], width, stride=2))
            self.down.append(nn.Sequential(ResBlock2D(width, width), ResBlock2D(width, width)))
        self.middle = Attention(widths[-1])
        for index in reversed(range(len(widths) - 1)):
            self.grow.append(Upsample(2, widths[index + 1], widths[index]))
            self.up.append(ResBlock2D(2 * widths[index], widths[index]))
        self.out = nn.Sequential(norm(widths[0], 32), nn.SiLU(), conv(2, widths[0], features, kernel=1))


class VolumeUNet(SkipUNet):
    """A 3-D U-Net without time: (B, inputs, m, m, m) -> (B, channels[0], m, m, m)."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = conv(3, inputs, widths[0])
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        for index, width in enumerate(widths):
            if index:
                self.shrink.append(conv(3, widths[index - 1], width, stride=2))
            self.down.append(ResBlock3D(width, width))
        self.middle = nn.Sequential(Attention(widths[-1]), ResBlock3D(widths[-1], widths[-1]))
        for index in reversed(range(len(widths) - 1)):
            self.grow.append(Upsample(3, widths[index + 1], widths[index]))
            self.up.append(ResBlock3D(2 * widths[index], widths[index]))
        self.out = nn.Identity()


class ConditionNet(nn.Module):
    """X-rays on the virtual detector -> :class:`Condition`."""

    def __init__(
        self, config: ConditionConfig, latent_size: int, latent_channels: int, cube_mm: float, factor: int
    ) -> None:
        super().__init__()
        self.config = config
        self.latent_size = latent_size
        self.cube_mm = cube_mm
        self.factor = factor
        self.image = ImageEncoder(config.image_channels, config.features)
        self.mix = nn.Conv1d(DIRECTIONS * (config.features + 2), config.fused, 1)
        self.fold = nn.Conv1d(config.fused, config.folded, 1)
        self.volume = VolumeUNet(8 * config.folded + DIRECTIONS * factor**3, config.channels)
        self.to_features = head(config.channels[0], config.condition_channels)
        self.to_mean = head(config.channels[0], latent_channels)

    def forward(self, images: Tensor, cameras: Cameras) -> Condition:
        """(B, V, 2, size, size) and their cameras -> condition and posterior mean."""
        trunk = self.volume(torch.cat((self.lift_features(images, cameras), self.lift_intensities(images, cameras)), 1))
        return Condition(self.to_features(trunk).float(), self.to_mean(trunk).float())

    def lift_features(self, images: Tensor, cameras: Cameras) -> Tensor:
        """(B, 8 folded, m, m, m): learned features on a grid twice as fine as the latents', folded into channels."""
        batch, views = images.shape[:2]
        size = 2 * self.latent_size
        maps = self.image(images.flatten(0, 1)).float()
        rays = self._rays(cameras, size)
        sampled = F.grid_sample(maps, rays.where.flatten(0, 1)[:, None], align_corners=True, padding_mode="border")
        per_view = torch.cat((sampled[:, :, 0].view(batch, views, -1, size**3), rays.depth[:, :, None]), dim=2)
        fused, weight = fuse(per_view, rays.direction, coverage(images[:, :, 1], rays.where))
        folded = self.fold(F.silu(self.mix(torch.cat((fused, weight), dim=1))))
        return space_to_depth(folded.view(batch, -1, size, size, size))

    def lift_intensities(self, images: Tensor, cameras: Cameras) -> Tensor:
        """(B, 2 factor³, m, m, m): the images' own intensities at every CT voxel, folded into channels."""
        size = self.factor * self.latent_size
        rays = self._rays(cameras, size)
        grid = rays.where.flatten(0, 1)[:, None]
        sampled = F.grid_sample(images[:, :, :1].flatten(0, 1), grid, align_corners=True, padding_mode="border")
        per_view = sampled[:, :, 0].view(*images.shape[:2], 1, -1)
        fused, _ = fuse(per_view, rays.direction, coverage(images[:, :, 1], rays.where))
        return space_to_depth(fused.view(len(images), DIRECTIONS, size, size, size), self.factor)

    def _rays(self, cameras: Cameras, size: int) -> Rays:
        points = voxel_centres(size, self.cube_mm / size, cameras.source.device).view(-1, 3)
        if self.config.lift == "geometry":
            return lift_rays(cameras, points)
        return parallel_rays(cameras, points, self.cube_mm)


@dataclass(frozen=True)
class Rays:
    """How N voxels are seen in V views.

    Attributes:
        where: (B, V, N, 2) image coordinates (column, row) in [-1, 1].
        direction: (B, V, N, 2) squared x and y component of the ray's unit direction (LPS).
        depth: (B, V, N) distance from the source, relative to the isocentre's, minus 1.
    """

    where: Tensor
    direction: Tensor
    depth: Tensor


def fuse(per_view: Tensor, direction: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Averages over the views that measured a voxel, weighted by how frontal and by how lateral each ray is.

    Args:
        per_view: (B, V, C, N) features.
        direction: (B, V, N, 2) of :class:`Rays`.
        seen: (B, V, N) 1 where measured.

    Returns:
        (B, 2C, N) frontal and lateral average (0 where no view tells), and (B, 2, N) the weights' sums.
    """
    weights = direction.flip(-1).permute(0, 3, 1, 2) * seen[:, None]  # (B, 2, V, N): frontal (y), lateral (x)
    total = weights.sum(2)
    averages = [
        (per_view * w[:, :, None]).sum(1) / t[:, None].clamp_min(1e-3)
        for w, t in zip(weights.unbind(1), total.unbind(1), strict=True)
    ]
    return torch.cat(averages, dim=1), total


def head(inputs: int, outputs: int) -> nn.Module:
    """Normalise, activate, project."""
    return nn.Sequential(norm(inputs, 32), nn.SiLU(), conv(3, inputs, outputs))


def lift_rays(cameras: Cameras, points: Tensor) -> Rays:
    """The rays through (N, 3) points by the views' own geometry."""
    where, ray = cameras.project(points)
    length = ray.norm(dim=-1)
    to_isocentre = cameras.source.norm(dim=-1)[:, :, None]
    return Rays(where, (ray[..., :2] / length[..., None]).square(), length / to_isocentre - 1.0)


def parallel_rays(cameras: Cameras, points: Tensor, cube_mm: float) -> Rays:
    """The published lift: rays parallel to the nearest volume axis, the image spanning the cube; no geometry."""
    frontal = cameras.right[..., 0, None].abs() > 0.7  # columns run along x
    horizontal = torch.where(
        frontal, points[:, 0] * cameras.right[..., 0, None].sign(), points[:, 1] * cameras.right[..., 1, None].sign()
    )
    vertical = -points[:, 2].expand_as(horizontal)
    direction = torch.cat((~frontal, frontal), dim=-1).to(points)[:, :, None].expand(*horizontal.shape, 2)
    where = torch.stack((horizontal, vertical), dim=-1) * (2.0 / cube_mm)
    return Rays(where, direction, torch.zeros_like(horizontal))


def coverage(mask: Tensor, where: Tensor) -> Tensor:
    """(B, V, rows, cols) mask of measured pixels and (B, V, N, 2) positions -> (B, V, N) 1 where a ray was measured."""
    grid = where.flatten(0, 1)[:, None]
    seen = F.grid_sample(mask.flatten(0, 1)[:, None].float(), grid, mode="nearest", align_corners=True)
    return seen[:, 0, 0].view(where.shape[:3])
