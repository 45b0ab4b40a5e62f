"""The manifest of a store: its cases and radiographs, strictly read, and the rules that every store obeys."""

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from clsdm.errors import InputError
from clsdm.files.digest import sealed, unsealed
from clsdm.files.strict_json import from_plain, read_json, to_plain
from clsdm.volume.ct import Grid
from clsdm.volume.hu import WINDOW_HU
from clsdm_trainer.files import write_json

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

    def __post_init__(self) -> None:
        if not 0.0 <= self.fov_fraction <= 1.0:
            raise ValueError(f"fov_fraction is {self.fov_fraction}, expected 0 to 1")
        if not 1 <= self.repeats <= MOST_REPEATS:
            raise ValueError(f"repeats is {self.repeats}, expected 1 to {MOST_REPEATS}")


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
class StoredGrid:
    """The grids of a store.

    Attributes:
        size: voxels along the edge of the network's cube, without margin.
        spacing_mm: voxel edge.
        margin: voxels added on each side.
        scan_spacing_mm: voxel edge of the scans.
    """

    size: int
    spacing_mm: float
    margin: int
    scan_spacing_mm: float

    def __post_init__(self) -> None:
        spacings_fit = all(0.01 <= each <= 1000.0 for each in (self.spacing_mm, self.scan_spacing_mm))
        if self.size < 1 or self.margin < 0 or not spacings_fit:
            raise ValueError(f"impossible grid {to_plain(self)}")


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``; ``settings`` say how the volumes were made (placement, background)."""

    schema: int
    grid: StoredGrid
    window_hu: tuple[float, float]
    settings: dict[str, Any] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    radiographs: tuple[Radiograph, ...] = ()


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        InputError: there is none, it has another schema or HU window, or breaks a rule of :func:`check_cases`.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; make a store with 'clsdm-train prepare'")
    table = read_json(path, "manifest")
    schema = table.get("schema") if isinstance(table, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{path}: schema is {reprlib.repr(schema)}, this version reads {SCHEMA}; "
            "make the store again with 'clsdm-train prepare'"
        )
    again = "; run the same 'clsdm-train prepare' again, which keeps the volumes that are right"
    found = from_plain(Manifest, unsealed(table, str(path), again), str(path))
    if found.window_hu != WINDOW_HU:
        raise InputError(f"{path}: window_hu is {found.window_hu}, this version works with {WINDOW_HU}")
    check_cases(found.cases, str(path))
    return found


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
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    check_cases(ordered, str(folder))
    listed = tuple(sorted(radiographs, key=lambda each: each.source))
    stored = StoredGrid(grid.size, grid.spacing_mm, margin, scan_spacing_mm)
    write_json(
        folder / MANIFEST, sealed(to_plain(Manifest(SCHEMA, stored, WINDOW_HU, settings or {}, ordered, listed)))
    )


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
