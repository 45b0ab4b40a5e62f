"""Stage 2: X-ray features aligned with the CT's latents, and an estimate that must regress the CT."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor, nn

from clsdm.errors import InputError
from clsdm.model.clsdm import CLSDM, ERROR_BLOCKS, ModelConfig
from clsdm.model.noise import ErrorStatistics
from clsdm.volume.hu import WINDOW_WIDTH_HU
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import Count, StageConfig, Weight
from clsdm_trainer.data.store import Store
from clsdm_trainer.losses import known_mean, local_and_global_contrast, projection_consistency, published_contrast
from clsdm_trainer.stages.base import Moved, Stage, Terms, freeze


class AlignmentStageConfig(StageConfig):
    """The recipe's section.

    Attributes:
        batch: at least 2, or the contrast has no negatives.
        voxel_weight: of the squared error of the CT estimate (the autoregressive constraint).
        contrast_weight: of the contrastive alignment.
        temperature: of the contrast.
        positions: latent voxels contrasted in each volume.
        consistency_weight: of the squared error of the re-projected estimate.
        project_every: steps from one re-projection to the next; it and its gradient cost as much as the network's.
        voxel_loss: "l2", or "l1" as published.
        coarse_share: of the steps, those at the beginning, in which a network with ``fine`` widths learns its coarse
            estimate alone, on CTs and scans of half the resolution.
        contrast: "local-global" (ours), or "published": the saturating one, kept for comparison (docs/method.md).
    """

    batch: int = Field(ge=2, le=4096)
    voxel_weight: Weight = 20.0
    contrast_weight: Weight = 0.02
    temperature: float = Field(default=0.1, ge=1e-3, le=100.0)
    positions: Count = 256
    consistency_weight: Weight = 0.5
    project_every: Count = 8
    coarse_share: float = Field(default=0.0, ge=0.0, le=1.0)
    voxel_loss: Literal["l1", "l2"] = "l2"
    contrast: Literal["local-global", "published"] = "local-global"


class AlignmentStage(Stage[AlignmentStageConfig]):
    """The condition network, with the two projections into the space of the contrast."""

    name = "alignment"
    Config = AlignmentStageConfig
    needs: ClassVar[tuple[str, ...]] = ("autoencoder",)
    networks: ClassVar[tuple[str, ...]] = ("condition",)
    product = "residuals.safetensors"

    def __init__(self, model: CLSDM, config: AlignmentStageConfig) -> None:
        super().__init__(model, config)
        freeze(model.autoencoder)
        self.condition = model.condition
        if config.coarse_share and self.condition.refine is None:
            raise ValueError("alignment.coarse_share: expected 0 without condition.fine")
        width = model.config.condition.contrast_channels
        self.project_xray = nn.Conv3d(model.config.condition.condition_channels, width, 1)
        self.project_ct = nn.Conv3d(model.config.autoencoder.latent_channels, width, 1)
        self.modules = {
            "alignment": Moved(
                self.loss, condition=self.condition, project_xray=self.project_xray, project_ct=self.project_ct
            )
        }

    @classmethod
    def coarsest(cls, model: ModelConfig) -> int:
        return (model.grid.size // model.condition.fold) >> (len(model.condition.channels) - 1)

    def coarser(self, step: int) -> int:
        return 2 if step < round(self.config.coarse_share * self.config.steps) else 1

    def extended(self, step: int) -> bool:
        return step % self.config.project_every == 0

    def loss(self, batch: Batch, step: int) -> Terms:
        """Voxels, contrast and, every few steps, projections; no contrast while the estimate is coarse."""
        config, (images, cameras) = self.config, batch.xrays
        coarser = self.coarser(step)
        if coarser > 1:
            estimate = self.condition.coarse(images, cameras)
            terms = {"voxel": self._voxel(estimate, batch)}
            loss = config.voxel_weight * terms["voxel"] + self._untouched()
        else:
            with torch.no_grad():
                latents = self.model.encode(batch.unit).float()
            estimate, features = self.condition(images, cameras)
            terms = {"voxel": self._voxel(estimate, batch), "contrast": self._contrast(features, latents, batch)}
            loss = config.voxel_weight * terms["voxel"] + config.contrast_weight * terms["contrast"]
        if self.extended(step):
            measured, spacing_mm = images[:, :, 1].float(), self.model.config.grid.spacing_mm * coarser
            terms["consistency"] = projection_consistency(estimate, batch.unit, measured, cameras, spacing_mm)
            loss = loss + config.consistency_weight * terms["consistency"]
        return {"loss": loss, **terms}

    def _untouched(self) -> Tensor:
        """Nothing, of every parameter: several processes wait for a gradient of each."""
        return 0.0 * torch.stack([p.sum() for p in self.modules["alignment"].parameters() if p.requires_grad]).sum()

    def _voxel(self, estimate: Tensor, batch: Batch) -> Tensor:
        error = estimate - batch.unit
        return known_mean(error.abs() if self.config.voxel_loss == "l1" else error.square(), batch.known)

    def _contrast(self, features: Tensor, latents: Tensor, batch: Batch) -> Tensor:
        positions = torch.from_numpy(batch.random[0].permutation(latents[0, 0].numel())[: self.config.positions])
        projected = self.project_xray(features), self.project_ct(latents)
        if self.config.contrast == "published":
            return published_contrast(*projected, self.config.temperature)
        return local_and_global_contrast(*projected, positions.to(latents.device), self.config.temperature)

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        return {"mean": self.condition(*batch.xrays)[0]}

    @torch.no_grad()
    def measure(self, store: Store, validation: list[Batch]) -> dict[str, Tensor]:
        """How far each latent channel lies from the aligned mean, and the estimate from the truth in each part of the
        cube, as standard deviations; how large and how smooth the estimate's errors are, for noise that is like them.

        On the validation patients: on its own the network is closer than it will be.
        """
        squares = [
            (self.model.encode(batch.unit).float() - self.model.align(*batch.xrays).mean).square().mean((2, 3, 4))
            for batch in validation
        ]
        return {
            "std": torch.cat(squares).mean(0).sqrt(),
            "error_hu": self._error_hu(validation),
            **self._errors(validation),
        }

    def _error_hu(self, validation: list[Batch]) -> Tensor:
        """(m, m, m) HU over blocks of the cube, of the voxels that were scanned; the mean over all where none was."""
        total, count = torch.zeros(2, *[ERROR_BLOCKS] * 3, device=self.model.error_hu.device)
        for batch in validation:
            error = (self.condition(*batch.xrays)[0] - batch.unit).float() * (0.5 * WINDOW_WIDTH_HU)
            total += F.adaptive_avg_pool3d(error.square() * batch.known, ERROR_BLOCKS)[:, 0].sum(0)
            count += F.adaptive_avg_pool3d(batch.known, ERROR_BLOCKS)[:, 0].sum(0)
        return torch.where(count > 0.0, total / count.clamp_min(1e-6), total.sum() / count.sum()).sqrt()

    def _errors(self, validation: list[Batch]) -> dict[str, Tensor]:
        statistics = ErrorStatistics(self.model.config.grid.size, self.model.error_hu.device)
        for add in (statistics.add_scale, statistics.add_spectrum):
            for batch in validation:
                estimate = self.condition(*batch.xrays)[0].float().clamp(-1.0, 1.0)
                add(estimate, batch.unit - estimate, batch.known)
        return {"error_scale": statistics.scale, "error_spectrum": statistics.spectrum}

    @classmethod
    def restore(cls, model: CLSDM, measured: Mapping[str, Tensor]) -> None:
        model.residual_std.copy_(measured["std"])
        if "error_hu" in measured:  # runs of before it was measured have none
            model.error_hu.copy_(measured["error_hu"])
        if model.config.process.noise == "error":
            for name in ("error_scale", "error_spectrum"):
                if name not in measured:
                    raise InputError(
                        f"{cls.product}: holds no {name}, of which its noise is made; expected one of this version"
                    )
                getattr(model, name).copy_(measured[name])
