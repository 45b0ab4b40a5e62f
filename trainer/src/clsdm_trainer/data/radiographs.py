"""Radiographs that lie beside a patient's CT: what the store's manifest says of them.

They are not prepared: nothing is trained on them. They are listed so that a model can be tried on real X-rays whose CT is
known (``clsdm-bench real-pairs``).
"""

import hashlib
from datetime import date
from pathlib import Path

from pydicom.dataset import Dataset

from clsdm.errors import InputError
from clsdm.volume.slices import header_of, text, values
from clsdm_trainer.data.manifest import Radiograph
from clsdm_trainer.data.scan import Scan
from clsdm_trainer.files import sha256_of

_TAGS = ["SOPInstanceUID", "Modality", "ViewPosition", "StudyInstanceUID", "StudyDate", "AcquisitionDate", "Rows"]


def radiographs_of(scan: Scan) -> tuple[Radiograph, ...]:
    """The radiographs beside a scan, by name; unreadable ones are left out."""
    taken = _date(_header(scan.files[0])) if scan.radiographs else None
    found = (_radiograph(scan.patient, source, path, taken) for source, path in scan.radiographs)
    return tuple(each for each in found if each is not None)


def _radiograph(patient: str, source: str, path: Path, ct_date: date | None) -> Radiograph | None:
    header = _header(path)
    if header is None or "Rows" not in header:
        return None
    try:
        sha256 = sha256_of(path)
    except InputError:
        return None
    taken = _date(header)
    study = hashlib.sha256(text(header, "StudyInstanceUID").encode()).hexdigest()[:16]
    return Radiograph(
        patient,
        source,
        sha256,
        modality=text(header, "Modality"),
        view=next(iter(values(header, "ViewPosition")), ""),
        study=study,
        days_from_ct=None if taken is None or ct_date is None else (taken - ct_date).days,
    )


def _header(path: Path) -> Dataset | None:
    try:
        return header_of(path, _TAGS)
    except InputError:
        return None


def _date(header: Dataset | None) -> date | None:
    for keyword in ("AcquisitionDate", "StudyDate"):
        digits = "" if header is None else text(header, keyword)
        if len(digits) == 8 and digits.isdigit():
            try:
                return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
            except ValueError:
                continue
    return None
