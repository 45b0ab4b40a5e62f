"""The one owner of intensity conversions: HU, the network's unit range, and linear attenuation.

One HU window serves every stage (docs/method.md, 2.7 lists two windows in one model as a defect of the published code).
All functions take and return tensors or arrays of any shape.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

WINDOW_HU: tuple[float, float] = (-1024.0, 1476.0)
"""Lower and upper HU of the window, the 0 ... 2500 range of the X2CT protocol shifted by 1024."""

WINDOW_WIDTH_HU: float = WINDOW_HU[1] - WINDOW_HU[0]

MU_WATER_PER_MM: float = 0.0206
"""Linear attenuation of water at about 60 keV (NIST XCOM), the effective energy of a diagnostic beam."""


def hu_to_unit(hu: Array) -> Array:
    """HU -> [-1, 1], clamped to ``WINDOW_HU``."""
    return hu_clamped(hu) * (2.0 / WINDOW_WIDTH_HU) - (1.0 + 2.0 * WINDOW_HU[0] / WINDOW_WIDTH_HU)


def unit_to_hu(unit: Array) -> Array:
    """[-1, 1] -> HU; values outside [-1, 1] are clamped to ``WINDOW_HU``."""
    return hu_clamped((unit + 1.0) * (0.5 * WINDOW_WIDTH_HU) + WINDOW_HU[0])


def hu_clamped(hu: Array) -> Array:
    """HU limited to ``WINDOW_HU``."""
    return hu.clip(*WINDOW_HU)


def hu_to_attenuation(hu: Array) -> Array:
    """HU -> linear attenuation in 1/mm (non-negative): ``mu_water * (1 + HU / 1000)``."""
    return (hu * 1e-3 + 1.0).clip(0.0) * MU_WATER_PER_MM


def attenuation_to_hu(attenuation: Array) -> Array:
    """Linear attenuation in 1/mm -> HU, the inverse of :func:`hu_to_attenuation` above -1000 HU."""
    return (attenuation * (1.0 / MU_WATER_PER_MM) - 1.0) * 1000.0


def unit_to_attenuation(unit: Array) -> Array:
    """[-1, 1] -> linear attenuation in 1/mm."""
    return hu_to_attenuation(unit_to_hu(unit))
