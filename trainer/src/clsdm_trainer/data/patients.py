"""Which scans belong to one patient, as far as names and contents tell: the part of a split that hashes cannot mend.

A folder of volumes knows no patients: each file counts as one. Where names look as if a patient had several files
(``pt1_a``, ``pt1_b``), or two files are the same, that would put a patient on both sides of an experiment.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

NUMBERED = re.compile(r"(.*?\d)(?=\D)(.+)")
"""An identifier that ends with its first number, and what follows: ``pt1`` and ``_a``."""
SERIES = re.compile(
    r"(.*[^_\-. ])([_\-. ]+(?:[A-Za-z]|\d{1,2}|pre|post|before|after|baseline|follow-?up))", re.IGNORECASE
)
"""A name and what tells several scans apart: ``anna`` and ``_2``."""
COUNTED = re.compile(r"[\d._-]+")
MANY = 4
"""More files than this that differ in a number only are an enumeration of patients, not scans of one."""
END_BYTES = 1 << 16


def several_scans(names: Sequence[str]) -> dict[str, list[str]]:
    """Names that look like several scans of one patient, by what they have in common.

    ``pt1_a, pt1_b`` and ``anna_1, anna_2`` do; ``liver_0 ... liver_130`` and ``1.3.6.1, 1.3.6.2 ...`` do not.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in names:
        parts = NUMBERED.fullmatch(name) or SERIES.fullmatch(name)
        if parts is not None:
            groups[parts[1]].append((name, parts[2]))
    return {
        stem: [name for name, _ in group]
        for stem, group in groups.items()
        if len(group) > 1 and not _enumerated([end for _, end in group], len(names))
    }


def _enumerated(ends: Sequence[str], of_all: int) -> bool:
    """Whether the ends count patients: many of them, and either only numbers or shared by the whole set."""
    return len(ends) > MANY and (len(ends) == of_all or all(COUNTED.fullmatch(end) for end in ends))


def possible_copies(scans: Iterable[tuple[Path, ...]]) -> list[list[int]]:
    """Indices of scans that may be the same: as many files of the same sizes with the same ends; unreadable ones are none."""
    by_size: dict[tuple[int, ...], list[tuple[int, tuple[Path, ...]]]] = defaultdict(list)
    for index, files in enumerate(scans):
        with suppress(OSError):
            by_size[tuple(path.stat().st_size for path in files)].append((index, files))
    by_end: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for size, group in by_size.items():
        for index, files in group if len(group) > 1 else []:
            with suppress(OSError):
                by_end[size, _end_of(files)].append(index)
    return [group for group in by_end.values() if len(group) > 1]


def _end_of(files: tuple[Path, ...]) -> str:
    """Hash of the last bytes of the files; of compressed ones they depend on all before."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - END_BYTES))
            digest.update(file.read())
    return digest.hexdigest()
