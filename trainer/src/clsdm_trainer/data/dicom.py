"""DICOM trees: which CT series are there, which radiographs lie beside them, and what cannot be read.

Of each patient the CT series with most images is taken, and of a series with several acquisitions the one with most
slices (the first of equal ones). Whether that is a volume is the core's to say (``clsdm.volume.read_dicom``), for every
command alike. Messages name the scan by ``Scan.source``, which is an alias where patient names are private.
"""

from collections import defaultdict
from pathlib import Path

import pydicom

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import checked
from clsdm.volume.read_dicom import largest_volume
from clsdm.volume.slices import header_of, is_localizer, is_slice, text
from clsdm_trainer.data.scan import Listing, Rejected, Scan, safe_id

RADIOGRAPHS = ("CR", "DX", "DR", "RG", "XA", "RF")
_FOUND_BY = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "ScanOptions", "PatientID", "StudyInstanceUID",
    "SeriesInstanceUID",
]  # fmt: skip


def find_series(root: Path) -> Listing:
    """One scan per patient: the CT series with most images; the patient is PatientID or else the first folder."""
    series: dict[tuple[str, str, str], list[Path]] = defaultdict(list)
    localizers: dict[tuple[str, str], list[Path]] = defaultdict(list)
    rejected: list[Rejected] = []
    radiographs: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        try:
            header = header_of(path, _FOUND_BY)
        except InputError:
            rejected.append(_damaged(path, root))
            continue
        if header is None:
            continue
        patient, study = patient_of(header, path, root), text(header, "StudyInstanceUID")
        if is_slice(header):
            series[patient, study, text(header, "SeriesInstanceUID")].append(path)
        elif text(header, "Modality") == "CT" and is_localizer(header):
            localizers[patient, study].append(path)
        elif text(header, "Modality") in RADIOGRAPHS:
            radiographs[patient].append((path.relative_to(root).as_posix(), path))
    largest: dict[str, tuple[str, list[Path]]] = {}
    for (patient, study, _), files in sorted(series.items()):
        if patient not in largest or len(files) > len(largest[patient][1]):
            largest[patient] = study, files
    scans = [
        Scan(safe_id(name), name, _folder_of(files, root), tuple(files), tuple(radiographs[name]),
             tuple(localizers[name, study]))
        for name, (study, files) in largest.items()
    ]  # fmt: skip
    return Listing(scans, rejected)


def read_series(scan: Scan) -> CTVolume:
    """The volume of a series found by :func:`find_series`, slices sorted by position.

    Raises:
        InputError: not one evenly spaced stack of CT slices in HU; the message says why.
    """
    return checked(largest_volume(scan.files, scan.source))


def patient_of(header: pydicom.Dataset, path: Path, root: Path) -> str:
    """Whose image it is."""
    return text(header, "PatientID") or path.relative_to(root).parts[0]


def _damaged(path: Path, root: Path) -> Rejected:
    name = path.relative_to(root).as_posix()
    return Rejected(safe_id(name), name, f"{name}: truncated or damaged DICOM file")


def _folder_of(files: list[Path], root: Path) -> str:
    return files[0].parent.relative_to(root).as_posix()
