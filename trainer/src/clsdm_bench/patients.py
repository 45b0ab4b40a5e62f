"""The patients on whom methods are compared, with their X-rays, and the figures of a volume that a method made of these.

A method is a function from X-rays to a ``CTVolume``: it never sees the CT that it is compared with. Cases are paired by id,
and figures come from ``clsdm.quality.metrics`` under their named protocols; ``covered`` are those of ``measures.covered``, on the
voxels that the scan covers.
"""

import csv
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clsdm.errors import InputError
from clsdm.geometry.view import Detector, preset
from clsdm.model.bundle import patient_mark
from clsdm.progress import Report, silent
from clsdm.quality.compare import covered_truth
from clsdm.quality.metrics import honest, x2ct
from clsdm.quality.reprojection import FIELD_PER_CUBE, reprojection
from clsdm.simulate import simulate_xrays
from clsdm.volume.body import body_mask
from clsdm.volume.ct import CTVolume
from clsdm.xray.preprocess import XRay
from clsdm_bench.lines import write_lines
from clsdm_bench.measures.covered import Pair, figures_of
from clsdm_trainer.data.manifest import Case
from clsdm_trainer.data.store import Store

Method = Callable[[Sequence[XRay]], CTVolume]

LEADING = ("method", "case", "seed", "seconds")
"""Columns before the figures of a patient."""


@dataclass(frozen=True)
class Patient:
    """One case: its truth, where that was scanned, its X-rays, and X-rays that no method gets to see."""

    case: Case
    truth: CTVolume
    covered: np.ndarray
    xrays: tuple[XRay, ...]
    held_out: tuple[XRay, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The figures of one reconstruction."""

    method: str
    case: str
    seed: int
    seconds: float
    figures: dict[str, Any]


def load_patients(
    store: Store,
    split: str,
    geometry: str,
    angles_deg: Sequence[float],
    report: Report = silent,
    held_out_deg: Sequence[float] = (),
    *,
    of_cube: bool = False,
) -> list[Patient]:
    """The cases of a split with X-rays; input views are never held out.

    Args:
        store: the patients.
        split: which of them.
        geometry: machine.
        angles_deg: of the X-rays that methods get.
        report: progress.
        held_out_deg: of the X-rays that none gets.
        of_cube: project the cube that is predicted, as published DRRs do, and not the scan.
    """
    cases = store.cases(split)
    machine = preset(geometry)
    held_out_deg = [angle for angle in held_out_deg if angle not in angles_deg]
    patients = []
    for done, case in enumerate(cases, 1):
        scan, truth = store.scanned(case), canonical(store, case)
        xrays = tuple(
            simulate_xrays(
                truth if of_cube else scan, [machine.view(a) for a in (*angles_deg, *held_out_deg)], (0.0, 0.0, 0.0)
            )
        )
        covered = covered_truth(scan, truth)[1]
        patients.append(Patient(case, truth, covered, xrays[: len(angles_deg)], xrays[len(angles_deg) :]))
        report("project", done, len(cases))
    return patients


def canonical(store: Store, case: Case) -> CTVolume:
    """A case's volume on the network's cube, within the HU window."""
    return CTVolume.on_grid(store.truth(case), store.grid)


def refuse_seen(name: str, trained_patients: Sequence[str], store: Store, split: str) -> None:
    """Refuse to measure a model on patients it was trained or selected on.

    Args:
        name: of the model, for the message.
        trained_patients: their :func:`clsdm.model.bundle.patient_mark`.
        store: the patients.
        split: of those that are to be measured on.

    Raises:
        InputError: names how many.
    """
    seen = [case.id for case in store.cases(split) if patient_mark(case.patient) in set(trained_patients)]
    if seen:
        raise InputError(
            f"{name}: trained on {len(seen)} of the patients of split {split!r} ({', '.join(seen[:3])} ...); "
            "expected patients it has never seen"
        )


def measured(
    name: str,
    work: Callable[[Patient], CTVolume],
    patients: Sequence[Patient],
    seed: int = 0,
    report: Report = silent,
) -> Iterator[tuple[Outcome, CTVolume]]:
    """Each patient's figures, and the volume that they are of."""
    for done, patient in enumerate(patients, 1):
        started = time.perf_counter()
        volume = work(patient)
        seconds = time.perf_counter() - started
        yield Outcome(name, patient.case.id, seed, seconds, figures_for(volume, patient)), volume
        report(f"measure {name}", done, len(patients))


def figures_for(volume: CTVolume, patient: Patient) -> dict[str, Any]:
    """Figures of one volume under all protocols, with its reprojection residuals."""
    truth = patient.truth
    pair = Pair(volume, truth, patient.covered, body_mask(truth.hu) & patient.covered)
    protocols: dict[str, Mapping[str, Any]] = {
        "honest": honest(volume.hu, truth.hu),
        "x2ct": x2ct(volume.hu, truth.hu),
        "covered": figures_of(pair),
    }
    figures: dict[str, Any] = {
        f"{name}.{key}": value for name, table in protocols.items() for key, value in table.items()
    }
    for key, xrays in (("reprojection_rmse", patient.xrays), ("reprojection_held_out_rmse", patient.held_out)):
        if xrays:
            figures[key] = statistics.mean(item.rmse for item in reprojection(volume, xrays, detector_of(volume)))
    return figures


def detector_of(cube: CTVolume) -> Detector:
    """The virtual detector of the benchmark's residuals, the same 128² for every grid: records stay comparable."""
    return Detector(128, FIELD_PER_CUBE * cube.spacing_mm[0] * cube.hu.shape[0])


def write_cases(outcomes: Sequence[Outcome], path: Path) -> None:
    """Every patient's figures as CSV, one line for each method, patient and seed; what is undefined is empty.

    Raises:
        InputError: the file cannot be written.
    """
    lines = (dict(zip(LEADING, (o.method, o.case, o.seed, o.seconds), strict=True)) | o.figures for o in outcomes)
    write_lines([*lines], path)


def read_cases(path: Path) -> list[Outcome]:
    """The outcomes in a file of :func:`write_cases`.

    Raises:
        OSError, KeyError, ValueError: it did not.
    """
    with path.open(newline="", encoding="utf-8") as file:
        return [_outcome(line) for line in csv.DictReader(file)]


def _outcome(line: dict[str, str]) -> Outcome:
    figures = {key: _value(text) for key, text in line.items() if key not in LEADING and text != ""}
    return Outcome(line["method"], line["case"], int(line["seed"]), float(line["seconds"]), figures)


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
