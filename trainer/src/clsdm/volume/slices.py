"""DICOM images of a CT by their headers: what each is, where it lies, and which of them form one stack.

A series is no volume yet: scouts stand in it, two acquisitions or reconstructions share its number, an image was copied
twice. :func:`stacks` sorts that out by what the headers say; what cannot be told apart is left to be refused.
"""

import warnings
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, MediaStorageDirectoryStorage

from clsdm.errors import InputError
from clsdm.files.dicom_open import open_dicom

MIN_SLICES = 4
SAME_PLACE_MM = 0.01
SCOUT_OPTIONS = ("SCOUT", "SCANOSCOPE", "SURVIEW", "TOPOGRAM")
"""In ScanOptions of GE, Canon (Toshiba), Philips; Siemens says it in ImageType alone."""
TOLD_APART_BY = ("AcquisitionNumber", "ConvolutionKernel", "TemporalPositionIdentifier", "ImageType", "KVP")
"""Tags by which images of one series at the same places are of different acquisitions or reconstructions."""
_PLANE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "ScanOptions", "PatientID", "StudyInstanceUID",
    "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Rows", "Columns", "NumberOfFrames", *_PLANE,
    *TOLD_APART_BY, "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class Slice:
    """One image of a CT.

    Attributes:
        path: its file.
        frame: in the file, from 1.
        uid: SOPInstanceUID, with the frame where there are several.
        position: (3) centre of the first pixel, LPS in mm.
        orientation: (6) direction of increasing column, then of increasing row.
        pixel_mm: (row, column) spacing.
        size: (rows, columns).
        apart: the values of ``TOLD_APART_BY``.
    """

    path: Path
    frame: int
    uid: str
    position: np.ndarray
    orientation: np.ndarray
    pixel_mm: tuple[float, float]
    size: tuple[int, int]
    apart: tuple[str, ...] = ()

    @property
    def normal(self) -> np.ndarray:
        """(3) unit vector of the stack: columns x rows."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def height_mm(self) -> float:
        """Position along the normal."""
        return float(self.position @ self.normal)


@dataclass(frozen=True)
class Stack:
    """Images that may form one volume.

    Attributes:
        uid: SeriesInstanceUID.
        number: SeriesNumber, with "/value" where a series holds several stacks.
        description: SeriesDescription.
        slices: in any order.
        notes: what was left out.
    """

    uid: str
    number: str
    description: str
    slices: tuple[Slice, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = f" {self.description!r}" if self.description else ""
        return f"{self.number or '-'}{named} ({len(self.slices)} slices, {self.uid})"


def header_of(path: Path, tags: list[str] | None = None) -> Dataset | None:
    """Some tags of a DICOM file, with or without the preamble of part 10; None where it is no DICOM.

    Raises:
        InputError: it begins like DICOM or is named so, and cannot be read.
    """
    begins, named = _begins_like_dicom(path), path.suffix.lower() in _SUFFIXES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom comments on odd values, and such values may name the patient
            header = open_dicom(path, pixels=False, tags=tags or _TAGS)
    except Exception as error:
        if begins or named:
            raise InputError(f"{path}: truncated or damaged DICOM ({type(error).__name__} while reading)") from error
        return None
    stated = [name in header for name in ("SOPInstanceUID", "Modality")]
    if all(stated) or (begins and any(stated)):
        return header
    if begins and header.file_meta.get("MediaStorageSOPClassUID") != MediaStorageDirectoryStorage:
        raise InputError(f"{path}: truncated or damaged DICOM (neither SOPInstanceUID nor Modality)")
    if named and not begins:
        raise InputError(f"{path}: named like DICOM, but neither SOPInstanceUID nor Modality are in it")
    return None


def _begins_like_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_localizer(header: Dataset) -> bool:
    """Whether a CT image is a localizer (scout, topogram, surview, scanogram)."""
    options = " ".join(values(header, "ScanOptions"))
    return "LOCALIZER" in values(header, "ImageType") or any(name in options for name in SCOUT_OPTIONS)


def is_slice(header: Dataset) -> bool:
    """Whether an image is a slice of a CT: no localizer, no report, no radiograph beside it."""
    kind = text(header, "SOPClassUID")
    known = not kind or kind in (CTImageStorage, EnhancedCTImageStorage)
    return text(header, "Modality") == "CT" and known and not is_localizer(header)


def text(header: Dataset, keyword: str) -> str:
    """A value as text, "" where missing."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def values(header: Dataset, keyword: str) -> list[str]:
    """The values of a code string, in capitals."""
    value = header.get(keyword)
    if value is None:
        return []
    return [str(each).strip().upper() for each in ([value] if isinstance(value, str) else value)]


def slices_of(path: Path, header: Dataset, label: str) -> list[Slice]:
    """The slices in a file: one, or the frames of an enhanced CT.

    Args:
        path: file.
        header: from :func:`header_of`.
        label: begins messages; the file's name may hold the patient's.

    Raises:
        InputError: no frames, or a tag of its place is missing or no list of numbers.
    """
    stated = header.get("NumberOfFrames")
    count = 1 if stated is None or stated == "" else int(stated)
    if count < 1:
        raise InputError(f"{label}: NumberOfFrames is {stated}; expected 1 or more")
    per_frame: Sequence[Dataset | None] = header.get("PerFrameFunctionalGroupsSequence") or [None] * count
    if count > 1 and per_frame[0] is None:
        raise InputError(f"{label}: multi-frame image without per-frame positions is not a CT volume")
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    return [_slice(path, header, [group, shared, header], at, label) for at, group in enumerate(per_frame, 1)]


_MACROS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
}


def functional(groups: Iterable[Dataset | None], keyword: str, macro: str) -> Any:  # noqa: ANN401 - whatever the tag holds
    """A value in a frame's, in the shared, or in no functional group at all; None where it is missing."""
    for group in groups:
        for place in () if group is None else ((group.get(macro) or [None])[0], group):
            if place is not None and place.get(keyword) is not None:
                return place.get(keyword)
    return None


def _slice(path: Path, header: Dataset, groups: list[Dataset | None], frame: int, label: str) -> Slice:
    found = {name: functional(groups, name, _MACROS[name]) for name in _PLANE}
    found |= {name: header.get(name) for name in ("Rows", "Columns")}
    missing = [name for name, value in found.items() if value is None or value == ""]
    if missing:
        raise InputError(f"{label}: a slice has no {', '.join(missing)}")
    try:
        position, orientation, spacing = (np.array(found[name], dtype=float) for name in _PLANE)
        size = int(found["Rows"]), int(found["Columns"])
    except (TypeError, ValueError):
        raise InputError(
            f"{label}: position, orientation or PixelSpacing of a slice is not a list of numbers"
        ) from None
    if (position.shape, orientation.shape, spacing.shape) != ((3,), (6,), (2,)) or not spacing.min() > 0.0:
        raise InputError(f"{label}: position, orientation or PixelSpacing of a slice is not valid")
    axes = orientation.reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-2):
        raise InputError(f"{label}: ImageOrientationPatient of a slice is not two unit vectors at right angles")
    uid = text(header, "SOPInstanceUID") + (f"/{frame}" if groups[0] is not None else "")
    apart = tuple(text(header, name) for name in TOLD_APART_BY)
    pixel_mm = float(spacing[0]), float(spacing[1])
    return Slice(path, frame, uid, position, orientation, pixel_mm, size, apart)


def stacks(uid: str, number: str, description: str, slices: Sequence[Slice]) -> list[Stack]:
    """The stacks of a series, the largest first."""
    unique = list({item.uid: item for item in slices}.values())
    notes = [] if len(unique) == len(slices) else [f"{len(slices) - len(unique)} images were there twice"]
    groups = _grouped(unique, lambda item: (item.size, *np.round(item.pixel_mm, 3), *np.round(item.orientation, 2)))
    whole = [group for group in groups if len(group) >= MIN_SLICES] or groups[:1]
    left_out = len(unique) - sum(len(group) for group in whole)
    if left_out:
        notes.append(f"{left_out} images of another orientation or size than the others were left out")
    parts = [part for group in whole for part in _acquisitions(group)]
    found = Stack(uid, number, description, (), tuple(notes))
    return [
        replace(found, number=f"{number}/{at}" if len(parts) > 1 else number, slices=tuple(part))
        for at, part in enumerate(parts, 1)
    ]


def _acquisitions(slices: list[Slice]) -> list[list[Slice]]:
    """Slices at the same places, parted by the first tag that parts them; as they are where none does."""
    if not _doubled(slices):
        return [slices]
    for at in range(len(TOLD_APART_BY)):
        parts = _grouped(slices, lambda item, at=at: item.apart[at] if item.apart else "")  # type: ignore[misc]
        if len(parts) > 1 and not any(_doubled(part) for part in parts):
            return parts
    return [slices]


def _doubled(slices: Sequence[Slice]) -> bool:
    return bool((np.diff(sorted(item.height_mm for item in slices)) < SAME_PLACE_MM).any())


def _grouped(slices: Iterable[Slice], key: Any) -> list[list[Slice]]:  # noqa: ANN401 - a function of a slice
    """Slices of equal key, the largest group first, then by first appearance."""
    groups: dict[Hashable, list[Slice]] = defaultdict(list)
    for item in slices:
        groups[key(item)].append(item)
    return sorted(groups.values(), key=len, reverse=True)
