"""Each patient's numbers beside those of the scan, kept as a JSON file a patient: what was measured is not measured again.

X-rays and volumes are those of ``score`` (scan file, DICOM files, volume file), and are cached by it in the same folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from clsdm.app.record import companions, read_record
from clsdm.errors import InputError
from clsdm.files.strict_json import from_plain, read_json
from clsdm.progress import Report, silent
from clsdm.quality.compare import covered_truth
from clsdm.quality.measure import Measures, measuring
from clsdm.quality.numbers import numbers, recorded, spine_distances_mm
from clsdm.quality.quantities import DEFINITION
from clsdm.quality.spread import REGIONS, error_ratios
from clsdm.volume.body import body_mask
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct
from clsdm_bench.numbers.structures import count_structures
from clsdm_bench.score.cases import ScanFile
from clsdm_bench.score.run import Scoring
from clsdm_trainer.files import write_json

RATIO_BINS = np.geomspace(0.01, 100.0, 81)
"""Of the histograms of an error over the voxel's spread."""


@dataclass(frozen=True)
class Found:
    """One reconstruction beside its scan.

    Attributes:
        case: name of the scan.
        group: it is averaged with.
        seen: whether the model was trained or selected on this patient.
        condition: of the X-rays.
        product: of the reconstruction.
        region: "chest" or "other".
        values: measured in the reconstruction.
        spreads: their standard deviations over an ensemble's samples.
        truths: measured in the scan over the same heights.
        spine_mm: mean distance of the spines seen from the front and from the side.
        residuals: correlation and share of contrast of each view.
        ratios: of an ensemble, by tissue: histogram of error over spread, with the share beyond either end.
        structures: shown, made_up, true, lost.
        definition: of the numbers, ``quantities.DEFINITION``.
    """

    case: str
    group: str
    seen: bool
    condition: str
    product: str
    region: str
    values: dict[str, Any]
    spreads: dict[str, Any]
    truths: dict[str, Any]
    spine_mm: tuple[float, float] | None
    residuals: dict[str, Any]
    ratios: dict[str, Any]
    structures: dict[str, Any]
    definition: int = DEFINITION


def collect(scoring: Scoring, report: Report = silent) -> list[Found]:
    """Measure every reconstruction of a scoring.

    Raises:
        InputError: a scan cannot be used.
    """
    found = []
    for done, scan in enumerate(scoring.scans, 1):
        path = scoring.out / "numbers" / f"{scan.name}.json"
        known = {_key(each): each for each in _kept(path)}
        missing = [run for run in scoring.settings.runs() if run not in known]
        if missing:
            known |= {_key(each): each for each in _measured(scoring, scan, missing)}
            write_json(path, [asdict(each) for each in known.values()])
        found += [replace(known[run], group=scan.group, seen=scan.seen) for run in scoring.settings.runs()]
        report("measure", done, len(scoring.scans))
    return found


def _key(found: Found) -> tuple[str, str]:
    return found.condition, found.product


def _kept(path: Path) -> list[Found]:
    """Earlier measurements, as numbers are defined today."""
    before = read_json(path, "measurements") if path.is_file() else []
    if not isinstance(before, list) or not all(isinstance(each, dict) for each in before):
        raise InputError(f"{path}: expected a list of measurements; move it away, and they are made again")
    return [from_plain(Found, each, str(path)) for each in before if each.get("definition") == DEFINITION]


def _measured(scoring: Scoring, scan: ScanFile, runs: Sequence[tuple[str, Any]]) -> Iterator[Found]:
    ct = read_ct(scan.path)
    truth_over = measuring(ct)
    for condition, product in runs:
        recon, _ = scoring.volume(scan, condition, product)
        path = scoring.path(scan, condition, product)
        record = read_record(path) or {}
        measures = recorded(record) or numbers(recon, product)
        mine = Measures.from_plain(measures)
        truth = truth_over(mine.over_mm)
        on_grid, covered = covered_truth(ct, recon)
        body = body_mask(on_grid.hu) & covered
        yield Found(
            scan.name,
            scan.group,
            scan.seen,
            condition,
            product,
            mine.region,
            mine.values,
            {key: each["spread"] for key, each in measures["values"].items() if "spread" in each},
            truth.values,
            spine_distances_mm(mine, truth),
            {
                "correlation": [each["correlation"] for each in record.get("residuals", [])],
                "contrast": [each["rmse"] / 2.0 for each in record.get("residuals", [])],
            },
            _ratios(recon, on_grid, body, companions(path)["spread"]),
            asdict(count_structures(recon.hu, on_grid.hu, body, recon.spacing_mm[0])),
        )


def _ratios(recon: CTVolume, truth: CTVolume, body: np.ndarray, spread: Path) -> dict[str, Any]:
    if not spread.is_file():
        return {}
    ratios = error_ratios(recon.hu, truth.hu, sitk.GetArrayFromImage(sitk.ReadImage(str(spread))), body)
    edges = np.concatenate(([0.0], RATIO_BINS, [np.inf]))
    return {tissue: np.histogram(ratios[tissue], edges)[0].tolist() for tissue in REGIONS if len(ratios[tissue])}
