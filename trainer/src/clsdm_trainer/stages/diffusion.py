"""Stage 3: what the mean cannot know is drawn. The denoiser learns on one random time per sample."""

from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.model.condition import Condition
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import StageConfig
from clsdm_trainer.precision import Precision, usable
from clsdm_trainer.stages.base import Moved, Stage, Terms, freeze


class DiffusionStageConfig(StageConfig):
    """The recipe's section.

    Attributes:
        loss: on the network's output.
        frozen_precision: of the earlier stages' networks, which this one only uses; ``precision`` if None.
    """

    loss: Literal["l1", "l2"] = "l2"
    frozen_precision: Precision | None = None


class DiffusionStage(Stage[DiffusionStageConfig]):
    """The denoiser under frozen networks."""

    name = "diffusion"
    Config = DiffusionStageConfig
    needs: ClassVar[tuple[str, ...]] = ("autoencoder", "alignment")
    networks: ClassVar[tuple[str, ...]] = ("denoiser",)

    def __init__(self, model: CLSDM, config: DiffusionStageConfig) -> None:
        super().__init__(model, config)
        freeze(model.autoencoder)
        freeze(model.condition)
        self.modules = {"denoiser": Moved(self.loss, denoiser=model.denoiser)}

    @classmethod
    def coarsest(cls, model: ModelConfig) -> int:
        return model.latent_size // model.denoiser.patch >> (len(model.denoiser.channels) - 1)

    def loss(self, batch: Batch, step: int) -> Terms:
        """The denoiser's error at one random time per sample."""
        with torch.no_grad(), self.frozen_precision(batch.unit.device):
            latents = self.model.encode(batch.unit).float()
            condition = self.model.align(*batch.xrays)
        return self.denoising_loss(batch, latents, condition)

    def denoising_loss(self, batch: Batch, latents: Tensor, condition: Condition) -> Terms:
        """On (B, C, m, m, m) normalised latents under what the X-rays say."""
        model = self.model
        t = batch.uniform()
        with torch.no_grad(), self.frozen_precision(batch.unit.device):
            start = model.start(condition, batch.normal(*model.noise_shape))
        x, target = model.schedule.mix(latents, condition.mean, start, t)
        error = model.denoise(x, t, condition) - target
        return {"loss": error.abs().mean() if self.config.loss == "l1" else error.square().mean()}

    def frozen_precision(self, device: torch.device) -> AbstractContextManager[object]:
        """The precision of networks that are only used, where it is another than that of the stage."""
        if self.config.frozen_precision is None:
            return nullcontext()
        precision = usable(self.config.frozen_precision, device)
        return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        return {"sample": self.drawn(self.model.align(*batch.xrays))}

    def drawn(self, condition: Condition) -> Tensor:
        """(B, 1, n, n, n): one sample each, always from the same noise."""
        seeded = torch.Generator().manual_seed(0)
        noise = torch.randn(len(condition.mean), *self.model.noise_shape, generator=seeded).to(condition.mean)
        return self.model.decode(self.model.draw(condition, noise))
