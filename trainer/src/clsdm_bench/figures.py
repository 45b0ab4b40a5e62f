"""What the rows say: figures by patient, the best baseline, and whether a claim holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from clsdm.quality.metrics import Summary, summarise
from clsdm_bench.distribution import SET_FIGURE
from clsdm_bench.records import RowResult
from clsdm_bench.statistics import Paired, paired
from clsdm_bench.table import BEST_BASELINE, Claim, TableSpec

RANKED = "honest.psnr_3d_db"


def by_case(result: RowResult, key: str) -> dict[str, float]:
    """A figure of each patient, averaged over seeds first; patients where it is undefined are left out."""
    cases: dict[str, list[float]] = {}
    for outcome in result.outcomes:
        if outcome.figures.get(key) is not None:
            cases.setdefault(outcome.case, []).append(outcome.figures[key])
    return {case: statistics.mean(values) for case, values in cases.items()}


def summary_of(result: RowResult, key: str) -> Summary | None:
    """Mean over patients with its interval, or None where it is undefined."""
    cases = by_case(result, key)
    return summarise([cases[case] for case in sorted(cases)]) if cases else None


def interval(summary: Summary | None, digits: int) -> str:
    """``mean [low, high]``."""
    if summary is None:
        return "-"
    return f"{summary.mean:.{digits}f} [{summary.low:.{digits}f}, {summary.high:.{digits}f}]"


def distance_of(result: RowResult, key: str) -> float:
    """A sliced Wasserstein distance, averaged over seeds."""
    return statistics.mean(distance[key] for distance in result.distances)


def best_baseline(table: TableSpec, results: Mapping[str, RowResult]) -> str | None:
    """The learned or classical baseline with the highest mean PSNR."""
    candidates = [n for n in results if table.rows[n].group in ("baseline", "classical")]
    return max(candidates, key=lambda n: statistics.mean(by_case(results[n], RANKED).values()), default=None)


@dataclass(frozen=True)
class Verdict:
    """What was found of a claim."""

    large_enough: bool
    found: str
    test: Paired | None


def judge_claim(claim: Claim, table: TableSpec, results: Mapping[str, RowResult]) -> Verdict | None:
    """Whether the difference is as large as claimed; None where a row is missing."""
    other = best_baseline(table, results) if claim.than == BEST_BASELINE else claim.than
    if other is None or other not in results or claim.row not in results:
        return None
    sign = -1.0 if claim.lower_is_better else 1.0
    cases, others = (by_case(results[row], claim.figure) for row in (claim.row, other))
    test = paired(cases, others) if cases and others else None
    name = claim.figure.removeprefix(SET_FIGURE)
    if name == claim.figure:
        return (
            Verdict(sign * test.difference.mean >= claim.margin, interval(test.difference, 2), test) if test else None
        )
    a, b = (distance_of(results[row], name) for row in (claim.row, other))
    found = f"{a:.1f} against {b:.1f} HU" + (f": {interval(test.difference, 1)}" if test else "")
    return Verdict(sign * (a - b) > claim.margin, found, test)
