"""One row of the table: reconstruct every test patient, compare, and keep what the report needs (``records``)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsdm.files.atomic import write_atomically
from clsdm.progress import Report, silent
from clsdm.reconstruction import Options, Product, choose_device
from clsdm.volume.ct import CTVolume
from clsdm_bench.evaluate import bundle_method
from clsdm_bench.measures.distribution import SET_FIGURE, sliced_wasserstein
from clsdm_bench.patients import Method, Outcome, Patient, detector_of, load_patients, measured, refuse_seen
from clsdm_bench.records import Records, RowResult
from clsdm_bench.report.pictures import write_picture
from clsdm_bench.resolve import Budget, recipe_of
from clsdm_bench.systems.classical import METHODS, classical
from clsdm_bench.systems.ours import bundle_of, latent_model
from clsdm_bench.systems.sanity import nearest_patient, population_mean, round_trip, shuffled
from clsdm_bench.systems.stages import BaselineStage
from clsdm_bench.systems.voxels import load_voxels
from clsdm_bench.table import RowSpec, TableSpec
from clsdm_bench.training import Trained, open_trained, parameters_of
from clsdm_trainer.data.store import Store

VERSION = 2
"""Of what a row measures: a higher one makes all rows anew."""
XRAYS = {"scan": "projections of the scans", "cube": "projections of the very cube that is predicted"}
"""In words, where they come from."""


@dataclass
class Benchmark:
    """A table on the patients of a store, and all that its rows share; X-rays are projected once for each set of angles.

    Attributes:
        table: what is compared.
        store: the patients.
        out: folder of runs and volumes.
        device: "auto", "cpu" or "cuda".
        budget: of each method.
        records: of the rows that were measured.
    """

    table: TableSpec
    store: Store
    out: Path
    device: str
    budget: Budget
    records: Records
    _patients: dict[tuple[float, ...], list[Patient]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records = self.records.under(self.protocol())

    def protocol(self) -> dict[str, Any]:
        """On whom and how every row is measured."""
        table = self.table.model_dump(mode="json", include={"split", "geometry", "angles_deg", "held_out_deg", "seeds"})
        cases = {case.id: case.sha256 for case in self.store.cases(self.table.split)}
        return {"version": VERSION, "xrays": XRAYS[self.table.xrays], **table, "cases": cases}

    def patients(self, angles_deg: tuple[float, ...] | None = None) -> list[Patient]:
        """The test patients with X-rays at some angles; the table's if None."""
        angles = angles_deg or self.table.angles_deg
        if angles not in self._patients:
            self._patients[angles] = self._loaded(self.table.split, angles)
        return self._patients[angles]

    def _loaded(self, split: str, angles_deg: tuple[float, ...]) -> list[Patient]:
        table = self.table
        return load_patients(
            self.store,
            split,
            table.geometry,
            angles_deg,
            held_out_deg=table.held_out_deg if split == table.split else (),
            of_cube=table.xrays == "cube",
        )

    def run(self, row: str) -> Trained | None:
        """The training that a row needs, done or not."""
        name = self.table.rows[row].run
        return None if name is None else open_trained(self.table, name, self.budget, self.out)

    def definition(self, name: str) -> dict[str, Any]:
        """All that a row is made from, except the patients and the weights that training came to."""
        row = self.table.rows[name]
        recipe = recipe_of(self.table, row.run, self.budget) if row.run else None
        return {"row": row.model_dump(mode="json", exclude={"label", "note", "group"}), "recipe": recipe}

    def kept(self, name: str) -> RowResult | None:
        """The record of a row, if it was made from the same definition."""
        result = self.records.rows.get(name)
        same = result is not None and {**result.made_from, "weights": None} == {
            **self.definition(name),
            "weights": None,
        }
        return result if same else None

    def measure(self, name: str, report: Report = silent) -> RowResult:
        """The result of a row, from its record where that is still true.

        Args:
            name: of the row.
            report: progress, patient by patient of each seed.

        Raises:
            InputError: a patient of the split is in the training manifest of the run.
        """
        run = self.run(name)
        if run is not None:
            refuse_seen(str(run.folder), run.patients(), self.store, self.table.split)
        weights = run.fingerprint(self.table.stages_for(name)) if run else None
        kept = self.kept(name)
        if kept is not None and kept.made_from["weights"] == weights:
            return kept
        result = self._measured(name, run, {**self.definition(name), "weights": weights}, report)
        self.records = self.records.with_row(result)
        return result

    def _measured(self, name: str, run: Trained | None, made_from: dict[str, Any], report: Report) -> RowResult:
        row = self.table.rows[name]
        patients = self.patients(row.angles_deg)
        outcomes: list[Outcome] = []
        distances: list[dict[str, float]] = []
        for seed in self.table.seeds if row.stochastic else self.table.seeds[:1]:
            on = shuffled(patients) if row.method == "shuffled" else patients
            found, volumes = zip(*measured(name, self.work(name, seed), on, seed, report), strict=True)
            hu = np.stack([volume.hu.round().astype(np.int16) for volume in volumes])
            distance = sliced_wasserstein(list(hu), [patient.truth.hu for patient in patients])
            if not distances:
                self._keep_volumes(name, row, hu)
            distances.append(asdict(distance.whole))
            for outcome, share in zip(found, distance.shares, strict=True):
                added = {f"{SET_FIGURE}{key}": value for key, value in asdict(share).items()}
                outcomes.append(replace(outcome, figures={**outcome.figures, **added}))
        parameters = parameters_of(run, row.product) if run and row.method is None else None
        cost = run.cost(self.table.stages_for(name)) if run else None
        return RowResult(name, made_from, tuple(outcomes), tuple(distances), parameters, cost)

    def _keep_volumes(self, name: str, row: RowSpec, hu: np.ndarray) -> None:
        """(cases, z, y, x) int16 HU of the first seed, and the picture of some of them."""
        write_atomically(volumes_path(self.out, name), lambda path: np.save(path, hu, allow_pickle=False))
        write_picture(
            self.records.folder / f"{name}.png", row.label, hu, self.patients(row.angles_deg), self.table.pictures
        )

    def work(self, name: str, seed: int, *, trained: bool = True) -> Callable[[Patient], CTVolume]:
        """The function from a patient to a row's volume. All but the round trip, which says so, see nothing but the X-rays.

        Args:
            name: of the row.
            seed: of samples.
            trained: with the weights of its run; else with those that its networks start with.

        Raises:
            InputError: the run is not trained.
        """
        row, run, device = self.table.rows[name], self.run(name), choose_device(self.device)
        if row.method == "round-trip" and run is not None:
            stages = self.table.stages_for(name) if trained else ()
            model = latent_model(run.config, run.folder, run.stages, device, stages)
            return lambda patient: round_trip(model, patient.truth)
        method = self._method(row, run, device, seed, trained)
        return lambda patient: method(patient.xrays)

    def _method(self, row: RowSpec, run: Trained | None, device: torch.device, seed: int, trained: bool) -> Method:
        if row.method == "population-mean":
            return population_mean(self.store)
        if row.method == "nearest-patient":
            detector = detector_of(self.patients(row.angles_deg)[0].truth)
            return nearest_patient(self._loaded("train", row.angles_deg or self.table.angles_deg), detector)
        if row.method in METHODS:
            return partial(classical, row.method, self.store.grid)
        if run is None:
            raise ValueError(f"row {row.label!r} has neither a method nor a run")
        return trained_method(row, run, device, seed, run.stages if trained else ())


def trained_method(row: RowSpec, run: Trained, device: torch.device, seed: int, trained: Sequence[str]) -> Method:
    """A run as a row uses it, with the weights of the stages ``trained``, elsewhere with those that networks start with."""
    if BaselineStage.name in run.stages:
        return load_voxels(run.config, run.folder if trained else None, device)
    if row.product == "voxels":
        raise ValueError(f"row {row.label!r}: only a baseline has the product 'voxels'")
    product: Product = row.product
    options = Options(product, row.steps, row.samples, seed, device.type, measure=False)
    return bundle_method(
        bundle_of(run.config, run.folder), latent_model(run.config, run.folder, run.stages, device, trained), options
    )


def volumes_path(out: Path, name: str) -> Path:
    """Where a row keeps its volumes."""
    return out / "volumes" / f"{name}.npy"
