"""From slices to a volume: evenly spaced, complete, and upright.

Missing and doubled slices and uneven spacing are refused with their number. Slices of a tilted gantry, which lie behind
each other along the table and not along their normal, are shifted back in their planes, so that the volume is a box.
"""

import math
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume, point
from clsdm.volume.hu import WINDOW_HU
from clsdm.volume.slices import MIN_SLICES, SAME_PLACE_MM, Slice

GAP_TOLERANCE = 0.1
"""Allowed difference of a slice gap from the median one, as a share of it; positions are often rounded to 0.1 mm."""
GAP_TOLERANCE_MM = 0.11
STRAIGHT_DEG = 0.5
MAX_TILT_DEG = 35.0
"""Gantries tilt up to 30 degrees."""
SIDEWAYS_MM = 1.0


def in_order(slices: Sequence[Slice], label: str) -> list[Slice]:
    """The slices by position, if they are one complete, evenly spaced stack.

    Raises:
        InputError: too few slices, doubled or missing ones, uneven spacing, or slices off one line.
    """
    if len(slices) < MIN_SLICES:
        raise InputError(f"{label}: expected a CT volume, found {len(slices)} slices")
    slices = sorted(slices, key=lambda item: item.height_mm)
    _check_gaps(np.diff([item.height_mm for item in slices]), label)
    _check_line(np.array([item.position for item in slices]), label)
    return slices


def placed(hu: np.ndarray, slices: Sequence[Slice], label: str) -> CTVolume:
    """The volume of ordered slices.

    Args:
        hu: (slices, rows, columns).
        slices: from :func:`in_order`.
        label: what the volume is called in messages.

    Raises:
        InputError: a tilt of no gantry.
    """
    first, last = slices[0], slices[-1]
    across, down = first.orientation[:3], first.orientation[3:]
    gap_mm = (last.height_mm - first.height_mm) / (len(slices) - 1)
    spacing = first.pixel_mm[1], first.pixel_mm[0], gap_mm
    ct = CTVolume(hu, spacing, point(first.position), np.stack((across, down, first.normal), axis=1), label)
    step = (last.position - first.position) / (len(slices) - 1)
    sideways = step - gap_mm * first.normal
    tilt = math.degrees(math.atan2(float(np.linalg.norm(sideways)), gap_mm))
    if tilt <= STRAIGHT_DEG:
        return ct
    if tilt > MAX_TILT_DEG:
        raise InputError(
            f"{label}: slices are stacked {tilt:.1f} degrees off their normal; expected a gantry tilt of at most "
            f"{MAX_TILT_DEG:g}"
        )
    note = f"gantry tilt of {tilt:.1f} degrees: the slices were shifted back in their planes"
    return straightened(ct, float(sideways @ across), float(sideways @ down)).noted(note)


def straightened(ct: CTVolume, right_mm: float, down_mm: float) -> CTVolume:
    """A stack whose every slice lies shifted from the one before, as a box: what lies beside the slices is air.

    Args:
        ct: as if the slices were stacked along their normal.
        right_mm: shift of a slice against the one before along its rows' direction.
        down_mm: along its columns' direction.
    """
    depth, rows, cols = ct.hu.shape
    sheared = ct.direction.copy()
    step = ct.direction @ np.array([right_mm, down_mm, ct.spacing_mm[2]])
    length = float(np.linalg.norm(step))
    sheared[:, 2] = step / length
    image = sitk.GetImageFromArray(ct.hu)
    image.SetSpacing((ct.spacing_mm[0], ct.spacing_mm[1], length))
    image.SetOrigin(ct.origin_mm)
    image.SetDirection(sheared.ravel().tolist())
    reach = [(depth - 1) * shift / edge for shift, edge in ((right_mm, ct.spacing_mm[0]), (down_mm, ct.spacing_mm[1]))]
    before = [math.floor(min(0.0, pixels)) for pixels in reach]
    size = [count + math.ceil(abs(pixels)) for count, pixels in zip((cols, rows), reach, strict=True)]
    origin = np.array(ct.origin_mm) + ct.direction @ (np.array([*before, 0]) * ct.spacing_mm)
    box = sitk.Resample(
        image, [*size, depth], sitk.Transform(), sitk.sitkLinear, point(origin), ct.spacing_mm,
        ct.direction.ravel().tolist(), WINDOW_HU[0],
    )  # fmt: skip
    return CTVolume(sitk.GetArrayFromImage(box), ct.spacing_mm, point(origin), ct.direction, ct.source, ct.notes)


def _check_gaps(gaps: np.ndarray, label: str) -> None:
    usual = float(np.median(gaps))
    doubled = int((gaps < SAME_PLACE_MM).sum())
    if doubled:
        raise InputError(f"{label}: {doubled} doubled slices (at the position of another one)")
    uneven = np.abs(gaps - usual) > max(GAP_TOLERANCE * usual, GAP_TOLERANCE_MM)
    if not uneven.any():
        return
    missing = int(sum(round(gap / usual) - 1 for gap in gaps[uneven] if gap > 1.5 * usual))
    if missing:
        raise InputError(f"{label}: {missing} missing slices (gaps of {usual:g} mm, the widest {gaps.max():g} mm)")
    raise InputError(f"{label}: uneven slice spacing, {gaps.min():g} to {gaps.max():g} mm")


def _check_line(positions: np.ndarray, label: str) -> None:
    """Slices lie on one line, whatever its direction; along it the gaps are checked."""
    path = positions - positions[0]
    along = path[-1] / np.linalg.norm(path[-1])
    beside = float(np.linalg.norm(path - (path @ along)[:, None] * along, axis=1).max())
    if beside > SIDEWAYS_MM:
        raise InputError(f"{label}: slices lie up to {beside:.1f} mm beside the line of the others")
