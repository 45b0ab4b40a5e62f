"""Baselines that map X-rays to voxels, as methods: X-rays in, a CT volume out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from clsdm.model.clsdm import CLSDM
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import unit_to_hu
from clsdm.xray.preprocess import XRay, prepare
from clsdm_bench.systems.inrr import INRR3CT
from clsdm_bench.systems.networks import make_network
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.stages import BaselineStage
from clsdm_bench.systems.x2ct import X2CT
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.loop import BEST


@dataclass(frozen=True)
class Voxels:
    """A network of a baseline.

    Attributes:
        network: trained.
        model: of the recipe, for its grid and its detector.
        device: where the network is.
    """

    network: X2CT | INRR3CT
    model: CLSDM
    device: torch.device

    @torch.inference_mode()
    def __call__(self, xrays: Sequence[XRay]) -> CTVolume:
        unit = self.network(*prepare(xrays, self.model.config.detector, self.device))
        return CTVolume.on_grid(unit_to_hu(unit)[0, 0].cpu().numpy(), self.model.config.grid)


def load_voxels(config: BenchmarkConfig, folder: Path | None, device: torch.device) -> Voxels:
    """A baseline with its best weights; without a folder, with those that it starts with.

    Raises:
        InputError: it has not been trained.
    """
    torch.manual_seed(config.seed)
    network = make_network(config.section(BaselineStage).network, config.model)
    if folder is not None:
        weights = load_state(folder / BaselineStage.name / BEST)["weights"]
        network.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})
    return Voxels(network.eval().to(device), CLSDM(config.model).eval(), device)
