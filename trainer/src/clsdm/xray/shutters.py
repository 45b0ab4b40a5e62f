"""Which pixels of a DICOM radiograph hold a measurement: collimator blades, display shutters and padding.

DICOM counts rows and columns from 1 and gives edges in pixels of the stored image. The collimator and the shutter
modules have the same tags under two names.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue


def measured_area(dataset: Dataset, stored: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray | None:
    """Mask of the measured pixels.

    Args:
        dataset: tags.
        stored: (rows, cols) stored values to compare with PixelPaddingValue, or None to leave padding out.
        shape: (rows, cols).

    Returns:
        (rows, cols) bool, or None where all pixels are measured.
    """
    inside = np.ones(shape, dtype=bool)
    for kind in ("Shutter", "Collimator"):
        shapes = _values(dataset, f"{kind}Shape")
        for name, area in (("RECTANGULAR", _rectangle), ("CIRCULAR", _circle), ("POLYGONAL", _polygon)):
            if name in shapes:
                inside &= area(dataset, kind, shape)
    if stored is not None and dataset.get("PixelPaddingValue") is not None:
        limits = (int(dataset.PixelPaddingValue), int(dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)))
        inside &= (stored < min(limits)) | (stored > max(limits))
    return None if inside.all() else inside


def _values(dataset: Dataset, keyword: str) -> list:
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, MultiValue)) else [value]


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers from 1, ready to broadcast."""
    return np.arange(1, shape[0] + 1)[:, None], np.arange(1, shape[1] + 1)[None, :]


def _rectangle(dataset: Dataset, kind: str, shape: tuple[int, int]) -> np.ndarray:
    row, col = _grid(shape)
    edges = {
        side: int(dataset.get(f"{kind}{side}Edge", other))
        for side, other in (
            ("LeftVertical", 1),
            ("RightVertical", shape[1]),
            ("UpperHorizontal", 1),
            ("LowerHorizontal", shape[0]),
        )
    }
    return (
        (col >= edges["LeftVertical"])
        & (col <= edges["RightVertical"])
        & (row >= edges["UpperHorizontal"])
        & (row <= edges["LowerHorizontal"])
    )


def _circle(dataset: Dataset, kind: str, shape: tuple[int, int]) -> np.ndarray:
    row, col = _grid(shape)
    centre = [float(value) for value in _values(dataset, f"CenterOfCircular{kind}")]
    radius = [float(value) for value in _values(dataset, f"RadiusOfCircular{kind}")]
    if len(centre) != 2 or len(radius) != 1:
        return np.ones(shape, dtype=bool)
    return (row - centre[0]) ** 2 + (col - centre[1]) ** 2 <= radius[0] ** 2


def _polygon(dataset: Dataset, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Even-odd rule: a pixel is inside when a ray along its row crosses the outline an odd number of times."""
    vertices = np.array(_values(dataset, f"VerticesOfThePolygonal{kind}"), dtype=float)
    if len(vertices) < 6 or len(vertices) % 2:
        return np.ones(shape, dtype=bool)
    vertices = vertices.reshape(-1, 2)  # (row, column)
    row, col = _grid(shape)
    inside = np.zeros(shape, dtype=bool)
    for (row_a, col_a), (row_b, col_b) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        if row_a != row_b:
            crosses = (row_a > row) != (row_b > row)
            inside ^= crosses & (col < (col_b - col_a) * (row - row_a) / (row_b - row_a) + col_a)
    return inside
