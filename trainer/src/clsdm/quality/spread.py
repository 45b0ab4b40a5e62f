"""How far a voxel may be off: an ensemble's spread times what its errors were of it, tissue by tissue, on other patients.

The tissue is that of the reconstruction, the only one a user knows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clsdm.volume.body import body_mask

REGIONS: dict[str, tuple[float, float]] = {
    "lung": (-np.inf, -500.0),
    "border of lung": (-500.0, -150.0),
    "soft tissue": (-150.0, 150.0),
    "bone": (150.0, np.inf),
}
"""HU of the reconstruction, inside the body."""
LEAST_SPREAD_HU = 10.0
"""Added in squares: samples may agree where the truth does not."""


def scale_hu(spread_hu: np.ndarray) -> np.ndarray:
    """The divisor of an error."""
    return np.sqrt(np.square(spread_hu, dtype=np.float32) + LEAST_SPREAD_HU**2)


def tissue_of(hu: np.ndarray) -> dict[str, np.ndarray]:
    """(z, y, x) bool by tissue."""
    return {name: (hu > low) & (hu <= high) for name, (low, high) in REGIONS.items()}


def error_ratios(
    hu: np.ndarray, truth_hu: np.ndarray, spread_hu: np.ndarray, body: np.ndarray
) -> dict[str, np.ndarray]:
    """Of each tissue's voxels in ``body``, the error over its scale."""
    ratio = np.abs(hu - truth_hu) / scale_hu(spread_hu)
    return {name: ratio[mask & body] for name, mask in tissue_of(hu).items()}


def told_of(hu: np.ndarray, spread_hu: np.ndarray, factors: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By tissue, what its middle voxel may be off at 80 %, in HU; on how many patients that rests; and how much it held.

    Args:
        hu: an ensemble's mean.
        spread_hu: standard deviation over its samples.
        factors: of the patient's region, ``Calibration.voxels``.
    """
    body, wide = body_mask(hu, 2), half_width_hu(hu, spread_hu, factors)
    return {
        name: {
            "half_hu": round(float(np.median(wide[mask & body])), 1),
            "patients": int(factors[name]["patients"]),
            "held": float(factors[name].get("held", 0.0)),
        }
        for name, mask in tissue_of(hu).items()
        if name in factors and (mask & body).any()
    }


def half_width_hu(hu: np.ndarray, spread_hu: np.ndarray, factors: Mapping[str, Any], level: str = "80") -> np.ndarray:
    """(z, y, x) HU that a voxel is off at most at that level; 0 where no patient tells.

    Args:
        hu: the reconstruction.
        spread_hu: standard deviation over the ensemble's samples.
        factors: ``Calibration.voxels``, by tissue and level.
        level: in per cent.
    """
    wide = np.zeros_like(hu, dtype=np.float32)
    for name, mask in tissue_of(hu).items():
        wide[mask] = float(factors.get(name, {}).get(level, 0.0))
    return wide * scale_hu(spread_hu)
