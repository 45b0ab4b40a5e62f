"""The three stages: what each trains, its loss on one micro-batch, and how it is judged on the validation patients.

A stage owns one or more *players*: modules whose ``forward(batch)`` returns named loss terms with their sum under
``loss``. The loop (``loop.train``) knows nothing else. What a stage takes from an earlier one is frozen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

from clsdm.model.clsdm import CLSDM
from clsdm_trainer.augment import blur
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import (
    AlignmentStageConfig,
    AutoencoderStageConfig,
    DiffusionStageConfig,
    RunConfig,
    StageConfig,
)
from clsdm_trainer.losses import (
    known_mean,
    local_and_global_contrast,
    projection_consistency,
    psnr_db,
    published_contrast,
)
from clsdm_trainer.precision import usable

Terms = dict[str, Tensor]


class Stage(ABC):
    """One stage of the training."""

    name: ClassVar[str]
    needs_xrays: ClassVar[bool] = True
    after: ClassVar[tuple[str, ...]] = ()
    """Stages whose best weights it starts from."""
    model: CLSDM
    config: StageConfig
    players: dict[str, nn.Module]
    """In the order in which they move; the first is the one that is kept, averaged and exported."""

    @abstractmethod
    def __init__(self, model: CLSDM, run: RunConfig) -> None:
        """Freeze what the stage does not train, and make its players."""

    def extended(self, step: int) -> bool:
        """Whether this step does more than the others, and so takes longer: the adversary, the projector."""
        return False

    def active(self, step: int) -> list[str]:
        """Which players move at this step."""
        return list(self.players)

    @abstractmethod
    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Named reconstructions (B, 1, n, n, n) in the unit range, for validation and pictures; the first is the one
        by which checkpoints are selected."""

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> tuple[dict[str, float], np.ndarray]:
        """Judge on the validation patients.

        Returns:
            Mean PSNR (data range 2500 HU) of every reconstruction, and a picture (rows, cols, 3) uint8 of the first
            patient: truth and reconstructions, axial, coronal and sagittal.
        """
        scores: dict[str, list[Tensor]] = {}
        tiles: list[Tensor] = []
        for index, batch in enumerate(batches):
            for name, unit in self.estimate(batch).items():
                scores.setdefault(f"psnr_{name}_db", []).append(psnr_db(unit, batch.unit, batch.known))
                if not index:
                    tiles = [*(tiles or [middle_planes(batch.unit)]), middle_planes(unit)]
        picture = ((torch.cat(tiles) + 1.0) * 127.5).round().byte()[..., None].expand(-1, -1, 3)
        return {name: float(torch.cat(values).mean()) for name, values in scores.items()}, picture.cpu().numpy()


def middle_planes(unit: Tensor) -> Tensor:
    """(n, 3n) middle axial, coronal and sagittal plane of the first volume (B, 1, n, n, n), superior up."""
    volume = unit[0, 0].float().clamp(-1.0, 1.0)
    half = len(volume) // 2
    return torch.cat((volume[half], volume[:, half].flip(0), volume[:, :, half].flip(0)), dim=1)


def freeze(module: nn.Module) -> None:
    """Exclude a module from training."""
    module.requires_grad_(False)
    module.eval()


class AutoencoderPlayer(nn.Module):
    """Reconstruction, KL, and the adversarial term once it has begun."""

    def __init__(self, model: CLSDM, config: AutoencoderStageConfig, judge: nn.Module | None) -> None:
        super().__init__()
        self.autoencoder = model.autoencoder
        self.config = config
        self.latent_shape = model.latent_shape
        self.judge = [judge]  # in a list: not a sub-module, so neither trained nor saved here
        self.adversarial = False

    def forward(self, batch: Batch) -> Terms:
        sigma = [r.uniform(0.4, 2.0) if r.random() < self.config.blur_probability else 0.0 for r in batch.random]
        target = blur(batch.unit, sigma)
        estimate, posterior = self.autoencoder(target, batch.normal(*self.latent_shape))
        error = estimate - target
        terms = {"l1": error.abs().mean(), "mse": error.square().mean(), "kl": posterior.kl()}
        fidelity = terms["l1"] + self.config.mse_weight * terms["mse"]
        loss = fidelity + self.config.kl_weight * terms["kl"]
        if self.adversarial and self.judge[0] is not None:
            terms["adversarial"] = -self.judge[0](estimate)[-1].float().mean()
            balance = self._balance(fidelity, terms["adversarial"]) if torch.is_grad_enabled() else 1.0
            loss = loss + self.config.adversarial_weight * balance * terms["adversarial"]
        return {"loss": loss, **terms}

    def _balance(self, fidelity: Tensor, adversarial: Tensor) -> Tensor:
        """Ratio of the two gradients at the last layer (Esser et al. 2021, eq. 7)."""
        last = self.autoencoder.decoder.out.get_parameter("2.weight")
        gradients = [torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in (fidelity, adversarial)]
        return (gradients[0] / (gradients[1] + 1e-4)).clamp(0.0, 1e4).detach()


class JudgePlayer(nn.Module):
    """The patch discriminator with the hinge loss."""

    def __init__(self, model: CLSDM) -> None:
        super().__init__()
        self.judge = PatchDiscriminator(spatial_dims=3, in_channels=1, channels=32, num_layers_d=2, norm="INSTANCE")
        self.model = [model]

    def forward(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.model[0].autoencoder(batch.unit)[0]
        real_score, fake_score = (self.judge(x)[-1].float() for x in (batch.unit, fake))
        return {"loss": 0.5 * (F.relu(1.0 - real_score).mean() + F.relu(1.0 + fake_score).mean())}


class AutoencoderStage(Stage):
    """Stage 1: perceptual compression."""

    name = "autoencoder"
    needs_xrays = False

    def __init__(self, model: CLSDM, run: RunConfig) -> None:
        self.model, self.config = model, run.autoencoder
        judge = JudgePlayer(model) if run.autoencoder.adversarial_start is not None else None
        self.generator = AutoencoderPlayer(model, run.autoencoder, judge.judge if judge else None)
        self.players = {"autoencoder": self.generator, **({"judge": judge} if judge else {})}

    def extended(self, step: int) -> bool:
        start = self.generator.config.adversarial_start
        return start is not None and step >= start

    def active(self, step: int) -> list[str]:
        self.generator.adversarial = self.extended(step)
        return list(self.players) if self.generator.adversarial else ["autoencoder"]

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        return {"round_trip": self.model.autoencoder(batch.unit)[0]}


class AlignmentPlayer(nn.Module):
    """The condition network with the two projections into the space of the contrast."""

    def __init__(self, model: CLSDM, config: AlignmentStageConfig) -> None:
        super().__init__()
        self.condition = model.condition
        width = model.config.condition.contrast_channels
        self.project_xray = nn.Conv3d(model.config.condition.condition_channels, width, 1)
        self.project_ct = nn.Conv3d(model.config.autoencoder.latent_channels, width, 1)
        self.model, self.config = [model], config
        self.projecting = True

    def forward(self, batch: Batch) -> Terms:
        model, config = self.model[0], self.config
        with torch.no_grad():
            latents = model.encode(batch.unit).float()
        images, cameras = batch.xrays
        estimate, features = self.condition(images, cameras)
        positions = torch.from_numpy(batch.random[0].permutation(latents[0, 0].numel())[: config.positions])
        projected = self.project_xray(features), self.project_ct(latents)
        error = estimate - batch.unit
        terms = {
            "voxel": known_mean(error.abs() if config.voxel_loss == "l1" else error.square(), batch.known),
            "contrast": published_contrast(*projected, config.temperature)
            if config.contrast == "published"
            else local_and_global_contrast(*projected, positions.to(latents.device), config.temperature),
        }
        if self.projecting:
            spacing_mm = model.config.grid.spacing_mm
            terms["consistency"] = projection_consistency(
                estimate, batch.unit, images[:, :, 1].float(), cameras, spacing_mm
            )
        loss = sum((getattr(config, f"{name}_weight") * term for name, term in terms.items()), torch.zeros(()))
        return {"loss": loss, **terms}


class AlignmentStage(Stage):
    """Stage 2: X-ray features aligned with the CT's latents, whose estimate must regress the CT."""

    name = "alignment"
    after = ("autoencoder",)

    def __init__(self, model: CLSDM, run: RunConfig) -> None:
        if run.alignment.batch < 2:
            raise ValueError(f"alignment.batch: contrastive alignment needs at least 2, got {run.alignment.batch}")
        freeze(model.autoencoder)
        self.model, self.config = model, run.alignment
        self.player = AlignmentPlayer(model, run.alignment)
        self.players = {"alignment": self.player}

    def extended(self, step: int) -> bool:
        return step % self.player.config.project_every == 0

    def active(self, step: int) -> list[str]:
        self.player.projecting = self.extended(step)
        return list(self.players)

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        return {"mean": self.model.condition(*batch.xrays)[0]}


def frozen_precision(config: DiffusionStageConfig, device: torch.device) -> AbstractContextManager[object]:
    """The precision of networks that are only used, where it is another than that of the stage."""
    if config.frozen_precision is None:
        return nullcontext()
    precision = usable(config.frozen_precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


class DiffusionPlayer(nn.Module):
    """The denoiser on one random time per sample."""

    def __init__(self, model: CLSDM, config: DiffusionStageConfig) -> None:
        super().__init__()
        self.denoiser = model.denoiser
        self.model, self.config = [model], config

    def forward(self, batch: Batch) -> Terms:
        model = self.model[0]
        with torch.no_grad(), frozen_precision(self.config, batch.unit.device):
            latents = model.encode(batch.unit).float()
            condition = model.align(*batch.xrays)
        t = batch.uniform()
        x, target = model.schedule.mix(latents, condition.mean, batch.normal(*model.latent_shape), t)
        error = model.denoise(x, t, condition) - target
        return {"loss": error.abs().mean() if self.config.loss == "l1" else error.square().mean()}


class DiffusionStage(Stage):
    """Stage 3: what the mean cannot know is drawn."""

    name = "diffusion"
    after = ("autoencoder", "alignment")

    def __init__(self, model: CLSDM, run: RunConfig) -> None:
        freeze(model.autoencoder)
        freeze(model.condition)
        self.model, self.config = model, run.diffusion
        self.players = {"denoiser": DiffusionPlayer(model, run.diffusion)}

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        condition = self.model.align(*batch.xrays)
        seeded = torch.Generator().manual_seed(0)
        noise = torch.randn(condition.mean.shape, generator=seeded).to(condition.mean)
        return {"sample": self.model.decode(self.model.draw(condition, noise))}


STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (AutoencoderStage, AlignmentStage, DiffusionStage)}
"""In the order in which they are trained."""
