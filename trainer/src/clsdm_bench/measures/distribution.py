"""How much a set of reconstructions looks like a set of CTs, whoever they show: no network, no downloaded weights.

The sliced Wasserstein distance (Rabin et al. 2011; on image patches: Karras et al. 2018) between 3-D patches of the body:
patches are projected on random directions, and the mean distance between the sorted projections is averaged over the
directions. Once on patches as they are, and once on their detail alone (the volume minus its means over blocks of 2³),
for blur hardly moves the first and cannot hide from the second. Both in HU; zero for two sets of the same patches.

A distance is of a whole set. What one patient adds to it are its jackknife pseudo-values (Tukey 1958): n times the distance
of all less (n - 1) times that without the patient. Methods are compared by these, patient by patient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.volume.body import body_mask
from clsdm.volume.hu import hu_clamped

EDGE, PATCHES_PER_VOLUME, DIRECTIONS = 7, 512, 256
SET_FIGURE = "swd."
"""Prefix of these figures: of a whole set of patients, and of what one of them adds."""


@dataclass(frozen=True)
class Distance:
    """Sliced Wasserstein distances in HU."""

    patches_hu: float
    detail_hu: float


@dataclass(frozen=True)
class SetDistance:
    """A distance, and the pseudo-values of its volumes in their order."""

    whole: Distance
    shares: tuple[Distance, ...]


def sliced_wasserstein(volumes: Sequence[np.ndarray], truths: Sequence[np.ndarray], seed: int = 0) -> SetDistance:
    """Distance between the patches of (z, y, x) HU volumes and those of truths, at the same random places of the bodies.

    Args:
        volumes: reconstructions.
        truths: one for each, in the same order; the places are drawn in their bodies.
        seed: of places and directions.
    """
    random = np.random.default_rng(seed)
    places = [_places(truth, random) for truth in truths]
    directions = torch.from_numpy(random.standard_normal((EDGE**3, DIRECTIONS)).astype(np.float32))
    directions = F.normalize(directions, dim=0)
    found = []
    for view in VIEWS:
        a, b = (
            torch.stack([_patches(view(_tensor(v)), at) @ directions for v, at in zip(group, places, strict=True)])
            for group in (volumes, truths)
        )
        found.append(_distances(a, b))
    whole, *shares = (Distance(*values) for values in zip(*found, strict=True))
    return SetDistance(whole, tuple(shares))


def detail(volume: Tensor) -> Tensor:
    """(z, y, x) minus its means over blocks of 2³ voxels; sizes must be even."""
    coarse = F.avg_pool3d(volume[None, None], 2)
    return volume - F.interpolate(coarse, scale_factor=2.0, mode="nearest")[0, 0]


def whole(volume: Tensor) -> Tensor:
    """(z, y, x) as it is."""
    return volume


VIEWS: tuple[Callable[[Tensor], Tensor], ...] = (whole, detail)


def _distances(a: Tensor, b: Tensor) -> list[float]:
    """Of two sets of projections (volumes, patches, directions) the distance, then each volume's pseudo-value."""
    count = len(a)
    (a, of_a), (b, of_b) = _sorted(a), _sorted(b)
    distance = float((a - b).abs().mean())
    without = (
        [float((_less(a, of_a, i) - _less(b, of_b, i)).abs().mean()) for i in range(count)] if count > 1 else [0.0]
    )
    return [distance, *(count * distance - (count - 1) * other for other in without)]


def _sorted(projections: Tensor) -> tuple[Tensor, Tensor]:
    """(directions, values) in order, and which volume each is of."""
    _, patches, directions = projections.shape
    values, order = projections.permute(2, 0, 1).reshape(directions, -1).sort(1)
    return values, order // patches


def _less(values: Tensor, owners: Tensor, volume: int) -> Tensor:
    """The sorted values without those of a volume, which has as many in every direction."""
    return values[owners != volume].view(len(values), -1)


def _tensor(hu: np.ndarray) -> Tensor:
    return torch.from_numpy(hu_clamped(hu.astype(np.float32)))


def _places(truth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(N, 3) first corners of patches whose middle lies in the body."""
    half = EDGE // 2
    inner = body_mask(truth)[half:-half, half:-half, half:-half]
    candidates = np.argwhere(inner)
    if not len(candidates):
        candidates = np.argwhere(np.ones_like(inner))
    return candidates[random.integers(len(candidates), size=PATCHES_PER_VOLUME)]


def _patches(volume: Tensor, places: np.ndarray) -> Tensor:
    """(N, edge³)."""
    windows = volume.unfold(0, EDGE, 1).unfold(1, EDGE, 1).unfold(2, EDGE, 1)
    z, y, x = (torch.from_numpy(axis) for axis in places.T)
    return windows[z, y, x].flatten(1)
