"""The X-rays that a reconstruction was made from, as its node knows them: in a saved scene, and in another one of the same IDs.

A node says of each X-ray what identifies it, noted when it was read: its SOP Instance UID, else a hash of its file. Neither
says whose it is to anybody who has not the file. Where the files lie is known to this Slicer only, see ``SessionFiles``; a
file is taken for the X-ray's only if it still is what was noted, because another patient's may have its name by now.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import aside
from CLSDMReconstructionLib.scene import SessionFiles
from CLSDMReconstructionLib.scene.Attributes import attributeOf
from CLSDMReconstructionLib.scene.XRayNodes import INSTANCES_ATTRIBUTE

SOURCES = "source_xrays"
"""Attribute: for each X-ray {"identity": of ``clsdm.volume.write_dicom.identity_of`` or "", "file": key or None}."""
_EARLIER = "source_instance_uids"
"""Attribute of earlier versions: SOP Instance UIDs."""


@dataclass(frozen=True)
class XRaySource:
    """One X-ray of a reconstruction.

    Attributes:
        identity: see :data:`SOURCES`; "" where nobody knows.
        files: that are there and may be it.
    """

    identity: str
    files: tuple[Path, ...]

    @property
    def isDicom(self) -> bool:
        """Whether it is known to be DICOM."""
        ensureCore()
        from clsdm.volume.write_dicom import UID_MARK

        return self.identity.startswith(UID_MARK)

    def found(self) -> Path | None:
        """The file that is this X-ray, by its content."""
        return next((file for file in self.files if _identity(file) == self.identity), None) if self.identity else None


def noted(file: Path | None, node=None) -> dict[str, Any]:
    """One entry of :data:`SOURCES`.

    Args:
        file: of the X-ray, or None where it has none of its own.
        node: of the X-ray, or None.
    """
    if file is not None:
        return {"identity": _identity(file), "file": SessionFiles.keyOf(str(file))}
    uids = ((node.GetAttribute(INSTANCES_ATTRIBUTE) if node is not None else None) or "").split()
    return {"identity": _uidMark(uids[0]) if len(uids) == 1 else "", "file": None}


def changed(entry: dict[str, Any]) -> bool:
    """Whether the file of an entry is not any more what was noted."""
    return entry["file"] is not None and _identity(_path(entry)) != entry["identity"]


def sourcesOf(node) -> list[XRaySource]:
    """The X-rays of a reconstruction, without a look into their files; empty where the node does not say."""
    known = attributeOf(node, SOURCES)
    if not (isinstance(known, list) and all(isinstance(each, dict) for each in known)):
        uids = str(attributeOf(node, _EARLIER, "")).split()
        known = [{"identity": _uidMark(uid), "file": None} for uid in uids]
    return [XRaySource(str(each.get("identity", "")), tuple(_files(each))) for each in known]


def whyNobodys(node) -> str:
    """Why a reconstruction cannot be filed under patient and study of its X-rays, and what to do, or ""."""
    sources = sourcesOf(node)
    if not any(source.identity for source in sources):
        return _("Patient and study are not known: this volume does not say which X-rays it was made from.")
    if not any(source.isDicom for source in sources):
        return _("Patient and study are not known: the X-rays were no DICOM files.")
    if not any(source.files for source in sources if source.isDicom):
        return _(
            "Patient and study are not known: the files of the X-rays are not there any more, or not known to this "
            "Slicer. Import them into Slicer's DICOM database to file the series beside them."
        )
    return ""


def dicomFiles(node) -> Iterator[float]:
    """Steps; the generator returns the DICOM files of a reconstruction's X-rays, as far as they are there.

    Raises:
        ValueError: none is there, or there is another file in the place of one.
    """
    problem, sources = whyNobodys(node), sourcesOf(node)
    if problem:
        raise ValueError(problem)
    found = yield from aside(lambda: [source.found() for source in sources])
    for number, (source, file) in enumerate(zip(sources, found, strict=True), 1):
        if source.identity and source.files and file is None:
            text = _(
                "The file of X-ray {number} is not the one that this volume was made from: it was replaced or changed since. "
                "Put the X-ray back or import it into Slicer's DICOM database, or export without patient and study."
            )
            raise ValueError(text.format(number=number))
    return [file for source, file in zip(sources, found, strict=True) if file is not None and source.isDicom]


def _path(entry: dict[str, Any]) -> Path | None:
    path = SessionFiles.pathOf(entry.get("file"))
    return None if path is None else Path(path)


def _files(entry: dict[str, Any]) -> Iterator[Path]:
    """Where this Slicer read it, and where the database has it."""
    ensureCore()
    from clsdm.volume.write_dicom import UID_MARK

    path, database = _path(entry), getattr(slicer, "dicomDatabase", None)
    if path is not None and path.is_file():
        yield path
    uid = str(entry.get("identity", ""))
    if uid.startswith(UID_MARK) and database is not None and database.isOpen:
        stored = database.fileForInstance(uid.removeprefix(UID_MARK))
        if stored and Path(stored).is_file():
            yield Path(stored)


def _identity(file: Path | None) -> str:
    """Of a file; "" of one that cannot be read."""
    ensureCore()
    from clsdm.volume.write_dicom import identity_of

    try:
        return "" if file is None else identity_of(file)
    except OSError:
        return ""


def _uidMark(uid: str) -> str:
    ensureCore()
    from clsdm.volume.write_dicom import UID_MARK

    return f"{UID_MARK}{uid}"
