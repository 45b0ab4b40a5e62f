"""Stage 1: perceptual compression. CT -> latents -> CT, with a patch discriminator where the recipe lets one join."""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor, nn

from clsdm.model.blocks import space_to_depth
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.volume.hu import hu_to_unit
from clsdm_trainer.augment import blur
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import Share, StageConfig, Weight
from clsdm_trainer.data.store import Store
from clsdm_trainer.stages.base import Moved, Stage, Terms


class AutoencoderStageConfig(StageConfig):
    """The recipe's section.

    Attributes:
        kl_weight: of the KL divergence, which sums over a volume's latents as published.
        mse_weight: of the squared error beside the published L1.
        blur_probability: of a blurred input, so that the decoder can also draw posterior means.
        adversarial_start: step at which the patch discriminator joins; None for never.
        adversarial_weight: its weight relative to the reconstruction's gradient.
    """

    kl_weight: Weight = 1e-6
    mse_weight: Weight = 5.0
    blur_probability: Share = 0.25
    adversarial_start: int | None = Field(default=None, ge=0)
    adversarial_weight: Weight = 0.5


class AutoencoderStage(Stage[AutoencoderStageConfig]):
    """Reconstruction, KL, and the adversarial term once it has begun."""

    name = "autoencoder"
    Config = AutoencoderStageConfig
    networks: ClassVar[tuple[str, ...]] = ("autoencoder",)
    product = "latents.safetensors"
    uses_xrays = False

    def __init__(self, model: CLSDM, config: AutoencoderStageConfig) -> None:
        super().__init__(model, config)
        self.autoencoder = model.autoencoder
        self.modules = {"autoencoder": Moved(self.reconstruction, autoencoder=self.autoencoder)}
        if config.adversarial_start is not None:
            self.discriminator = patch_discriminator()
            self.modules["discriminator"] = Moved(self.discrimination, discriminator=self.discriminator)

    @classmethod
    def coarsest(cls, model: ModelConfig) -> int:
        return model.latent_size

    def start(self, store: Store) -> None:
        if self.autoencoder.config.shortcut:
            self.autoencoder.start_from_blocks(*block_statistics(store, self.autoencoder.config.factor))

    def extended(self, step: int) -> bool:
        start = self.config.adversarial_start
        return start is not None and step >= start

    def moving(self, step: int) -> list[str]:
        return list(self.modules) if self.extended(step) else ["autoencoder"]

    def reconstruction(self, batch: Batch, step: int) -> Terms:
        """The generator's loss."""
        sigma = [r.uniform(0.4, 2.0) if r.random() < self.config.blur_probability else 0.0 for r in batch.random]
        target = blur(batch.unit, sigma)
        estimate, posterior = self.autoencoder(target, batch.normal(*self.model.latent_shape))
        error = estimate - target
        terms = {"l1": error.abs().mean(), "mse": error.square().mean(), "kl": posterior.kl()}
        fidelity = terms["l1"] + self.config.mse_weight * terms["mse"]
        loss = fidelity + self.config.kl_weight * terms["kl"]
        if self.extended(step):
            terms["adversarial"] = -self.discriminator(estimate)[-1].float().mean()
            balance = self._balance(fidelity, terms["adversarial"]) if torch.is_grad_enabled() else 1.0
            loss = loss + self.config.adversarial_weight * balance * terms["adversarial"]
        return {"loss": loss, **terms}

    def _balance(self, fidelity: Tensor, adversarial: Tensor) -> Tensor:
        """Ratio of the two gradients at the last layer (Esser et al. 2021, eq. 7)."""
        last = self.autoencoder.decoder.out.get_parameter("2.weight")
        gradients = [torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in (fidelity, adversarial)]
        return (gradients[0] / (gradients[1] + 1e-4)).clamp(0.0, 1e4).detach()

    def discrimination(self, batch: Batch, step: int) -> Terms:
        """The discriminator's hinge loss."""
        with torch.no_grad():
            fake = self.autoencoder(batch.unit)[0]
        real_score, fake_score = (self.discriminator(x)[-1].float() for x in (batch.unit, fake))
        return {"loss": 0.5 * (F.relu(1.0 - real_score).mean() + F.relu(1.0 + fake_score).mean())}

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        return {"round_trip": self.autoencoder(batch.unit)[0]}

    @torch.no_grad()
    def measure(self, store: Store, validation: list[Batch]) -> dict[str, Tensor]:
        """Mean and standard deviation of each latent channel over all training volumes."""
        channels = self.model.latent_shape[0]
        sums = torch.zeros(3, channels, dtype=torch.float64)
        for case in store.cases("train"):
            unit = hu_to_unit(torch.from_numpy(store.truth(case)))[None, None].to(self.model.latent_mean.device)
            latents = self.autoencoder.encode(unit).mean[0].flatten(1).double().cpu()
            count = torch.full((channels,), latents.shape[1])
            sums += torch.stack((latents.sum(1), latents.square().sum(1), count))
        mean = sums[0] / sums[2]
        return {"mean": mean.float(), "std": (sums[1] / sums[2] - mean.square()).sqrt().float()}

    @classmethod
    def restore(cls, model: CLSDM, measured: Mapping[str, Tensor]) -> None:
        model.latent_mean.copy_(measured["mean"])
        model.latent_std.copy_(measured["std"])


def patch_discriminator() -> nn.Module:
    """Scores of overlapping patches of a volume."""
    from monai.networks.nets import PatchDiscriminator  # takes seconds to import

    return PatchDiscriminator(spatial_dims=3, in_channels=1, channels=32, num_layers_d=2, norm="INSTANCE")


@torch.no_grad()
def block_statistics(store: Store, factor: int, limit: int = 128) -> tuple[Tensor, Tensor]:
    """Mean (factor³,) and covariance of the blocks of voxels in the training volumes (at most ``limit`` of them)."""
    voxels = factor**3
    count, total = 0, torch.zeros(voxels, dtype=torch.float64)
    products = torch.zeros(voxels, voxels, dtype=torch.float64)
    for case in store.cases("train")[:limit]:
        unit = hu_to_unit(torch.from_numpy(store.truth(case)).double())[None, None]
        blocks = space_to_depth(unit, factor)[0].flatten(1)  # (factor³, blocks)
        count, total, products = count + blocks.shape[1], total + blocks.sum(1), products + blocks @ blocks.T
    mean = total / count
    return mean, products / count - mean[:, None] * mean[None, :]
