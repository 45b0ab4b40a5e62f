"""Numbers of a volume: each measure with its interval.

As plain JSON types it stands in ``R.json`` and in the answers of the worker under "measures"; ``quantities`` puts it in words.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clsdm.quality.intervals import Calibration
from clsdm.quality.measure import Measures, measure
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
        JSON types: ``Measures.to_plain`` with "product" and "calibrated", whether the model has a table; and for each value
        "spread" and "intervals" where they are known, the latter with "patients", "corrected" (for what the model usually is
        off), "held" and "normal" by level.
    """
    found = measure(ct)
    plain = found.to_plain() | {"product": product, "calibrated": calibration is not None}
    for key, value in found.values.items():
        known = [values[key] for values in samples if key in values]
        spread = statistics.stdev(known) if len(known) > 1 else None
        plain["values"][key] |= {} if spread is None else {"spread": round(spread, 4)}
        told = calibration and product and calibration.intervals(product, found.region, key, value, spread)
        if told:
            plain["values"][key]["intervals"] = {
                "patients": told.patients,
                "corrected": round(told.corrected, 4),
                "held": {level: _plain(bounds) for level, bounds in told.held.items()},
                "normal": {level: _plain(bounds) for level, bounds in told.normal.items()},
            }
    return plain


def _plain(bounds: tuple[float, float]) -> list[float]:
    return [round(each, 4) for each in bounds]


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
