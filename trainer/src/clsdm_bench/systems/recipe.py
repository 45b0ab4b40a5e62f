"""Recipes of the benchmark: those of the trainer, with the sections of the systems that ours is compared with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clsdm_trainer.config import Count, Frozen, StageConfig, Weight, Width
from clsdm_trainer.recipe import RunConfig
from clsdm_trainer.stages.diffusion import DiffusionStageConfig


class X2CTConfig(Frozen):
    """Sizes of the X2CT generator; the defaults are the published ones, for 128³ voxels (``x2ct``).

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


class INRRConfig(Frozen):
    """Sizes of INRR3CT; the defaults are the published ones (``inrr``).

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


class BaselineStageConfig(StageConfig):
    """A baseline that maps X-rays to voxels, trained in one stage.

    Attributes:
        network: its architecture.
        mse_weight: of the squared error.
        projection_weight: of the L1 error of the three mean projections (X2CT-GAN).
        adversarial_weight: of the least-squares adversarial term (X2CT-GAN); 0 for none.
        discriminator_channels: width of the patch discriminator.
        discriminator_layers: how often it halves the resolution.
    """

    network: X2CTConfig | INRRConfig = Field(discriminator="kind")
    mse_weight: Weight = 1.0
    projection_weight: Weight = 0.0
    adversarial_weight: Weight = 0.0
    discriminator_channels: Width = 64
    discriminator_layers: int = Field(default=3, ge=1, le=16)


class BenchmarkConfig(RunConfig):
    """A recipe of the benchmark.

    ``joint`` replaces alignment and diffusion in the baseline LDM, ``baseline`` replaces all three stages in the others.
    """

    joint: DiffusionStageConfig | None = None
    baseline: BaselineStageConfig | None = None
