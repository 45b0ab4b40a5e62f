"""X2CT-CNN and X2CT-GAN (Ying et al., CVPR 2019), written from docs/method.md, 5.

Each view has a 2-D dense encoder and a 3-D decoder, in a frame whose first axis runs along the view's rays. Connection A:
a linear layer turns the coarsest image features into a 4³ volume. Connection B: image features of each resolution are
repeated along the rays. Connection C: after each scale the mean of the two decoders, in the frame of the volume, is fed
back to both. The discriminator sees the volume and the X-rays repeated along their rays.

Frames: frontal (y, z, x), lateral (x, z, y), volume (z, y, x).
"""

from typing import Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812
from monai.networks.nets import PatchDiscriminator
from pydantic import Field
from torch import Tensor, nn

from clsdm.geometry.cameras import Cameras
from clsdm.model.blocks import channels_last, conv, norm
from clsdm_bench.systems.biplanar import biplanar, replicated
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import Frozen, Width

TO_VOLUME = ((0, 1, 3, 2, 4), (0, 1, 3, 4, 2))
"""Permutation of (B, C, depth, row, column) to (B, C, z, y, x) for the frontal and the lateral frame."""
FROM_VOLUME = ((0, 1, 3, 2, 4), (0, 1, 4, 2, 3))
COARSEST = 4
BOTTLENECK = 4
START = 0.1
"""Bias of the last layer, on a scale where air is 0: behind a ReLU, a start below zero would have no gradient."""


class X2CTConfig(Frozen):
    """Sizes of the X2CT generator; the defaults are the published ones, for 128³ voxels.

    Attributes:
        kind: tells it from the other networks.
        stem: channels of the first convolution.
        growth: channels that each layer of a dense block adds.
        layers: of each dense block; each block halves the resolution of the image once.
        link: channels that enter the linear layer from image to volume; None for all of them.
        decoder: widths of the volume, coarsest (4³) first; one for each doubling of the resolution.
        norm: "group" is the published instance normalisation.
    """

    kind: Literal["x2ct"] = "x2ct"
    stem: Width = 64
    growth: Width = 32
    layers: tuple[Width, ...] = Field(default=(6, 12, 24, 16, 6), min_length=1, max_length=64)
    link: Width | None = None
    decoder: tuple[Width, ...] = Field(default=(256, 128, 64, 32, 16, 16), min_length=1, max_length=64)
    norm: Literal["group", "voxel"] = "group"


def activated(dims: int, inputs: int, outputs: int, kind: Literal["group", "voxel"], **size: int) -> nn.Module:
    """Normalise, ReLU, convolve."""
    return nn.Sequential(norm(inputs, inputs, kind), nn.ReLU(), conv(dims, inputs, outputs, **size))


class DenseBlock(nn.Module):
    """Every layer sees all features before it and adds ``growth`` (Huang et al. 2017)."""

    def __init__(self, width: int, layers: int, config: X2CTConfig) -> None:
        super().__init__()
        inner = BOTTLENECK * config.growth
        self.layers = nn.ModuleList(
            nn.Sequential(
                activated(2, width + index * config.growth, inner, config.norm, kernel=1),
                activated(2, inner, config.growth, config.norm),
            )
            for index in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return x


class ImageEncoder(nn.Module):
    """An X-ray -> features at every resolution, finest first."""

    def __init__(self, config: X2CTConfig) -> None:
        super().__init__()
        self.stem = conv(2, 1, config.stem, kernel=7)
        self.steps = nn.ModuleList()
        self.widths = [config.stem]
        for layers in config.layers:
            width = self.widths[-1]
            dense = width + layers * config.growth
            self.steps.append(
                nn.Sequential(
                    activated(2, width, width, config.norm, stride=2),
                    DenseBlock(width, layers, config),
                    activated(2, dense, dense // 2, config.norm, kernel=1),
                )
            )
            self.widths.append(dense // 2)

    def forward(self, image: Tensor) -> list[Tensor]:
        levels = [self.stem(image)]
        for step in self.steps:
            levels.append(step(levels[-1]))
        return levels


class Link(nn.Module):
    """Connection A: (B, C, 4, 4) -> (B, width, 4, 4, 4) by one linear layer."""

    def __init__(self, inputs: int, width: int, channels: int | None) -> None:
        super().__init__()
        self.reduce = conv(2, inputs, channels, kernel=1) if channels else nn.Identity()
        self.width = width
        self.linear = nn.Linear((channels or inputs) * COARSEST**2, width * COARSEST**3)

    def forward(self, features: Tensor) -> Tensor:
        volume = F.relu(self.linear(self.reduce(features).flatten(1)))
        return volume.view(-1, self.width, *[COARSEST] * 3)


class Scale(nn.Module):
    """One doubling of a view's decoder: its own features and the fused ones, refined by the image's (connection B)."""

    def __init__(self, inputs: int, width: int, image_width: int | None, kind: Literal["group", "voxel"]) -> None:
        super().__init__()
        self.narrow = activated(3, 2 * inputs, width, kind, kernel=1)
        self.flat = conv(2, image_width, width, kernel=1) if image_width else None
        self.refine = nn.Sequential(
            activated(3, width * (2 if image_width else 1), width, kind), activated(3, width, width, kind)
        )

    def forward(self, own: Tensor, fused: Tensor, image: Tensor | None) -> Tensor:
        x = F.interpolate(self.narrow(torch.cat((own, fused), dim=1)), scale_factor=2.0, mode="nearest")
        if self.flat is not None and image is not None:
            along_rays = self.flat(image)[:, :, None].expand(-1, -1, x.shape[2], -1, -1)
            x = torch.cat((x, along_rays.to(x.dtype)), dim=1)
        return self.refine(x)


class X2CT(nn.Module):
    """The generator: X-rays on the virtual detector -> CT in the unit range."""

    def __init__(self, config: X2CTConfig, ct_size: int, image_size: int) -> None:
        """``ct_size`` voxels along the edge of the cube, ``image_size`` pixels along that of the detector.

        Raises:
            ValueError: the blocks do not lead from these sizes to 4, or from 4 to them.
        """
        super().__init__()
        if image_size != COARSEST * 2 ** len(config.layers):
            raise ValueError(f"X2CT: {len(config.layers)} dense blocks do not lead from {image_size}² pixels to 4²")
        if ct_size != COARSEST * 2 ** (len(config.decoder) - 1):
            raise ValueError(f"X2CT: {len(config.decoder)} decoder widths do not lead from 4³ to {ct_size}³ voxels")
        encoders = [ImageEncoder(config) for _ in TO_VOLUME]
        self.encoders, widths = nn.ModuleList(encoders), encoders[0].widths
        self.links = nn.ModuleList(Link(widths[-1], config.decoder[0], config.link) for _ in TO_VOLUME)
        sizes = {image_size // 2**index: width for index, width in enumerate(widths)}
        self.scales = nn.ModuleList(
            nn.ModuleList(
                Scale(config.decoder[i], width, sizes.get(COARSEST * 2 ** (i + 1)), config.norm)
                for i, width in enumerate(config.decoder[1:])
            )
            for _ in TO_VOLUME
        )
        self.out = conv(3, config.decoder[-1], 1, kernel=7)
        nn.init.constant_(self.out.get_parameter("bias"), START)
        channels_last(self)

    def forward(self, images: Tensor, cameras: Cameras) -> Tensor:
        """(B, 2, 2, size, size) and their cameras -> (B, 1, n, n, n) in the unit range, not below -1."""
        views = biplanar(images, cameras).unbind(1)
        pyramids = [encoder(view) for encoder, view in zip(self.encoders, views, strict=True)]
        volumes = [link(pyramid[-1]) for link, pyramid in zip(self.links, pyramids, strict=True)]
        fused = mean_in_volume_frame(volumes)
        for scale in zip(*cast("list[list[Scale]]", self.scales), strict=True):
            size = 2 * fused.shape[-1]
            volumes = [
                step(own, fused.permute(back), next((f for f in pyramid if f.shape[-1] == size), None))
                for step, own, pyramid, back in zip(scale, volumes, pyramids, FROM_VOLUME, strict=True)
            ]
            fused = mean_in_volume_frame(volumes)
        return 2.0 * F.relu(self.out(F.relu(fused))).float() - 1.0

    def training_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Estimate and truth that the loss compares."""
        return self(*batch.xrays), batch.unit


def mean_in_volume_frame(volumes: list[Tensor]) -> Tensor:
    """Connection C: the mean of the two decoders' features, (B, C, z, y, x)."""
    frontal, lateral = (volume.permute(order) for volume, order in zip(volumes, TO_VOLUME, strict=True))
    return 0.5 * (frontal + lateral)


class X2CTDiscriminator(nn.Module):
    """The patch discriminator of X2CT-GAN, conditioned on the X-rays repeated along their rays."""

    def __init__(self, channels: int, layers: int = 3) -> None:
        super().__init__()
        self.patches = PatchDiscriminator(
            spatial_dims=3, in_channels=3, channels=channels, num_layers_d=layers, norm="INSTANCE"
        )

    def forward(self, unit: Tensor, images: Tensor, cameras: Cameras) -> Tensor:
        """Scores of the patches of (B, 1, n, n, n)."""
        size = unit.shape[-1]
        views = biplanar(images, cameras)
        resized = F.interpolate(views.flatten(0, 1), (size, size), mode="area").unflatten(0, views.shape[:2])
        return self.patches(torch.cat((unit, replicated(resized, size)), dim=1))[-1].float()


def mean_projections(unit: Tensor) -> tuple[Tensor, ...]:
    """The three orthogonal mean projections of (B, 1, z, y, x)."""
    return tuple(unit.mean(axis) for axis in (2, 3, 4))
