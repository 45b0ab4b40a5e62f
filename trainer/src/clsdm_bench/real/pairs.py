"""Radiographs beside CTs: volumes from them against a scan of the same patient from another day.

The radiographs are those that the store's manifest lists; of each patient a frontal and a lateral one of one examination, the
nearest to the CT in time. The volume is made with the geometry that the files state or a preset assumes, and once more with
that of the lateral one found (``clsdm.refine``); its coordinates are not the scan's, so the scan is registered rigidly with
it, and then compared. What remains is the model's error together
with breath, posture and time: a bound from below.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from clsdm.errors import InputError, reading
from clsdm.model.bundle import Bundle
from clsdm.progress import Report, silent
from clsdm.volume.ct import CTVolume
from clsdm.xray.image import XRay
from clsdm.xray.pair import frontal_and_lateral
from clsdm.xray.read import inspect_xray, read_xray
from clsdm_bench.lines import Figures
from clsdm_bench.measures.covered import paired
from clsdm_bench.real.localizers import Reconstructor, Settings, compared
from clsdm_bench.real.registration import register
from clsdm_bench.real.tables import Row
from clsdm_trainer.data.manifest import Case, Radiograph
from clsdm_trainer.data.store import Store
from clsdm_trainer.files import sha256_of

FRONTAL_AND_LATERAL, FRONTAL = "frontal and lateral radiograph", "frontal radiograph alone"
FOUND = "frontal and lateral radiograph, geometry found"


def score_pairs(
    bundle: Bundle, store: Store, root: Path, settings: Settings, preset: str = "chest", report: Report = silent
) -> list[Row]:
    """Figures of every patient of a store with radiographs whom the model has never seen.

    Args:
        bundle: the model.
        store: of ``clsdm-train prepare``, whose manifest lists the radiographs.
        root: of the data set, below which they lie.
        settings: how to reconstruct and compare.
        preset: geometry that the files do not state.
        report: progress.

    Raises:
        InputError: the store lists no radiograph.
    """
    if not store.radiographs:
        raise InputError(f"{store.folder}: lists no radiographs beside its CTs; nothing to try")
    reconstructor = Reconstructor(bundle, settings)
    by_patient = groupby(sorted(store.radiographs, key=lambda each: each.patient), key=lambda each: each.patient)
    radiographs = {patient: list(group) for patient, group in by_patient}
    cases = [case for case in store.all_cases if case.patient in radiographs][: settings.limit]
    rows: list[Row] = []
    for done, case in enumerate(cases):
        report("real pairs", done, len(cases))
        rows += _rows(case, store, radiographs[case.patient], root, reconstructor, preset)
    report("real pairs", len(cases), len(cases))
    return rows


def _rows(
    case: Case, store: Store, radiographs: Sequence[Radiograph], root: Path, reconstructor: Reconstructor, preset: str
) -> Iterator[Row]:
    if reconstructor.knows(case.patient):
        yield Row(case.id, FRONTAL_AND_LATERAL, {}, refused="the model was trained or selected on this patient")
        return
    try:
        with reading(case.source, "pair of radiographs and CT"):
            xrays, scan = chosen_radiographs(radiographs, root, preset), store.scanned(case)
            if len(xrays) == 1:
                yield Row(case.id, FRONTAL, _figures(xrays, scan, reconstructor))
                return
            yield Row(case.id, FRONTAL_AND_LATERAL, _figures(xrays, scan, reconstructor))
            yield Row(case.id, FOUND, _figures(xrays, scan, reconstructor, refine=True))
    except InputError as error:
        yield Row(case.id, FRONTAL_AND_LATERAL, {}, refused=str(error))


def _figures(xrays: Sequence[XRay], scan: CTVolume, reconstructor: Reconstructor, *, refine: bool = False) -> Figures:
    recon, residual = reconstructor(xrays, refine=refine)
    found = register(recon, scan)
    registered = {"registered_correlation": found.correlation, "turned_deg": found.turned_deg}
    return {**compared(paired(recon, found.scan, reconstructor.settings.spacing_mm)), **residual, **registered}


def chosen_radiographs(radiographs: Sequence[Radiograph], root: Path, preset: str) -> list[XRay]:
    """A frontal and a lateral radiograph of one examination, nearest to the CT in time, or the frontal one alone.

    Raises:
        InputError: none can be read, is not the file that was listed, or says from where it was taken.
    """
    examinations: dict[str, list[Radiograph]] = {}
    for radiograph in radiographs:
        examinations.setdefault(radiograph.study, []).append(radiograph)
    order = sorted(examinations.values(), key=lambda each: min(map(_distance, each)))
    best: list[XRay] = []
    for each in order:
        files = [_file(radiograph, root) for radiograph in each]
        pair = frontal_and_lateral([inspect_xray(file, preset=preset) for file in files])
        xrays = [
            read_xray(files[at], preset=preset, default_angle_deg=angle)
            for at, angle in zip(pair, (0.0, 90.0), strict=True)
            if at is not None
        ]
        if len(xrays) > len(best) and pair[0] is not None:
            best = xrays
        if len(best) == 2:
            return best
    if not best:
        raise InputError(f"{radiographs[0].source}: of {len(radiographs)} radiographs none says that it is frontal")
    return best


def _distance(radiograph: Radiograph) -> float:
    return float("inf") if radiograph.days_from_ct is None else abs(radiograph.days_from_ct)


def _file(radiograph: Radiograph, root: Path) -> Path:
    path = root / radiograph.source
    if not path.is_file():
        raise InputError(f"{radiograph.source}: the store lists this radiograph, but {root} holds no such file")
    if sha256_of(path) != radiograph.sha256:
        raise InputError(f"{radiograph.source}: not the file that the store lists (its sha256 differs)")
    return path
