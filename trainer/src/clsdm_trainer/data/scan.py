"""A scan that was found but not yet read: what the readers hand to the preparation."""

import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Scan:
    """One CT somewhere on disk.

    Attributes:
        id: unique name, safe as a file name.
        patient: patient id; all scans of a patient go to one split.
        source: name for manifests and messages: relative to the data set's root, or an alias where names are private.
        files: what to read, in order.
        localizers: of the same study.
        radiographs: name for manifests, and file, of each X-ray image of the same patient that lies beside it.
    """

    id: str
    patient: str
    source: str
    files: tuple[Path, ...]
    radiographs: tuple[tuple[str, Path], ...] = ()
    localizers: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """A scan that is not in the store, and why."""

    id: str
    source: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The scans of a data set.

    Attributes:
        scans: the CTs, one or more of each patient.
        rejected: what cannot be read.
    """

    scans: list[Scan]
    rejected: list[Rejected] = field(default_factory=list)


def safe_id(name: str) -> str:
    """``name`` as a file name on every system: letters, digits, ``.``, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".") or "_"
