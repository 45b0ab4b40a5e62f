"""Studies of a PACS: which there are, their X-rays as files, and a series stored beside them, never twice.

A result's UIDs are derived from what was asked for (``volume.write_dicom``), so the same result has the same UIDs whenever
and wherever it is made. Before anything is stored, and before each further try, the PACS is asked which of its images are
there; only the others are sent. A cut in between, and the same command again, thus leaves each image once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pydicom

from clsdm.errors import InputError
from clsdm.files.atomic import room_for
from clsdm.files.dicom_tags import PROJECTIONS
from clsdm.limits import PACS_STUDIES, STUDY_XRAYS
from clsdm.pacs.client import Found, Pacs

STORE_BYTES = 8 * 2**20
"""Sent at once; a larger image goes alone."""
TAGS = {
    "Modality": "00080060",
    "ModalitiesInStudy": "00080061",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
}


def values_of(found: Found, keyword: str) -> list[str]:
    """The values of an attribute in DICOM JSON, none where it is missing or something else."""
    element = found.get(TAGS[keyword])
    values = element.get("Value") if isinstance(element, dict) else None
    return [each for each in values if isinstance(each, str)] if isinstance(values, list) else []


def uid_of(found: Found, keyword: str) -> str:
    """A UID that a PACS must have given."""
    return next(iter(values_of(found, keyword)), "")


def find_studies(pacs: Pacs, wanted: Mapping[str, str]) -> list[str]:
    """The StudyInstanceUIDs of the studies that fit and may hold X-rays.

    Args:
        pacs: to ask.
        wanted: values by keyword.

    Raises:
        InputError: it fails, or too many fit.
    """
    found = pacs.search("studies", wanted=wanted)
    kinds = [set(values_of(each, "ModalitiesInStudy")) for each in found]
    fit = [each for each, kind in zip(found, kinds, strict=True) if not kind or not kind.isdisjoint(PROJECTIONS)]
    if len(fit) > PACS_STUDIES:
        raise InputError(
            f"{pacs.host}: {len(fit):,} studies with X-rays fit; expected at most {PACS_STUDIES:,} at once"
        )
    return [uid_of(each, "StudyInstanceUID") for each in fit]


def pull(pacs: Pacs, study: str, folder: Path) -> None:
    """Write the X-rays of a study into a folder.

    Raises:
        InputError: it fails, or the study holds too many, or none.
    """
    series = [each for each in pacs.search("series", [study]) if set(values_of(each, "Modality")) & set(PROJECTIONS)]
    images: list[tuple[str, str]] = []
    for each in series:
        uid = uid_of(each, "SeriesInstanceUID")
        images += [
            (uid, uid_of(one, "SOPInstanceUID")) for one in pacs.search("instances", [study, uid], most=STUDY_XRAYS)
        ]
    if len(images) > STUDY_XRAYS:
        raise InputError(f"{pacs.host}: {len(images):,} X-rays in one study; expected at most {STUDY_XRAYS}")
    if not images:
        raise InputError("no X-ray is in this study")
    for number, (uid, image) in enumerate(images, 1):
        dataset = pacs.instance(study, uid, image)
        with room_for(folder, 0):
            folder.mkdir(parents=True, exist_ok=True)
            dataset.save_as(folder / f"{number:04d}.dcm")


def store(pacs: Pacs, folder: Path) -> int:
    """Store the DICOM files of a folder, those that are not in the PACS yet; all are of one study.

    Returns:
        How many were not there.

    Raises:
        InputError: it fails; the same again goes on.
    """
    files: dict[str, Path] = {}
    series: set[str] = set()
    study = ""
    for path in sorted(folder.iterdir()):
        tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        files[str(tags.SOPInstanceUID)], study = path, str(tags.StudyInstanceUID)
        series.add(str(tags.SeriesInstanceUID))

    def rest() -> list[Path]:
        there = {uid_of(each, "SOPInstanceUID") for uid in series for each in pacs.search("instances", [study, uid])}
        return [path for uid, path in files.items() if uid not in there]

    new: set[Path] = set()

    def send_the_rest() -> None:
        left = rest()
        new.update(left)
        for part in _parts(left):
            pacs.store(study, [pydicom.dcmread(path) for path in part])

    pacs.again(send_the_rest)
    if new:
        pacs.wait_until(lambda: not rest(), "took all images, but does not hold all of them")
    return len(new)


def _parts(files: Iterable[Path]) -> Iterator[Sequence[Path]]:
    """The files in groups that are sent together."""
    part: list[Path] = []
    size = 0
    for path in files:
        more = path.stat().st_size
        if part and size + more > STORE_BYTES:
            yield part
            part, size = [], 0
        part.append(path)
        size += more
    if part:
        yield part
