"""The canonical store: CT cubes ready for training, with the patient, split and hash of each.

A folder with ``manifest.json`` and two int16 ``.npy`` per case, HU, indexed (z, y, x) along LPS (superior, posterior,
left). The *volume* is a cube of ``grid.size + 2 * margin`` voxels on the network's grid, each the mean over its extent:
the truth that a reconstruction is compared with. The *scan* is all of the patient that was scanned, on cubic voxels finer
than the grid: X-rays are projections of it, because a real beam also crosses what lies outside the cube. A memory-mapped
``.npy`` reads in a fraction of a millisecond. Every file is held against its hash in the manifest before it is used for the
first time, so that nobody trains or judges on a damaged volume, or on another patient's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsdm.errors import InputError, reading
from clsdm.progress import Report, silent
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import hu_clamped
from clsdm_trainer.data.manifest import MANIFEST, SPLITS, Case, Radiograph, read_manifest
from clsdm_trainer.files import sha256_of


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
        found = read_manifest(folder / MANIFEST)
        grid = Grid(found.grid.size, found.grid.spacing_mm)
        store = cls(
            folder, grid, found.grid.margin, found.grid.scan_spacing_mm, found.cases, found.settings, found.radiographs
        )
        for path in (folder / file for case in found.cases for file in (case.file, case.scan)):
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
    with reading(path, "volume"):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def padded_grid(grid: Grid, margin: int) -> Grid:
    """``grid`` with ``margin`` voxels more on every side."""
    return Grid(grid.size + 2 * margin, grid.spacing_mm)
