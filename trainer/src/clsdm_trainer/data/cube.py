"""Placing the canonical cube in a scan: the one way from a CT to what networks learn from.

Two placements: ``body`` centres the cube on the box around the patient, ``x2ct`` repeats the crop of the X2CT protocol
(docs/method.md, 4: 1 mm resample, last 320 slices, centred 320² crop, zero padded).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from clsdm.volume.body import body_centre_mm, body_mask
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.cube import scan_box, to_cube
from clsdm.volume.hu import WINDOW_HU
from clsdm_trainer.data.store import padded_grid

Placement = Literal["body", "x2ct"]
Background = Literal["keep", "air"]

SCAN_SPACING_MM = 2.0
"""Voxel edge at which scans are kept: finer than any grid that is trained on here."""

HIGHEST_HU = float(np.iinfo(np.int16).max)


@dataclass(frozen=True)
class Prepared:
    """A scan as the store keeps it.

    Attributes:
        cube: on the network's grid with margin, whole HU in float32, (z, y, x) along LPS.
        scan: all that was scanned, on cubic voxels, whole HU, in the same coordinates.
        fov_fraction: share of the cube that lies inside the scan.
    """

    cube: CTVolume
    scan: CTVolume
    fov_fraction: float


def canonical_cube(
    ct: CTVolume,
    grid: Grid,
    margin: int,
    placement: Placement = "body",
    background: Background = "keep",
    scan_spacing_mm: float = SCAN_SPACING_MM,
) -> Prepared:
    """The cube that the store keeps of a scan, and the scan itself.

    HU below the window (padding outside a scanner's circle) become air before resampling, so that they cannot leak into
    the voxels beside them.

    Args:
        ct: the scan.
        grid: the network's cube.
        margin: voxels added on each side.
        placement: see the module.
        background: ``air`` sets all outside the body (couch, clothing) to air, as the X2CT protocol does.
        scan_spacing_mm: voxel edge of the scan that is kept.
    """
    hu = np.maximum(ct.hu, np.float32(WINDOW_HU[0]))
    if background == "air":
        hu = np.where(body_mask(hu), hu, np.float32(WINDOW_HU[0]))
    ct = CTVolume(hu, ct.spacing_mm, ct.origin_mm, ct.direction, ct.source)
    centre = body_centre_mm(ct) if placement == "body" else x2ct_centre_mm(ct, grid.cube_mm)
    cube = to_cube(ct, padded_grid(grid, margin), centre)
    scan = scan_box(ct, scan_spacing_mm)
    return Prepared(whole_hu(cube), whole_hu(scan), fov_fraction(ct, cube))


def whole_hu(ct: CTVolume) -> CTVolume:
    """The volume in whole HU that fit int16, none below the window."""
    return replace(ct, hu=np.clip(np.rint(ct.hu), WINDOW_HU[0], HIGHEST_HU))


def x2ct_centre_mm(ct: CTVolume, cube_mm: float) -> tuple[float, float, float]:
    """Where the X2CT protocol puts its cube: mid-scan in x and y, and the most superior ``cube_mm`` in z.

    A scan shorter than the cube is centred in it.

    Returns:
        (x, y, z) in LPS mm.
    """
    x, y, z = ct.centre_mm
    extent = float((np.abs(ct.direction) @ (np.array(ct.hu.shape[::-1]) * np.array(ct.spacing_mm)))[2])
    return x, y, z + max(0.0, (extent - cube_mm) / 2)


def fov_fraction(ct: CTVolume, cube: CTVolume) -> float:
    """Share of the cube's voxels whose centre lies inside the scan's box."""
    axes = [o + s * np.arange(n) for o, s, n in zip(cube.origin_mm, cube.spacing_mm, cube.hu.shape[::-1], strict=True)]
    to_index = np.linalg.inv(ct.direction @ np.diag(ct.spacing_mm))
    inside = np.ones(cube.hu.shape, dtype=bool)
    for row, count in zip(to_index, ct.hu.shape[::-1], strict=True):
        x, y, z = (weight * (axis - o) for weight, axis, o in zip(row, axes, ct.origin_mm, strict=True))
        index = z[:, None, None] + y[None, :, None] + x
        inside &= (index >= -0.5 - 1e-6) & (index <= count - 0.5 + 1e-6)
    return float(inside.mean())
