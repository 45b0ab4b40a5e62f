"""Fan-beam views around another centre: the same rays, described from where the patient is.

A scanner's isocentre is not the patient's middle. A cone beam cannot be described from elsewhere, but the rays of a fan all lie
in planes of constant height, and each plane has one source: turned towards another centre they are the same rays on
another flat panel. So localizers are brought to one centre, in the middle of the body, without loss.

Positions are LPS in mm, images (row, column).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clsdm.errors import InputError
from clsdm.geometry.view import View
from clsdm.xray.image import XRay

Point = tuple[float, float, float]

SHADOW = 0.15
"""Part of the way from air to the densest parts at which the body begins."""


def source_xy(xray: XRay) -> np.ndarray:
    """(2,) where the source of a fan-beam view travels, in the patient's (left, posterior)."""
    angle = math.radians(xray.view.angle_deg)
    return np.array(_isocentre(xray)[:2]) + xray.view.source_axis_mm * np.array([-math.sin(angle), math.cos(angle)])


def around(xray: XRay, centre_mm: Point) -> XRay:
    """The same X-ray as a view of a machine that turns around ``centre_mm``.

    Raises:
        InputError: the centre lies behind the source or beyond the detector.
    """
    view, source = xray.view, source_xy(xray)
    towards = source - np.array(centre_mm[:2])
    distance = float(np.linalg.norm(towards))
    angle = math.atan2(-towards[0], towards[1])
    turned = math.remainder(angle - math.radians(view.angle_deg), 2 * math.pi)
    if abs(turned) > math.pi / 4 or not 0.0 < distance < view.source_detector_mm:
        raise InputError(f"{xray.source}: the middle of the body lies outside the fan; check position and distances")
    detector = distance * view.magnification
    pixel, cols = view.pixel_mm[1] * detector / view.source_detector_mm, view.cols
    edges = np.array([-0.5, 0.5]) * view.cols * view.pixel_mm[1] + view.offset_mm[1]
    seen = detector * np.tan(np.arctan(edges / view.source_detector_mm) - turned)
    offset = float(seen.mean())
    cols = max(2, round(float(seen[1] - seen[0]) / pixel))
    across = (np.arange(cols) - (cols - 1) / 2) * pixel + offset
    old = view.source_detector_mm * np.tan(np.arctan(across / detector) + turned)
    column = (old - view.offset_mm[1]) / view.pixel_mm[1] + (view.cols - 1) / 2
    image, valid = _columns(xray, column)
    down = view.offset_mm[0] + centre_mm[2] - _isocentre(xray)[2]
    moved = View(
        math.degrees(angle), distance, detector, view.rows, cols, (view.pixel_mm[0], pixel),
        offset_mm=(down, offset), beam="fan",
    )  # fmt: skip
    return replace(xray, image=image, valid=valid, view=moved, isocentre_mm=centre_mm)


def _columns(xray: XRay, column: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The image, and what of it was measured, at fractional columns."""
    last = xray.view.cols - 1
    low = np.clip(np.floor(column).astype(int), 0, last - 1)
    share = np.clip(column - low, 0.0, 1.0).astype(np.float32)
    image = xray.image[:, low] * (1.0 - share) + xray.image[:, low + 1] * share
    inside = (column >= -0.5) & (column <= last + 0.5)
    if xray.valid is None:
        valid = None if inside.all() else np.broadcast_to(inside, image.shape).copy()
    else:
        valid = xray.valid[:, low] & xray.valid[:, low + 1] & inside
    return np.ascontiguousarray(image, dtype=np.float32), valid


def height_range(xray: XRay) -> tuple[float, float]:
    """Lowest and highest z that the view covers."""
    middle = _isocentre(xray)[2] - xray.view.offset_mm[0]
    half = xray.view.rows * xray.view.pixel_mm[0] / 2
    return middle - half, middle + half


def middle_of_body(xrays: Sequence[XRay], heights: tuple[float, float] | None = None) -> Point:
    """Where the body is that fan-beam views show: its middle across in each view, and the middle of ``heights``.

    Args:
        xrays: one or more, in one patient's coordinates.
        heights: z from and to which it counts; by default what all views cover.

    Raises:
        InputError: the views have no height in common.
    """
    low, high = heights or (0.0, 0.0)
    for seen in [] if heights else [height_range(xray) for xray in xrays]:
        low, high = seen if low == high else (max(low, seen[0]), min(high, seen[1]))
    if high <= low:
        raise InputError(f"{xrays[0].source} and {xrays[-1].source}: no part of the patient is in both localizers")
    rays = [(source_xy(xray), _towards_middle(xray, low, high)) for xray in xrays]
    normals = np.array([[-ray[1], ray[0]] for _, ray in rays])
    levels = np.array([normal @ source for normal, (source, _) in zip(normals, rays, strict=True)])
    # Each ray is a line in the plane; where they leave a direction open, the point nearest the isocentre is taken.
    start = np.array(_isocentre(xrays[0])[:2])
    x, y = start + np.linalg.lstsq(normals, levels - normals @ start, rcond=None)[0]
    return float(x), float(y), (low + high) / 2


def _towards_middle(xray: XRay, low: float, high: float) -> np.ndarray:
    """(2,) direction of the ray through the middle of the body's shadow between two heights."""
    view = xray.view
    down = (np.arange(view.rows) - (view.rows - 1) / 2) * view.pixel_mm[0] + view.offset_mm[0]
    z = _isocentre(xray)[2] - down
    rows = (z >= low) & (z <= high)
    image = xray.image[rows] if rows.any() else xray.image
    air, dense = np.percentile(image, (2.0, 98.0))
    shadow = (image > air + SHADOW * (dense - air)).mean(0) > 0.5
    columns = np.flatnonzero(shadow) if shadow.any() else np.arange(view.cols)
    middle = (columns[0] + columns[-1]) / 2 - (view.cols - 1) / 2
    fan = math.radians(view.angle_deg) + math.atan2(
        middle * view.pixel_mm[1] + view.offset_mm[1], view.source_detector_mm
    )
    return np.array([math.sin(fan), -math.cos(fan)])


def _isocentre(xray: XRay) -> Point:
    if xray.view.beam != "fan" or xray.isocentre_mm is None:
        raise InputError(f"{xray.source}: not a fan-beam view whose place in the patient is known")
    return xray.isocentre_mm
