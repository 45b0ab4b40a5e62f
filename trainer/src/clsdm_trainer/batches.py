"""Samples for training: which volume, in which pose, under which exposures, all decided by the sample's number."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import preset
from clsdm.model.clsdm import ModelConfig
from clsdm.volume.ct import Grid
from clsdm.volume.hu import hu_to_unit
from clsdm_trainer.anatomy import Anatomy, Pose, coarsened, line_integrals, place, posed
from clsdm_trainer.augment import Exposure, draw_exposures, draw_pose, numpy_generator, radiographs, virtual_cameras
from clsdm_trainer.config import AugmentConfig
from clsdm_trainer.data.between import deformations
from clsdm_trainer.data.manifest import Case
from clsdm_trainer.data.store import Store

_VIEW_COUNT_STREAM, _SAMPLE_STREAM, _ORDER_STREAM = 1, 2, 3


class Batch:
    """One micro-batch. Not a dataclass: Fabric would walk into it and round the images to bfloat16.

    Attributes:
        unit: (B, 1, n, n, n) CT in the unit range.
        known: (B, 1, n, n, n) 1 where the patient was scanned, 0 where the truth is not known.
        images: (B, V, 2, size, size) X-rays on the virtual detector, or None where a stage needs none.
        cameras: their cameras, or None.
        random: one generator per sample, for whatever else the stage draws.
    """

    def __init__(
        self,
        unit: Tensor,
        known: Tensor,
        images: Tensor | None,
        cameras: Cameras | None,
        random: list[np.random.Generator],
    ) -> None:
        self.unit, self.known, self.images, self.cameras, self.random = unit, known, images, cameras, random

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
        """(B, *shape) unit Gaussian noise, each sample from its own generator.

        On threads: a million numbers take longer than a network on a GPU does, and numpy draws them side by side.
        """
        with ThreadPoolExecutor(min(len(self.random), os.cpu_count() or 1)) as pool:
            drawn = list(pool.map(lambda random: _normal(random, *shape), self.random))
        return torch.stack(drawn).to(self.unit.device)

    def uniform(self) -> Tensor:
        """(B,) uniform in [0, 1)."""
        return torch.tensor([random.random() for random in self.random], dtype=torch.float32).to(self.unit.device)


def _normal(random: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))


class TrainingData:
    """The training patients, and batches of them by number."""

    def __init__(
        self, store: Store, model: ModelConfig, augment: AugmentConfig, seed: int, device: torch.device
    ) -> None:
        self.anatomies = {1: [anatomy_of(store, case, device) for case in store.cases("train")]}
        self.drawn = [index for index, case in enumerate(store.cases("train")) for _ in range(case.repeats)]
        self.model, self.augment, self.seed, self.device = model, augment, seed, device
        self.between = [
            deformations(store, case) if augment.between_probability else None for case in store.cases("train")
        ]

    def batch(self, micro: int, size: int, *, xrays: bool, coarser: int = 1) -> Batch:
        """Micro-batch number ``micro`` of ``size`` samples; volumes and scans ``coarser`` times coarser, for the speed."""
        numbers = range(micro * size, (micro + 1) * size)
        random = [numpy_generator(self.seed, _SAMPLE_STREAM, number) for number in numbers]
        grid, detector = self.model.grid, self.model.detector
        grid = Grid(grid.size // coarser, grid.spacing_mm * coarser)
        chosen = [self.volume_index(number) for number in numbers]
        poses = [
            draw_pose(self.augment, grid, each, self.between[index]) for each, index in zip(random, chosen, strict=True)
        ]
        scans = self._scans(coarser * self.augment.scan_factor)
        anatomies = [posed(scans[index], pose, grid) for index, pose in zip(chosen, poses, strict=True)]
        unit, known = place(anatomies, poses, grid)
        if not xrays:
            return Batch(unit, known, None, None, random)
        count = self.view_count(micro)
        exposures = [draw_exposures(self.augment, count, each) for each in random]
        noise = torch.stack([_normal(each, count, detector.size, detector.size) for each in random]).to(self.device)
        cameras = virtual_cameras(exposures, detector, self.device)
        images = radiographs(line_integrals(anatomies, poses, cameras), exposures, detector, noise)
        return Batch(unit, known, images, cameras, random)

    def _scans(self, factor: int) -> list[Anatomy]:
        """The training patients on voxels ``factor`` times as large as in the store; made once."""
        if factor not in self.anatomies:
            self.anatomies[factor] = [coarsened(anatomy, factor) for anatomy in self.anatomies[1]]
        return self.anatomies[factor]

    def volume_index(self, number: int) -> int:
        """Each epoch visits every volume as often as the store says, in its own order."""
        epoch, position = divmod(number, len(self.drawn))
        return self.drawn[int(numpy_generator(self.seed, _ORDER_STREAM, epoch).permutation(len(self.drawn))[position])]

    def view_count(self, micro: int) -> int:
        """How many views the samples of a micro-batch have."""
        counts = list(self.augment.view_counts)
        weights = np.array([self.augment.view_counts[count] for count in counts])
        return int(numpy_generator(self.seed, _VIEW_COUNT_STREAM, micro).choice(counts, p=weights / weights.sum()))


def anatomy_of(store: Store, case: Case, device: torch.device) -> Anatomy:
    """A case's scan, memory-mapped where the networks are on the CPU."""
    hu = store.scan(case)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor is it ever written to
        return Anatomy(torch.from_numpy(hu).to(device), store.scan_spacing_mm, np.array(case.scan_origin_mm))


def fixed_batches(
    store: Store, model: ModelConfig, split: str, size: int, device: torch.device, geometry: str = "chest"
) -> list[Batch]:
    """The volumes of a split as they are, with frontal and lateral projections of the scans, for validation."""
    cases = store.cases(split)
    batches = []
    for first in range(0, len(cases), size):
        part = cases[first : first + size]
        unit = hu_to_unit(torch.from_numpy(np.stack([store.truth(case) for case in part])))[:, None].to(device)
        anatomies = [anatomy_of(store, case, device) for case in part]
        poses = [Pose(np.eye(3), np.zeros(3))] * len(part)
        exposures = [[Exposure(preset(geometry).view(angle)) for angle in (0.0, 90.0)]] * len(part)
        cameras = virtual_cameras(exposures, model.detector, device)
        integrals = line_integrals(anatomies, poses, cameras)
        images = radiographs(integrals, exposures, model.detector, torch.zeros_like(integrals))
        random = [numpy_generator(0, _SAMPLE_STREAM, first + index) for index in range(len(part))]
        batches.append(Batch(unit, place(anatomies, poses, model.grid)[1], images, cameras, random))
    return batches
