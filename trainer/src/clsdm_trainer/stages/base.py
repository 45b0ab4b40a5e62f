"""A stage of the training: its name, what it needs, the networks it moves, its losses, and what it leaves behind.

A stage is one file; everything else (loop, run, command line, benchmark) asks it. The loop knows named *modules*, each
with an optimiser of its own: :class:`Moved` holds the networks that one optimiser moves and the loss that moves them.
What a stage takes from an earlier one is frozen.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import StageConfig
from clsdm_trainer.data.store import Store
from clsdm_trainer.losses import psnr_db

Terms = dict[str, Tensor]
Loss = Callable[[Batch, int], Terms]
"""(batch, step) -> named loss terms, with their weighted sum under ``loss``."""

Section = TypeVar("Section", bound=StageConfig)


class Moved(nn.Module):
    """Networks that one optimiser moves; its call is the loss, so that a wrapper (DDP) sees the whole forward pass."""

    def __init__(self, loss: Loss, **networks: nn.Module) -> None:
        super().__init__()
        self.loss = loss  # a method of the stage, which is no module: its other networks are not in here
        for name, network in networks.items():
            self.add_module(name, network)

    def forward(self, batch: Batch, step: int) -> Terms:
        return self.loss(batch, step)


class Stage(ABC, Generic[Section]):
    """One stage of the training, on a model in which earlier stages' weights are in place."""

    name: ClassVar[str]
    """Of the command, of the recipe's section and of the folder in a run."""
    Config: ClassVar[type[StageConfig]]
    """Of the recipe's section."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Earlier stages whose best weights it starts from."""
    networks: ClassVar[tuple[str, ...]] = ()
    """Of the model, those that it trains."""
    product: ClassVar[str | None] = None
    """File in the run's folder with what later stages need beside the weights, see :meth:`measure`."""
    uses_xrays: ClassVar[bool] = True

    modules: dict[str, Moved]
    """In the order in which they move; the first is the one that is kept, averaged and exported."""

    @abstractmethod
    def __init__(self, model: CLSDM, config: Section) -> None:
        """Freeze what the stage does not train, and name what it does."""
        self.model, self.config = model, config

    @classmethod
    def coarsest(cls, model: ModelConfig) -> int | None:
        """Voxels along the edge of the coarsest volume on which it trains a convolution; None without one."""
        return None

    def start(self, store: Store) -> None:
        """Set initial weights from the training volumes."""

    def extended(self, step: int) -> bool:
        """Whether this step does more than the others, and so takes longer."""
        return False

    def coarser(self, step: int) -> int:
        """How many times coarser than the model's grid the volumes of a step are, and the scans that X-rays are made of."""
        return 1

    def moving(self, step: int) -> list[str]:
        """Which modules move at this step."""
        return list(self.modules)

    @abstractmethod
    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Named reconstructions (B, 1, n, n, n) in the unit range, for validation and pictures; the first is the one
        by which checkpoints are selected."""

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> tuple[dict[str, float], np.ndarray]:
        """Score the validation patients.

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

    def measure(self, store: Store, validation: list[Batch]) -> dict[str, Tensor]:
        """Statistics that later stages need beside the best weights, which are in the model; written to ``product``."""
        return {}

    @classmethod
    def restore(cls, model: CLSDM, measured: Mapping[str, Tensor]) -> None:
        """Put what :meth:`measure` gave into a model."""


def middle_planes(unit: Tensor) -> Tensor:
    """(n, 3n) middle axial, coronal and sagittal plane of the first volume (B, 1, n, n, n), superior up."""
    volume = unit[0, 0].float().clamp(-1.0, 1.0)
    half = len(volume) // 2
    return torch.cat((volume[half], volume[:, half].flip(0), volume[:, :, half].flip(0)), dim=1)


def freeze(module: nn.Module) -> None:
    """Exclude a module from training."""
    module.requires_grad_(False)
    module.eval()
