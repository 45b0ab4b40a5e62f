"""Reading a CT: NIfTI, NRRD, MetaImage, or DICOM slices; one reader and one set of checks for every command.

What would silently become a wrong volume is refused in one line; what was decided on the way stands in ``CTVolume.notes``.
"""

import math
import os
from pathlib import Path

import numpy as np

from clsdm import limits
from clsdm.errors import InputError, reading
from clsdm.files.itk import itk_header
from clsdm.files.names import given_path, regular_file
from clsdm.plausible import check_plausible
from clsdm.volume.containers import stored_voxels
from clsdm.volume.ct import CTVolume, point
from clsdm.volume.headers import check_spacing_stated, describe
from clsdm.volume.nifti import NIFTI_SUFFIXES, read_header
from clsdm.volume.read_dicom import read_dicom_ct
from clsdm.volume.slices import header_of

FORMATS = (*NIFTI_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd")
AIR_BELOW_HU = -500.0
"""A scan whose least value is above this shows no air: it was clipped to a window, or holds no HU."""
TISSUE_HU, TISSUE_SHARE = (-300.0, 400.0), 0.1
"""Most of a patient that is no air lies here; where hardly anything does, values have another slope, offset or byte order."""
BODY_MM = 80.0
"""A body is wider, and longer or deeper."""
CONTRAST_HU = 200.0
MIN_SIDE = 4
UNCLIPPED_HU = 2900.0
"""About where 12 bits end: nearly every scanner stops there."""
_NEAR_HU, _FEWEST, _SPIKE = 50.0, 8, 50.0


def read_ct(path: str | os.PathLike[str], series: str | None = None) -> CTVolume:
    """Read a CT from NIfTI, NRRD, MetaImage, a folder of DICOM slices, or an enhanced DICOM file.

    Args:
        path: file or folder.
        series: of a folder that holds several, the SeriesNumber or SeriesInstanceUID to take.

    Raises:
        InputError: missing, unreadable, damaged, several series in the folder, or not a plausible CT in HU.
    """
    path = given_path(os.fspath(path), "CT volume")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_dir():
        regular_file(path, "CT volume")
    with reading(path, "CT volume"):
        ct = _read(path, series)
        return checked(ct)


def _read(path: Path, series: str | None) -> CTVolume:
    name = path.name.lower()
    if path.is_dir() or (not name.endswith(FORMATS) and header_of(path) is not None):
        return read_dicom_ct(path, series)
    if series is not None:
        raise InputError(f"{path}: series {series} is asked for, but the file holds one volume")
    if not name.endswith(FORMATS):
        raise InputError(f"{path}: cannot be read as a CT volume; expected {', '.join(FORMATS)} or a DICOM folder")
    with reading(path, "volume file"):
        return _read_nifti(path) if name.endswith(NIFTI_SUFFIXES) else _read_by_itk(path)


def _read_nifti(path: Path) -> CTVolume:
    header = read_header(path)
    if header.colours or len(header.shape) > 3:
        vector = len(header.shape) == 5 and header.shape[3] == 1
        found = header.colours or (f"{header.shape[4]} components" if vector else f"{header.shape} voxels")
        raise InputError(f"{path}: expected a 3-D scalar volume, found {len(header.shape)}-D with {found}")
    matrix = header.affine[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(header.affine).all() or spacing.min() <= 0.0:
        raise InputError(f"{path}: the affine of the NIfTI file holds no spacing: {header.affine[:3].tolist()}")
    stored = _stored(path)
    plain = (header.slope, header.intercept) == (1.0, 0.0)
    hu = (stored if plain else stored * np.float64(header.slope) + header.intercept).astype(np.float32)
    return CTVolume(hu, point(spacing), point(header.affine[:3, 3]), matrix / spacing, str(path), header.notes)


def _read_by_itk(path: Path) -> CTVolume:
    """NRRD and MetaImage: ITK tells the geometry; the voxels are read here, so that none is ever made up."""
    stored = _stored(path)
    check_spacing_stated(path)
    try:
        reader = itk_header(path)
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as a CT volume ({_reason(error)})") from None
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) < 3 or math.prod(size[3:]) != 1 or components != 1:
        raise InputError(f"{path}: expected a 3-D scalar volume, found {len(size)}-D with {components} components")
    if stored.size != math.prod(size):
        raise InputError(f"{path}: its header names {stored.shape[::-1]} voxels, ITK finds {size}; expected the same")
    spacing, origin = np.array(reader.GetSpacing()[:3]), np.array(reader.GetOrigin()[:3])
    direction = np.array(reader.GetDirection()).reshape(len(size), len(size))[:3, :3]
    return CTVolume(stored.reshape(size[2::-1]).astype(np.float32), point(spacing), point(origin), direction, str(path))


def _stored(path: Path) -> np.ndarray:
    container = describe(path)
    if container is None:
        raise InputError(f"{path}: cannot be read as a CT volume")
    return stored_voxels(path, container)


def checked(ct: CTVolume) -> CTVolume:
    """The same volume, with a note where its densest parts were clipped.

    Raises:
        InputError: too few or too many voxels, spacing or extent of no scan, sheared, not finite, or not in HU.
    """
    if min(ct.hu.shape) < MIN_SIDE:
        raise InputError(f"{ct.source}: expected a CT volume, found only {ct.hu.shape[::-1]} voxels (x, y, z)")
    limits.check_volume_size(ct.hu.shape, ct.source)
    low, high = float(ct.hu.min()), float(ct.hu.max())
    if not np.isfinite([low, high]).all():
        bad = int((~np.isfinite(ct.hu)).sum())
        raise InputError(f"{ct.source}: {bad} of {ct.hu.size} voxels are NaN or infinite; expected HU")
    for value in (low, high):
        check_plausible("hu", value, ct.source, "the range of values")
    if high - low < CONTRAST_HU or low > AIR_BELOW_HU or high < TISSUE_HU[0]:
        raise InputError(
            f"{ct.source}: values {low:g} ... {high:g} are not HU, or were clipped to a window (expected air near -1000, "
            f"below {AIR_BELOW_HU:g}, and tissue near 0)"
        )
    check_geometry(ct)
    return ct.noted(*_clipping(ct.hu, high), *_too_small(ct), *_no_tissue(ct.hu))


def check_geometry(ct: CTVolume) -> None:
    """Refuse a place in the patient that no scan has.

    Raises:
        InputError: sheared, or names the spacing, extent or position.
    """
    if not np.allclose(ct.direction.T @ ct.direction, np.eye(3), atol=1e-3):
        raise InputError(f"{ct.source}: the orientation matrix is not orthonormal: {ct.direction.round(3).tolist()}")
    for axis, step, count, origin in zip("xyz", ct.spacing_mm, ct.hu.shape[::-1], ct.origin_mm, strict=True):
        check_plausible("voxel_mm", step, ct.source, f"voxel spacing along {axis}")
        check_plausible("scan_mm", step * count, ct.source, f"extent along {axis}")
        check_plausible("position_mm", origin, ct.source, f"position along {axis}")


def _too_small(ct: CTVolume) -> tuple[str, ...]:
    """A note where two edges are shorter than a body is wide, as with a spacing in cm."""
    edges = [step * count for step, count in zip(ct.spacing_mm, ct.hu.shape[::-1], strict=True)]
    if sorted(edges)[1] >= BODY_MM:
        return ()
    return (f"the scan is only {' x '.join(f'{edge:.0f}' for edge in edges)} mm; is its spacing in mm?",)


def _no_tissue(hu: np.ndarray) -> tuple[str, ...]:
    """A note where what is no air is no tissue either."""
    low, high = TISSUE_HU
    matter = int((hu > AIR_BELOW_HU).sum())
    share = int(((hu > low) & (hu < high)).sum()) / matter
    if share >= TISSUE_SHARE:
        return ()
    return (
        f"only {share:.1%} of what is denser than air is between {low:g} and {high:g} HU, as tissue is; are the values HU?",
    )


def _clipping(hu: np.ndarray, high: float) -> tuple[str, ...]:
    """A note where the greatest value is far more frequent than one of those just below it, as a window's upper end is."""
    near = int((hu > high - _NEAR_HU).sum())
    clipped = int((hu == high).sum())
    if high >= UNCLIPPED_HU or near - clipped < _FEWEST or clipped < _SPIKE * (near - clipped) / _NEAR_HU:
        return ()
    return (f"{clipped / hu.size:.1%} of the voxels are {high:g} HU, the highest value: bone was clipped to a window",)


def _reason(error: Exception) -> str:
    """The last telling line of an ITK message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split("): ")[-1] if lines else type(error).__name__
