"""How much a set of reconstructions looks like a set of CTs, whoever they show: no network, no downloaded weights.

The sliced Wasserstein distance (Rabin et al. 2011; on image patches: Karras et al. 2018) between 3-D patches of the body:
patches are projected on random directions, and the mean distance between the sorted projections is averaged over the
directions. Once on patches as they are, and once on their detail alone (the volume minus its means over blocks of 2³),
for blur hardly moves the first and cannot hide from the second. Both in HU; zero for two sets of the same patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.intensity import hu_clamped
from clsdm.volume import body_mask

EDGE, PATCHES_PER_VOLUME, DIRECTIONS = 7, 512, 256


@dataclass(frozen=True)
class Distance:
    """Sliced Wasserstein distances in HU."""

    patches_hu: float
    detail_hu: float


def sliced_wasserstein(volumes: Sequence[np.ndarray], truths: Sequence[np.ndarray], seed: int = 0) -> Distance:
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
    distances = []
    for view in VIEWS:
        found, true = (
            torch.cat([_patches(view(_tensor(v)), at) for v, at in zip(group, places, strict=True)])
            for group in (volumes, truths)
        )
        distances.append(_distance(found, true, directions))
    return Distance(*distances)


def detail(volume: Tensor) -> Tensor:
    """(z, y, x) minus its means over blocks of 2³ voxels; sizes must be even."""
    coarse = F.avg_pool3d(volume[None, None], 2)
    return volume - F.interpolate(coarse, scale_factor=2.0, mode="nearest")[0, 0]


def whole(volume: Tensor) -> Tensor:
    """(z, y, x) as it is."""
    return volume


VIEWS: tuple[Callable[[Tensor], Tensor], ...] = (whole, detail)


def _distance(a: Tensor, b: Tensor, directions: Tensor) -> float:
    a, b = ((patches @ directions).sort(0).values for patches in (a, b))
    return float((a - b).abs().mean())


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
