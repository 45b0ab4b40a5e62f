"""The table of a bundle's errors, from what was found on patients it was not trained on (``clsdm.quality.intervals``).

Of n patients the half width at a level is the ceil((n + 1) level)-th smallest of their errors (split conformal prediction, on
the number). A patient's error is the largest of the conditions of the X-rays; of five patients and more it counts from the
median of the others', by which numbers are corrected. The scale, nothing, the number itself or the ensemble's spread of it, is
the one that gives the narrowest 80 % intervals on these patients.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import stats

from clsdm.model.bundle import patient_mark
from clsdm.quality.intervals import LEVELS, SCHEMA, Calibration, Errors, Scale, calibration_from
from clsdm.quality.quantities import DEFINITION, QUANTITIES
from clsdm.quality.spread import REGIONS
from clsdm.quality.usual import Shown, Usual, alikeness
from clsdm_bench.numbers.collect import RATIO_BINS, Found

FEWEST_TO_SHIFT, FEWEST_TO_CHOOSE = 5, 8
"""Patients from which numbers are corrected by the median error, and from which the scale is chosen; with fewer it is the number
itself for volumes and sizes, else nothing."""
RELATIVE = ("lung_ml", "lung_left_ml", "lung_right_ml", "outline_cm2", "water_diameter_mm")
MARGIN = 0.35
"""Beyond the patients' range of thickness, as a share of it, that is still usual."""


def crossed(found: Sequence[Found], model_sha256: str) -> Callable[[Found], Calibration]:
    """For each reconstruction, the table that all other patients give (jackknife)."""
    known: dict[str, Calibration] = {}

    def calibration_of(one: Found) -> Calibration:
        if one.case not in known:
            table = table_of([each for each in found if each.case != one.case], [], model_sha256, "all others")
            known[one.case] = calibration_from(table, model_sha256, f"all but {one.case}")
        return known[one.case]

    return calibration_of


def table_of(
    found: Sequence[Found], shown: Sequence[Sequence[Shown]], model_sha256: str, command: str
) -> dict[str, Any]:
    """A :class:`clsdm.quality.intervals.Calibration` as JSON types."""
    numbers: dict[str, Any] = {}
    for product in dict.fromkeys(each.product for each in found):
        for region in dict.fromkeys(each.region for each in found):
            mine = [each for each in found if (each.product, each.region) == (product, region)]
            quantities = {key: asdict(errors) for key in QUANTITIES if (errors := errors_of(mine, key)) is not None}
            numbers.setdefault(product, {}).update({region: quantities} if quantities else {})
    return {
        "schema": SCHEMA,
        "model_sha256": model_sha256,
        "command": command,
        "conditions": list(dict.fromkeys(each.condition for each in found)),
        "numbers": numbers,
        "voxels": {
            region: factors
            for region in dict.fromkeys(each.region for each in found)
            if (factors := voxel_factors(_plain_of(found, region)))
        },
        "usual": asdict(usual_of(shown)) if shown else {},
        "definition": DEFINITION,
        "patients": sorted({patient_mark(each.case) for each in found}),
    }


def _plain_of(found: Sequence[Found], region: str) -> list[Found]:
    """Ensembles of plain X-rays, one a patient."""
    return [each for each in found if each.region == region and each.ratios and each.condition == "plain"]


def errors_of(found: Sequence[Found], key: str) -> Errors | None:
    """Of one quantity on the patients of one product and region; None where no patient tells."""
    cases: dict[str, list[Found]] = {}
    for each in found:
        if key in each.values and key in each.truths:
            cases.setdefault(each.case, []).append(each)
    if not cases:
        return None
    scales: list[Scale] = ["one", "value"]
    if all(key in each.spreads for conditions in cases.values() for each in conditions):
        scales.append("spread")
    made = {scale: [_worst(conditions, key, scale) for conditions in cases.values()] for scale in scales}
    scale: Scale = "value" if key in RELATIVE else "one"
    if len(cases) >= FEWEST_TO_CHOOSE:
        scale = min(scales, key=lambda each: _width(made[each]))
    errors = [error for error, _ in made[scale]]
    shift, left = shifted(errors)
    known = tuple(sorted(round(error, 5) for error in errors))
    return Errors(len(errors), scale, half_widths(left), normal_bounds(errors), known, shift)


def shifted(errors: Sequence[float]) -> tuple[float, list[float]]:
    """The median error, and each patient's error less the median of all others; (0, errors) of too few patients."""
    if len(errors) < FEWEST_TO_SHIFT:
        return 0.0, list(errors)
    left = [error - statistics.median([*errors[:at], *errors[at + 1 :]]) for at, error in enumerate(errors)]
    return statistics.median(errors), left


def _worst(conditions: Sequence[Found], key: str, scale: Scale) -> tuple[float, float]:
    """The largest error of a patient over its scale, and that scale."""
    pairs = []
    for each in conditions:
        by = {"one": 1.0, "value": abs(each.values[key]), "spread": each.spreads.get(key, 0.0)}[scale]
        by = max(by, 1e-6)
        pairs.append(((each.truths[key] - each.values[key]) / by, by))
    return max(pairs, key=lambda pair: abs(pair[0]))


def _width(pairs: Sequence[tuple[float, float]]) -> float:
    half = half_widths(shifted([error for error, _ in pairs])[1]).get("80", math.inf)
    return half * float(np.mean([by for _, by in pairs]))


def half_widths(errors: Sequence[float]) -> dict[str, float]:
    """By level; none where there are too few errors for it."""
    sizes = sorted(abs(error) for error in errors)
    ranks = {level: math.ceil((len(sizes) + 1) * level / 100.0 - 1e-9) for level in LEVELS}
    return {str(level): sizes[rank - 1] for level, rank in ranks.items() if rank <= len(sizes)}


def normal_bounds(errors: Sequence[float]) -> dict[str, list[float]]:
    """By level, the interval of the next error if all are normal; none of a single one."""
    count = len(errors)
    if count < 2:
        return {}
    mean, off = float(np.mean(errors)), float(np.std(errors, ddof=1)) * math.sqrt(1.0 + 1.0 / count)
    wide = {level: float(stats.t.ppf(0.5 + level / 200.0, count - 1)) * off for level in LEVELS}
    return {str(level): [mean - half, mean + half] for level, half in wide.items()}


def voxel_factors(found: Sequence[Found]) -> dict[str, dict[str, float]]:
    """By tissue and level, how many spreads hold the errors of so many voxels, each patient counted alike."""
    factors: dict[str, dict[str, float]] = {}
    for tissue in REGIONS:
        counts = [np.array(each.ratios[tissue], dtype=np.float64) for each in found if tissue in each.ratios]
        if not counts:
            continue
        within = np.stack([np.cumsum(each)[:-1] / each.sum() for each in counts])
        factors[tissue] = {str(level): round(_factor(within, level), 3) for level in LEVELS}
        factors[tissue] |= {"patients": len(within), "held": round(_left_out(within), 3)}
    return factors


def _factor(within: np.ndarray, level: int) -> float:
    """Of (patients, bins) shares within each bin's edge, where the patients' mean reaches the level."""
    return float(np.interp(level / 100.0, within.mean(0), RATIO_BINS))


def _left_out(within: np.ndarray) -> float:
    """Mean share of a patient's voxels within the 80 % interval that all others gave; 0 for one patient alone."""
    shares = [
        np.interp(_factor(np.delete(within, at, 0), 80), RATIO_BINS, within[at])
        for at in range(len(within) * (len(within) > 1))
    ]
    return float(np.mean(shares)) if shares else 0.0


def usual_of(patients: Sequence[Sequence[Shown]]) -> Usual:
    """Values of the patients, each as projected and then under other conditions, and the limits beyond which they are unusual.

    The X-rays of a patient follow one another. A limit leaves to the projection of another patient as far again as the least of
    these is off, and holds for all that was seen under the other conditions.
    """
    descriptions: dict[str, list[list[Any]]] = {}
    for number, conditions in enumerate(patients):
        for kind, some in itertools.chain(*(each.descriptions.items() for each in conditions)):
            own = descriptions.setdefault(kind, [[] for _ in patients])[number]
            own.extend(np.round(one, 3).tolist() for one in some)
    descriptions = {kind: every for kind, every in descriptions.items() if sum(map(bool, every)) > 2}
    shown = [each for conditions in patients for each in conditions]
    thick = [each.water_mm for each in shown if each.water_mm is not None]
    spare = MARGIN * float(np.ptp(thick)) if thick else 0.0
    return Usual(
        len(patients),
        {kind: [*itertools.chain(*every)] for kind, every in descriptions.items()},
        {kind: _limit([_likeness(every, at) for at in range(len(every))]) for kind, every in descriptions.items()},
        _limit([[each.correlation for each in conditions] for conditions in patients]),
        _limit([[each.heights for each in conditions] for conditions in patients]),
        round(0.5 * min((each.detail for each in shown if each.detail is not None), default=0.0), 5),
        (round(min(thick) - spare, 1), round(max(thick) + spare, 1)) if thick else (0.0, 1e6),
    )


def _likeness(descriptions: Sequence[Sequence[Any]], at: int) -> list[float | None]:
    """Of each X-ray of one patient, to the most similar of all others'."""
    others = [*itertools.chain(*descriptions[:at], *descriptions[at + 1 :])]
    return [alikeness(np.array(each), others) for each in descriptions[at]]


def _limit(similarities: Sequence[Sequence[float | None]]) -> float:
    """The least similarity that is still usual, of each patient's, the first of which is as projected."""
    plain = [own[0] for own in similarities if own and own[0] is not None]
    others = [each for own in similarities for each in own[1:] if each is not None]
    return round(min([2.0 * min(plain) - 1.0] * bool(plain) + others, default=-1.0), 4)
