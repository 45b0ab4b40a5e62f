"""The X-ray series of Slicer's DICOM database."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import slicer

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.scene.XRayNodes import INSTANCES_ATTRIBUTE

MODALITIES = ("DX", "CR", "XA", "RF", "RG")
VIEW_POSITION = "0018,5101"
MOST = 60
"""Images that a menu lists."""


@dataclass(frozen=True)
class Series:
    """One image of a series.

    Attributes:
        path: of its file.
        studyUid: its study.
        whose: patient, date and time of the study, as Slicer's own DICOM browser shows them; for this user's screen only.
        label: what it is, in its study.
    """

    path: str
    studyUid: str
    whose: str
    label: str


def xraySeries(most: int | None = None, studies: int | None = None) -> Iterator[float]:
    """X-ray images in the database, the newest studies first; none without a database.

    A generator of the fraction done, because every question to a large database takes its time; it returns the list.

    Args:
        most: images, and no more; None: all.
        studies: with X-rays, and no more; None: all.
    """
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    dated: list[tuple[str, str, str, str]] = []
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            date, time = (_digits(database.fieldForStudy(field, study)) for field in ("StudyDate", "StudyTime"))
            dated.append((date, time, study, patient))
            yield 0.0
    found: list[Series] = []
    for number, (date, time, study, patient) in enumerate(sorted(dated, reverse=True)):
        name, known = (database.fieldForPatient(field, patient) for field in ("PatientsName", "PatientID"))
        whose = whoseStudy(name or "", known or "", date, time)
        for series in sorted(database.seriesForStudy(study), reverse=True):
            modality = database.fieldForSeries("Modality", series)
            for path in database.filesForSeries(series) if modality in MODALITIES else ():
                about = (modality, database.fileValue(path, VIEW_POSITION))
                parts = (*about, database.fieldForSeries("SeriesDescription", series))
                found.append(Series(path, study, whose, " · ".join(part for part in parts if part)))
                if len(found) == most:
                    return found
                yield number / len(dated)
            yield number / len(dated)
        if studies is not None and len({one.studyUid for one in found}) == studies:
            return found
    return found


def whoseStudy(name: str, patientId: str, date: str, time: str) -> str:
    """A study in a line: patient's name and ID, date and time; of what is known.

    Args:
        name: as DICOM has it.
        patientId: PatientID.
        date: YYYYMMDD, or with anything between the digits.
        time: HHMMSS, likewise.
    """
    day, hour = _digits(date), _digits(time)
    day = f"{day[:4]}-{day[4:6]}-{day[6:8]}" if len(day) >= 8 else day
    hour = f"{hour[:2]}:{hour[2:4]}" if len(hour) >= 4 else hour
    patient = " ".join(part for part in (name.rstrip("^"), f"({patientId})" if patientId else "") if part)
    return " · ".join(part for part in (patient, f"{day} {hour}".strip()) if part)


def whoseFile(path: Path | None) -> str:
    """The same of a DICOM file; "" of any other."""
    ensureCore()
    from clsdm.volume.write_dicom import read_source

    source = None if path is None else read_source(path)
    if source is None:
        return ""
    return whoseStudy(
        *(str(source.study.get(name) or "") for name in ("PatientName", "PatientID", "StudyDate", "StudyTime"))
    )


def _digits(text: str | None) -> str:
    return "".join(letter for letter in (text or "").partition(".")[0] if letter.isdigit())


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
