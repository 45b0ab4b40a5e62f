"""How good a reconstruction is, as ``compare`` finds it out and ``report`` and ``write`` show it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clsdm.quality.agreement import Reprojection
from clsdm.quality.measure import Measures
from clsdm.volume.ct import CTVolume

if TYPE_CHECKING:
    from clsdm.quality.metrics import Metrics


PROTOCOLS = {
    "honest": "Peak and range are those of the data. Judge the reconstruction by these.",
    "x2ct": (
        "As in published tables, for comparison with those only: the peak adds 4.3 dB, and a slice without error counts "
        "100 dB."
    ),
}
"""By its name in tables and files, what a protocol is for."""


@dataclass(frozen=True)
class Scores:
    """A reconstruction against the truth.

    Attributes:
        truth: on the reconstruction's grid.
        seen: (z, y, x) bool, True where the truth's scan covers the whole voxel.
        body: (z, y, x) bool, the true body, where seen.
        honest: figures of that protocol.
        x2ct: figures of that protocol.
        overlap_fraction: of the reconstruction's voxels, how many are seen.
    """

    truth: CTVolume
    seen: np.ndarray
    body: np.ndarray
    honest: Metrics
    x2ct: Metrics
    overlap_fraction: float


@dataclass(frozen=True)
class Part:
    """A part of a reconstruction, on its voxels.

    Attributes:
        title: what it is.
        hu: (z, y, x).
        legend: what it means.
        signed: whether 0 is its middle.
    """

    title: str
    hu: np.ndarray
    legend: str
    signed: bool = False


@dataclass(frozen=True)
class Comparison:
    """All that is known about how good a reconstruction is.

    Attributes:
        recon: the reconstruction, axes in the order of LPS.
        scores: against the truth, or None without it.
        reprojections: against the X-rays; empty without them.
        warnings: what the reader should know.
        measures: what was measured in the reconstruction (``numbers.numbers``).
        true: what was measured in the truth over the same heights, or None without it.
        parts: of the reconstruction, to be shown below it.
    """

    recon: CTVolume
    scores: Scores | None
    reprojections: tuple[Reprojection, ...]
    warnings: tuple[str, ...]
    measures: Mapping[str, Any]
    true: Measures | None
    parts: tuple[Part, ...] = ()
