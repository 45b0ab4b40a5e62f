"""The X-ray series of Slicer's DICOM database."""

from dataclasses import dataclass

import slicer

MODALITIES = ("DX", "CR", "XA", "RF", "RG")
VIEW_POSITION = "0018,5101"
MOST = 60  # images that a menu can list


@dataclass(frozen=True)
class Series:
    """One image of a series: its file, its study, and what a menu calls it."""

    path: str
    studyUid: str
    label: str


def xraySeries() -> list[Series]:
    """X-ray images in the database, the newest studies first; empty without a database."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    found: list[Series] = []
    for date, study, series in sorted(_dated(database), reverse=True):
        if len(found) >= MOST:
            break
        about = [database.fieldForSeries(field, series) for field in ("Modality", "SeriesDescription")]
        for path in database.filesForSeries(series):
            parts = (date, about[0], database.fileValue(path, VIEW_POSITION), about[1])
            found.append(Series(path, study, " · ".join(part for part in parts if part)))
    return found[:MOST]


def _dated(database) -> list[tuple[str, str, str]]:
    """(date, study, series) of every X-ray series; asks the database only, no file."""
    studies = [study for patient in database.patients() for study in database.studiesForPatient(patient)]
    return [
        (database.fieldForStudy("StudyDate", study) or "", study, series)
        for study in studies
        for series in database.seriesForStudy(study)
        if database.fieldForSeries("Modality", series) in MODALITIES
    ]
