"""One row of the table: reconstruct every test patient, judge, and keep what the report needs.

A row's result is a file that names the weights and the definition it was made with; if both are the same, it stands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsdm.compare import default_detector
from clsdm.reconstruct import choose_device
from clsdm.volume import CTVolume, write_atomically
from clsdm.xray import XRay
from clsdm_trainer.baselines.classical import METHODS, Classical
from clsdm_trainer.baselines.reconstructors import Latent, Reconstructor, align_of, load_latent, load_voxels
from clsdm_trainer.benchmark.distribution import sliced_wasserstein
from clsdm_trainer.benchmark.table import RowSpec, TableSpec
from clsdm_trainer.benchmark.training import Trained, parameters_of
from clsdm_trainer.data.store import Store, write_json
from clsdm_trainer.evaluate import (
    Outcome,
    Patient,
    judge,
    load_patients,
    nearest_patient,
    population_mean,
    refuse_seen,
    scored,
    shuffled,
    there_and_back,
)

VERSION = 1
"""Of what a row measures; a higher one makes all rows anew."""


@dataclass(frozen=True)
class RowResult:
    """A judged row.

    Attributes:
        name: in the table.
        key: what it was made from: row, weights, patients.
        outcomes: one for each patient and seed.
        distances: sliced Wasserstein in HU, one for each seed.
        parameters: of the networks that reconstruct.
        cost: of the training.
        stored: its volumes (cases, z, y, x) int16 of the first seed.
    """

    name: str
    key: dict[str, Any]
    outcomes: tuple[Outcome, ...]
    distances: tuple[dict[str, float], ...]
    parameters: int | None
    cost: dict[str, Any] | None
    stored: Path

    def volumes(self) -> np.ndarray:
        """(cases, z, y, x) int16 HU."""
        return np.load(self.stored, mmap_mode="r", allow_pickle=False)


@dataclass
class Evaluation:
    """The patients of a benchmark and all that its rows share; X-rays are projected once for each set of angles.

    Attributes:
        table: the benchmark.
        store: the patients.
        out: folder of the benchmark.
        device: "auto", "cpu" or "cuda".
    """

    table: TableSpec
    store: Store
    out: Path
    device: str

    def __post_init__(self) -> None:
        self._patients: dict[tuple[float, ...], list[Patient]] = {}

    def patients(self, row: RowSpec) -> list[Patient]:
        """The test patients with the X-rays of a row."""
        angles = row.angles_deg or self.table.angles_deg
        if angles not in self._patients:
            table = self.table
            self._patients[angles] = load_patients(
                self.store, table.split, table.geometry, angles, held_out_deg=table.held_out_deg
            )
        return self._patients[angles]

    def judged(self, name: str, run: Trained | None) -> RowResult:
        """The result of a row, from its file where that is still true.

        Raises:
            InputError: a patient of the split is in the training manifest of the run.
        """
        row = self.table.rows[name]
        if run is not None:
            refuse_seen(str(run.folder), run.patients(), self.store, self.table.split)
        key = self._key(row, run)
        kept = read_row(self.out, name)
        if kept is not None and kept.key == key:
            return kept
        return self._judge(name, row, run, key)

    def _key(self, row: RowSpec, run: Trained | None) -> dict[str, Any]:
        cases = self.store.cases(self.table.split)
        table = self.table.model_dump(mode="json", include={"geometry", "angles_deg", "held_out_deg", "seeds"})
        definition = row.model_dump(mode="json", exclude={"label", "note", "group"})
        weights = run.fingerprint if run else None
        return {
            "version": VERSION,
            **table,
            "row": definition,
            "weights": weights,
            "cases": {case.id: case.sha256 for case in cases},
        }

    def _judge(self, name: str, row: RowSpec, run: Trained | None, key: dict[str, Any]) -> RowResult:
        patients = self.patients(row)
        outcomes: list[Outcome] = []
        distances: list[dict[str, float]] = []
        kept: list[np.ndarray] = []
        for seed in self.table.seeds if row.stochastic else self.table.seeds[:1]:
            volumes: list[np.ndarray] = []
            for outcome, volume in self._reconstructed(name, row, run, patients, seed):
                outcomes.append(outcome)
                volumes.append(volume.hu.round().astype(np.int16))
            truths = [patient.truth.hu for patient in patients]
            distances.append(asdict(sliced_wasserstein(volumes, truths)))
            kept = kept or volumes
        stored = row_path(self.out, name, ".npy")
        write_atomically(stored, lambda path: np.save(path, np.stack(kept), allow_pickle=False))
        parameters = parameters_of(run, row.product) if run and row.method is None else None
        result = RowResult(
            name, key, tuple(outcomes), tuple(distances), parameters, run.cost() if run else None, stored
        )
        write_row(self.out, result)
        return result

    def _reconstructed(
        self, name: str, row: RowSpec, run: Trained | None, patients: Sequence[Patient], seed: int
    ) -> Iterator[tuple[Outcome, CTVolume]]:
        """Each patient's figures, and the volume that they are of."""
        device = choose_device(self.device)
        if row.method == "round-trip" and run is not None:
            model = load_latent(run.config, run.folder, run.stages[:1], device)
            for patient in patients:
                started = time.perf_counter()
                volume = there_and_back(model, patient.truth)
                yield scored(name, volume, patient, seed, time.perf_counter() - started), volume
            return
        method = self._method(row, run, device, seed)
        seen: list[CTVolume] = []

        def watched(xrays: Sequence[XRay]) -> CTVolume:
            seen.append(method(xrays))
            return seen[-1]

        asked = shuffled(patients) if row.method == "shuffled" else patients
        for outcome in judge(name, watched, asked, seed, device):
            yield outcome, seen[-1]

    def _method(self, row: RowSpec, run: Trained | None, device: torch.device, seed: int) -> Callable[..., CTVolume]:
        angles = row.angles_deg or self.table.angles_deg
        if row.method == "population-mean":
            return population_mean(self.store)
        if row.method == "nearest-patient":
            detector = default_detector(self.patients(row)[0].truth)
            return nearest_patient(self.store, self.table.geometry, angles, detector)
        if row.method in METHODS:
            return Classical(row.method, self.store.grid).reconstruct
        if run is None:
            raise ValueError(f"row {row.label!r} has neither a method nor a run")
        return reconstructor(row, run, device, seed).reconstruct


def reconstructor(row: RowSpec, run: Trained, device: torch.device, seed: int) -> Reconstructor:
    """A trained run as a row uses it."""
    if "baseline" in run.stages:
        return load_voxels(run.config, run.folder, device)
    if row.product == "voxels":
        raise ValueError(f"row {row.label!r}: only a baseline has the product 'voxels'")
    model = load_latent(run.config, run.folder, run.stages, device)
    return Latent(model, device, align_of(run.stages), row.product, row.steps, row.samples, seed)


def row_path(out: Path, name: str, suffix: str) -> Path:
    """Where a row keeps its result."""
    return out / "rows" / f"{name}{suffix}"


def write_row(out: Path, result: RowResult) -> None:
    """Keep a result."""
    table = {
        "key": result.key,
        "outcomes": [asdict(outcome) for outcome in result.outcomes],
        "distances": list(result.distances),
        "parameters": result.parameters,
        "cost": result.cost,
    }
    write_json(row_path(out, result.name, ".json"), table)


def read_row(out: Path, name: str) -> RowResult | None:
    """A kept result, or None where there is none."""
    try:
        table = json.loads(row_path(out, name, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    stored = row_path(out, name, ".npy")
    if not stored.exists():
        return None
    outcomes = tuple(Outcome(**outcome) for outcome in table["outcomes"])
    distances = tuple(table["distances"])
    return RowResult(name, table["key"], outcomes, distances, table["parameters"], table["cost"], stored)
