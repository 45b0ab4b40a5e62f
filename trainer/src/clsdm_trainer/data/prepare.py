"""Scans -> canonical store, in many processes, resumable, and the same bytes every time.

Each volume is written atomically together with a small record (``volumes/<id>.json``) of the settings and hashes it was
made with. A run that is cut keeps what it finished: a volume is made again only if its scan, its settings or its own
bytes differ from the record. The manifest is written last, so a store that opens is complete.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import track

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.volume.ct import Grid
from clsdm_trainer.data.cube import SCAN_SPACING_MM, Background, Placement, Prepared, canonical_cube
from clsdm_trainer.data.manifest import MANIFEST, Case, Radiograph, side_of, write_manifest
from clsdm_trainer.data.patients import possible_copies
from clsdm_trainer.data.radiographs import radiographs_of
from clsdm_trainer.data.readers import READERS
from clsdm_trainer.data.scan import Rejected, Scan
from clsdm_trainer.data.source import SourceConfig, scans_of
from clsdm_trainer.files import sha256_of, write_json

REJECTED, NOTES = "rejected.json", "notes.json"
RECIPE = 2
"""Raised when the same settings come to mean other volumes, so that volumes made before are made again."""


class PrepareConfig(BaseModel):
    """What to prepare, and how.

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
    """What a preparation did.

    Attributes:
        folder: the store.
        made: volumes written in this run.
        kept: volumes of an earlier run that were still right.
        rejected: scans that are not in the store, and why.
        noted: how many scans were read with a note, such as a straightened gantry tilt or bone that was clipped.
    """

    folder: Path
    made: int
    kept: int
    rejected: tuple[Rejected, ...]
    noted: int = 0

    @property
    def exit_code(self) -> int:
        """0 when every scan is in the store, 2 when one is not."""
        return 2 if self.rejected else 0

    def summary(self) -> str:
        """One line for the terminal."""
        text = f"{self.folder}: {self.made} volumes prepared, {self.kept} kept from an earlier run"
        text += f", {self.noted} with notes on how they were read; see {NOTES}" if self.noted else ""
        if not self.rejected:
            return text
        return f"{text}, {len(self.rejected)} rejected (first: {self.rejected[0].reason}); see {REJECTED}"


@dataclass(frozen=True)
class _Job:
    """One scan to be made into a volume, picklable for a worker process."""

    scan: Scan
    kind: str
    split: str
    repeats: int
    config: PrepareConfig

    @property
    def volume(self) -> Path:
        return self.config.out / "volumes" / f"{self.scan.id}.npy"

    @property
    def whole(self) -> Path:
        return self.config.out / "scans" / f"{self.scan.id}.npy"

    @property
    def record(self) -> Path:
        return self.volume.with_suffix(".json")


@dataclass(frozen=True)
class _Done:
    case: Case
    kept: bool
    radiographs: tuple[Radiograph, ...] = ()
    notes: tuple[str, ...] = ()


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
    done: list[_Done] = []
    for result in _run(jobs, config.workers):
        if isinstance(result, _Done):
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
    films = (film for item in done for film in item.radiographs)
    write_manifest(config.out, config.grid, config.margin, config.scan_spacing_mm, cases, settings, films)
    kept = sum(item.kept for item in done)
    return PrepareReport(config.out, len(done) - kept, kept, tuple(rejected), sum(bool(item.notes) for item in done))


def _by_id(done: Iterable[_Done]) -> list[_Done]:
    return sorted(done, key=lambda item: item.case.id)


def _remove_manifest(folder: Path) -> None:
    """While volumes change there is no store to open."""
    try:
        (folder / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder / MANIFEST}: cannot be replaced ({error.strerror})") from None


def _list_jobs(config: PrepareConfig) -> tuple[list[_Job], list[Rejected]]:
    """All scans of all sources with their splits; collisions are found before any work is done."""
    jobs: dict[str, _Job] = {}
    rejected: list[Rejected] = []
    for source in config.sources:
        placed, refused = scans_of(source)
        rejected += refused
        for scan, split in placed:
            key = scan.id.casefold()  # some file systems do not tell case apart
            if key in jobs:
                raise InputError(f"{source.root}: case id {scan.id!r} occurs twice; set 'prefix' on one of the sources")
            jobs[key] = _Job(scan, source.kind, split, source.repeats, config)
    _check_patients(jobs.values())
    _check_copies(list(jobs.values()))
    if not jobs:
        raise InputError(f"{config.sources[0].root}: no usable scan of kind {config.sources[0].kind!r} found")
    return list(jobs.values()), rejected


def _check_patients(jobs: Iterable[_Job]) -> None:
    seen: dict[str, str] = {}
    for job in jobs:
        side = side_of(job.split)
        other = seen.setdefault(job.scan.patient, side)
        if other != side:
            raise InputError(f"{job.scan.source}: patient {job.scan.patient!r} is in two splits, {other} and {side}")


def _check_copies(jobs: list[_Job]) -> None:
    """The same scan under two names must not be on two sides; only scans of one size are read."""
    for group in possible_copies(job.scan.files for job in jobs):
        first_of: dict[str, _Job] = {}
        for job in (jobs[index] for index in group):
            first = first_of.setdefault(sha256_of(*job.scan.files), job)
            if side_of(job.split) != side_of(first.split):
                raise InputError(
                    f"{job.scan.source}: the same scan as {first.scan.source}, but their splits are {job.split} and "
                    f"{first.split}; expected one split, or one of the two files"
                )


def _run(jobs: list[_Job], workers: int) -> Iterator[_Done | Rejected]:
    """Results in the order in which they are finished, with a progress bar in a terminal."""
    results = map(_attempt, jobs) if min(workers, len(jobs)) == 1 else _run_parallel(jobs, workers)
    console = Console(stderr=True)
    yield from track(
        results, description="CT volumes", total=len(jobs), console=console, disable=not console.is_terminal
    )


def _run_parallel(jobs: list[_Job], workers: int) -> Iterator[_Done | Rejected]:
    """In many processes; a scan whose process dies twice is rejected, and the others go on."""
    left = {job.scan.id: job for job in jobs}
    try:
        for result in _in_pool(jobs, workers):
            del left[_id_of(result)]
            yield result
        return
    except BrokenProcessPool:
        suspects = list(left.values())
    for job in suspects:
        try:
            yield from _in_pool([job], 1)
        except BrokenProcessPool:
            yield Rejected(
                job.scan.id, job.scan.source, f"{job.scan.source}: the process reading it died; out of memory?"
            )


def _id_of(result: _Done | Rejected) -> str:
    return result.case.id if isinstance(result, _Done) else result.id


def _in_pool(jobs: list[_Job], workers: int) -> Iterator[_Done | Rejected]:
    context = multiprocessing.get_context("spawn")  # the only one that Windows has, and safe beside threads
    with ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=_use_one_thread) as pool:
        waiting: set[Future[_Done | Rejected]] = {pool.submit(_attempt, job) for job in jobs}
        try:
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _use_one_thread() -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _attempt(job: _Job) -> _Done | Rejected:
    """One scan -> one volume and its record, unless they are already there.

    Raises:
        InputError: the store cannot be written (what is wrong with the scan is returned, not raised).
    """
    try:
        recipe = _recipe(job)
        record = _matching_record(job, recipe)
        prepared = None if record is not None else _read(job)
    except InputError as error:
        return Rejected(job.scan.id, job.scan.source, _without_private_paths(str(error), job))
    if prepared is not None:
        record = _write(job, recipe, prepared)
    record = record or {}
    return _Done(_case(job, record), prepared is None, radiographs_of(job.scan), tuple(record.get("notes", ())))


def _without_private_paths(reason: str, job: _Job) -> str:
    """A DICOM tree often has patient names for folders; the scan's alias stands in for its files."""
    if job.kind == "dicom":
        for path in job.scan.files:
            reason = reason.replace(str(path), job.scan.source)
    return reason


def _recipe(job: _Job) -> dict[str, Any]:
    """All that decides the bytes of a volume."""
    chosen = job.config.model_dump(
        include={"size", "spacing_mm", "margin", "scan_spacing_mm", "placement", "background"}
    )
    return {"recipe": RECIPE, "kind": job.kind, **chosen, "source_sha256": sha256_of(*job.scan.files)}


def _read(job: _Job) -> Prepared:
    config = job.config
    ct = READERS[job.kind].read(job.scan)
    made = canonical_cube(ct, config.grid, config.margin, config.placement, config.background, config.scan_spacing_mm)
    return replace(made, scan=replace(made.scan, notes=ct.notes))


def _write(job: _Job, recipe: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    for path, ct in ((job.volume, prepared.cube), (job.whole, prepared.scan)):
        write_atomically(path, partial(np.save, arr=ct.hu.astype(np.int16), allow_pickle=False))
    centre = prepared.cube.centre_mm
    record = {
        **recipe,
        "sha256": sha256_of(job.volume),
        "scan_sha256": sha256_of(job.whole),
        "centre_mm": [round(value, 3) for value in centre],
        "scan_origin_mm": [round(a - b, 3) for a, b in zip(prepared.scan.origin_mm, centre, strict=True)],
        "fov_fraction": round(prepared.fov_fraction, 4),
        "notes": list(prepared.scan.notes),
    }
    write_json(job.record, record)
    return record


MEASURED = ("sha256", "source_sha256", "centre_mm", "fov_fraction", "scan_sha256", "scan_origin_mm")
"""What a record tells of a case, beside the settings."""


def _case(job: _Job, record: dict[str, Any]) -> Case:
    values = {key: record[key] for key in MEASURED}
    values |= {"id": job.scan.id, "patient": job.scan.patient, "source": job.scan.source}
    values |= {"split": job.split, "repeats": job.repeats}
    return Case(file=f"volumes/{job.volume.name}", scan=f"scans/{job.whole.name}", **values)


def _matching_record(job: _Job, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """The record of an earlier run, if it is of this recipe and the volume is still the one it describes."""
    try:
        record = json.loads(job.record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not set(MEASURED) <= set(record):
        return None
    if any(record.get(key) != value for key, value in recipe.items()):
        return None
    files = ((job.volume, record["sha256"]), (job.whole, record["scan_sha256"]))
    return record if all(path.is_file() and sha256_of(path) == expected for path, expected in files) else None
