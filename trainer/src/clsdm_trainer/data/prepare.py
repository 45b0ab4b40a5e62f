"""Scans -> canonical store, in many processes, resumable, and the same bytes every time.

Each volume is written atomically together with a small record (``volumes/<id>.json``) of the settings and hashes it was
made with. A run that is cut keeps what it finished: a volume is made again only if its scan, its settings or its own
bytes differ from the record. The manifest is written last, so a store that opens is complete.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import track

from clsdm.errors import InputError
from clsdm.files.strict_json import read_json
from clsdm.volume.ct import Grid
from clsdm_trainer.data.cube import SCAN_SPACING_MM, Background, Placement
from clsdm_trainer.data.job import VOLUMES, Done, Job, attempt
from clsdm_trainer.data.manifest import MANIFEST, SPLITS, side_of, write_manifest
from clsdm_trainer.data.parallel import results
from clsdm_trainer.data.patients import possible_copies
from clsdm_trainer.data.scan import Rejected
from clsdm_trainer.data.source import SourceConfig, scans_of
from clsdm_trainer.data.splits import lacking
from clsdm_trainer.files import sha256_of, write_json

REJECTED, NOTES = "rejected.json", "notes.json"


class PrepareConfig(BaseModel):
    """The settings of a preparation.

    Attributes:
        sources: the data sets.
        out: folder of the store.
        size: edge of the network's cube in voxels.
        spacing_mm: voxel edge.
        margin: voxels added on each side for augmentation.
        scan_spacing_mm: voxel edge at which the whole scan is kept, of which X-rays are made.
        placement: what the cube is centred on: the box around the ``body``, or the crop of the ``x2ct`` protocol.
        background: ``keep`` couch and clothing, or set all outside the body to ``air`` (the ``x2ct`` protocol does).
        workers: processes; 1 works in this process.
        strict: stop at the first scan that cannot be used, instead of listing it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    out: Path
    size: int = Field(default=64, ge=8, le=512)
    spacing_mm: float = Field(default=6.0, gt=0.0, le=50.0)
    margin: int = Field(default=8, ge=0, le=128)
    scan_spacing_mm: float = Field(default=SCAN_SPACING_MM, ge=0.5, le=50.0)
    placement: Placement = "body"
    background: Background = "keep"
    workers: int = Field(default_factory=lambda: min(8, os.cpu_count() or 1), ge=1)
    strict: bool = False

    @property
    def grid(self) -> Grid:
        """The network's cube."""
        return Grid(self.size, self.spacing_mm)


@dataclass(frozen=True)
class PrepareReport:
    """The result of a preparation.

    Attributes:
        folder: the store.
        made: volumes written in this run.
        kept: volumes of an earlier run that were still right.
        rejected: scans that are not in the store, and why.
        noted: how many scans were read with a note, such as a straightened gantry tilt or bone that was clipped.
        splits: number of volumes and of patients in each split.
    """

    folder: Path
    made: int
    kept: int
    rejected: tuple[Rejected, ...]
    noted: int = 0
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 when every scan is in the store, 2 when one is not."""
        return 2 if self.rejected else 0

    @property
    def doubt(self) -> str | None:
        """Why no training can begin with this store, in one line; None where one can."""
        missing = lacking(self.splits)
        return missing and f"{self.folder}: training will refuse this store: {missing}"

    def summary(self) -> str:
        """One line for the terminal."""
        text = f"{self.folder}: {self.made} volumes prepared, {self.kept} kept from an earlier run"
        text += "; " + ", ".join(
            f"{name} {volumes} of {people} patients" for name, (volumes, people) in self.splits.items()
        )
        text += f"; {self.noted} with notes on how they were read; see {NOTES}" if self.noted else ""
        if not self.rejected:
            return text
        return f"{text}, {len(self.rejected)} rejected (first: {self.rejected[0].reason}); see {REJECTED}"


def prepare(config: PrepareConfig) -> PrepareReport:
    """Make the store; see the module's description.

    A scan that cannot be used is listed in ``rejected.json`` and does not stop the run.

    Raises:
        InputError: a source that does not exist, ids or patients that collide, nothing usable, a store that cannot be
            written; with ``strict`` also the first scan that cannot be used.
    """
    jobs, rejected = _list_jobs(config)
    if config.strict and rejected:
        raise InputError(rejected[0].reason)
    _remove_manifest(config.out)
    done: list[Done] = []
    for result in _run(jobs, config.workers):
        if isinstance(result, Done):
            done.append(result)
        elif config.strict:
            raise InputError(result.reason)
        else:
            rejected.append(result)
    rejected.sort(key=lambda item: (item.id, item.reason))
    write_json(config.out / REJECTED, [vars(item) for item in rejected])
    write_json(config.out / NOTES, {item.case.id: item.notes for item in _by_id(done) if item.notes})
    if not done:
        raise InputError(f"{config.out}: no scan could be used (first reason: {rejected[0].reason})")
    settings: dict[str, Any] = {"placement": config.placement, "background": config.background}
    cases = (item.case for item in done)
    radiographs = (radiograph for item in done for radiograph in item.radiographs)
    write_manifest(config.out, config.grid, config.margin, config.scan_spacing_mm, cases, settings, radiographs)
    kept = sum(item.kept for item in done)
    patients = {split: [item.case.patient for item in done if item.case.split == split] for split in SPLITS}
    splits = {split: (len(found), len(set(found))) for split, found in patients.items() if found}
    noted = sum(bool(item.notes) for item in done)
    return PrepareReport(config.out, len(done) - kept, kept, tuple(rejected), noted, splits)


def _by_id(done: Iterable[Done]) -> list[Done]:
    return sorted(done, key=lambda item: item.case.id)


def _remove_manifest(folder: Path) -> None:
    """While volumes change there is no store to open. Another program's file of that name stays."""
    path = folder / MANIFEST
    if path.exists() and not _is_of_a_store(path):
        raise InputError(f"{path}: is there and is not of a store; name another --out folder")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be replaced ({error.strerror})") from None


def _is_of_a_store(path: Path) -> bool:
    try:
        table = read_json(path, "manifest")
    except InputError:  # damaged; the volumes tell
        return (path.parent / VOLUMES).is_dir()
    return isinstance(table, dict) and {"schema", "cases"} <= set(table)


def _list_jobs(config: PrepareConfig) -> tuple[list[Job], list[Rejected]]:
    """All scans of all sources with their splits; collisions are found before any work is done."""
    jobs: dict[str, Job] = {}
    rejected: list[Rejected] = []
    for source in config.sources:
        placed, refused = scans_of(source)
        rejected += refused
        for scan, split in placed:
            key = scan.id.casefold()  # some file systems do not tell case apart
            if key in jobs:
                raise InputError(f"{source.root}: case id {scan.id!r} occurs twice; set 'prefix' on one of the sources")
            jobs[key] = Job(scan, source.kind, split, source.repeats, config)
    _check_patients(jobs.values())
    _check_copies(list(jobs.values()))
    if not jobs:
        raise InputError(f"{config.sources[0].root}: no usable scan of kind {config.sources[0].kind!r} found")
    return list(jobs.values()), rejected


def _check_patients(jobs: Iterable[Job]) -> None:
    seen: dict[str, str] = {}
    for job in jobs:
        side = side_of(job.split)
        other = seen.setdefault(job.scan.patient, side)
        if other != side:
            raise InputError(f"{job.scan.source}: patient {job.scan.patient!r} is in two splits, {other} and {side}")


def _check_copies(jobs: list[Job]) -> None:
    """The same scan under two names must not be on two sides; only scans of one size are read."""
    for group in possible_copies(job.scan.files for job in jobs):
        first_of: dict[str, Job] = {}
        for job in (jobs[index] for index in group):
            first = first_of.setdefault(sha256_of(*job.scan.files), job)
            if side_of(job.split) != side_of(first.split):
                raise InputError(
                    f"{job.scan.source}: the same scan as {first.scan.source}, but their splits are {job.split} and "
                    f"{first.split}; expected one split, or one of the two files"
                )


def _run(jobs: list[Job], workers: int) -> Iterator[Done | Rejected]:
    """Results in the order in which they are finished, with a progress bar in a terminal."""

    def died(job: Job) -> Rejected:
        source = job.scan.source
        return Rejected(job.scan.id, source, f"{source}: the process reading it died; out of memory?")

    console = Console(stderr=True)
    yield from track(
        results(attempt, jobs, workers, died),
        description="CT volumes",
        total=len(jobs),
        console=console,
        disable=not console.is_terminal,
    )
