"""One row of the table: reconstruct every test patient, judge, and keep what the report needs (``records.py``).

A row's result names the weights and the definition it was made with; if both are the same, it stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsdm.files.atomic import write_atomically
from clsdm.quality.picture import write_png
from clsdm.quality.reprojection import default_detector
from clsdm.reconstruct import choose_device
from clsdm.volume.ct import CTVolume
from clsdm_bench.distribution import SET_FIGURE, Distance, sliced_wasserstein
from clsdm_bench.evaluate import (
    Outcome,
    Patient,
    load_patients,
    nearest_patient,
    population_mean,
    refuse_seen,
    scored,
    shuffled,
    there_and_back,
)
from clsdm_bench.pictures import picture_of
from clsdm_bench.records import RECORDS, RowResult, read_row, record_path, write_row
from clsdm_bench.resolve import Budget, recipe_of
from clsdm_bench.systems.classical import METHODS, Classical
from clsdm_bench.systems.reconstructors import Latent, Reconstructor, align_of, load_latent, load_voxels
from clsdm_bench.table import RowSpec, TableSpec
from clsdm_bench.training import Trained, parameters_of
from clsdm_trainer.data.store import Store
from clsdm_trainer.run import git_revision

Work = Callable[[Patient], CTVolume]
VERSION = 1
"""Of what a row measures; a higher one makes all rows anew."""


@dataclass
class Evaluation:
    """The patients of a benchmark and all that its rows share; X-rays are projected once for each set of angles.

    Attributes:
        table: the benchmark.
        store: the patients.
        out: folder of the benchmark.
        device: "auto", "cpu" or "cuda".
        budget: of each method.
    """

    table: TableSpec
    store: Store
    out: Path
    device: str
    budget: Budget

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

    @property
    def records(self) -> Path:
        """Folder of what is kept of the rows."""
        return self.out / RECORDS

    def kept(self, name: str, folder: Path | None = None) -> RowResult | None:
        """What is kept of a row, here or in another folder of records, if it was made from the same definition."""
        result = read_row(folder or self.records, name)
        return result if result is not None and result.made_from(self.definition(name)) else None

    def judged(self, name: str, run: Trained | None) -> RowResult:
        """The result of a row, from its record where that is still true.

        Raises:
            InputError: a patient of the split is in the training manifest of the run.
        """
        if run is not None:
            refuse_seen(str(run.folder), run.patients(), self.store, self.table.split)
        kept, weights = self.kept(name), run.fingerprint(self.table.stages_for(name)) if run else None
        if kept is not None and kept.key["weights"] == weights:
            return kept
        return self._judge(name, self.table.rows[name], run, {**self.definition(name), "weights": weights})

    def definition(self, name: str) -> dict[str, Any]:
        """All that a row is made from, except the weights that training came to."""
        row = self.table.rows[name]
        table = self.table.model_dump(mode="json", include={"geometry", "angles_deg", "held_out_deg", "seeds"})
        return {
            "version": VERSION,
            **table,
            "row": row.model_dump(mode="json", exclude={"label", "note", "group"}),
            "recipe": recipe_of(self.table, row.run, self.budget) if row.run else None,
            "cases": {case.id: case.sha256 for case in self.store.cases(self.table.split)},
        }

    def _judge(self, name: str, row: RowSpec, run: Trained | None, key: dict[str, Any]) -> RowResult:
        patients = self.patients(row)
        outcomes: list[Outcome] = []
        distances: list[dict[str, float]] = []
        kept: list[np.ndarray] = []
        for seed in self.table.seeds if row.stochastic else self.table.seeds[:1]:
            volumes: list[np.ndarray] = []
            found: list[Outcome] = []
            for outcome, volume in self._reconstructed(name, row, run, patients, seed):
                found.append(outcome)
                volumes.append(volume.hu.round().astype(np.int16))
            distance = sliced_wasserstein(volumes, [patient.truth.hu for patient in patients])
            distances.append(asdict(distance.whole))
            outcomes += [with_share(outcome, share) for outcome, share in zip(found, distance.shares, strict=True)]
            kept = kept or volumes
        self._keep_volumes(name, row, np.stack(kept))
        parameters = parameters_of(run, row.product) if run and row.method is None else None
        cost = run.cost(self.table.stages_for(name)) if run else None
        result = RowResult(name, key, tuple(outcomes), tuple(distances), parameters, cost, git_revision())
        write_row(self.records, result)
        return result

    def _keep_volumes(self, name: str, row: RowSpec, volumes: np.ndarray) -> None:
        """(cases, z, y, x) int16 HU of the first seed, and the picture of some of them."""
        stored = volumes_path(self.out, name)
        write_atomically(stored, lambda path: np.save(path, volumes, allow_pickle=False))
        picture = picture_of(row.label, volumes, self.patients(row), self.table.pictures)
        write_atomically(record_path(self.records, name, ".png"), lambda path: write_png(picture, path))

    def _reconstructed(
        self, name: str, row: RowSpec, run: Trained | None, patients: Sequence[Patient], seed: int
    ) -> Iterator[tuple[Outcome, CTVolume]]:
        """Each patient's figures, and the volume that they are of."""
        work = self.work(name, run, seed)
        for patient in shuffled(patients) if row.method == "shuffled" else patients:
            started = time.perf_counter()
            volume = work(patient)
            yield scored(name, volume, patient, seed, time.perf_counter() - started), volume

    def work(self, name: str, run: Trained | None, seed: int, *, trained: bool = True) -> Work:
        """What a row does for a patient. All but the round trip, which says so, sees nothing but the X-rays.

        Args:
            name: of the row.
            run: which it is of, or None.
            seed: of samples.
            trained: with the weights of the run; else with those that its networks start with.

        Raises:
            InputError: the run is not trained.
        """
        row, device = self.table.rows[name], choose_device(self.device)
        if row.method == "round-trip" and run is not None:
            stages = self.table.stages_for(name) if trained else ()
            model = load_latent(run.config, run.folder, stages, device)
            return lambda patient: there_and_back(model, patient.truth)
        method = self._method(row, run, device, seed, trained)
        return lambda patient: method(patient.xrays)

    def _method(
        self, row: RowSpec, run: Trained | None, device: torch.device, seed: int, trained: bool
    ) -> Callable[..., CTVolume]:
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
        return reconstructor(row, run, device, seed, trained).reconstruct


def with_share(outcome: Outcome, share: Distance) -> Outcome:
    """A patient's figures with what it adds to the distance of the set."""
    added = {f"{SET_FIGURE}{key}": value for key, value in asdict(share).items()}
    return replace(outcome, figures={**outcome.figures, **added})


def reconstructor(row: RowSpec, run: Trained, device: torch.device, seed: int, trained: bool) -> Reconstructor:
    """A run as a row uses it, with its weights or with those that its networks start with."""
    if "baseline" in run.stages:
        return load_voxels(run.config, run.folder if trained else None, device)
    if row.product == "voxels":
        raise ValueError(f"row {row.label!r}: only a baseline has the product 'voxels'")
    model = load_latent(run.config, run.folder, run.stages if trained else (), device)
    return Latent(model, device, align_of(run.stages), row.product, row.steps, row.samples, seed)


def volumes_path(out: Path, name: str) -> Path:
    """Where a row keeps its volumes."""
    return out / "volumes" / f"{name}.npy"
