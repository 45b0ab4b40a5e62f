"""DICOM CT series: which ones are there, and whether one of them is a plain volume.

Discovery takes from each patient the CT series with most slices (LIDC-IDRI also holds radiographs and localizers).
Reading refuses, with the reason, what would silently become a wrong volume: missing or doubled slices, uneven spacing,
a tilted gantry, slices of different size or orientation. Messages name the scan by ``Scan.source``, which is an alias
where patient names are private.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its usual name
from pydicom.errors import InvalidDicomError

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume
from clsdm_trainer.data.scan import Scan, safe_id

MIN_SLICES = 4
GAP_TOLERANCE = 0.1
"""Allowed difference of a slice gap from the median one, as a share of it; positions are often rounded to 0.1 mm."""
MAX_TILT_DEG = 0.5
_FOUND_BY = ["Modality", "ImageType", "PatientID", "SeriesInstanceUID"]
_PLACED_BY = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames"]


@dataclass(frozen=True)
class _Slice:
    """Where one image lies: position (3) and orientation (row direction, column direction) in LPS, spacing in mm."""

    path: Path
    position: np.ndarray
    orientation: np.ndarray
    pixel_mm: tuple[float, float]
    size: tuple[int, int]


def find_series(root: Path) -> list[Scan]:
    """One scan per patient: the CT series with most images; the patient is PatientID or else the first folder."""
    series: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        header = _header(path, _FOUND_BY)
        if header is None or header.get("Modality") != "CT" or "LOCALIZER" in (header.get("ImageType") or ()):
            continue
        patient = str(header.get("PatientID") or "").strip() or path.relative_to(root).parts[0]
        series[patient, str(header.get("SeriesInstanceUID", ""))].append(path)
    largest: dict[str, list[Path]] = {}
    for (patient, _), files in sorted(series.items()):
        if len(files) > len(largest.get(patient, ())):
            largest[patient] = files
    return [Scan(safe_id(name), name, _folder_of(files, root), tuple(files)) for name, files in largest.items()]


def read_series(scan: Scan) -> CTVolume:
    """The volume of a series found by :func:`find_series`, slices sorted by position.

    Raises:
        InputError: not one evenly spaced, untilted stack of CT slices in HU; the message says why.
    """
    slices = [_slice(path, scan.source) for path in scan.files]
    slices, spacing_mm, direction = _as_stack(slices, scan.source)
    reader = sitk.ImageSeriesReader()
    reader.SetOutputPixelType(sitk.sitkFloat32)
    reader.SetFileNames([str(item.path) for item in slices])
    try:
        hu = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError:
        raise InputError(f"{scan.source}: pixel data of {len(slices)} slices cannot be decoded") from None
    if hu.ndim != 3 or not np.isfinite(hu).all() or hu.min() > -150.0 or hu.max() - hu.min() < 200.0:
        raise InputError(f"{scan.source}: values {hu.min():g} ... {hu.max():g} are not HU (expected air near -1000)")
    x, y, z = (float(value) for value in slices[0].position)
    return CTVolume(hu, spacing_mm, (x, y, z), direction, scan.source)


def _header(path: Path, tags: list[str]) -> pydicom.Dataset | None:
    """Some tags of a DICOM file, or None where it is not one."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError):
        return None


def _folder_of(files: list[Path], root: Path) -> str:
    return files[0].parent.relative_to(root).as_posix()


def _slice(path: Path, label: str) -> _Slice:
    header = _header(path, _PLACED_BY)
    if header is None:
        raise InputError(f"{label}: a slice cannot be read as DICOM")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise InputError(f"{label}: multi-frame (enhanced) CT is not supported; expected one file per slice")
    missing = [tag for tag in _PLACED_BY[:5] if header.get(tag) is None]
    if missing:
        raise InputError(f"{label}: a slice has no {', '.join(missing)}")
    try:
        position, orientation = (np.array(header[tag].value, dtype=float) for tag in _PLACED_BY[:2])
        row_mm, col_mm = (float(value) for value in header.PixelSpacing)
    except (TypeError, ValueError):
        raise InputError(
            f"{label}: position, orientation or PixelSpacing of a slice is not a list of numbers"
        ) from None
    if position.shape != (3,) or orientation.shape != (6,) or min(row_mm, col_mm) <= 0.0:
        raise InputError(f"{label}: position, orientation or PixelSpacing of a slice is not valid")
    return _Slice(path, position, orientation, (row_mm, col_mm), (int(header.Rows), int(header.Columns)))


def _as_stack(slices: list[_Slice], label: str) -> tuple[list[_Slice], tuple[float, float, float], np.ndarray]:
    """Slices in order, (x, y, z) spacing and 3x3 direction of the volume they form."""
    if len(slices) < MIN_SLICES:
        raise InputError(f"{label}: expected a CT volume, found {len(slices)} slices")
    first = slices[0]
    for item in slices:
        if not np.allclose(item.orientation, first.orientation, atol=1e-3):
            raise InputError(f"{label}: slices of different orientation")
        if item.size != first.size or not np.allclose(item.pixel_mm, first.pixel_mm, rtol=1e-3):
            raise InputError(f"{label}: slices of different size or PixelSpacing")
    across, down = first.orientation[:3], first.orientation[3:]
    normal = np.cross(across, down)
    slices = sorted(slices, key=lambda item: float(item.position @ normal))
    gaps = np.diff([float(item.position @ normal) for item in slices])
    _check_gaps(gaps, label)
    _check_tilt(slices[-1].position - slices[0].position, normal, label)
    spacing = (first.pixel_mm[1], first.pixel_mm[0], float(gaps.mean()))
    return slices, spacing, np.stack((across, down, normal), axis=1)


def _check_gaps(gaps: np.ndarray, label: str) -> None:
    usual = float(np.median(gaps))
    if gaps.min() < 0.01:
        raise InputError(f"{label}: {int((gaps < 0.01).sum())} doubled slices (at the position of another one)")
    uneven = np.abs(gaps - usual) > max(GAP_TOLERANCE * usual, 0.11)
    if not uneven.any():
        return
    missing = int(sum(round(gap / usual) - 1 for gap in gaps[uneven] if gap > 1.5 * usual))
    if missing:
        raise InputError(f"{label}: {missing} missing slices (gaps of {usual:g} mm, the widest {gaps.max():g} mm)")
    raise InputError(f"{label}: uneven slice spacing, {gaps.min():g} to {gaps.max():g} mm")


def _check_tilt(path: np.ndarray, normal: np.ndarray, label: str) -> None:
    along = float(path @ normal)
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(path - along * normal), along)))
    if tilt > MAX_TILT_DEG:
        raise InputError(f"{label}: gantry tilt of {tilt:.1f} degrees (slices are not stacked along their normal)")
