"""Every trained system behind the one interface: X-rays in, a CT volume out, and no ground truth anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.model.clsdm import CLSDM
from clsdm.model.condition import Condition
from clsdm.reconstruct import SAMPLES_AT_ONCE, Product, prepare, sample_noise
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import unit_to_hu
from clsdm.xray.preprocess import XRay
from clsdm_bench.systems.inrr import INRR3CT
from clsdm_bench.systems.networks import make_network
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.stages import ALL_STAGES, BaselineStage, condition_without_mean
from clsdm_bench.systems.x2ct import X2CT
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.loop import BEST
from clsdm_trainer.recipe import RunConfig
from clsdm_trainer.run import load_stage


class Reconstructor(Protocol):
    """What the evaluator asks of a method."""

    def reconstruct(self, xrays: Sequence[XRay]) -> CTVolume:
        """The CT of a patient."""
        ...


@dataclass(frozen=True)
class Voxels:
    """A baseline that maps X-rays to voxels."""

    network: X2CT | INRR3CT
    model: CLSDM
    device: torch.device

    @torch.inference_mode()
    def reconstruct(self, xrays: Sequence[XRay]) -> CTVolume:
        unit = self.network(*prepare(xrays, self.model, self.device))
        return CTVolume.on_grid(unit_to_hu(unit)[0, 0].cpu().numpy(), self.model.config.grid)


@dataclass(frozen=True)
class Latent:
    """CLS-DM in any variant, and the LDM: the mean, a sample, or the mean of several samples.

    Attributes:
        model: trained.
        device: where it is.
        align: what the X-rays say; ``CLSDM.align``, or :func:`condition_without_mean` for the LDM.
        product: "mean", "sample" or "ensemble".
        steps: of the sampler; the model's if None.
        samples: of an ensemble.
        seed: of the samples.
    """

    model: CLSDM
    device: torch.device
    align: Callable[[CLSDM, Tensor, Cameras], Condition] = CLSDM.align
    product: Product = "mean"
    steps: int | None = None
    samples: int = 8
    seed: int = 0

    @torch.inference_mode()
    def reconstruct(self, xrays: Sequence[XRay]) -> CTVolume:
        images, cameras = prepare(xrays, self.model, self.device)
        if self.product == "mean":
            hu = unit_to_hu(self.model.condition(images, cameras)[0])[0, 0]
        else:
            hu = self._drawn(self.align(self.model, images, cameras))
        return CTVolume.on_grid(hu.float().cpu().numpy(), self.model.config.grid)

    def _drawn(self, condition: Condition) -> Tensor:
        """(n, n, n) HU of one sample, or of the mean of several."""
        count = self.samples if self.product == "ensemble" else 1
        total = torch.zeros([self.model.config.grid.size] * 3, dtype=torch.float64, device=self.device)
        for first in range(0, count, SAMPLES_AT_ONCE):
            numbers = range(first, min(first + SAMPLES_AT_ONCE, count))
            noise = torch.stack([sample_noise(self.model, self.seed, n) for n in numbers]).to(self.device)
            drawn = self.model.draw(condition.repeated(len(noise)), noise, self.steps)
            total += unit_to_hu(self.model.decode(drawn))[:, 0].double().sum(0)
        return total / count


def load_latent(config: RunConfig, folder: Path, stages: Sequence[str], device: torch.device) -> CLSDM:
    """The model of a run with the best weights of these stages; the others keep the weights they start with.

    Raises:
        InputError: one of them has not been trained.
    """
    torch.manual_seed(config.seed)
    model = CLSDM(config.model)
    for name in stages:
        load_stage(model, folder, ALL_STAGES[name])
    return model.eval().to(device)


def load_voxels(config: BenchmarkConfig, folder: Path | None, device: torch.device) -> Voxels:
    """A baseline with its best weights; without a folder, with those that it starts with.

    Raises:
        InputError: it has not been trained.
    """
    torch.manual_seed(config.seed)
    network = make_network(config.section(BaselineStage).network, config.model)
    if folder is not None:
        weights = load_state(folder / "baseline" / BEST)["weights"]
        network.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})
    return Voxels(network.eval().to(device), CLSDM(config.model).eval(), device)


def align_of(stages: Sequence[str]) -> Callable[[CLSDM, Tensor, Cameras], Condition]:
    """How a model that was trained in these stages sees X-rays."""
    return condition_without_mean if "joint" in stages else CLSDM.align
