"""From a scan of any spacing and orientation to cubic voxels along LPS, each the mean of what it covers."""

import math
from dataclasses import replace

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name

from clsdm.volume.ct import CTVolume, Grid, point
from clsdm.volume.hu import WINDOW_HU


def to_cube(ct: CTVolume, grid: Grid, centre_mm: tuple[float, float, float]) -> CTVolume:
    """Resample onto the canonical cube around ``centre_mm`` (LPS); each voxel is the mean HU over its volume.

    The mean is taken over a sub-grid about as fine as the source (a box filter: no aliasing when voxels grow). What lies
    outside the scan is air, and so is what a scanner pads its round field of view with (-2000, -3024): nothing is less
    dense than air.
    """
    lowest = np.array(centre_mm) - grid.cube_mm / 2
    return CTVolume.on_grid(to_box(ct, (grid.size,) * 3, grid.spacing_mm, lowest).hu, grid, centre_mm)


def scan_box(ct: CTVolume, spacing_mm: float) -> CTVolume:
    """The whole scan on cubic voxels of ``spacing_mm`` with axes along LPS, averaged as in :func:`to_cube`."""
    half = np.abs(ct.direction) @ (np.array(ct.hu.shape[::-1]) * np.array(ct.spacing_mm)) / 2
    size = np.maximum(1, np.round(2 * half / spacing_mm)).astype(int)
    return to_box(ct, tuple(size.tolist()), spacing_mm, np.array(ct.centre_mm) - size * spacing_mm / 2)


def to_box(ct: CTVolume, size: tuple[int, ...], spacing_mm: float, lowest_mm: np.ndarray) -> CTVolume:
    """``size`` (x, y, z) cubic voxels with axes along LPS from the corner ``lowest_mm`` on; see :func:`to_cube`."""
    along = np.abs(ct.direction) @ np.array(ct.spacing_mm)  # source spacing along x, y, z of LPS
    fine = [max(1, math.ceil(spacing_mm / value - 0.1)) for value in along]
    spacing = [spacing_mm / k for k in fine]
    origin = [c + s / 2 for c, s in zip(lowest_mm.tolist(), spacing, strict=True)]
    count = [n * k for n, k in zip(size, fine, strict=True)]
    scan = replace(ct, hu=np.maximum(ct.hu, WINDOW_HU[0])).to_sitk()
    axes = np.eye(3).ravel().tolist()
    image = sitk.Resample(scan, count, sitk.Transform(), sitk.sitkLinear, origin, spacing, axes, WINDOW_HU[0])
    hu = sitk.GetArrayFromImage(sitk.BinShrink(image, fine) if max(fine) > 1 else image)
    return CTVolume(hu, (spacing_mm,) * 3, point(lowest_mm + spacing_mm / 2), source=ct.source)
