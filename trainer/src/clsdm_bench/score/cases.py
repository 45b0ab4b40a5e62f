"""The scans that a bundle is scored on: files as they are, of any spacing, in groups by folder and split."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from clsdm.errors import InputError
from clsdm.model.bundle import patient_mark
from clsdm_trainer.data.readers import VOLUME_SUFFIXES
from clsdm_trainer.data.source import SPLIT_FILE
from clsdm_trainer.data.splits import splits_from_file


@dataclass(frozen=True)
class ScanFile:
    """One scan to score on.

    Attributes:
        name: of the case, from its file.
        group: what it is averaged with: its folder and split.
        path: of the volume file.
        seen: whether the model was trained or selected on a patient of this name.
    """

    name: str
    group: str
    path: Path
    seen: bool = False


def find_scans(
    places: Sequence[Path], splits: Collection[str] = ("test",), trained: Collection[str] = ()
) -> list[ScanFile]:
    """The scans of files and folders.

    Args:
        places: volume files, folders of them, or folders of DICOM slices. A folder with a ``splits.json`` gives the cases
            of ``splits``, any other folder all of its volumes.
        splits: of the folders that name any.
        trained: marks of the patients that the model has seen (``Manifest.trained_patients``).

    Raises:
        InputError: nothing is there, a case of a split has no file, or two scans have one name.
    """
    scans = [scan for place in places for scan in _scans_at(place, splits, trained)]
    names = [scan.name for scan in scans]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"--cases: two scans are called {double!r}; expected a name of its own for each")
    return scans


def _scans_at(place: Path, splits: Collection[str], trained: Collection[str]) -> list[ScanFile]:
    if place.is_file():
        return [_scan(place, place.parent.name, trained)]
    if not place.is_dir():
        raise InputError(f"--cases {place}: expected a volume file or a folder, found nothing of that name")
    files = {_name(path): path for path in sorted(place.iterdir()) if path.name.lower().endswith(VOLUME_SUFFIXES)}
    if not files:
        return [_scan(place, place.name, trained)]  # the slices of one DICOM series
    if not (place / SPLIT_FILE).is_file():
        return [_scan(path, place.name, trained) for path in files.values()]
    listed = [(name, split) for name, split in splits_from_file(place / SPLIT_FILE).split_of.items() if split in splits]
    missing = next((name for name, _ in listed if name not in files), None)
    if missing is not None or not listed:
        found = f"no file of {missing!r}" if listed else f"no case of split {' or '.join(sorted(splits))}"
        raise InputError(f"--cases {place}: expected the cases that {SPLIT_FILE} lists, found {found}")
    return [_scan(files[name], f"{place.name}, {split}", trained) for name, split in listed]


def _scan(path: Path, group: str, trained: Collection[str]) -> ScanFile:
    name = _name(path)
    return ScanFile(name, group, path, patient_mark(name) in trained)


def _name(path: Path) -> str:
    """The file's name without its suffix."""
    suffix = next((suffix for suffix in VOLUME_SUFFIXES if path.name.lower().endswith(suffix)), path.suffix)
    return path.name.removesuffix(path.name[len(path.name) - len(suffix) :])
