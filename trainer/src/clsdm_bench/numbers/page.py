"""Observed coverage beside the promised one, as Markdown tables."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from textwrap import shorten

import numpy as np

from clsdm.quality.intervals import LEVELS, Calibration
from clsdm.quality.quantities import QUANTITIES
from clsdm.quality.spread import REGIONS
from clsdm_bench.numbers.collect import RATIO_BINS, Found
from clsdm_bench.numbers.steady import SPINE, Scatter
from clsdm_bench.numbers.wrong import Handed
from clsdm_bench.score.exposures import CONDITIONS
from clsdm_trainer.figures import markdown_table

CalibrationOf = Callable[[Found], Calibration]
"""The table that a reconstruction is judged by."""

TARGETS = {
    "lung_ml": ("7 %", 0.07, True),
    "cardiothoracic_ratio": (".04", 0.04, False),
    "water_diameter_mm": ("3 %", 0.03, True),
    "diaphragm_left_mm": ("8 mm", 8.0, False),
    "diaphragm_right_mm": ("8 mm", 8.0, False),
}
"""By quantity: in words, the mean absolute error that is aimed at, and whether it is a share of the truth."""
SPINE_TARGET_MM = 6.0


TITLES = {
    "errors": "Errors",
    "coverage": "Coverage of the intervals",
    "voxels": "Coverage of the voxels' 80 % intervals",
    "structures": "Structures above 6 ml",
    "fixed": "Share of the contrast in the body that the X-rays fix",
    "inputs": "Wrong and right inputs",
    "steady": "How far the measures themselves scatter",
}
"""By name of a part, in this order."""


def tables(
    found: Sequence[Found],
    calibration_of: CalibrationOf,
    handed: Sequence[Handed] | None = None,
    fixed: Mapping[str, float] | None = None,
    scatter: Scatter | None = None,
) -> dict[str, str]:
    """Each table by its name in ``TITLES``; those without figures are left out."""
    parts = {
        "errors": errors_table(found, calibration_of),
        "coverage": coverage_table(found, calibration_of),
        "voxels": voxels_table(found, calibration_of) if any(each.ratios for each in found) else "",
        "structures": structures_table(found),
        "fixed": fixed_table(fixed) if fixed else "",
        "inputs": wrong_table(handed) if handed else "",
        "steady": steady_table(scatter) if scatter else "",
    }
    return {name: parts[name] for name in TITLES if parts[name]}


def headed(parts: Mapping[str, str]) -> str:
    """All tables, each with a heading."""
    return "\n".join(f"## {TITLES[name]}\n\n{text}" for name, text in parts.items())


def _runs(found: Sequence[Found]) -> dict[tuple[str, str, str], list[Found]]:
    runs: dict[tuple[str, str, str], list[Found]] = {}
    for each in found:
        runs.setdefault((each.group, each.condition, each.product), []).append(each)
    return runs


def _both(found: Sequence[Found], key: str) -> list[Found]:
    return [each for each in found if key in each.values and key in each.truths]


def errors_table(found: Sequence[Found], calibration_of: CalibrationOf) -> str:
    """Mean absolute errors, as measured in the volume and corrected, of what could be measured in volume and scan."""
    groups: dict[str, list[Found]] = {}
    for each in found:
        groups.setdefault(each.group, []).append(each)
    return "\n".join(_group_errors(group, each, calibration_of) for group, each in groups.items())


def _group_errors(group: str, found: Sequence[Found], calibration_of: CalibrationOf) -> str:
    runs = _runs(found)
    rows = []
    for key, quantity in QUANTITIES.items():
        unit, digits = ("%", 1) if _relative(key) else (quantity.unit, quantity.digits + 1)
        cells = [_errors(each, key, calibration_of, f"{{:.{digits}f}}", unit) for each in runs.values()]
        rows.append([quantity.label, TARGETS[key][0] if key in TARGETS else "", *cells])
    for axis, name in enumerate(("front", "side")):
        lines = [[one.spine_mm[axis] for one in each if one.spine_mm is not None] for each in runs.values()]
        cells = [f"{statistics.mean(line):.1f} mm ({len(line)})" if line else "-" for line in lines]
        rows.append([f"Spine's midline, seen from the {name}", f"{SPINE_TARGET_MM:.0f} mm", *cells])
    never = [row[0] for row in rows if set(row[2:]) == {"-"}]
    rows = [row for row in rows if row[0] not in never]
    heads = [f"{CONDITIONS[condition].text}, {product}" for _, condition, product in runs]
    return markdown_table(
        [f"{group}: mean absolute error, as measured / corrected (patients)", "target", *heads], rows
    ) + (f"\nNot measurable in any of them: {', '.join(never)}.\n" if never else "")


def _errors(found: Sequence[Found], key: str, calibration_of: CalibrationOf, form: str, unit: str) -> str:
    both = _both(found, key)
    if not both:
        return "-"
    plain = statistics.mean(truth_error(one, key, one.values[key]) for one in both)
    better = statistics.mean(truth_error(one, key, _corrected(one, key, calibration_of(one))) for one in both)
    return f"{form.format(plain)} / {form.format(better)} {unit}".rstrip() + f" ({len(both)})"


def _corrected(found: Found, key: str, calibration: Calibration) -> float:
    intervals = calibration.intervals(found.product, found.region, key, found.values[key], found.spreads.get(key))
    return found.values[key] if intervals is None else intervals.corrected


def truth_error(found: Found, key: str, value: float) -> float:
    """Absolute, in per cent of the truth where a share is aimed at."""
    off = abs(value - found.truths[key])
    return 100.0 * off / abs(found.truths[key]) if _relative(key) else off


def _relative(key: str) -> bool:
    return (key in TARGETS and TARGETS[key][2]) or QUANTITIES[key].unit in ("ml", "cm²")


def coverage_table(found: Sequence[Found], calibration_of: CalibrationOf) -> str:
    """How often the truth lay in the interval, over all quantities and patients; also that of the normal intervals."""
    head = [
        "group, X-rays, product",
        "numbers",
        *(f"{level} %" for level in LEVELS),
        *(f"{level} %, normal" for level in LEVELS),
    ]
    rows = []
    for (group, condition, product), each in _runs(found).items():
        within: dict[tuple[str, str], list[bool]] = {}
        few: dict[tuple[str, str], set[int]] = {}
        count = 0
        for one in each:
            for key in QUANTITIES:
                if key not in one.values or key not in one.truths:
                    continue
                intervals = calibration_of(one).intervals(
                    product, one.region, key, one.values[key], one.spreads.get(key)
                )
                if intervals is None:
                    continue
                count += 1
                for kind in ("held", "normal"):
                    for level, (low, high) in getattr(intervals, kind).items():
                        within.setdefault((kind, level), []).append(low <= one.truths[key] <= high)
                    for level in {str(level) for level in LEVELS} - set(getattr(intervals, kind)):
                        few.setdefault((kind, level), set()).add(intervals.patients)
        cells = [
            _share(within.get((kind, str(level)), []), level, few.get((kind, str(level)), set()))
            for kind in ("held", "normal")
            for level in LEVELS
        ]
        rows.append([f"{group}, {CONDITIONS[condition].text}, {product}", str(count), *cells])
    return markdown_table(head, rows)


def _share(hits: Sequence[bool], level: int, few: set[int]) -> str:
    """How often the truth lay within, and for how few patients there is no interval."""
    some = sorted({min(few), max(few)}) if few else []
    none = f"no {level} % interval from {' to '.join(map(str, some))}" if some else ""
    return "; ".join(filter(None, [f"{np.mean(hits):.0%} of {len(hits)}" if hits else "", none])) or "-"


def voxels_table(found: Sequence[Found], calibration_of: CalibrationOf) -> str:
    """Share of a tissue's voxels within their 80 % interval, mean over patients."""
    rows = []
    edges = np.concatenate(([0.0], RATIO_BINS))
    for (group, condition, product), each in _runs([one for one in found if one.ratios]).items():
        row = [f"{group}, {CONDITIONS[condition].text}, {product}"]
        for tissue in REGIONS:
            shares = []
            for one in each:
                factor = calibration_of(one).voxels.get(one.region, {}).get(tissue, {}).get("80")
                if factor is not None and tissue in one.ratios:
                    counts = np.array(one.ratios[tissue], dtype=np.float64)
                    shares.append(
                        float(np.interp(factor, edges, np.concatenate(([0.0], np.cumsum(counts)[:-1] / counts.sum()))))
                    )
            row.append(f"{np.mean(shares):.0%} ({len(shares)})" if shares else "-")
        rows.append(row)
    return markdown_table(["group, X-rays, product", *REGIONS], rows)


def structures_table(found: Sequence[Found]) -> str:
    """Made up and lost, per patient and as a share."""
    rows = []
    for (group, condition, product), each in _runs(found).items():
        total = {key: sum(one.structures[key] for one in each) for key in each[0].structures}
        rows.append(
            [
                f"{group}, {CONDITIONS[condition].text}, {product}",
                f"{total['shown'] / len(each):.1f}",
                f"{total['made_up'] / len(each):.1f} ({_of(total['made_up'], total['shown'])})",
                f"{total['true'] / len(each):.1f}",
                f"{total['lost'] / len(each):.1f} ({_of(total['lost'], total['true'])})",
            ]
        )
    return markdown_table(
        ["group, X-rays, product", "shown a patient", "of them made up", "in the scan", "of them lost"], rows
    )


def _of(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def fixed_table(fixed: Mapping[str, float]) -> str:
    """Of the volumes of ``mean``, by patient."""
    rows = [[case, f"{share:.0%}"] for case, share in fixed.items()]
    return markdown_table(["patient", "fixed"], [*rows, ["mean", f"{statistics.mean(fixed.values()):.0%}"]])


def steady_table(scatter: Scatter) -> str:
    """Mean and greatest absolute difference of each measure from that of the scan."""
    labels = {key: (each.label, each.unit, each.digits + 1) for key, each in QUANTITIES.items()}
    labels |= {key: (f"Spine's midline, seen from the {key[6:]}", "mm", 1) for key in SPINE}
    rows: list[list[str]] = []
    for key, (label, unit, digits) in labels.items():
        cells = [
            f"{statistics.mean(each):.{digits}f}, {max(each):.{digits}f} {unit}".rstrip() + f" ({len(each)})"
            if each
            else "-"
            for each in ([off[key] for off in patients.values() if key in off] for patients in scatter.values())
        ]
        rows += [[label, *cells]] * any(cell != "-" for cell in cells)
    return markdown_table(["difference from the scan's: mean, greatest (scans)", *scatter], rows)


def wrong_table(handed: Sequence[Handed]) -> str:
    """How many of each kind were flagged, and by what."""
    kinds: dict[tuple[bool, str], list[Handed]] = {}
    for each in handed:
        kinds.setdefault((each.wrong, each.kind), []).append(each)
    rows = [
        [
            "wrong" if wrong else "right",
            kind,
            f"{sum(bool(one.doubts) for one in each)} of {len(each)}",
            "; ".join(sorted({shorten(one.doubts[0], 60, placeholder=" …") for one in each if one.doubts})),
        ]
        for (wrong, kind), each in kinds.items()
    ]
    for wrong, name in ((True, "wrong"), (False, "right")):
        all_ = [one for one in handed if one.wrong == wrong]
        rows.append([name, "all", f"{sum(bool(one.doubts) for one in all_)} of {len(all_)}", ""])
    return markdown_table(["", "input", "flagged", "first words"], rows)
