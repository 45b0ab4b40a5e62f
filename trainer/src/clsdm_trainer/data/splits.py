"""Which patient belongs to which side of an experiment: a split is always by patient, never by scan.

Either it is published with a data set (a JSON file, the X2CT lists), or it follows from a hash of the patient id, which
gives the same answer on every machine and does not move anyone when patients are added.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clsdm.errors import InputError
from clsdm_trainer.data.manifest import SPLITS, side_of

X2CT_DROPPED_CASES = frozenset({"LIDC-IDRI-0442"})
"""Patients left out of the X2CT training list (docs/method.md, 4)."""

NEEDED = {"train": "to learn from", "val": "to select weights on"}
"""Splits without which no training begins, and what for."""

EXAMPLE = '{"train": ["anna", "bert"], "val": ["carl"], "test": ["dora"]}'
"""Of a file of splits."""

CTSPINE1K_HEADINGS = {"trainset": "train", "test_public": "val", "test_private": "test"}


@dataclass(frozen=True)
class Splits:
    """A named split for each case or patient.

    Attributes:
        split_of: split by case id or by patient id.
        dropped: ids that are left out on purpose.
    """

    split_of: Mapping[str, str]
    dropped: frozenset[str] = frozenset()

    def of(self, case_id: str, patient: str) -> str | None:
        """The split of a case: listed by its own id, or by its patient's; None where neither is listed."""
        return self.split_of.get(case_id, self.split_of.get(patient))

    def drops(self, case_id: str, patient: str) -> bool:
        """Whether the case is left out on purpose."""
        return case_id in self.dropped or patient in self.dropped


def lacking(splits: Iterable[str]) -> str | None:
    """What a training misses in a store with cases in these splits, and how to give it; None where it can begin."""
    sides = {side_of(split) for split in splits}
    for split, use in NEEDED.items():
        if split not in sides:
            return (
                f"no case in split {split!r}, {use}; put a splits.json such as {EXAMPLE} into the folder of the scans, or "
                f"give a source with split={split}, and prepare again (docs/data.md)"
            )
    return None


def splits_from_file(path: str | Path) -> Splits:
    """Read ``{"train": [ids], "val": [ids], "test": [ids]}``, or CTSpine1K's ``data_split.txt``.

    Ids are case ids or patient ids.

    Raises:
        InputError: unreadable, an unknown split, or an id in two splits.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        table = ctspine1k_table(text) if path.suffix == ".txt" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as a file of splits ({error})") from None
    if not isinstance(table, dict) or not table or not set(table) <= set(SPLITS):
        keys = sorted(table) if isinstance(table, dict) else type(table).__name__
        raise InputError(f"{path}: expected lists of ids under {', '.join(SPLITS)}, found {keys}")
    split_of: dict[str, str] = {}
    for split, ids in table.items():
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            raise InputError(f"{path}: {split!r} must be a list of ids in quotes")
        for item in ids:
            other = split_of.setdefault(item, split)
            if other != split:
                raise InputError(f"{path}: {item!r} is in two splits, {other} and {split}")
    return Splits(split_of)


def ctspine1k_table(text: str) -> dict[str, list[str]]:
    """CTSpine1K's ``data_split.txt``: headings with file names below; the public test set serves as validation.

    The published file has its last name twice on one line, so names are found by their ending, not by lines.
    """
    table: dict[str, list[str]] = {}
    for heading, names in re.findall(r"^(\w+):\s*$(.*?)(?=^\w+:\s*$|\Z)", text, flags=re.MULTILINE | re.DOTALL):
        split = CTSPINE1K_HEADINGS.get(heading, heading)
        table[split] = sorted(set(re.findall(r"(\S+?)\.nii\.gz", names)))
    return table


def split_by_hash(patient: str, fractions: tuple[float, float, float], seed: str = "clsdm") -> str:
    """``train``, ``val`` or ``test`` with these probabilities; always the same for the same patient and seed."""
    place = unit_hash(patient, seed) * sum(fractions)
    if place < fractions[0]:
        return "train"
    return "val" if place < fractions[0] + fractions[1] else "test"


def unit_hash(text: str, seed: str) -> float:
    """A number in [0, 1) that is uniform over texts and the same everywhere."""
    digest = hashlib.sha256(f"{seed}\0{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def lidc_patient(case_id: str) -> str:
    """``LIDC-IDRI-0001.20000101.3000566.1`` -> ``LIDC-IDRI-0001``."""
    return case_id.split(".")[0]


def read_id_list(path: str | Path) -> list[str]:
    """The first column of a text file, one case a line (the format of X2CT's ``train.txt`` and ``test.txt``).

    Raises:
        InputError: unreadable or empty.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a list of cases ({error})") from None
    ids = [line.split()[0].strip("/") for line in lines if line.strip() and not line.startswith("#")]
    if not ids:
        raise InputError(f"{path}: no case in this list")
    return ids


def x2ct_splits(train: Iterable[str], test: Iterable[str], val_patients: int = 50, seed: str = "x2ct") -> Splits:
    """The X2CT protocol without its leaks (docs/method.md, 2.3 and 4).

    The published test list is kept whole. From the training list go LIDC-IDRI-0442 and every patient who is also in the
    test list; of the rest, the ``val_patients`` patients with the smallest hash are held out for validation.

    Args:
        train: case ids of the published training list.
        test: case ids of the published test list.
        val_patients: patients (not scans) to hold out.
        seed: another one holds out other patients.

    Raises:
        InputError: too few training patients to hold so many out.
    """
    train, test = list(train), list(test)
    test_patients = {lidc_patient(case) for case in test}
    dropped = {case for case in train if case in X2CT_DROPPED_CASES or lidc_patient(case) in X2CT_DROPPED_CASES}
    dropped |= {case for case in train if lidc_patient(case) in test_patients}
    kept = [case for case in train if case not in dropped]
    patients = sorted({lidc_patient(case) for case in kept}, key=lambda patient: (unit_hash(patient, seed), patient))
    if len(patients) <= val_patients:
        raise InputError(
            f"X2CT lists: {len(patients)} training patients, cannot hold {val_patients} out for validation"
        )
    held_out = set(patients[:val_patients])
    split_of = {case: "val" if lidc_patient(case) in held_out else "train" for case in kept}
    split_of |= {case: "test" for case in test}
    return Splits(split_of, frozenset(dropped - set(test)))
