"""Numbers of a volume: each measure with its interval.

As plain JSON types it stands in ``R.json`` and in the answers of the worker under "measures"; ``quantities`` puts it in words.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clsdm.quality.intervals import Calibration, Intervals
from clsdm.quality.measure import Measures, measure
from clsdm.quality.quantities import DEFINITION, QUANTITIES, rows
from clsdm.volume.ct import CTVolume


def numbers(
    ct: CTVolume,
    product: str | None,
    calibration: Calibration | None = None,
    samples: Sequence[Mapping[str, float]] = (),
) -> dict[str, Any]:
    """Measure a reconstruction.

    Args:
        ct: the volume.
        product: "mean", "sample" or "ensemble"; None for a CT.
        calibration: of the model that made it, if it has one.
        samples: values measured in each sample of an ensemble, whose spread some intervals scale with.

    Returns:
        JSON types: ``Measures.to_plain`` with "product" and "calibrated", whether the model has a table ("outdated": of other
        definitions); and for each value "spread" and "intervals" where they are known, the latter with "patients", "corrected"
        (for what the model usually is off), "held" and "normal" by level.
    """
    found = measure(ct)
    outdated = calibration is not None and calibration.outdated
    plain = found.to_plain() | {"product": product, "calibrated": calibration is not None and not outdated}
    plain |= {"outdated": True} if outdated else {}
    for key, value in found.values.items():
        known = [values[key] for values in samples if key in values]
        spread = statistics.stdev(known) if len(known) > 1 else None
        plain["values"][key] |= {} if spread is None else {"spread": round(spread, 4)}
        intervals = calibration and product and calibration.intervals(product, found.region, key, value, spread)
        if intervals:
            plain["values"][key]["intervals"] = _plain(intervals, QUANTITIES[key].least)
    return plain


def _plain(intervals: Intervals, least: float) -> dict[str, Any]:
    """JSON types; nothing below what is possible."""

    def possible(*values: float) -> list[float]:
        return [round(max(value, least), 4) for value in values]

    bounds = {
        name: {level: possible(*pair) for level, pair in table.items()}
        for name, table in (("held", intervals.held), ("normal", intervals.normal))
    }
    return {"patients": intervals.patients, "corrected": possible(intervals.corrected)[0], **bounds}


def recorded(made: Mapping[str, Any]) -> dict[str, Any] | None:
    """The numbers in a volume's record; None where it has none, no such table, or one of other definitions."""
    measures = made.get("measures") or {}
    try:
        Measures.from_plain(measures)
        rows(measures)
        return measures if measures["definition"] == DEFINITION else None
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        return None


def spine_distances_mm(found: Measures, truth: Measures) -> tuple[float, float] | None:
    """Mean distance of two spines' midlines seen from the front and from the side, over the heights of both."""
    lines = [each.profiles.get("spine") for each in (found, truth)]
    if lines[0] is None or lines[1] is None:
        return None
    z = np.array(lines[0]["z_mm"])
    common = (z >= lines[1]["z_mm"][0]) & (z <= lines[1]["z_mm"][-1])
    if not common.any():
        return None
    away = [np.abs(np.array(lines[0][axis]) - np.interp(z, lines[1]["z_mm"], lines[1][axis]))[common].mean() for axis in
            ("x_mm", "y_mm")]  # fmt: skip
    return float(away[0]), float(away[1])
