"""The X-ray series of Slicer's DICOM database."""

from dataclasses import dataclass

import slicer

MODALITIES = ("DX", "CR", "XA", "RF", "RG")
MODALITY_TAG, DESCRIPTION_TAG, VIEW_TAG, DATE_TAG = "0008,0060", "0008,103e", "0018,5101", "0008,0020"


@dataclass(frozen=True)
class Series:
    """One image of a series: its file, its study, and what a menu calls it."""

    path: str
    studyUid: str
    label: str


def xraySeries(limit: int = 60) -> list[Series]:
    """X-ray images in the database, the newest studies first; empty without a database."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    studies = [study for patient in database.patients() for study in database.studiesForPatient(patient)]
    found: list[tuple[str, Series]] = []
    for study in studies:
        for series in database.seriesForStudy(study):
            files = database.filesForSeries(series)
            if files and database.fileValue(files[0], MODALITY_TAG) in MODALITIES:
                date = database.fileValue(files[0], DATE_TAG)
                found += [(date, Series(path, study, _label(database, path, date))) for path in files]
    found.sort(key=lambda pair: pair[0], reverse=True)
    return [series for _, series in found[:limit]]


def _label(database, path: str, date: str) -> str:
    parts = [database.fileValue(path, tag) for tag in (MODALITY_TAG, VIEW_TAG, DESCRIPTION_TAG)]
    day = f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else ""
    return " · ".join(part for part in (day, *parts) if part)
