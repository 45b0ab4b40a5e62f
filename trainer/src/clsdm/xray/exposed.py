"""The parts of an image that are no tissue: the border that blades left unexposed, and letters and bars that were burnt in.

Both are denser than any patient and would set the grey scale. Found in the pixels, since most files do not say. Images
are (rows, cols), brighter where more was attenuated.
"""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.errors import Remark
from clsdm.volume.masks import ball, grown, largest, opened, shrunk, touching_the_edge
from clsdm.xray.notes import left_out
from clsdm.xray.orient import StoredXRay

FLAT = 0.01
"""Of the range: an unexposed border varies less."""
STEP = 0.25
"""Of the range: by so much the image falls from a border or a letter to what lies beside it."""
LEAST_BORDER, LEAST_FIELD = 0.01, 0.1
"""Of the image."""
CONVEX = 0.97
"""Of its convex hull an exposed field fills at least this, and it holds as much of what is not border; a patient before air
does neither."""
RECTANGULAR = 0.96
"""Of the least rectangle around it, a drawn rectangle fills at least this; a patient does not."""
LARGEST_MARK, LARGEST_BAR, MOST_MARKED, LEAST_MARK_PIXELS = 0.02, 0.12, 0.2, 12
"""Of the image: the largest letter, the largest bar, all of them; and pixels."""
BAR_SHARE, ABRUPT = 0.2, 0.7
"""A bar ends with a step along this share of its length at least, on average this part of what lies 2 % of the image farther."""
FEWEST_LEVELS = 24
"""Grey levels of an X-ray; fewer are a drawing's."""
AIR, DENSE = 0.1, 0.9
"""Of the range: darker is air, brighter is denser than most of a patient."""


def without_border_and_marks(stored: StoredXRay) -> StoredXRay:
    """The image with an unexposed border and burnt-in letters left out, and with notes that say so."""
    image, notes = np.asarray(stored.image, dtype=np.float32), tuple[str, ...]()
    valid = np.ones(image.shape, dtype=bool) if stored.valid is None else stored.valid.copy()
    border = unexposed_border(image, valid)
    border = covered_border(image) if border is None else border
    border = bars(image) if border is None and stored.marked else border
    if border is not None:
        valid &= ~border
        notes += left_out(float(border.mean()), "an unexposed or covered border")
    marks = burnt_in(image, valid) if stored.marked else None
    if marks is not None:
        valid &= ~marks
        notes += left_out(float(marks.mean()), "burnt-in letters or marks")
    return stored if border is None and marks is None else replace(stored, valid=valid).warned(*notes)


def right_way_up(stored: StoredXRay, invert: bool | None) -> StoredXRay:
    """The image with bone bright where only its pixels can tell, and a note where its rim is denser than the body.

    Args:
        stored: as read, with what was assumed.
        invert: what the user says of it, which then holds.
    """
    if invert is not None:
        return stored
    valid = np.ones(stored.image.shape, dtype=bool) if stored.valid is None else stored.valid
    denser = border_is_denser(stored.image, valid)
    inverted = bool(denser) and unexposed_border(np.asarray(stored.image, dtype=np.float32), valid) is None
    if stored.bone_dark_assumed is None:
        note = Remark(
            "the rim of the image is denser than the body: it may be inverted", "--invert or --no-invert says which"
        )
        return stored.warned(note) if inverted else stored
    dark = stored.bone_dark_assumed != inverted
    stored = replace(stored, image=-stored.image) if inverted else stored
    found, otherwise = ("dark", "no-invert") if dark else ("bright", "invert")
    why = "assumed" if denser is None else "found in the pixels"
    return stored.warned(
        Remark(f"the file does not say whether bone is dark or bright: {found} was {why}", f"else give --{otherwise}")
    )


def check_content(stored: StoredXRay) -> StoredXRay:
    """The image with a note where its grey values are those of a drawing or a test pattern."""
    image = (
        stored.image if stored.valid is None else np.where(stored.valid, stored.image, stored.image[stored.valid].min())
    )
    levels = len(np.unique(image[:: max(1, image.shape[0] // 256), :: max(1, image.shape[1] // 256)]))
    if levels < FEWEST_LEVELS:
        return stored.warned(f"the image holds {levels} grey levels only: a drawing or a test pattern, no X-ray?")
    if any(float(np.ptp(image, axis).max()) == 0.0 for axis in (0, 1)):
        return stored.warned("all rows or all columns of the image are alike: a test pattern, no X-ray?")
    return stored


def border_is_denser(image: np.ndarray, valid: np.ndarray | None = None) -> bool | None:
    """Whether the rim of an image is denser than the body: then it is shown inverted, or its border is unexposed.

    Args:
        image: (rows, cols).
        valid: (rows, cols) bool, or None.

    Returns:
        None where the rim is neither mostly air nor mostly dense.
    """
    measured = np.ones(image.shape, dtype=bool) if valid is None else valid
    if not measured.any():
        return None
    low, high = np.quantile(image[measured], (0.01, 0.99))
    if not high > low:
        return None
    rim = (image[_rim(measured)] - low) / (high - low)
    dense, air = float((rim > DENSE).mean()), float((rim < AIR).mean())
    if dense > 0.3 and dense > 2.5 * air:
        return True
    return False if air > 0.15 and air > 2.0 * dense else None


def _rim(measured: np.ndarray) -> np.ndarray:
    """The outermost 3 % of the box around the measured pixels."""
    rows, cols = np.flatnonzero(measured.any(1)), np.flatnonzero(measured.any(0))
    box = np.zeros(measured.shape, dtype=bool)
    box[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    thick = [max(1, round(0.03 * len(each))) for each in (rows, cols)]
    box[rows[0] + thick[0] : rows[-1] + 1 - thick[0], cols[0] + thick[1] : cols[-1] + 1 - thick[1]] = False
    return box & measured


def unexposed_border(image: np.ndarray, valid: np.ndarray) -> np.ndarray | None:
    """Mask of the border that no beam reached: flat, at the densest level, around a convex field with a sharp edge.

    Args:
        image: (rows, cols).
        valid: (rows, cols) bool, what is known to be measured.

    Returns:
        (rows, cols) bool, or None where there is none.
    """
    span = float(np.ptp(image[valid])) if valid.any() else 0.0
    level = _densest_at_the_edge(image)
    if span == 0.0 or float((image > level + FLAT * span).mean()) > 0.02:
        return None
    flat = image >= level - FLAT * span
    if flat.mean() < LEAST_BORDER:
        return None
    flat = touching_the_edge(flat)
    field = largest(opened(~flat, ball(1, 1)))
    if flat.mean() < LEAST_BORDER or not field.any():
        return None
    hull = convex_hull(field)
    inside = hull & ~flat
    whole = inside.sum() > CONVEX * max(hull.sum(), (~flat).sum())
    if (~hull).mean() < LEAST_BORDER or hull.mean() < LEAST_FIELD or not whole:
        return None
    just_inside = hull & ~shrunk(hull, ball(2, 2))
    falls = float((image[just_inside] < level - STEP * span).mean())
    return ~hull if falls > 0.5 else None


def covered_border(image: np.ndarray) -> np.ndarray | None:
    """Mask of what a viewer's or a station's shutter painted over: one value around a rectangle or a disc of others.

    Air around a patient may have one value too, but no patient is drawn so and ends so abruptly.
    """
    edge = np.concatenate((image[0], image[-1], image[:, 0], image[:, -1]))
    values, counts = np.unique(edge, return_counts=True)
    level, span = float(values[counts.argmax()]), float(np.ptp(image))
    painted = image == level
    if painted.mean() <= LEAST_BORDER:
        return None
    painted = touching_the_edge(painted)
    if not LEAST_BORDER < painted.mean() < 1.0 - LEAST_FIELD:
        return None
    field = convex_hull(~painted)
    rim = field & ~shrunk(field, ball(1, 1))
    if (field & ~painted).sum() < CONVEX * field.sum() or (~field).mean() < LEAST_BORDER or not rim.any():
        return None
    abrupt = float((np.abs(image[rim] - level) > STEP * span).mean()) > 0.5
    return ~field if abrupt and _is_drawn(field) else None


def bars(image: np.ndarray) -> np.ndarray | None:
    """Mask of the bars with which a viewer fills its window up: whole rows or columns of one value that end abruptly.

    Air above or beside a patient may have one value too, but a patient begins little by little.
    """
    mask, span = np.zeros(image.shape, dtype=bool), float(np.ptp(image))
    for turn in range(4):
        lines = np.rot90(image, turn)
        level = lines[0, 0]
        flat = (np.abs(lines - level) <= 2 * FLAT * span).all(1)
        depth = int(flat.argmin())
        ends = np.abs(lines[depth : depth + 2] - level).max(0)
        beyond = np.abs(lines[depth : depth + 2 + len(lines) // 50] - level)[-1]
        abrupt = (ends > STEP * span).mean() > BAR_SHARE and ends.mean() > ABRUPT * beyond.mean()
        if depth >= LEAST_BORDER * len(lines) and abrupt:
            np.rot90(mask, turn)[:depth] = True
    return mask if mask.any() else None


def _is_drawn(field: np.ndarray) -> bool:
    """Whether a convex field is a rectangle, upright or turned, or a disc."""
    row, col = np.nonzero(field & ~shrunk(field, ball(1, 1)))
    middle, area = (row.mean(), col.mean()), float(field.sum())
    radii = np.hypot(row - middle[0], col - middle[1])
    if float(radii.std()) < 1.0:
        return True
    boxes = []
    for turn in np.deg2rad(np.arange(0.0, 90.0, 0.5)):
        along, across = col * np.cos(turn) + row * np.sin(turn), row * np.cos(turn) - col * np.sin(turn)
        boxes.append((np.ptp(along) + 1.0) * (np.ptp(across) + 1.0))
    return area > RECTANGULAR * min(boxes)


def _densest_at_the_edge(image: np.ndarray) -> float:
    edge = np.concatenate((image[0], image[-1], image[:, 0], image[:, -1]))
    return float(np.quantile(edge, 0.98))


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """(rows, cols) bool: the pixels whose centres lie in the convex hull of those of the mask."""
    rows = np.flatnonzero(mask.any(1))
    first, last = mask[rows].argmax(1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    left = _chain(rows, first, 1.0)
    right = _chain(rows, last, -1.0)
    filled = np.zeros(mask.shape, dtype=bool)
    inside = np.arange(rows[0], rows[-1] + 1)
    cols = np.arange(mask.shape[1])[None]
    start, end = (np.interp(inside, *chain)[:, None] for chain in (left, right))
    filled[inside] = (cols >= start - 1e-6) & (cols <= end + 1e-6)
    return filled


def _chain(rows: np.ndarray, cols: np.ndarray, sign: float) -> tuple[np.ndarray, np.ndarray]:
    """One side of a hull, by Andrew's monotone chain: sign 1 for the left side, -1 for the right one."""
    kept: list[tuple[int, int]] = []
    for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
        while len(kept) > 1 and sign * _turn(kept[-2], kept[-1], (row, col)) <= 0:
            kept.pop()
        kept.append((row, col))
    points = np.array(kept, dtype=float)
    return points[:, 0], points[:, 1]


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def burnt_in(image: np.ndarray, valid: np.ndarray) -> np.ndarray | None:
    """Mask of letters and marks: small spots of the very densest value with a sharp edge all around.

    Args:
        image: (rows, cols).
        valid: (rows, cols) bool.

    Returns:
        (rows, cols) bool with a margin of two pixels, or None where there are none.
    """
    if not valid.any():
        return None
    low, high = float(image[valid].min()), float(image[valid].max())
    spots = valid & (image >= high - 0.002 * (high - low))
    labels = sitk.ConnectedComponent(sitk.GetImageFromArray(spots.astype(np.uint8)), True)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(labels)
    most = LARGEST_MARK * image.size
    small = [
        each
        for each in shapes.GetLabels()
        if LEAST_MARK_PIXELS
        <= shapes.GetNumberOfPixels(each)
        <= (LARGEST_BAR * image.size if _is_bar(shapes, each) else most)
    ]
    if not small or len(small) > 2000:
        return None
    marks = np.zeros(image.shape, dtype=bool)
    array = sitk.GetArrayFromImage(labels)
    for label in small:
        left, top, width, height = shapes.GetBoundingBox(label)
        box = (slice(max(0, top - 3), top + height + 3), slice(max(0, left - 3), left + width + 3))
        spot = array[box] == label
        around = grown(spot, ball(3, 3)) & ~grown(spot, ball(2, 2)) & valid[box]
        if around.any() and float(np.quantile(image[box][around], 0.75)) < high - STEP * (high - low):
            marks[box] |= grown(spot, ball(2, 2))
    return marks & valid if 0.0 < marks.mean() < MOST_MARKED else None


def _is_bar(shapes: sitk.LabelShapeStatisticsImageFilter, label: int) -> bool:
    """Whether a spot fills its box."""
    *_, width, height = shapes.GetBoundingBox(label)
    return bool(shapes.GetNumberOfPixels(label) > 0.95 * width * height)
