"""One scan made into the volumes of a store, with the record by which a later run knows that they are right."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm_trainer.data.cube import Prepared, canonical_cube
from clsdm_trainer.data.manifest import Case, Radiograph
from clsdm_trainer.data.radiographs import radiographs_of
from clsdm_trainer.data.readers import READERS
from clsdm_trainer.data.scan import Rejected, Scan
from clsdm_trainer.files import sha256_of, write_json

if TYPE_CHECKING:
    from clsdm_trainer.data.prepare import PrepareConfig

VOLUMES = "volumes"
"""Folder in a store."""
RECIPE = 2
"""Raised when the same settings come to mean other volumes, so that volumes made before are made again."""


@dataclass(frozen=True)
class Job:
    """One scan to be made into a volume, picklable for a worker process."""

    scan: Scan
    kind: str
    split: str
    repeats: int
    config: PrepareConfig

    @property
    def volume(self) -> Path:
        return self.config.out / VOLUMES / f"{self.scan.id}.npy"

    @property
    def whole(self) -> Path:
        return self.config.out / "scans" / f"{self.scan.id}.npy"

    @property
    def record(self) -> Path:
        return self.volume.with_suffix(".json")


@dataclass(frozen=True)
class Done:
    case: Case
    kept: bool
    radiographs: tuple[Radiograph, ...] = ()
    notes: tuple[str, ...] = ()


def attempt(job: Job) -> Done | Rejected:
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
    return Done(_case(job, record), prepared is None, radiographs_of(job.scan), tuple(record.get("notes", ())))


def _without_private_paths(reason: str, job: Job) -> str:
    """A DICOM tree often has patient names for folders; the scan's alias stands in for its files."""
    if job.kind == "dicom":
        for path in job.scan.files:
            reason = reason.replace(str(path), job.scan.source)
    return reason


def _recipe(job: Job) -> dict[str, Any]:
    """All that decides the bytes of a volume."""
    chosen = job.config.model_dump(
        include={"size", "spacing_mm", "margin", "scan_spacing_mm", "placement", "background"}
    )
    return {"recipe": RECIPE, "kind": job.kind, **chosen, "source_sha256": sha256_of(*job.scan.files)}


def _read(job: Job) -> Prepared:
    config = job.config
    ct = READERS[job.kind].read(job.scan)
    made = canonical_cube(ct, config.grid, config.margin, config.placement, config.background, config.scan_spacing_mm)
    return replace(made, scan=replace(made.scan, notes=ct.notes))


def _write(job: Job, recipe: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    for path, ct in ((job.volume, prepared.cube), (job.whole, prepared.scan)):
        hu = ct.hu.astype(np.int16)
        write_atomically(path, partial(np.save, arr=hu, allow_pickle=False), hu.nbytes)
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
"""The fields of a case that a record holds beside the settings."""


def _case(job: Job, record: dict[str, Any]) -> Case:
    values = {key: record[key] for key in MEASURED}
    values |= {"id": job.scan.id, "patient": job.scan.patient, "source": job.scan.source}
    values |= {"split": job.split, "repeats": job.repeats}
    return Case(file=f"volumes/{job.volume.name}", scan=f"scans/{job.whole.name}", **values)


def _matching_record(job: Job, recipe: dict[str, Any]) -> dict[str, Any] | None:
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
