"""Recipes of the benchmark: those of the trainer, with the sections of the systems that ours is compared with."""

from pydantic import Field

from clsdm_bench.systems.networks import NetworkConfig
from clsdm_trainer.config import StageConfig, Weight, Width
from clsdm_trainer.recipe import RunConfig
from clsdm_trainer.stages.diffusion import DiffusionStageConfig


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

    network: NetworkConfig = Field(discriminator="kind")
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
