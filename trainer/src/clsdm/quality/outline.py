"""The outline of the body in each slice: its area, and the diameter of the water that attenuates as much (AAPM 220).

Volumes are (z, y, x) of cubic voxels with axes along LPS.
"""

import numpy as np

from clsdm.quality.lungs import NotMeasurable

LEAST_CM2 = 60.0
"""Of a slice that counts; less is a limb's end or a scalp's."""
CUT_MM = 45.0
"""So long an edge of the body along the side of the volume is a body that is cut off."""
CUT_OFF = "the body is cut off by the side of the volume, or not there"


def areas_mm2(body: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(z,) area of the outline; NaN where there is no body, or the side of the volume cuts it off."""
    area = body.sum((1, 2)) * spacing_mm**2
    sides = (body[:, :, 0], body[:, :, -1], body[:, 0], body[:, -1])
    cut = np.max([side.sum(1) for side in sides], axis=0) * spacing_mm > CUT_MM
    return np.where(cut | (area < 100.0 * LEAST_CM2), np.nan, area)


def water_diameters_mm(hu: np.ndarray, body: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(z,) water-equivalent diameter 2 sqrt((mean HU / 1000 + 1) area / pi), NaN as in :func:`areas_mm2`."""
    area = areas_mm2(body, spacing_mm)
    mean_hu = np.where(body, hu, 0.0).sum((1, 2)) / np.maximum(body.sum((1, 2)), 1)
    return 2.0 * np.sqrt(np.maximum(mean_hu * 1e-3 + 1.0, 0.0) * area / np.pi)


def mean_over(values: np.ndarray, first: int, last: int) -> float:
    """The mean from one slice to another, both in it.

    Raises:
        NotMeasurable: more than a tenth of them is not known.
    """
    chosen = values[max(first, 0) : max(last + 1, 0)]
    if np.isfinite(chosen).sum() < 0.9 * (last + 1 - first):
        raise NotMeasurable(CUT_OFF)
    return float(np.nanmean(chosen))
