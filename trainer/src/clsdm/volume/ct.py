"""A CT: HU with a place in the patient, and the cube of voxels that every network works on.

A :class:`CTVolume` is HU with an affine in LPS (the convention of DICOM and ITK); arrays are indexed (z, y, x) in the
order of the file. The canonical cube has its axes along LPS, so that array order is (superior, posterior, left).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name

from clsdm.errors import InputError

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

    hu: np.ndarray = field(repr=False)
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

    @property
    def affine(self) -> np.ndarray:
        """4x4 matrix from the index (x, y, z, 1) of a voxel to its centre in mm, LPS."""
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = self.direction * self.spacing_mm, self.origin_mm
        return affine

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


def is_canonical(ct: CTVolume) -> bool:
    """Whether the grid is a cube of cubic voxels with its axes along LPS."""
    cubic = len(set(ct.hu.shape)) == 1 and np.allclose(ct.spacing_mm, ct.spacing_mm[0], rtol=1e-3)
    return bool(cubic and np.allclose(ct.direction, np.eye(3), atol=1e-3))


def point(values: np.ndarray) -> Point:
    """Three coordinates as plain floats."""
    x, y, z = (float(value) for value in values)
    return x, y, z
