"""The localizers of a CT study: a frontal and a lateral X-ray in the coordinates of the scan that was planned on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from clsdm import limits
from clsdm.errors import InputError
from clsdm.files.names import files_below
from clsdm.volume.read_dicom import find
from clsdm.volume.slices import header_of, is_localizer, text
from clsdm.xray.image import XRay
from clsdm.xray.read import read_xray
from clsdm.xray.slot import around, middle_of_body

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "ScanOptions", "SeriesNumber", "InstanceNumber", "Rows",
    "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
]  # fmt: skip


@dataclass(frozen=True)
class _Scout:
    path: Path
    frontal: bool
    heights: tuple[float, float]
    order: tuple[float, float]


def read_localizers(folder: Path, series: str | None = None) -> list[XRay]:
    """The frontal and the lateral localizer of a CT study, as views around the middle of the body.

    Of several, those are taken that cover most of the scan, and of equal ones the last. The scan's images are not read:
    only its heights, which say where the volume is to be.

    Args:
        folder: with localizers and, usually, the scan; searched at any depth.
        series: of the scan, where the folder holds several; by default the one with most slices.

    Raises:
        InputError: no localizer, or one that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with the localizers of a CT study")
    files = files_below(folder, limits.SERIES_FILES)
    if len(files) > limits.SERIES_FILES:
        raise InputError(f"{folder}: {len(files):,} files; expected at most {limits.SERIES_FILES:,} in a study")
    return localizers_among(files, scan_heights(folder, series), str(folder))


def localizers_among(files: Sequence[Path], heights: tuple[float, float] | None, label: str) -> list[XRay]:
    """The same of some files of a study, for a scan from and to these z; ``label`` begins messages.

    Raises:
        InputError: no localizer, or one that cannot be read.
    """
    chosen = localizer_files(files, heights)
    if chosen == (None, None):
        raise InputError(f"{label}: no CT localizer (DICOM ImageType LOCALIZER) found")
    return centred([read_xray(path, preset="localizer") for path in chosen if path is not None], heights)


def localizer_files(
    files: Iterable[Path], heights: tuple[float, float] | None = None
) -> tuple[Path | None, Path | None]:
    """The best frontal and the best lateral localizer among the files of a study, None where there is none."""
    scouts = [scout for path in files if (scout := _scout(path)) is not None]
    frontal, lateral = (_best([each for each in scouts if each.frontal == wanted], heights) for wanted in (True, False))
    return (frontal.path if frontal else None), (lateral.path if lateral else None)


def centred(xrays: Sequence[XRay], heights: tuple[float, float] | None = None) -> list[XRay]:
    """Fan-beam views that know their place, brought to one centre in the middle of the body; others as they are."""
    placed = [xray.view.beam == "fan" and xray.isocentre_mm is not None for xray in xrays]
    if not any(placed):
        return list(xrays)
    centre = middle_of_body([xray for xray, fan in zip(xrays, placed, strict=True) if fan], heights)
    return [around(xray, centre) if fan else xray for xray, fan in zip(xrays, placed, strict=True)]


def scan_heights(folder: Path, series: str | None = None) -> tuple[float, float] | None:
    """z from and to which the scan in a folder reaches, or None where there is none."""
    stacks = find(folder).stacks
    fitting = [stack for stack in stacks if series in (None, stack.uid, stack.number)]
    if not fitting:
        return None
    z = np.array([item.position[2] for item in fitting[0].slices])
    gap = (z.max() - z.min()) / max(1, len(z) - 1)
    return float(z.min() - gap / 2), float(z.max() + gap / 2)


def _scout(path: Path) -> _Scout | None:
    try:
        header = header_of(path, _TAGS)
        if header is None or text(header, "Modality") != "CT" or not is_localizer(header):
            return None
        position, turn, spacing = (
            np.array([float(value) for value in header[name].value])
            for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        )
        across = turn[:3] if abs(turn[5]) > abs(turn[2]) else turn[3:]
        reach = turn[2] * spacing[1] * (int(header.Columns) - 1) + turn[5] * spacing[0] * (int(header.Rows) - 1)
    except (InputError, KeyError, TypeError, ValueError):  # a damaged or unplaced one; another may do
        return None
    ends = float(position[2]), float(position[2] + reach)
    order = _number(header, "SeriesNumber"), _number(header, "InstanceNumber")
    return _Scout(path, abs(across[0]) > abs(across[1]), (min(ends), max(ends)), order)


def _number(header: Dataset, keyword: str) -> float:
    try:
        return float(header.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0.0


def _best(scouts: Iterable[_Scout], heights: tuple[float, float] | None) -> _Scout | None:
    def worth(scout: _Scout) -> tuple[float, tuple[float, float]]:
        low, high = scout.heights
        if heights is not None:
            low, high = max(low, heights[0]), min(high, heights[1])
        return round(max(0.0, high - low), 1), scout.order

    return max(scouts, key=worth, default=None)
