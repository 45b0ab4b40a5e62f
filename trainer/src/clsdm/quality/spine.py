"""The line through the vertebrae of a trunk in HU, and how it is curved.

Volumes are (z, y, x) of cubic voxels with axes along LPS.
"""

import numpy as np

from clsdm.quality.lungs import NotMeasurable

BONE_HU, DENSEST_HU = 100.0, 400.0
"""Weight of a voxel rises from 0 at the one to 1 at the other."""
FROM_BACK_MM = (15.0, 105.0)
"""Where the column is looked for, in front of the back's skin."""
BESIDE_MM = 45.0
WINDOW_MM = (26.0, 32.0)
"""Half of the box around the column, along x and y."""
SHORTEST_MM = 80.0
LEAST_BONE_MM2 = 120.0


def spine_line(hu: np.ndarray, body: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(n, 3) index (z, y, x) of the column's middle in each slice, smooth along z.

    Raises:
        NotMeasurable: no column of bone in the back over at least 80 mm.
    """
    weight = np.clip((hu - BONE_HU) / (DENSEST_HU - BONE_HU), 0.0, 1.0) * body
    points = [found for z in range(len(hu)) if (found := _middle_in(weight[z], body[z], z, spacing_mm)) is not None]
    line = _without_strays(np.array(points).reshape(-1, 3), spacing_mm)
    if len(line) * spacing_mm < SHORTEST_MM or np.ptp(line[:, 0]) * spacing_mm < SHORTEST_MM:
        raise NotMeasurable(f"no spine is found over {SHORTEST_MM:.0f} mm")
    return _smooth(line, spacing_mm)


def _middle_in(weight: np.ndarray, body: np.ndarray, z: int, spacing_mm: float) -> tuple[float, float, float] | None:
    """The middle of the bone near the middle of the back, by moving a box to the middle of what is in it."""
    columns = np.flatnonzero(body.any(0))
    if not len(columns):
        return None
    x = float(columns.mean())
    near = body[:, int(x) - 2 : int(x) + 3].any(1)
    if not near.any():
        return None
    back = float(np.flatnonzero(near)[-1])
    first, last = (int(back - off / spacing_mm) for off in reversed(FROM_BACK_MM))
    sought = np.zeros_like(weight)
    rows, cols = slice(max(first, 0), max(last, 0)), slice(max(int(x - BESIDE_MM / spacing_mm), 0),
                                                           int(x + BESIDE_MM / spacing_mm) + 1)  # fmt: skip
    sought[rows, cols] = weight[rows, cols]
    y = (first + last) / 2
    for _ in range(8):
        rows, cols = _box(sought, y, x, spacing_mm)
        seen = sought[rows, cols]
        total = seen.sum()
        if total * spacing_mm**2 < LEAST_BONE_MM2:
            return None
        y = float(seen.sum(1, dtype=np.float64) @ np.arange(rows.start, rows.stop) / total)
        x = float(seen.sum(0, dtype=np.float64) @ np.arange(cols.start, cols.stop) / total)
    return float(z), y, x


def _box(values: np.ndarray, y: float, x: float, spacing_mm: float) -> tuple[slice, slice]:
    half_x, half_y = (half / spacing_mm for half in WINDOW_MM)
    return (
        slice(max(0, round(y - half_y)), min(values.shape[0], round(y + half_y) + 1)),
        slice(max(0, round(x - half_x)), min(values.shape[1], round(x + half_x) + 1)),
    )


def _without_strays(points: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Points that lie within 15 mm of the median of their neighbours up to 30 mm up and down."""
    reach = round(30.0 / spacing_mm)
    kept = [
        point
        for at, point in enumerate(points)
        if np.abs(np.median(points[max(0, at - reach) : at + reach + 1, 1:], axis=0) - point[1:]).max() * spacing_mm
        < 15.0
    ]
    return np.array(kept).reshape(-1, 3)


def _smooth(line: np.ndarray, spacing_mm: float) -> np.ndarray:
    """A cubic polynomial in z along both directions: a spine has no more than two bends in what an X-ray shows."""
    z = np.arange(int(line[0, 0]), int(line[-1, 0]) + 1, dtype=np.float64)
    fits = [np.polynomial.Polynomial.fit(line[:, 0], line[:, axis], 3 if len(line) * spacing_mm > 120.0 else 2)(z)
            for axis in (1, 2)]  # fmt: skip
    return np.stack([z, *fits], axis=1)


def kyphosis_deg(line_mm: np.ndarray) -> float:
    """The angle between the tangents at both ends of a line (n, 3) in mm (z, y, x), seen from the side; hollow forwards > 0."""
    slope = np.degrees(np.arctan(np.gradient(line_mm[:, 1], line_mm[:, 0])))
    margin = max(1, len(slope) // 12)
    return float(slope[margin] - slope[-1 - margin])


def lateral_curve_mm(line_mm: np.ndarray) -> float:
    """The farthest of a line (n, 3) in mm (z, y, x) from the straight between its ends, seen from the front."""
    z, x = line_mm[:, 0], line_mm[:, 2]
    straight = np.interp(z, z[[0, -1]], x[[0, -1]])
    return float(np.abs(x - straight).max())
