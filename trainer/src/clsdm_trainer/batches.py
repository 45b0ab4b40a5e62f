"""Samples for training: which volume, in which pose, under which exposures, all decided by the sample's number."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import preset
from clsdm.model.clsdm import ModelConfig
from clsdm.volume.hu import unit_to_attenuation
from clsdm.xray.preprocess import expose
from clsdm_trainer.augment import Pose, draw_exposures, draw_pose, numpy_generator, place, take_xrays
from clsdm_trainer.config import AugmentConfig
from clsdm_trainer.data.store import Store

_VIEW_COUNT_STREAM, _SAMPLE_STREAM, _ORDER_STREAM = 1, 2, 3


class Batch:
    """One micro-batch. Not a dataclass: Fabric would walk into it and round the images to bfloat16.

    Attributes:
        unit: (B, 1, n, n, n) CT in the unit range.
        images: (B, V, 2, size, size) X-rays on the virtual detector, or None where a stage needs none.
        cameras: their cameras, or None.
        random: one generator per sample, for whatever else the stage draws.
    """

    def __init__(
        self, unit: Tensor, images: Tensor | None, cameras: Cameras | None, random: list[np.random.Generator]
    ) -> None:
        self.unit, self.images, self.cameras, self.random = unit, images, cameras, random

    @property
    def xrays(self) -> tuple[Tensor, Cameras]:
        """Images and cameras.

        Raises:
            ValueError: the batch was made without.
        """
        if self.images is None or self.cameras is None:
            raise ValueError("this batch was made without X-rays")
        return self.images, self.cameras

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) unit Gaussian noise, each sample from its own generator."""
        return torch.stack([_normal(random, *shape) for random in self.random]).to(self.unit.device)

    def uniform(self) -> Tensor:
        """(B,) uniform in [0, 1)."""
        return torch.tensor([random.random() for random in self.random], dtype=torch.float32).to(self.unit.device)


def _normal(random: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))


class TrainingData:
    """The training volumes on the device, and batches of them by number."""

    def __init__(
        self, store: Store, model: ModelConfig, augment: AugmentConfig, seed: int, device: torch.device
    ) -> None:
        self.hu = store.stack("train").to(device)
        self.model, self.augment, self.seed = model, augment, seed

    def batch(self, micro: int, size: int, *, xrays: bool) -> Batch:
        """Micro-batch number ``micro`` of ``size`` samples."""
        numbers = range(micro * size, (micro + 1) * size)
        random = [numpy_generator(self.seed, _SAMPLE_STREAM, number) for number in numbers]
        hu = self.hu[[self.volume_index(number) for number in numbers]]
        unit = place(hu, [draw_pose(self.augment, self.model.grid, each) for each in random], self.model.grid)
        if not xrays:
            return Batch(unit, None, None, random)
        count = self.view_count(micro)
        exposures = [draw_exposures(self.augment, count, each) for each in random]
        detector = self.model.detector
        noise = torch.stack([_normal(each, count, detector.size, detector.size) for each in random]).to(unit.device)
        images, cameras = take_xrays(unit, exposures, self.model.grid, detector, noise)
        return Batch(unit, images, cameras, random)

    def volume_index(self, number: int) -> int:
        """Each epoch visits every volume once, in its own order."""
        epoch, position = divmod(number, len(self.hu))
        return int(numpy_generator(self.seed, _ORDER_STREAM, epoch).permutation(len(self.hu))[position])

    def view_count(self, micro: int) -> int:
        """How many views the samples of a micro-batch have."""
        counts = list(self.augment.view_counts)
        weights = np.array([self.augment.view_counts[count] for count in counts])
        return int(numpy_generator(self.seed, _VIEW_COUNT_STREAM, micro).choice(counts, p=weights / weights.sum()))


def fixed_batches(
    store: Store, model: ModelConfig, split: str, size: int, device: torch.device, geometry: str = "chest"
) -> list[Batch]:
    """The volumes of a split as they are, frontal and lateral, for validation."""
    volumes = store.stack(split)
    batches = []
    for first in range(0, len(volumes), size):
        hu = volumes[first : first + size].to(device)
        unit = place(hu, [Pose(np.eye(3), np.zeros(3), interpolated=False)] * len(hu), model.grid)
        views = [[preset(geometry).view(angle) for angle in (0.0, 90.0)]] * len(hu)
        images, cameras = expose(unit_to_attenuation(unit), model.grid.spacing_mm, views, model.detector)
        random = [numpy_generator(0, _SAMPLE_STREAM, first + index) for index in range(len(hu))]
        batches.append(Batch(unit, images, cameras, random))
    return batches
