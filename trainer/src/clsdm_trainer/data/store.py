"""The canonical store: CT cubes ready for training, with the patient, split and hash of each.

A folder with ``manifest.json`` and two int16 ``.npy`` per case, HU, indexed (z, y, x) along LPS (superior, posterior,
left). The *volume* is a cube of ``grid.size + 2 * margin`` voxels on the network's grid, each the mean over its extent:
the truth that a reconstruction is compared with. The *scan* is all of the patient that was scanned, on cubic voxels finer
than the grid: X-rays are projections of it, because a real beam also crosses what lies outside the cube. A memory-mapped
``.npy`` reads in a fraction of a millisecond. Every file is held against its hash in the manifest before it is used for the
first time, so that nobody trains or judges on a damaged volume, or on another patient's.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.files.digest import sealed, unsealed
from clsdm.files.strict_json import read_json
from clsdm.progress import Report, silent
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import WINDOW_HU, hu_clamped

SCHEMA = 2
MANIFEST = "manifest.json"
MOST_REPEATS = 10_000
SPLITS = ("train", "auxiliary", "val", "test")
"""``auxiliary`` is trained on like ``train``; the name keeps it apart from a benchmark's own training set."""


@dataclass(frozen=True)
class Case:
    """One volume of the store.

    Attributes:
        id: unique name of the scan, safe as a file name.
        patient: de-identified patient id; all scans of a patient are in one split.
        split: one of ``SPLITS``.
        file: the volume, relative to the store.
        sha256: of that file.
        source: name of the scan relative to the root of its data set.
        source_sha256: of the scan's file (of all its files in order, for a DICOM series).
        centre_mm: (x, y, z) LPS position in the scan of the cube's centre.
        fov_fraction: share of the cube's voxels, margin included, that lie inside the scan; the rest is air.
        scan: the scan's file, relative to the store.
        scan_sha256: of that file.
        scan_origin_mm: (x, y, z) LPS position of the scan's first voxel's centre, from the cube's centre.
        repeats: how often training draws the case in each epoch.
    """

    id: str
    patient: str
    split: str
    file: str
    sha256: str
    source: str
    source_sha256: str
    centre_mm: tuple[float, float, float]
    fov_fraction: float
    scan: str
    scan_sha256: str
    scan_origin_mm: tuple[float, float, float]
    repeats: int = 1


@dataclass(frozen=True)
class Radiograph:
    """An X-ray image that lies beside a patient's CT in the data set.

    Attributes:
        patient: as in the cases.
        source: name relative to the root of its data set, or an alias where names are private.
        sha256: of its file.
        modality: CR, DX, ...
        view: ViewPosition, or "".
        study: one-way mark; images of one examination share it.
        days_from_ct: when it was taken, counted from the CT; None where a date is missing.
    """

    patient: str
    source: str
    sha256: str
    modality: str
    view: str
    study: str
    days_from_ct: int | None


@dataclass(frozen=True)
class Store:
    """A prepared data set; make one with :meth:`open`.

    Attributes:
        folder: where it is.
        grid: the network's cube, without margin.
        margin: voxels added on each side.
        scan_spacing_mm: voxel edge of the scans.
        all_cases: every volume, ordered by id.
        settings: how the volumes were made (placement, background).
        right: files that have been held against their hashes.
    """

    folder: Path
    grid: Grid
    margin: int
    scan_spacing_mm: float
    all_cases: tuple[Case, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    radiographs: tuple[Radiograph, ...] = ()
    right: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """Open a store and check everything but its volumes, which are checked when they are read (or by ``verify``).

        Raises:
            InputError: no manifest, another schema or HU window, a missing volume, a patient in two splits.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        table = _read_manifest(path)
        window = table.get("window_hu")
        if window != list(WINDOW_HU):
            raise InputError(f"{path}: window_hu is {window}, this version works with {list(WINDOW_HU)}")
        try:
            grid = Grid(int(table["grid"]["size"]), float(table["grid"]["spacing_mm"]))
            margin = int(table["grid"]["margin"])
            scan_spacing_mm = float(table["grid"]["scan_spacing_mm"])
            cases = tuple(_case(row) for row in table["cases"])
            radiographs = tuple(Radiograph(**row) for row in table.get("radiographs", ()))
            settings = dict(table.get("settings", {}))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{path}: damaged manifest, field {error} is missing or of the wrong type") from None
        spacings_fit = all(0.01 <= each <= 1000.0 for each in (grid.spacing_mm, scan_spacing_mm))
        if grid.size < 1 or margin < 0 or not spacings_fit:
            raise InputError(f"{path}: impossible grid {table['grid']}")
        check_cases(cases, str(path))
        store = cls(folder, grid, margin, scan_spacing_mm, cases, settings, radiographs=radiographs)
        for path in (folder / file for case in cases for file in (case.file, case.scan)):
            if not path.is_file():
                raise InputError(f"{path}: the manifest lists this volume, but there is no such file")
        return store

    @property
    def padded(self) -> Grid:
        """The grid of the stored volumes: the network's cube with its margin."""
        return padded_grid(self.grid, self.margin)

    def cases(self, split: str | None = None) -> list[Case]:
        """The cases of a split, ordered by id; ``train`` includes ``auxiliary``; None means all.

        Raises:
            InputError: no such split.
        """
        if split is not None and split not in SPLITS:
            raise InputError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        wanted = {split} if split != "train" else {"train", "auxiliary"}
        return [case for case in self.all_cases if split is None or case.split in wanted]

    def path(self, case: Case) -> Path:
        """Where a case's volume lies."""
        return self.folder / case.file

    def volume(self, case: Case) -> np.ndarray:
        """(z, y, x) int16 HU of ``padded`` size, memory-mapped and read-only.

        Raises:
            InputError: unreadable, not an int16 cube of the store's size, or not what was prepared.
        """
        path, expected = self.path(case), (self.padded.size,) * 3
        hu = _mapped(path)
        if hu.dtype != np.int16 or hu.shape != expected:
            raise InputError(f"{path}: expected int16 {expected}, found {hu.dtype} {hu.shape}")
        self._check(case.file, case.sha256)
        return hu

    def truth(self, case: Case) -> np.ndarray:
        """(z, y, x) float32 HU on the network's cube, within the HU window."""
        inner = slice(self.margin, self.margin + self.grid.size)
        return hu_clamped(np.asarray(self.volume(case)[inner, inner, inner], dtype=np.float32))

    def scan(self, case: Case) -> np.ndarray:
        """(z, y, x) int16 HU of all that was scanned, on voxels of ``scan_spacing_mm``; memory-mapped and read-only.

        Raises:
            InputError: unreadable, not an int16 volume, or not what was prepared.
        """
        path = self.folder / case.scan
        hu = _mapped(path)
        if hu.dtype != np.int16 or hu.ndim != 3:
            raise InputError(f"{path}: expected an int16 volume, found {hu.dtype} {hu.shape}")
        self._check(case.scan, case.scan_sha256)
        return hu

    def scanned(self, case: Case) -> CTVolume:
        """The scan as a CT whose origin is the centre of the case's cube (LPS)."""
        hu = np.asarray(self.scan(case), dtype=np.float32)
        return CTVolume(hu, (self.scan_spacing_mm,) * 3, case.scan_origin_mm, source=case.id)

    def stack(self, split: str | None = None) -> torch.Tensor:
        """(N, z, y, x) int16 HU of all cases of a split, in the order of ``cases(split)``.

        Raises:
            InputError: no such split, or an unreadable volume.
        """
        cases = self.cases(split)
        stack = torch.empty((len(cases), *(self.padded.size,) * 3), dtype=torch.int16)
        for index, case in enumerate(cases):
            stack.numpy()[index] = self.volume(case)
        return stack

    def verify(self, *splits: str, report: Report = silent) -> None:
        """Check shape and hash of every volume and scan of some splits, or of all: about a gigabyte a second.

        Raises:
            InputError: no such split, or the first file that differs from what was prepared.
        """
        cases = [case for split in splits or (None,) for case in self.cases(split)]
        for done, case in enumerate(cases, 1):
            self.right.difference_update((case.file, case.scan))
            self.volume(case)
            self.scan(case)
            report("check the store", done, len(cases))

    def _check(self, name: str, expected: str) -> None:
        """Hold a file against its hash, once for each opened store."""
        if name in self.right:
            return
        found = sha256_of(self.folder / name)
        if found != expected:
            raise InputError(
                f"{self.folder / name}: changed since it was prepared (its SHA-256 is {found}, the manifest says "
                f"{expected}); make the store again with 'clsdm-train prepare'"
            )
        self.right.add(name)


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a volume ({error})") from None


def padded_grid(grid: Grid, margin: int) -> Grid:
    """``grid`` with ``margin`` voxels more on every side."""
    return Grid(grid.size + 2 * margin, grid.spacing_mm)


def write_manifest(
    folder: Path,
    grid: Grid,
    margin: int,
    scan_spacing_mm: float,
    cases: Iterable[Case],
    settings: dict[str, Any] | None = None,
    radiographs: Iterable[Radiograph] = (),
) -> None:
    """Write ``manifest.json``: same cases, same bytes, whatever their order.

    Raises:
        InputError: two cases of one id, an unknown split, a patient in two splits, or the file cannot be written.
    """
    cases = sorted(cases, key=lambda case: case.id)
    check_cases(cases, str(folder))
    table = {
        "schema": SCHEMA,
        "grid": {
            "size": grid.size,
            "spacing_mm": grid.spacing_mm,
            "margin": margin,
            "scan_spacing_mm": scan_spacing_mm,
        },
        "window_hu": list(WINDOW_HU),
        "settings": settings or {},
        "cases": [asdict(case) for case in cases],
        "radiographs": [asdict(each) for each in sorted(radiographs, key=lambda each: each.source)],
    }
    write_json(folder / MANIFEST, sealed(table))


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically with the same bytes on every platform.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically, with the newlines of ``text`` as they are.

    Raises:
        InputError: the file cannot be written.
    """

    def write(name: Path) -> None:
        name.write_bytes(text.encode())

    write_atomically(path, write)


def check_cases(cases: Iterable[Case], where: str) -> None:
    """The rules every store obeys: unique ids, known splits, files inside the store, no patient and no scan on two sides.

    Raises:
        InputError: the first rule that is broken; ``where`` begins the message.
    """
    seen: set[str] = set()
    seen_on: dict[tuple[str, str], Case] = {}
    for case in cases:
        if case.id in seen:
            raise InputError(f"{where}: case id {case.id!r} occurs twice")
        if case.split not in SPLITS:
            raise InputError(f"{where}: case {case.id!r} has split {case.split!r}, expected one of {', '.join(SPLITS)}")
        for name in (case.file, case.scan):
            file = PurePosixPath(name)
            if file.is_absolute() or ".." in file.parts or "\\" in name or ":" in name:
                raise InputError(f"{where}: case {case.id!r} points outside the store: {name!r}")
        seen.add(case.id)
        for what, value in (
            ("patient", case.patient),
            ("scan", case.source_sha256),
            ("volume", case.sha256),
            ("scanned volume", case.scan_sha256),
        ):
            first = seen_on.setdefault((what, value), case)
            if side_of(first.split) != side_of(case.split):
                named = repr(value) if what == "patient" else f"of {first.id!r} and {case.id!r} is the same and"
                sides = f"{side_of(first.split)} and {side_of(case.split)}"
                raise InputError(f"{where}: {what} {named} is in two splits, {sides}")


def side_of(split: str) -> str:
    """The side of an experiment on which a split is."""
    return "train" if split == "auxiliary" else split


def sha256_of(*paths: Path) -> str:
    """Hash of a file, or of several in the given order.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"{path}: no such file; make a store with 'clsdm-train prepare'")
    table = read_json(path, "manifest")
    schema = table.get("schema") if isinstance(table, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{path}: schema is {reprlib.repr(schema)}, this version reads {SCHEMA}; "
            "make the store again with 'clsdm-train prepare'"
        )
    return unsealed(
        table, str(path), "; run the same 'clsdm-train prepare' again, which keeps the volumes that are right"
    )


def _case(row: dict[str, Any]) -> Case:
    values = {item.name: row[item.name] for item in fields(Case)}
    for name in ("id", "patient", "split", "file", "sha256", "source", "source_sha256", "scan", "scan_sha256"):
        if not isinstance(values[name], str):
            raise TypeError(name)
    for name in ("centre_mm", "scan_origin_mm"):
        x, y, z = (float(value) for value in values[name])
        values[name] = (x, y, z)
    values |= {"fov_fraction": float(values["fov_fraction"]), "repeats": int(values["repeats"])}
    if not np.isfinite([*values["centre_mm"], *values["scan_origin_mm"]]).all():
        raise ValueError("centre_mm or scan_origin_mm")
    if not (0.0 <= values["fov_fraction"] <= 1.0 and 1 <= values["repeats"] <= MOST_REPEATS):
        raise ValueError("fov_fraction or repeats")
    return Case(**values)
