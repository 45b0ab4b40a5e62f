"""How much of the patient lies at each height, as two views must agree on.

Rows of two views at the same height cross the same slice, so the profiles of their row means have the same shape whatever
the exposure: epipolar consistency, for a small cone angle. No torch.
"""

import itertools
import math
from collections.abc import Iterable

import numpy as np

from clsdm.geometry.move import Move, moved, unlikely
from clsdm.xray.image import XRay

HEIGHTS_MM = np.linspace(-300.0, 300.0, 241)
"""In the patient, downwards."""
SCALES = (0.9, 1.1)
"""Least and greatest error of the magnification that is looked for."""
FEWEST = 40
"""Heights that both views must show."""
ALIKE = 0.9
"""Correlation of the profiles of one patient; with less they tell nothing."""
MEASURED = 0.5
"""Of a row; one with less is left out."""


def by_profile(first: XRay, other: XRay) -> Move | None:
    """The height and the scale at which the profile of ``other`` is most like that of ``first``; None if it is at none."""
    wanted, means = profile(first, Move(), row_means(first)), row_means(other)

    def cost(move: Move) -> float:
        return math.log(max(1e-6, 1.0 - likeness(wanted, profile(other, move, means)))) + unlikely(move)

    least = max(SCALES[0], other.view.source_axis_mm / (0.99 * other.view.source_detector_mm))  # before the detector
    coarse = min(_moves(range(-48, 49, 4), np.arange(0.9, SCALES[1] + 0.001, 0.02), least), key=cost)
    down, scale = coarse.down_mm, coarse.scale
    fine = _moves(np.arange(down - 3, down + 4), np.arange(scale - 0.015, scale + 0.016, 0.005), least)
    best = min((Move(), coarse, *fine), key=cost)
    return best if likeness(wanted, profile(other, best, means)) > ALIKE else None


def _moves(down_mm: Iterable[float], scale: Iterable[float], least: float) -> list[Move]:
    """Every pair, and those of one value alone; scales from ``least`` to ``SCALES[1]``."""
    scales = {round(float(each), 4) for each in scale if least <= each <= SCALES[1] + 1e-6}
    pairs = itertools.product(sorted({*map(float, down_mm), 0.0}), sorted({*scales, 1.0}))
    return [Move(down_mm=down, scale=times) for down, times in pairs]


def row_means(xray: XRay) -> np.ndarray:
    """(rows,) mean of each row, NaN where too little of it was measured."""
    valid = np.ones(xray.image.shape, dtype=bool) if xray.valid is None else xray.valid
    counts = valid.sum(1)
    sums = np.where(valid, xray.image, 0.0).sum(1, dtype=np.float64)
    return np.where(counts > MEASURED * valid.shape[1], sums / np.maximum(counts, 1), np.nan)


def profile(xray: XRay, move: Move, means: np.ndarray) -> np.ndarray:
    """:func:`row_means` at ``HEIGHTS_MM`` after a move; NaN off the image."""
    view = moved(xray.view, move)
    rows_mm = (np.arange(view.rows) - (view.rows - 1) / 2) * view.pixel_mm[0] + view.offset_mm[0]
    return np.interp(HEIGHTS_MM, rows_mm / view.magnifications[0], means, np.nan, np.nan)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two profiles where both are known; -1 where that is hardly anywhere, or one is constant."""
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < FEWEST or min(one[both].std(), other[both].std()) < 1e-6:
        return -1.0
    return float(np.corrcoef(one[both], other[both])[0, 1])
