"""Structures that a volume shows and its scan does not, and the other way round.

A structure is a connected part of at least 6 ml of the body that is 150 HU denser, or less dense, than what lies around it (a
Gaussian of 24 mm). It is there in the other volume if at least a quarter of it, with 6 mm of tolerance, is part of one of the
same sign. Volumes are (z, y, x) of cubic voxels.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

SMALLEST_ML, CONTRAST_HU, AROUND_MM, TOLERANCE_MM, SHARED = 6.0, 150.0, 24.0, 6.0, 0.25


@dataclass(frozen=True)
class Structures:
    """How many there are.

    Attributes:
        shown: in the volume.
        made_up: of these, not in the scan.
        true: in the scan.
        lost: of these, not in the volume.
    """

    shown: int
    made_up: int
    true: int
    lost: int


def count_structures(hu: np.ndarray, truth_hu: np.ndarray, body: np.ndarray, spacing_mm: float) -> Structures:
    """Compare two volumes within ``body`` (z, y, x) bool."""
    shown = made_up = true = lost = 0
    for sign in (1.0, -1.0):
        mine, theirs = (_contrast(sign * volume, body, spacing_mm) > CONTRAST_HU for volume in (hu, truth_hu))
        for found, other, of_volume in ((mine, theirs, True), (theirs, mine, False)):
            count, missing = _missing(found & body, other, spacing_mm)
            if of_volume:
                shown, made_up = shown + count, made_up + missing
            else:
                true, lost = true + count, lost + missing
    return Structures(shown, made_up, true, lost)


def _contrast(hu: np.ndarray, body: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Against the mean of the body around each voxel."""
    inside = body.astype(np.float32)
    around, weight = (_blurred(each, spacing_mm) for each in (hu.astype(np.float32) * inside, inside))
    return np.where(body, hu - around / np.maximum(weight, 1e-3), 0.0)


def _blurred(values: np.ndarray, spacing_mm: float) -> np.ndarray:
    image = sitk.GetImageFromArray(values)
    return np.asarray(sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, AROUND_MM / spacing_mm)))


def _missing(found: np.ndarray, other: np.ndarray, spacing_mm: float) -> tuple[int, int]:
    """How many structures there are, and how many of them the other volume has not."""
    reach = max(1, round(TOLERANCE_MM / spacing_mm))
    near = sitk.GetArrayFromImage(sitk.BinaryDilate(sitk.GetImageFromArray(other.astype(np.uint8)), (reach,) * 3)) > 0
    labels = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(found.astype(np.uint8))))
    sizes = np.bincount(labels.ravel())
    shared = np.bincount(labels.ravel(), weights=near.ravel())
    large = np.flatnonzero(sizes * spacing_mm**3 >= 1000.0 * SMALLEST_ML)
    large = large[large > 0]
    return len(large), int((shared[large] < SHARED * sizes[large]).sum())
