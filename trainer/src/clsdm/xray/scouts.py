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
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "ScanOptions", "StudyInstanceUID", "StudyDate", "SeriesNumber",
    "InstanceNumber", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
]  # fmt: skip


@dataclass(frozen=True)
class _Scout:
    path: Path
    frontal: bool
    heights: tuple[float, float]
    study: str
    order: tuple[str, float, float]


@dataclass(frozen=True)
class _Scan:
    """A scan that was planned on localizers: z from and to which it reaches, and its StudyInstanceUID or ""."""

    heights: tuple[float, float]
    study: str


def read_localizers(folder: Path, series: str | None = None) -> list[XRay]:
    """The frontal and the lateral localizer of a CT study, as views around the middle of the body.

    Of several, those are taken that cover most of the scan, and of equal ones the last; both of one study, that of the scan if
    it has any. The scan's images are not read: only its heights, which say where the volume is to be. Those of a scan of
    another study say nothing of these localizers.

    Args:
        folder: with localizers and, usually, the scan; searched at any depth.
        series: of the scan, where the folder holds several; by default the one with most slices.

    Raises:
        InputError: no localizer, or one that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with the localizers of a CT study")
    files = files_below(folder, limits.SERIES_FILES)
    scan = _scan_in(folder, series)
    if scan is None:
        return localizers_among(files, None, str(folder))
    scouts = _scouts_among(files)
    own = [scout for scout in scouts if scout.study == scan.study]
    is_of_another = bool(scan.study and scouts) and not own and all(scout.study for scout in scouts)
    of_scan = [scout.path for scout in own or scouts]
    return localizers_among(of_scan, None if is_of_another else scan.heights, str(folder))


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
    """The best frontal and the best lateral localizer among files, of one study; None where there is none.

    Two studies have nothing in common: in each the patient lies anew. The one is taken that has both views, and then the one
    whose localizers cover more.
    """
    studies: dict[str, list[_Scout]] = {}
    for scout in _scouts_among(files):
        studies.setdefault(scout.study, []).append(scout)
    pairs = [[_best([each for each in own if each.frontal == wanted], heights) for wanted in (True, False)]
             for own in studies.values()]  # fmt: skip

    def worth(pair: list[_Scout | None]) -> tuple[int, float, list[tuple[str, float, float]]]:
        found = [scout for scout in pair if scout is not None]
        return len(found), sum(_covered(scout, heights) for scout in found), sorted(scout.order for scout in found)

    frontal, lateral = max(pairs, key=worth, default=(None, None))
    return (frontal.path if frontal else None), (lateral.path if lateral else None)


def _scouts_among(files: Iterable[Path]) -> list[_Scout]:
    return [scout for path in files if (scout := _scout(path)) is not None]


def centred(xrays: Sequence[XRay], heights: tuple[float, float] | None = None) -> list[XRay]:
    """Fan-beam views that know their place, brought to one centre in the middle of the body; others as they are."""
    placed = [xray.view.beam == "fan" and xray.isocentre_mm is not None for xray in xrays]
    if not any(placed):
        return list(xrays)
    centre = middle_of_body([xray for xray, fan in zip(xrays, placed, strict=True) if fan], heights)
    return [around(xray, centre) if fan else xray for xray, fan in zip(xrays, placed, strict=True)]


def _scan_in(folder: Path, series: str | None = None) -> _Scan | None:
    """The scan in a folder, or None where there is none."""
    stacks = find(folder).stacks
    fitting = [stack for stack in stacks if series in (None, stack.uid, stack.number)]
    if not fitting:
        return None
    z = np.array([item.position[2] for item in fitting[0].slices])
    gap = (z.max() - z.min()) / max(1, len(z) - 1)
    header = header_of(fitting[0].slices[0].path, _TAGS)
    study = "" if header is None else text(header, "StudyInstanceUID")
    return _Scan((float(z.min() - gap / 2), float(z.max() + gap / 2)), study)


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
    order = text(header, "StudyDate"), _number(header, "SeriesNumber"), _number(header, "InstanceNumber")
    study = text(header, "StudyInstanceUID")
    return _Scout(path, abs(across[0]) > abs(across[1]), (min(ends), max(ends)), study, order)


def _number(header: Dataset, keyword: str) -> float:
    try:
        return float(header.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0.0


def _best(scouts: Iterable[_Scout], heights: tuple[float, float] | None) -> _Scout | None:
    return max(scouts, key=lambda scout: (_covered(scout, heights), scout.order), default=None)


def _covered(scout: _Scout, heights: tuple[float, float] | None) -> float:
    """mm of the scan, or of the patient where there is none."""
    low, high = scout.heights
    if heights is not None:
        low, high = max(low, heights[0]), min(high, heights[1])
    return round(max(0.0, high - low), 1)
