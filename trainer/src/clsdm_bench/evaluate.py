"""A bundle on the patients of a store: its products beside the rows that no table is complete without.

Those are the population mean, the nearest training patient, the autoencoder's round trip, shuffled X-rays, and X-rays
taken in other ways (:data:`EXPOSURES`).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clsdm.errors import InputError
from clsdm.model.bundle import Bundle
from clsdm.model.clsdm import CLSDM
from clsdm.progress import Report, silent
from clsdm.quality.metrics import summarise
from clsdm.reconstruction import Options, Product, choose_device, reconstruct
from clsdm.volume.ct import CTVolume
from clsdm_bench.patients import Method, Outcome, Patient, load_patients, measured, refuse_seen, write_cases
from clsdm_bench.systems.sanity import nearest_patient, population_mean, round_trip, shuffled
from clsdm_trainer.data.store import Store
from clsdm_trainer.figures import figures_table
from clsdm_trainer.files import write_json, write_text

HELD_OUT_DEG = (45.0, 135.0)
"""Views that no method gets to see and every volume is projected in."""

EXPOSURES: dict[str, tuple[str, tuple[float, ...]]] = {
    "frontal alone": ("chest", (0.0,)),
    "lateral alone": ("chest", (90.0,)),
    "4 views": ("chest", (0.0, 45.0, 90.0, 135.0)),
    "views at -5° and 95°": ("chest", (-5.0, 95.0)),
    "x2ct": ("x2ct", (0.0, 90.0)),
    "c-arm": ("c-arm", (0.0, 90.0)),
    "linac-kv": ("linac-kv", (0.0, 90.0)),
}
"""Other ways to take the X-rays, by name: geometry preset and angles."""


def bundle_method(bundle: Bundle, model: CLSDM, options: Options) -> Method:
    """A product of a bundle as a method."""
    return lambda xrays: reconstruct(xrays, bundle, options, model=model).volume


def evaluate(
    bundle: Bundle,
    store: Store,
    *,
    split: str = "test",
    geometry: str = "chest",
    angles_deg: Sequence[float] = (0.0, 90.0),
    seeds: Sequence[int] = (0, 1, 2),
    samples: int = 8,
    device: str = "auto",
    sanity: bool = True,
    report: Report = silent,
) -> list[Outcome]:
    """Measure a bundle on a split.

    Raises:
        InputError: the bundle has seen a patient of the split, or was made for another grid.
    """
    refuse_seen(str(bundle.path), bundle.manifest.trained_patients, store, split)
    if store.grid != bundle.manifest.model.grid:
        raise InputError(f"{store.folder}: holds {store.grid}, the bundle works on {bundle.manifest.model.grid}")
    patients = load_patients(store, split, geometry, angles_deg, report, HELD_OUT_DEG)
    model = bundle.model(choose_device(device))
    runs: list[tuple[str, Callable[[Patient], CTVolume], Sequence[Patient], int]] = []

    def add(name: str, method: Method, on: Sequence[Patient] = patients, seed: int = 0) -> None:
        runs.append((name, lambda patient: method(patient.xrays), on, seed))

    def product(name: Product, seed: int = 0) -> Method:
        return bundle_method(bundle, model, Options(name, samples=samples, seed=seed, device=device, measure=False))

    add("mean", product("mean"))
    for seed in seeds:
        add("sample", product("sample", seed), seed=seed)
    add("ensemble", product("ensemble", seeds[0]), seed=seeds[0])
    if sanity:
        runs.append(("autoencoder round trip (given the CT)", lambda p: round_trip(model, p.truth), patients, 0))
        if len(patients) > 1:  # else there is no other patient
            add("mean, shuffled X-rays", product("mean"), shuffled(patients))
        add("population mean", population_mean(store))
        train = load_patients(store, "train", geometry, angles_deg, report)
        add("nearest training patient", nearest_patient(train, bundle.manifest.model.detector))
        for name, exposure in EXPOSURES.items():
            add(f"mean, {name}", product("mean"), load_patients(store, split, *exposure, report))
    outcomes: list[Outcome] = []
    in_all = sum(len(on) for _, _, on, _ in runs)
    for name, work, on, seed in runs:
        for outcome, _ in measured(name, work, on, seed):
            outcomes.append(outcome)
            report("evaluate", len(outcomes), in_all)
    return outcomes


def by_case(outcomes: Sequence[Outcome], key: str) -> dict[str, float]:
    """A figure of each patient, averaged over seeds first; patients where it is undefined are left out."""
    cases: dict[str, list[float]] = {}
    for outcome in outcomes:
        if outcome.figures.get(key) is not None:
            cases.setdefault(outcome.case, []).append(outcome.figures[key])
    return {case: statistics.mean(values) for case, values in cases.items()}


def methods_of(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Per method: a summary over patients of each figure, and the median seconds."""
    methods: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.method == method]
        row: dict[str, Any] = {
            "seeds": len({outcome.seed for outcome in mine}),
            "seconds": statistics.median(outcome.seconds for outcome in mine),
        }
        for key in (key for key, value in mine[0].figures.items() if not isinstance(value, str)):
            if cases := by_case(mine, key):
                row[key] = asdict(summarise(list(cases.values())))
        methods[method] = row
    return methods


def write_results(outcomes: Sequence[Outcome], folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write ``results.json``, ``results.md`` and ``cases.csv``; returns the content of the JSON.

    Raises:
        InputError: a file cannot be written.
    """
    results = {"about": about, "methods": methods_of(outcomes)}
    write_json(folder / "results.json", results)
    write_text(folder / "results.md", figures_table(results))
    write_cases(outcomes, folder / "cases.csv")
    return results
