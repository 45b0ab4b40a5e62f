"""Whether a reconstruction can be a CT at all. Weights that were damaged, or trained badly, give volumes that are none; a
file that looks like a result must not come of them.
"""

import numpy as np

from clsdm.errors import InputError
from clsdm.volume.hu import WINDOW_HU

LEAST_CONTRAST_HU = 200.0
AIR_BELOW_HU = -150.0
"""Every scan of a trunk has air beside it or in it; ``clsdm.volume.read`` takes a file without any for no CT."""
TISSUE_ABOVE_HU = -400.0
LEAST_TISSUE, MOST_SATURATED = 1e-3, 0.5
"""Fractions of the voxels: a patient fills at least so much of the cube, and at most so much of it is the densest bone."""


def check_result(hu: np.ndarray, spread_hu: np.ndarray | None, coverage: np.ndarray) -> None:
    """Refuse a reconstruction that no patient can have.

    Args:
        hu: (z, y, x).
        spread_hu: likewise, or None.
        coverage: likewise, number of views that crossed a voxel.

    Raises:
        InputError: says what is wrong with it.
    """
    for name, values in (("volume", hu), ("spread", spread_hu), ("coverage", coverage)):
        if values is not None and not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise InputError(f"the reconstruction is no CT: {bad} voxels of its {name} are NaN or infinite; {_WHY}")
    low, high = float(hu.min()), float(hu.max())
    if high - low < LEAST_CONTRAST_HU:
        raise InputError(f"the reconstruction is no CT: its values are {low:.0f} to {high:.0f} HU everywhere; {_WHY}")
    if low > AIR_BELOW_HU:
        raise InputError(f"the reconstruction is no CT: it holds no air, its lowest value is {low:.0f} HU; {_WHY}")
    tissue, saturated = float((hu > TISSUE_ABOVE_HU).mean()), float((hu >= WINDOW_HU[1]).mean())
    if tissue < LEAST_TISSUE or saturated > MOST_SATURATED:
        found = f"{tissue:.1%} of it is tissue, {saturated:.1%} at the highest value"
        raise InputError(f"the reconstruction is no CT: {found}; {_WHY}")


_WHY = "the model is damaged, or these are no X-rays of a patient"
