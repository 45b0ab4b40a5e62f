"""Which pixels of a DICOM X-ray hold a measurement: collimator blades, display shutters and padding.

DICOM counts rows and columns from 1 and gives edges in pixels of the stored image. The collimator and the shutter
modules have the same tags under two names. Some machines write edges in mm or of another image: what lies outside the
image, or leaves less than ``LEAST_SHARE`` of it, is not used.
"""

import numpy as np

from clsdm.files.dicom_tags import Tags

LEAST_SHARE = 0.3
"""Of the image, that blades or shutters leave."""


def measured_area(
    tags: Tags, stored: np.ndarray | None, shape: tuple[int, ...]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Mask of the measured pixels.

    Args:
        tags: of the file.
        stored: (rows, cols) stored values to compare with PixelPaddingValue, or None to leave padding out.
        shape: (rows, cols).

    Returns:
        (rows, cols) bool, or None where all pixels are measured; notes on what was not used.
    """
    inside, notes = np.ones(shape, dtype=bool), []
    for kind in ("Shutter", "Collimator"):
        opening, problem = _opening(tags, kind, (shape[0], shape[1]))
        if problem:
            notes.append(f"{kind}Shape: {problem}; not used")
        else:
            inside &= opening
    if stored is not None:
        inside &= ~_padding(tags, stored)
    return (None if inside.all() else inside), tuple(notes)


def _opening(tags: Tags, kind: str, shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """The pixels that blades or shutters of all their shapes leave, and why that cannot be, or ""."""
    inside, shapes = np.ones(shape, dtype=bool), tags.texts(f"{kind}Shape")
    for name, area in (("RECTANGULAR", _rectangle), ("CIRCULAR", _circle), ("POLYGONAL", _polygon)):
        if name not in shapes:
            continue
        part = area(tags, kind, shape)
        if part is None:
            return inside, f"the edges of its {name.lower()} opening are missing, unreadable or outside the image"
        inside &= part
    share = float(inside.mean())
    return inside, "" if share >= LEAST_SHARE else f"its opening is {share:.0%} of the image, in pixels of another one?"


def _padding(tags: Tags, stored: np.ndarray) -> np.ndarray:
    value = tags.number("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = tags.number("PixelPaddingRangeLimit")
    limits = [_as_stored(each, stored) for each in (value, value if limit is None else limit)]
    padding: np.ndarray = (stored >= min(limits)) & (stored <= max(limits))
    return padding


def _as_stored(value: float, stored: np.ndarray) -> float:
    """The tag is often written without the sign that the pixels have."""
    if stored.dtype.kind == "i" and value > np.iinfo(stored.dtype).max:
        return value - 2.0 ** (8 * stored.dtype.itemsize)
    return value


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers from 1, ready to broadcast."""
    return np.arange(1, shape[0] + 1)[:, None], np.arange(1, shape[1] + 1)[None, :]


def _rectangle(tags: Tags, kind: str, shape: tuple[int, int]) -> np.ndarray | None:
    row, col = _grid(shape)
    left, right, upper, lower = (
        tags.number(f"{kind}{side}Edge")
        for side in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
    )
    if left is right is upper is lower is None:
        return None
    left, upper = (1.0 if edge is None else edge for edge in (left, upper))
    right, lower = (count if edge is None else edge for count, edge in zip(shape[::-1], (right, lower), strict=True))
    margin = 1  # some count from 0, some name the blade's first pixel outside
    if min(left, upper) < -margin or right > shape[1] + margin or lower > shape[0] + margin:
        return None
    return (col >= left) & (col <= right) & (row >= upper) & (row <= lower)


def _circle(tags: Tags, kind: str, shape: tuple[int, int]) -> np.ndarray | None:
    row, col = _grid(shape)
    centre, radius = tags.numbers(f"CenterOfCircular{kind}"), tags.numbers(f"RadiusOfCircular{kind}")
    if len(centre) != 2 or len(radius) != 1 or radius[0] <= 0.0:
        return None
    return (row - centre[0]) ** 2 + (col - centre[1]) ** 2 <= radius[0] ** 2


def _polygon(tags: Tags, kind: str, shape: tuple[int, int]) -> np.ndarray | None:
    """Even-odd rule: a pixel is inside when a ray along its row crosses the outline an odd number of times."""
    vertices = np.array(tags.numbers(f"VerticesOfThePolygonal{kind}"), dtype=float)
    if len(vertices) < 6 or len(vertices) % 2:
        return None
    vertices = vertices.reshape(-1, 2)  # (row, column)
    row, col = _grid(shape)
    inside = np.zeros(shape, dtype=bool)
    for (row_a, col_a), (row_b, col_b) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        if row_a != row_b:
            crosses = (row_a > row) != (row_b > row)
            inside ^= crosses & (col < (col_b - col_a) * (row - row_a) / (row_b - row_a) + col_a)
    return inside
