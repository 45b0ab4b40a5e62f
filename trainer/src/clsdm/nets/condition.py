"""Stage 2's network: X-rays -> condition features and a CT estimate on the latent grid.

``lift="geometry"`` is ours: every voxel of the lift grid is projected into every view with its real cone-beam geometry,
and that view's 2-D features are sampled there, together with the direction of the ray, the depth along it, and whether
the panel covered it. Views are averaged over those that saw the voxel (the ray's direction lets the network keep them
apart), so any number from 1 to 8, in any order, is one input. ``lift="parallel"`` is the published scheme (image features replicated along the nearest volume
axis), kept for comparison, with the axes that METHOD.md 2.4 corrects: frontal (z, x) along y, lateral (z, y) along x.

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

RAY_CHANNELS = 5  # direction (3), depth (1), coverage (1)


@dataclass(frozen=True)
class ConditionConfig:
    """Sizes of the condition network.

    Attributes:
        lift: "geometry" (ours) or "parallel" (as published).
        image_channels: widths of the 2-D U-Net, at 1/2, 1/4, ... of the detector's resolution.
        features: 2-D features sampled by each voxel.
        fused: features in which the views are averaged on the lift grid.
        folded: features per lift voxel handed to the 3-D U-Net, eight lift voxels to a latent voxel.
        channels: widths of the 3-D U-Net, at 1, 1/2, 1/4, ... of the latent grid.
        condition_channels: condition features handed to the denoiser.
        contrast_channels: width of the space in which X-ray and CT latents are contrasted.
    """

    lift: Literal["geometry", "parallel"] = "geometry"
    image_channels: tuple[int, ...] = (32, 64, 128)
    features: int = 32
    fused: int = 64
    folded: int = 24
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


class ImageEncoder(nn.Module):
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


class VolumeUNet(nn.Module):
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

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips = []
        for index, block in enumerate(self.down):
            x = block(self.shrink[index - 1](x) if index else x)
            skips.append(x)
        x = self.middle(skips.pop())
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat((grow(x), skips.pop()), dim=1))
        return x


class ConditionNet(nn.Module):
    """X-rays on the virtual detector -> :class:`Condition`."""

    def __init__(self, config: ConditionConfig, latent_size: int, latent_channels: int, cube_mm: float) -> None:
        super().__init__()
        self.config = config
        self.latent_size = latent_size
        self.cube_mm = cube_mm
        self.image = ImageEncoder(config.image_channels, config.features)
        self.per_view = nn.Conv1d(config.features + RAY_CHANNELS, config.fused, 1)
        self.fold = nn.Conv1d(config.fused + 1, config.folded, 1)
        self.volume = VolumeUNet(8 * config.folded, config.channels)
        self.to_features = head(config.channels[0], config.condition_channels)
        self.to_mean = head(config.channels[0], latent_channels)

    @property
    def lift_size(self) -> int:
        """Voxels along the edge of the lift grid: twice the latent grid, folded into channels afterwards."""
        return 2 * self.latent_size

    def forward(self, images: Tensor, cameras: Cameras) -> Condition:
        """(B, V, 2, size, size) and their cameras -> condition and posterior mean."""
        lifted = self.lift(images, cameras)
        trunk = self.volume(space_to_depth(lifted))
        return Condition(self.to_features(trunk).float(), self.to_mean(trunk).float())

    def lift(self, images: Tensor, cameras: Cameras) -> Tensor:
        """Features (B, folded, 2m, 2m, 2m) on the lift grid, averaged over the views that measured each voxel."""
        batch, views = images.shape[:2]
        maps = self.image(images.flatten(0, 1))
        points = voxel_centres(self.lift_size, self.cube_mm / self.lift_size, images.device).view(-1, 3)
        if self.config.lift == "geometry":
            where, ray = lift_rays(cameras, points)
        else:
            where, ray = parallel_rays(cameras, points, self.cube_mm)
        grid = where.flatten(0, 1)[:, None]  # (B V, 1, N, 2)
        sampled = F.grid_sample(maps.float(), grid, align_corners=True, padding_mode="border")[:, :, 0]
        seen = coverage(images[:, :, 1], where).flatten(0, 1)[:, None]  # (B V, 1, N)
        per_view = F.silu(self.per_view(torch.cat((sampled, ray.flatten(0, 1).transpose(1, 2), seen), dim=1)))
        total = (per_view * seen).view(batch, views, -1, len(points)).sum(1)
        count = seen.view(batch, views, 1, -1).sum(1)  # (B, 1, N)
        folded = self.fold(torch.cat((total / count.clamp_min(1.0), count / 2.0), dim=1))
        return folded.view(batch, -1, *[self.lift_size] * 3)


def head(inputs: int, outputs: int) -> nn.Module:
    """Normalise, activate, project."""
    return nn.Sequential(norm(inputs, 32), nn.SiLU(), conv(3, inputs, outputs))


def lift_rays(cameras: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where each voxel is seen, and along which ray.

    Returns:
        (B, V, N, 2) image coordinates and (B, V, N, 4) unit direction (LPS) and depth relative to the isocentre's.
    """
    where, ray = cameras.project(points)
    length = ray.norm(dim=-1, keepdim=True)
    to_isocentre = cameras.source.norm(dim=-1)[:, :, None, None]
    return where, torch.cat((ray / length, 4.0 * (length / to_isocentre - 1.0)), dim=-1)


def parallel_rays(cameras: Cameras, points: Tensor, cube_mm: float) -> tuple[Tensor, Tensor]:
    """The published lift: rays parallel to the nearest volume axis, the image spanning the cube; no geometry."""
    views_along_y = cameras.right[..., 0, None].abs() > 0.7  # frontal: columns run along x
    horizontal = torch.where(
        views_along_y,
        points[:, 0] * cameras.right[..., 0, None].sign(),
        points[:, 1] * cameras.right[..., 1, None].sign(),
    )
    vertical = -points[:, 2].expand_as(horizontal)
    where = torch.stack((horizontal, vertical), dim=-1) * (2.0 / cube_mm)
    direction = F.one_hot((~views_along_y).long().squeeze(-1), 4).to(points)[:, :, None].expand(*where.shape[:3], 4)
    return where, direction


def coverage(mask: Tensor, where: Tensor) -> Tensor:
    """(B, V, rows, cols) mask of measured pixels and (B, V, N, 2) positions -> (B, V, N) 1 where a ray was measured."""
    grid = where.flatten(0, 1)[:, None]
    seen = F.grid_sample(mask.flatten(0, 1)[:, None].float(), grid, mode="nearest", align_corners=True)
    return seen[:, 0, 0].view(where.shape[:3])
