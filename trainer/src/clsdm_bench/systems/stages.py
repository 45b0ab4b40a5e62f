"""The baselines' training, through the same loop as our three stages.

``baseline`` trains a network from X-rays to voxels, with X2CT-GAN's extra terms where the recipe asks for them. ``joint``
is the latent diffusion model without alignment: our autoencoder and denoiser, with an X-ray encoder of our architecture
trained from scratch by the diffusion loss alone.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.model.condition import Condition
from clsdm_bench.systems.networks import make_network
from clsdm_bench.systems.recipe import BaselineStageConfig
from clsdm_bench.systems.x2ct import X2CTDiscriminator, mean_projections
from clsdm_trainer.batches import Batch
from clsdm_trainer.checks import SMALLEST_BFLOAT16
from clsdm_trainer.stages import STAGES, AlignmentStage, DiffusionStage, Stage
from clsdm_trainer.stages.base import Moved, Terms, freeze
from clsdm_trainer.stages.diffusion import DiffusionStageConfig

UNIT_RANGE = 2.0
"""The published weights are for densities in [0, 1]; ours are twice as far apart."""


class BaselineStage(Stage[BaselineStageConfig]):
    """X2CT-CNN, X2CT-GAN and INRR3CT: regression and, for X2CT-GAN, projections and a conditional discriminator."""

    name = "baseline"
    Config = BaselineStageConfig

    def __init__(self, model: CLSDM, config: BaselineStageConfig) -> None:
        super().__init__(model, config)
        freeze(model)
        self.network = make_network(config.network, model.config)
        self.modules = {"generator": Moved(self.regression, network=self.network)}
        if config.adversarial_weight:
            self.discriminator = X2CTDiscriminator(config.discriminator_channels, config.discriminator_layers)
            self.modules["discriminator"] = Moved(self.discrimination, discriminator=self.discriminator)

    @classmethod
    def coarsest(cls, model: ModelConfig) -> int:
        return SMALLEST_BFLOAT16  # where the volume of X2CT begins; INRR3CT has no 3-D convolution

    def regression(self, batch: Batch, step: int) -> Terms:
        """The generator's loss."""
        config = self.config
        estimate, truth = self.network.training_pair(batch)
        terms = {"mse": ((estimate - truth) / UNIT_RANGE).square().mean()}
        loss = config.mse_weight * terms["mse"]
        if config.projection_weight:
            pairs = zip(mean_projections(estimate), mean_projections(truth), strict=True)
            terms["projection"] = torch.stack([((a - b) / UNIT_RANGE).abs().mean() for a, b in pairs]).mean()
            loss = loss + config.projection_weight * terms["projection"]
        if config.adversarial_weight:
            terms["adversarial"] = (self.discriminator(estimate, *batch.xrays) - 1.0).square().mean()
            loss = loss + config.adversarial_weight * terms["adversarial"]
        return {"loss": loss, **terms}

    def discrimination(self, batch: Batch, step: int) -> Terms:
        """The discriminator's least-squares loss (Mao et al. 2017)."""
        with torch.no_grad():
            fake = self.network(*batch.xrays)
        real_score, fake_score = (self.discriminator(unit, *batch.xrays) for unit in (batch.unit, fake))
        return {"loss": 0.5 * ((real_score - 1.0).square().mean() + fake_score.square().mean())}

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        return {"estimate": self.network(*batch.xrays)}


def condition_without_mean(model: CLSDM, images: Tensor, cameras: Cameras) -> Condition:
    """The condition of a model without alignment: features, and no idea of the volume's latents."""
    estimate, features = model.condition(images, cameras)
    mean = torch.zeros(len(images), *model.latent_shape, device=images.device)
    return Condition(features, mean, estimate)


class JointStage(DiffusionStage):
    """The LDM baseline: denoiser and X-ray encoder under the diffusion loss."""

    name = "joint"
    needs: ClassVar[tuple[str, ...]] = ("autoencoder",)
    networks: ClassVar[tuple[str, ...]] = ("condition", "denoiser")

    def __init__(self, model: CLSDM, config: DiffusionStageConfig) -> None:
        Stage.__init__(self, model, config)
        freeze(model.autoencoder)
        freeze(model.condition.to_estimate)  # nothing trains it, and nothing uses what it says
        self.modules = {"joint": Moved(self.loss, denoiser=model.denoiser, condition=model.condition)}

    @classmethod
    def coarsest(cls, model: ModelConfig) -> int:
        return min(AlignmentStage.coarsest(model), DiffusionStage.coarsest(model))

    def loss(self, batch: Batch, step: int) -> Terms:
        with torch.no_grad(), self.frozen_precision(batch.unit.device):
            latents = self.model.encode(batch.unit).float()
        return self.denoising_loss(batch, latents, condition_without_mean(self.model, *batch.xrays))

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        return {"sample": self.drawn(condition_without_mean(self.model, *batch.xrays))}


ALL_STAGES: dict[str, type[Stage[Any]]] = {**STAGES, JointStage.name: JointStage, BaselineStage.name: BaselineStage}
