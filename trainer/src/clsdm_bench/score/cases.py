"""The scans that a bundle is scored on: files as they are, of any spacing, in groups by folder and split."""

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
        selected: whether it was selected on the patient and not trained; of a bundle that does not tell them apart, if the
            data set's ``splits.json`` has the patient in ``val``.
    """

    name: str
    group: str
    path: Path
    seen: bool = False
    selected: bool = False


def find_scans(
    places: Sequence[str],
    splits: Sequence[str] = ("test",),
    trained: Collection[str] = (),
    selected: Collection[str] = (),
) -> list[ScanFile]:
    """The scans of files and folders.

    Args:
        places: volume files, folders of them, or folders of DICOM slices; ``GROUP=PLACE`` averages them with others of that
            group. A folder with a ``splits.json`` gives the cases of ``splits``; whatever is not in one counts as test.
        splits: of the folders that name any; with several, each is a group of its own.
        trained: marks of the patients that the model has seen (``Manifest.trained_patients``).
        selected: of them, those it was selected on (``Manifest.selected_patients``).

    Raises:
        InputError: nothing is there, a case of a split has no file, or two scans have one name.
    """
    scans = []
    for text in places:
        named, equals, rest = text.rpartition("=")
        place = Path(rest)
        for path, split in _files_at(place, splits):
            group = named if equals else (place if place.is_dir() else place.resolve().parent).name
            name = _name(path)
            group = f"{group}, {split}" if len(splits) > 1 else group
            mark = patient_mark(name)
            chosen = mark in selected if selected else split == "val"
            scans.append(ScanFile(name, group, path, mark in trained, mark in trained and chosen))
    names = [scan.name for scan in scans]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"--cases: two scans are called {double!r}; expected a name of its own for each")
    return scans


def _files_at(place: Path, splits: Collection[str]) -> list[tuple[Path, str]]:
    """Volume files with their splits."""
    if place.is_file():
        return [(place, "test")]
    if not place.is_dir():
        raise InputError(f"--cases {place}: expected a volume file or a folder, found nothing of that name")
    files = {_name(path): path for path in sorted(place.iterdir()) if path.name.lower().endswith(VOLUME_SUFFIXES)}
    if not files:
        return [(place, "test")]  # the slices of one DICOM series
    if not (place / SPLIT_FILE).is_file():
        return [(path, "test") for path in files.values()]
    listed = [(name, split) for name, split in splits_from_file(place / SPLIT_FILE).split_of.items() if split in splits]
    missing = next((name for name, _ in listed if name not in files), None)
    if missing is not None or not listed:
        found = f"no file of {missing!r}" if listed else f"no case of split {' or '.join(sorted(splits))}"
        raise InputError(f"--cases {place}: expected the cases that {SPLIT_FILE} lists, found {found}")
    return [(files[name], split) for name, split in listed]


def _name(path: Path) -> str:
    """The file's name without its suffix."""
    suffix = next((suffix for suffix in VOLUME_SUFFIXES if path.name.lower().endswith(suffix)), path.suffix)
    return path.name.removesuffix(path.name[len(path.name) - len(suffix) :])
