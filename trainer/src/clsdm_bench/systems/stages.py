"""The baselines' training, through the same loop as our three stages.

``baseline`` trains a network from X-rays to voxels, with X2CT-GAN's extra terms where the recipe asks for them. ``joint``
is the latent diffusion model without alignment: our autoencoder and denoiser, with an X-ray encoder of our architecture
trained from scratch by the diffusion loss alone.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.model.condition import Condition
from clsdm_bench.systems.inrr import INRR3CT
from clsdm_bench.systems.x2ct import X2CT, X2CTJudge, mean_projections
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import BaselineStageConfig, DiffusionStageConfig, INRRConfig, RunConfig, X2CTConfig
from clsdm_trainer.stages import STAGES, Stage, Terms, freeze, frozen_precision

Section = TypeVar("Section", BaselineStageConfig, DiffusionStageConfig)

UNIT_RANGE = 2.0
"""The published weights are for densities in [0, 1]; ours are twice as far apart."""


def make_network(config: X2CTConfig | INRRConfig, model: ModelConfig) -> X2CT | INRR3CT:
    """The network of a baseline for a grid and a detector."""
    if isinstance(config, X2CTConfig):
        return X2CT(config, model.grid.size, model.detector.size)
    return INRR3CT(config, model.grid.size, model.detector.size)


class GeneratorPlayer(nn.Module):
    """The network with its regression loss and, for X2CT-GAN, projections and a judge."""

    def __init__(self, network: X2CT | INRR3CT, config: BaselineStageConfig, judge: nn.Module | None) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.judge = [judge]  # in a list: not a sub-module, so neither trained nor saved here

    def forward(self, batch: Batch) -> Terms:
        config = self.config
        estimate, truth = self.network.training_pair(batch)
        terms = {"mse": ((estimate - truth) / UNIT_RANGE).square().mean()}
        loss = config.mse_weight * terms["mse"]
        if config.projection_weight:
            pairs = zip(mean_projections(estimate), mean_projections(truth), strict=True)
            terms["projection"] = torch.stack([((a - b) / UNIT_RANGE).abs().mean() for a, b in pairs]).mean()
            loss = loss + config.projection_weight * terms["projection"]
        if self.judge[0] is not None:
            terms["adversarial"] = (self.judge[0](estimate, *batch.xrays) - 1.0).square().mean()
            loss = loss + config.adversarial_weight * terms["adversarial"]
        return {"loss": loss, **terms}


class JudgePlayer(nn.Module):
    """The conditional discriminator with the least-squares loss (Mao et al. 2017)."""

    def __init__(self, network: nn.Module, config: BaselineStageConfig) -> None:
        super().__init__()
        self.judge = X2CTJudge(config.judge_channels, config.judge_layers)
        self.network = [network]

    def forward(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.network[0](*batch.xrays)
        real_score, fake_score = (self.judge(unit, *batch.xrays) for unit in (batch.unit, fake))
        return {"loss": 0.5 * ((real_score - 1.0).square().mean() + fake_score.square().mean())}


class BaselineStage(Stage):
    """X2CT-CNN, X2CT-GAN and INRR3CT."""

    name = "baseline"

    def __init__(self, model: CLSDM, run: RunConfig) -> None:
        config = required(run.baseline, self.name, run)
        freeze(model)
        self.model, self.config = model, config
        self.network = make_network(config.network, run.model)
        judge = JudgePlayer(self.network, config) if config.adversarial_weight else None
        generator = GeneratorPlayer(self.network, config, judge.judge if judge else None)
        self.players = {"generator": generator, **({"judge": judge} if judge else {})}

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        return {"estimate": self.network(*batch.xrays)}


def condition_without_mean(model: CLSDM, images: Tensor, cameras: Cameras) -> Condition:
    """What a model without alignment knows: features, and no idea of the volume's latents."""
    estimate, features = model.condition(images, cameras)
    mean = torch.zeros(len(images), *model.latent_shape, device=images.device)
    return Condition(features, mean, estimate)


class JointPlayer(nn.Module):
    """Denoiser and X-ray encoder under the diffusion loss."""

    def __init__(self, model: CLSDM, config: DiffusionStageConfig) -> None:
        super().__init__()
        self.denoiser, self.condition = model.denoiser, model.condition
        self.model, self.config = [model], config

    def forward(self, batch: Batch) -> Terms:
        model = self.model[0]
        with torch.no_grad(), frozen_precision(self.config, batch.unit.device):
            latents = model.encode(batch.unit).float()
        condition = condition_without_mean(model, *batch.xrays)
        t = batch.uniform()
        x, target = model.schedule.mix(latents, condition.mean, batch.normal(*model.latent_shape), t)
        error = model.denoise(x, t, condition) - target
        return {"loss": error.abs().mean() if self.config.loss == "l1" else error.square().mean()}


class JointStage(Stage):
    """The LDM baseline."""

    name = "joint"
    after = ("autoencoder",)

    def __init__(self, model: CLSDM, run: RunConfig) -> None:
        config = required(run.joint, self.name, run)
        freeze(model.autoencoder)
        freeze(model.condition.to_estimate)  # nothing trains it, and nothing uses what it says
        self.model, self.config = model, config
        self.players = {"joint": JointPlayer(model, config)}

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        condition = condition_without_mean(self.model, *batch.xrays)
        seeded = torch.Generator().manual_seed(0)
        noise = torch.randn(condition.mean.shape, generator=seeded).to(condition.mean)
        return {"sample": self.model.decode(self.model.draw(condition, noise))}


def required(config: Section | None, name: str, run: RunConfig) -> Section:
    """The section of a stage.

    Raises:
        InputError: the recipe has none.
    """
    if config is None:
        raise InputError(f"{run.name}: the recipe has no section {name!r}")
    return config


ALL_STAGES: dict[str, type[Stage]] = {**STAGES, JointStage.name: JointStage, BaselineStage.name: BaselineStage}
