"""CT volumes: reading, writing, and the canonical cube that every network works on.

A :class:`CTVolume` is HU with an affine in LPS (the convention of DICOM and ITK); arrays are indexed (z, y, x) in the
order of the file. The canonical cube has its axes along LPS, so that array order is (superior, posterior, left).
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.volume.hu import WINDOW_HU

BODY_HU = -400.0
"""Voxels above this belong to the patient or the couch; halfway between lung and fat, far above air."""

WRITABLE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
"""Formats that keep a volume in one file; .mhd and .nhdr keep the voxels in a second one, which a rename would lose."""


Point = tuple[float, float, float]
"""(x, y, z) in mm, LPS."""


@dataclass(frozen=True)
class Grid:
    """A cube of ``size``³ voxels of ``spacing_mm``, axes along LPS, its centre at the isocentre."""

    size: int
    spacing_mm: float

    @property
    def cube_mm(self) -> float:
        """Edge of the cube."""
        return self.size * self.spacing_mm


@dataclass(frozen=True)
class CTVolume:
    """A CT in HU.

    Attributes:
        hu: (z, y, x) float32.
        spacing_mm: (x, y, z) voxel edges.
        origin_mm: (x, y, z) LPS position of the first voxel's centre.
        direction: 3x3 matrix whose columns are the LPS directions of the x, y and z index axes.
        source: the file it came from, or what made it; used in messages only.
        notes: what the user should know of how it was read.
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    source: str = "volume"
    notes: tuple[str, ...] = ()

    @classmethod
    def on_grid(cls, hu: np.ndarray, grid: Grid, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> CTVolume:
        """A canonical cube placed so that its isocentre lies at ``centre_mm`` (LPS)."""
        first = (grid.size - 1) / 2 * grid.spacing_mm
        origin = point(np.array(centre_mm) - first)
        return cls(np.asarray(hu, dtype=np.float32), (grid.spacing_mm,) * 3, origin)

    def noted(self, *notes: str) -> CTVolume:
        """The same volume with further notes."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self

    @property
    def centre_mm(self) -> tuple[float, float, float]:
        """LPS position of the middle of the volume."""
        half = (np.array(self.hu.shape[::-1]) - 1) / 2 * np.array(self.spacing_mm)
        return point(np.array(self.origin_mm) + self.direction @ half)

    def to_sitk(self) -> sitk.Image:
        """The same volume as a SimpleITK image."""
        image = sitk.GetImageFromArray(self.hu)
        image.SetSpacing(self.spacing_mm)
        image.SetOrigin(self.origin_mm)
        image.SetDirection(self.direction.ravel().tolist())
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, source: str = "volume") -> CTVolume:
        """A 3-D scalar image as a CT.

        Raises:
            InputError: not a finite 3-D scalar volume with a proper orientation.
        """
        if image.GetDimension() == 4 and image.GetSize()[3] == 1:
            image = image[..., 0]
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise InputError(
                f"{source}: expected a 3-D scalar volume, found {image.GetDimension()}-D with "
                f"{image.GetNumberOfComponentsPerPixel()} components"
            )
        direction = np.array(image.GetDirection()).reshape(3, 3)
        if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
            raise InputError(f"{source}: the orientation matrix is not orthonormal: {direction.round(3).tolist()}")
        hu = sitk.GetArrayFromImage(sitk.Cast(image, sitk.sitkFloat32))
        if not np.isfinite(hu).all():
            bad = int((~np.isfinite(hu)).sum())
            raise InputError(f"{source}: {bad} of {hu.size} voxels are NaN or infinite; expected HU")
        return cls(hu, image.GetSpacing(), image.GetOrigin(), direction, source)


def point(values: np.ndarray) -> Point:
    """Three coordinates as plain floats."""
    x, y, z = (float(value) for value in values)
    return x, y, z


def write_ct(ct: CTVolume, path: str | os.PathLike[str], *, decimals: bool = False) -> None:
    """Write to NIfTI, NRRD or MetaImage; HU rounded to int16 unless ``decimals``.

    Raises:
        InputError: the format keeps a volume in two files or is unknown, or the file cannot be written.
    """
    if not Path(path).name.lower().endswith(WRITABLE_SUFFIXES):
        raise InputError(
            f"{path}: a volume can be written as {', '.join(WRITABLE_SUFFIXES)}; expected such a file name"
        )
    image = ct.to_sitk() if decimals else rounded(ct)
    size = image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()
    write_atomically(path, lambda name: _write_and_check(image, name), size)


def rounded(ct: CTVolume) -> sitk.Image:
    """The volume in whole numbers, int16."""
    return sitk.Cast(sitk.Round(ct.to_sitk()), sitk.sitkInt16)


def _write_and_check(image: sitk.Image, path: Path) -> None:
    """Write and read back: ITK's NIfTI writer does not notice a full disk.

    Raises:
        OSError: the file does not hold what was written.
    """
    sitk.WriteImage(image, str(path), useCompression=True)
    written, wanted = (sitk.GetArrayFromImage(each) for each in (sitk.ReadImage(str(path)), image))
    if not np.array_equal(written, wanted):
        raise OSError(errno.ENOSPC, "the file is incomplete; is the disk full?")


def body_mask(hu: np.ndarray) -> np.ndarray:
    """The patient: largest connected part above ``BODY_HU`` with its cavities (lungs, airways) filled slice by slice.

    Args:
        hu: (z, y, x).

    Returns:
        (z, y, x) bool; all False where nothing is above the threshold.
    """
    tissue = sitk.GetImageFromArray((hu > BODY_HU).astype(np.uint8))
    opened = sitk.BinaryMorphologicalOpening(tissue, (1, 1, 0))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(opened)) == 1
    slices = [sitk.GetArrayFromImage(sitk.BinaryFillhole(largest[:, :, z])) for z in range(hu.shape[0])]
    return np.stack(slices).astype(bool)


def body_centre_mm(ct: CTVolume) -> tuple[float, float, float]:
    """LPS centre of the box around the body (the volume's centre where no body is found)."""
    inside = np.argwhere(body_mask(ct.hu))
    if not len(inside):
        return ct.centre_mm
    middle = (inside.min(0) + inside.max(0))[::-1] / 2  # x, y, z index
    position = np.array(ct.origin_mm) + ct.direction @ (middle * np.array(ct.spacing_mm))
    return point(position)


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
