"""INRR3CT (implicit neural representation regularised reconstruction), written from docs/method.md, 5.

A 2-D U-Net shared by both views gives each pixel features; a point of the volume takes them along its rays (parallel, as
published), with Fourier features of its coordinate. A small sine network per view and, after the mean over the views, a
second one make the density of the point. Points are independent, so training takes a random share of the voxels.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor, nn

from clsdm.geometry.cameras import Cameras, voxel_axis
from clsdm.model.blocks import channels_last, conv, norm
from clsdm_bench.systems.biplanar import biplanar
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import Count, Frozen, Width

RESIDUAL_BLOCKS, SINE_LAYERS = 3, 4
POINTS_AT_ONCE = 65536


class INRRConfig(Frozen):
    """Sizes of INRR3CT; the defaults are the published ones.

    Attributes:
        kind: tells it from the other networks.
        image_channels: widths of the 2-D U-Net, finest first.
        features: channels of its output, at full resolution.
        width: of the sine layers.
        omega: frequency of the sine activations.
        points: voxels of each volume at which the loss is taken.
        norm: of the 2-D U-Net.
    """

    kind: Literal["inrr3ct"] = "inrr3ct"
    image_channels: tuple[Width, ...] = Field(default=(64, 128, 256, 512), min_length=1, max_length=64)
    features: Width = 128
    width: Width = 128
    omega: float = Field(default=50.0, gt=0.0, le=1e4)
    points: Count = 16384
    norm: Literal["group", "voxel"] = "group"


class ImageNet(nn.Module):
    """A plain 2-D U-Net, kernel 5, skips concatenated: (B, 1, s, s) -> (B, features, s, s)."""

    def __init__(self, config: INRRConfig) -> None:
        super().__init__()
        widths = config.image_channels

        def double(inputs: int, outputs: int) -> nn.Module:
            layers: list[nn.Module] = []
            for width in (inputs, outputs):
                layers += [conv(2, width, outputs, kernel=5), norm(outputs, kind=config.norm), nn.ReLU()]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(double(i, o) for i, o in pairwise((1, *widths)))
        self.grow = nn.ModuleList(conv(2, coarse, fine, kernel=1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(double(2 * fine, fine) for fine in widths[:-1])
        self.out = conv(2, widths[0], config.features, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for index, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if index else x)
            skips.append(x)
        x = skips.pop()
        for grow, block in zip(reversed(self.grow), reversed(self.up), strict=True):
            x = block(torch.cat((F.interpolate(grow(x), scale_factor=2.0), skips.pop()), dim=1))
        return self.out(x)


class Sine(nn.Module):
    """sin(omega (W x + b)), started so that activations keep their spread (Sitzmann et al. 2020)."""

    def __init__(self, inputs: int, outputs: int, omega: float, *, first: bool = False) -> None:
        super().__init__()
        self.linear, self.omega = nn.Linear(inputs, outputs), omega
        bound = 1.0 / inputs if first else math.sqrt(6.0 / inputs) / omega
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.omega * self.linear(x))


class SineBlock(nn.Module):
    """Two sine layers with a shortcut; the mean of both keeps values in [-1, 1]."""

    def __init__(self, width: int, omega: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(Sine(width, width, omega), Sine(width, width, omega))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (x + self.layers(x))


class INRR3CT(nn.Module):
    """X-rays on the virtual detector -> CT in the unit range."""

    frequencies: Tensor

    def __init__(self, config: INRRConfig, ct_size: int, image_size: int) -> None:
        """``ct_size`` voxels along the edge of the cube, ``image_size`` pixels along that of the detector.

        Raises:
            ValueError: the detector cannot be halved often enough.
        """
        super().__init__()
        if image_size % 2 ** (len(config.image_channels) - 1):
            raise ValueError(f"INRR3CT: {image_size} pixels cannot be halved {len(config.image_channels) - 1} times")
        self.config, self.ct_size = config, ct_size
        self.image = channels_last(ImageNet(config))
        self.register_buffer("frequencies", torch.randn(3, 3))
        omega, width = config.omega, config.width
        self.per_view = nn.Sequential(
            Sine(config.features + 6, width, omega, first=True),
            *(SineBlock(width, omega) for _ in range(RESIDUAL_BLOCKS)),
        )
        self.fused = nn.Sequential(*(Sine(width, width, omega) for _ in range(SINE_LAYERS)), nn.Linear(width, 1))

    def forward(self, images: Tensor, cameras: Cameras) -> Tensor:
        """(B, 2, 2, size, size) and their cameras -> (B, 1, n, n, n) in the unit range, not clamped."""
        maps = self.features(images, cameras)
        points = self.all_points(images.device).expand(len(images), -1, -1)
        densities = [self.density(maps, chunk) for chunk in points.split(POINTS_AT_ONCE, dim=1)]
        return torch.cat(densities, dim=1).view(-1, 1, *[self.ct_size] * 3)

    def training_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, points) estimate and truth at random voxels of each volume."""
        count = self.ct_size**3
        draws = [torch.from_numpy(r.integers(count, size=min(self.config.points, count))) for r in batch.random]
        chosen = torch.stack(draws).to(batch.unit.device)
        points = self.all_points(chosen.device)[0][chosen]
        return self.density(self.features(*batch.xrays), points), batch.unit.flatten(1).gather(1, chosen)

    def features(self, images: Tensor, cameras: Cameras) -> Tensor:
        """(B, 2, features, size, size) of the frontal and the lateral view."""
        views = biplanar(images, cameras)
        return self.image(views.flatten(0, 1)).float().unflatten(0, views.shape[:2])

    def all_points(self, device: torch.device) -> Tensor:
        """(1, n³, 3) voxel centres as (x, y, z), the cube spanning [-1, 1]."""
        axis = voxel_axis(self.ct_size, 2.0 / self.ct_size, device)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        return torch.stack((x, y, z), -1).view(1, -1, 3)

    def density(self, maps: Tensor, points: Tensor) -> Tensor:
        """(B, P) unit-range values at (B, P, 3) points; in float32, for sines of large arguments need it."""
        with torch.autocast(points.device.type, enabled=False):
            x, y, z = points.unbind(-1)
            angle = 2.0 * math.pi * points @ self.frequencies
            fourier = torch.cat((angle.sin(), angle.cos()), dim=-1)
            hidden = []
            for view, across in enumerate((x, y)):
                where = torch.stack((across, z), -1)[:, None]  # (B, 1, P, 2): column, row
                sampled = F.grid_sample(maps[:, view], where, align_corners=False, padding_mode="border")[:, :, 0]
                hidden.append(self.per_view(torch.cat((sampled.transpose(1, 2), fourier), dim=-1)))
            return self.fused(torch.stack(hidden).mean(0))[..., 0]
