"""The X-ray series of Slicer's DICOM database."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import slicer

from CLSDMReconstructionLib.scene.XRayNodes import INSTANCES_ATTRIBUTE

MODALITIES = ("DX", "CR", "XA", "RF", "RG")
VIEW_POSITION = "0018,5101"
MOST = 60  # images that a menu can list


@dataclass(frozen=True)
class Series:
    """One image of a series: its file, its study, and what a menu calls it."""

    path: str
    studyUid: str
    label: str


def xraySeries() -> Iterator[float]:
    """X-ray images in the database, the newest studies first; none without a database.

    A generator of the fraction done, because every question to a large database takes its time; it returns the list.
    """
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    dated: list[tuple[str, str]] = []
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            dated.append((database.fieldForStudy("StudyDate", study) or "", study))
            yield 0.0
    found: list[Series] = []
    for number, (date, study) in enumerate(sorted(dated, reverse=True)):
        for series in sorted(database.seriesForStudy(study), reverse=True):
            modality = database.fieldForSeries("Modality", series)
            for path in database.filesForSeries(series) if modality in MODALITIES else ():
                about = (modality, database.fileValue(path, VIEW_POSITION))
                parts = (date, *about, database.fieldForSeries("SeriesDescription", series))
                found.append(Series(path, study, " · ".join(part for part in parts if part)))
                if len(found) == MOST:
                    return found
                yield number / len(dated)
            yield number / len(dated)
    return found


def studyFiles(node) -> list[Path]:
    """The files of the study that a loaded volume is of: by the database, else those beside the file it was read from."""
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()
    file = database.fileForInstance(uids[0]) if uids and database is not None and database.isOpen else ""
    if file:
        study = database.studyForSeries(database.seriesForFile(file))
        return [Path(path) for series in database.seriesForStudy(study) for path in database.filesForSeries(series)]
    storage = node.GetStorageNode()
    beside = Path(storage.GetFileName()).parent if storage is not None and storage.GetFileName() else None
    return (
        [path for path in sorted(beside.iterdir()) if path.is_file()] if beside is not None and beside.is_dir() else []
    )
