"""The one honest evaluator: every method gets X-rays and returns a volume; it never sees the CT it is judged by.

A method is a function from X-rays to a ``CTVolume``. Cases are paired by id, figures come from ``clsdm.quality.metrics`` under
their named protocols, means carry bootstrap intervals over patients, and the sanity rows (population mean, nearest
training patient, autoencoder round trip, shuffled X-rays) always stand in the table.
"""

from __future__ import annotations

import csv
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.geometry.view import Detector, preset
from clsdm.model.bundle import Bundle, patient_mark
from clsdm.model.clsdm import CLSDM
from clsdm.progress import Report, silent
from clsdm.quality.metrics import honest, summarise, x2ct
from clsdm.quality.reprojection import reprojection
from clsdm.reconstruct import Options, Product, choose_device, reconstruct
from clsdm.simulate import simulate_xrays
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import hu_to_unit, unit_to_hu
from clsdm.xray.preprocess import XRay, preprocess
from clsdm_trainer.data.store import Case, Store
from clsdm_trainer.figures import figures_table

Method = Callable[[Sequence[XRay]], CTVolume]

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


@dataclass(frozen=True)
class Patient:
    """One case of the evaluation: its truth, its X-rays, and X-rays that no method gets to see."""

    case: Case
    truth: CTVolume
    xrays: tuple[XRay, ...]
    held_out: tuple[XRay, ...] = ()


LEADING = ("method", "case", "seed", "seconds")
"""What stands before the figures of a patient."""


@dataclass(frozen=True)
class Outcome:
    """One reconstruction, judged."""

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
) -> list[Patient]:
    """The cases of a split with X-rays projected from the scans; input views are never held out."""
    cases = store.cases(split)
    machine = preset(geometry)
    held_out_deg = [angle for angle in held_out_deg if angle not in angles_deg]
    patients = []
    for done, case in enumerate(cases, 1):
        truth = canonical(store, case)
        views = [machine.view(angle) for angle in (*angles_deg, *held_out_deg)]
        xrays = tuple(simulate_xrays(store.scanned(case), views, (0.0, 0.0, 0.0)))
        patients.append(Patient(case, truth, xrays[: len(angles_deg)], xrays[len(angles_deg) :]))
        report("project", done, len(cases))
    return patients


def canonical(store: Store, case: Case) -> CTVolume:
    """A case's volume on the network's cube, within the HU window."""
    return CTVolume.on_grid(store.truth(case), store.grid)


def check_unseen(bundle: Bundle, store: Store, split: str) -> None:
    """Refuse to judge a model on patients it was trained or selected on.

    Raises:
        InputError: names how many.
    """
    refuse_seen(str(bundle.path), bundle.manifest.trained_patients, store, split)


def refuse_seen(name: str, trained_patients: Sequence[str], store: Store, split: str) -> None:
    """The same for any list of :func:`clsdm.model.bundle.patient_mark`.

    Raises:
        InputError: names how many.
    """
    trained = set(trained_patients)
    seen = [case.id for case in store.cases(split) if patient_mark(case.patient) in trained]
    if seen:
        raise InputError(
            f"{name}: trained on {len(seen)} of the patients of split {split!r} ({', '.join(seen[:3])} ...); "
            "expected patients it has never seen"
        )


def bundle_method(bundle: Bundle, model: CLSDM, product: Product, seed: int, samples: int, device: str) -> Method:
    """A product of a bundle as a method."""
    options = Options(product=product, seed=seed, samples=samples, device=device)
    return lambda xrays: reconstruct(xrays, bundle, options, model=model).volume


def population_mean(store: Store) -> Method:
    """The mean training CT, whatever the X-rays show."""
    total = np.zeros((store.grid.size,) * 3)
    cases = [case for case in store.cases("train") if case.split == "train"]
    for case in cases:
        total += canonical(store, case).hu
    mean = CTVolume.on_grid(total / len(cases), store.grid)
    return lambda xrays: mean


def nearest_patient(store: Store, geometry: str, angles_deg: Sequence[float], detector: Detector) -> Method:
    """The training CT whose X-rays look most alike on the virtual detector."""
    train = load_patients(store, "train", geometry, angles_deg)
    images = [torch.stack([preprocess(xray, detector)[0][0] for xray in patient.xrays]) for patient in train]

    def nearest(xrays: Sequence[XRay]) -> CTVolume:
        own = torch.stack([preprocess(xray, detector)[0][0] for xray in xrays])
        distances = [float((own - other).square().mean()) for other in images]
        return train[int(np.argmin(distances))].truth

    return nearest


def judge(
    name: str,
    method: Method,
    patients: Sequence[Patient],
    seed: int = 0,
) -> Iterator[Outcome]:
    """Run a method on every patient's X-rays and score what it returns."""
    for patient in patients:
        started = time.perf_counter()
        volume = method(patient.xrays)
        yield scored(name, volume, patient, seed, time.perf_counter() - started)


def scored(name: str, volume: CTVolume, patient: Patient, seed: int, seconds: float) -> Outcome:
    """Figures of one volume under both protocols, with its reprojection residual."""
    clean, published = honest(volume.hu, patient.truth.hu), x2ct(volume.hu, patient.truth.hu)
    figures: dict[str, Any] = {f"honest.{key}": value for key, value in clean.items()}
    figures |= {f"x2ct.{key}": value for key, value in published.items()}
    for key, xrays in (("reprojection_rmse", patient.xrays), ("reprojection_held_out_rmse", patient.held_out)):
        if xrays:
            figures[key] = statistics.mean(item.rmse for item in reprojection(volume, xrays))
    return Outcome(name, patient.case.id, seed, seconds, figures)


def shuffled(patients: Sequence[Patient]) -> list[Patient]:
    """Every truth with the X-rays of the next patient: a method that reads its input must get much worse."""
    return [
        Patient(patient.case, patient.truth, other.xrays, other.held_out)
        for patient, other in zip(patients, [*patients[1:], patients[0]], strict=True)
    ]


def round_trip(model: CLSDM, patients: Sequence[Patient]) -> Iterator[Outcome]:
    """The autoencoder's ceiling. Not a method: it is the one row that is given the CT, and says so in its name."""
    for patient in patients:
        started = time.perf_counter()
        volume = there_and_back(model, patient.truth)
        yield scored("autoencoder round trip (given the CT)", volume, patient, 0, time.perf_counter() - started)


@torch.inference_mode()
def there_and_back(model: CLSDM, ct: CTVolume) -> CTVolume:
    """A CT through the autoencoder."""
    device = next(model.parameters()).device
    unit = model.decode(model.encode(hu_to_unit(torch.from_numpy(ct.hu))[None, None].to(device)))
    return CTVolume.on_grid(unit_to_hu(unit)[0, 0].cpu().numpy(), model.config.grid)


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
    held_out_deg: Sequence[float] = HELD_OUT_DEG,
    report: Report = silent,
) -> list[Outcome]:
    """Judge a bundle on a split: its three products and, with ``sanity``, the rows no table is complete without, and the
    mean from X-rays taken in other ways (:data:`EXPOSURES`).

    Raises:
        InputError: the bundle has seen a patient of the split, or was made for another grid.
    """
    check_unseen(bundle, store, split)
    if store.grid != bundle.manifest.model.grid:
        raise InputError(f"{store.folder}: holds {store.grid}, the bundle works on {bundle.manifest.model.grid}")
    patients = load_patients(store, split, geometry, angles_deg, report, held_out_deg)
    model = bundle.model(choose_device(device))
    mean = bundle_method(bundle, model, "mean", 0, samples, device)
    runs: list[tuple[str, Callable[[], Iterator[Outcome]]]] = [("mean", partial(judge, "mean", mean, patients))]
    products: tuple[Product, ...] = ("sample", "ensemble")
    for product in products:
        for seed in seeds if product == "sample" else seeds[:1]:
            method = bundle_method(bundle, model, product, seed, samples, device)
            runs.append((product, partial(judge, product, method, patients, seed)))
    if sanity:
        nearest = nearest_patient(store, geometry, angles_deg, bundle.manifest.model.detector)
        runs += [
            ("round trip", partial(round_trip, model, patients)),
            ("shuffled", partial(judge, "mean, shuffled X-rays", mean, shuffled(patients))),
            ("population", partial(judge, "population mean", population_mean(store), patients)),
            ("nearest", partial(judge, "nearest training patient", nearest, patients)),
        ]
        runs += [
            (name, partial(_judge_exposure, name, mean, store, split, *exposure))
            for name, exposure in EXPOSURES.items()
        ]
    outcomes: list[Outcome] = []
    for done, (name, run) in enumerate(runs, 1):
        outcomes += run()
        report(f"evaluate {name}", done, len(runs))
    return outcomes


def _judge_exposure(
    name: str, mean: Method, store: Store, split: str, geometry: str, angles_deg: Sequence[float]
) -> Iterator[Outcome]:
    yield from judge(f"mean, {name}", mean, load_patients(store, split, geometry, angles_deg))


def table(outcomes: Sequence[Outcome], keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per method: mean, standard deviation and 95 % interval of each figure over patients (seeds averaged first)."""
    rows: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.method == method]
        row: dict[str, Any] = {
            "seeds": len({o.seed for o in mine}),
            "seconds": statistics.median(o.seconds for o in mine),
        }
        for key in keys:
            cases: dict[str, list[float]] = {}
            for outcome in mine:
                if outcome.figures.get(key) is not None:
                    cases.setdefault(outcome.case, []).append(outcome.figures[key])
            if cases:
                row[key] = asdict(summarise([statistics.mean(values) for values in cases.values()]))
        rows[method] = row
    return rows


def write_results(outcomes: Sequence[Outcome], folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write ``results.json``, ``results.md`` and ``cases.csv``; returns what stands in the JSON.

    Raises:
        InputError: a file cannot be written.
    """
    numeric = [key for key, value in outcomes[0].figures.items() if isinstance(value, float)]
    results = {"about": about, "methods": table(outcomes, numeric)}
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "results.json", lambda path: path.write_text(text, encoding="utf-8"))
    page = figures_table(results)
    write_atomically(folder / "results.md", lambda path: path.write_text(page, encoding="utf-8"))
    write_cases(outcomes, folder / "cases.csv")
    return results


def write_cases(outcomes: Sequence[Outcome], path: Path) -> None:
    """Every patient's figures as CSV, one line for each method, patient and seed; what is undefined is empty.

    Raises:
        InputError: the file cannot be written.
    """
    keys = list(dict.fromkeys(key for outcome in outcomes for key in outcome.figures))

    def write(name: Path) -> None:
        with name.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*LEADING, *keys])
            for outcome in outcomes:
                figures = [outcome.figures.get(key) for key in keys]
                writer.writerow([outcome.method, outcome.case, outcome.seed, outcome.seconds, *figures])

    write_atomically(path, write)


def read_cases(path: Path) -> list[Outcome]:
    """What :func:`write_cases` wrote.

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
