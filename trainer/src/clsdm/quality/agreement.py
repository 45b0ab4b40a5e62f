"""How well a volume explains one of its X-rays: the one verdict, in figures and in words. No tensors, no torch."""

from dataclasses import dataclass, field

import numpy as np

from clsdm.errors import Remark

_GRADES = (
    (0.99, "agree closely"),
    (0.95, "agree in the main, not in detail"),
    (0.85, "agree only roughly"),
    (-1.0, "disagree: do not trust the volume"),
)
"""Least correlation, and what is said from there on: a reading aid, not validated."""
_DOUBTFUL = 0.95
WAYS_OUT = Remark(
    "where X-ray and volume disagree, try another spacing or distance, the other polarity, or the mirrored image; is it an "
    "X-ray of a trunk?",
    "the options are --spacing, --source-detector, --invert or --no-invert, and --flip",
)
"""The most frequent fault where an X-ray and the volume disagree."""


@dataclass(frozen=True)
class Agreement:
    """Of an X-ray with the volume's projection; both images are scaled so that the 1st and 99th percentile lie 2 apart.

    Attributes:
        rmse: root mean square of their difference in the patient's shadow.
        correlation: Pearson's over the same pixels, or None where an image is constant.
    """

    rmse: float
    correlation: float | None

    @property
    def contrast_fraction(self) -> float:
        """The difference as a fraction of the X-ray's contrast."""
        return self.rmse / 2.0

    @property
    def doubtful(self) -> bool:
        """Whether the geometry of this X-ray should be looked at again."""
        return self.correlation is None or self.correlation < _DOUBTFUL

    @property
    def disagrees(self) -> bool:
        """Whether the volume is not to be trusted."""
        return self.correlation is None or self.correlation < _GRADES[-2][0]

    @property
    def verdict(self) -> str:
        """In a few words, to sort a table by: "agree closely" to "disagree", or "not comparable"."""
        return "not comparable" if self.correlation is None else self._grade.partition(":")[0].partition(",")[0]

    @property
    def _grade(self) -> str:
        return next(words for least, words in _GRADES if self.correlation is not None and self.correlation >= least)

    def __str__(self) -> str:
        if self.correlation is None:
            return "One of the two images is constant: they cannot be compared."
        return (
            f"The images {self._grade} (correlation {self.correlation:.3f}; root mean square difference "
            f"{self.contrast_fraction:.1%} of the X-ray's contrast)."
        )


@dataclass(frozen=True)
class Reprojection:
    """One X-ray against the reconstruction projected in the same geometry, both normalised over the same pixels.

    Attributes:
        source: where the X-ray came from.
        angle_deg: its angle.
        rmse: root mean square of ``difference`` in the patient's shadow; the 1st and 99th percentile of each image lie
            2 apart.
        correlation: Pearson's over the same pixels, or None where an image is constant.
        xray: (size, size) the X-ray on the virtual detector; NaN where it was not measured.
        reprojected: (size, size) the reconstruction's projection; NaN where it cannot be compared.
        difference: (size, size) projection minus X-ray; NaN where they cannot be compared.
        sop_instance: of the X-ray's file when it was read, or "".
    """

    source: str
    angle_deg: float
    rmse: float
    correlation: float | None
    xray: np.ndarray = field(repr=False)
    reprojected: np.ndarray = field(repr=False)
    difference: np.ndarray = field(repr=False)
    sop_instance: str = ""

    @property
    def agreement(self) -> Agreement:
        """The verdict on the figures, see ``agreement``."""
        return Agreement(self.rmse, self.correlation)
