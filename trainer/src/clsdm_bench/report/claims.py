"""Summaries of rows, the best baseline, and whether a claim holds."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from clsdm.quality.metrics import Summary, summarise
from clsdm_bench.evaluate import by_case
from clsdm_bench.measures.distribution import SET_FIGURE
from clsdm_bench.measures.statistics import Paired, paired
from clsdm_bench.records import RowResult
from clsdm_bench.table import BEST_BASELINE, Claim, TableSpec
from clsdm_trainer.figures import Column

IN_HU = Column("", "", 1)


def summary_of(result: RowResult, key: str) -> Summary | None:
    """Mean over patients with its interval, or None where it is undefined."""
    cases = by_case(result.outcomes, key)
    return summarise([cases[case] for case in sorted(cases)]) if cases else None


def interval(summary: Summary | None, column: Column = Column("", "", 2)) -> str:  # noqa: B008 - it is frozen
    """``mean [low, high]``."""
    return column.cell(None if summary is None else asdict(summary))


def distance_of(result: RowResult, key: str) -> float:
    """A sliced Wasserstein distance, averaged over seeds."""
    return statistics.mean(distance[key] for distance in result.distances)


def best_baseline(table: TableSpec, results: Mapping[str, RowResult]) -> str | None:
    """The learned or classical baseline with the highest mean PSNR."""
    candidates = [n for n in results if table.rows[n].group in ("baseline", "classical")]
    return max(
        candidates, key=lambda n: statistics.mean(by_case(results[n].outcomes, table.ranked).values()), default=None
    )


@dataclass(frozen=True)
class Finding:
    """A claim as the rows bear it out."""

    large_enough: bool
    found: str
    test: Paired | None


def check_claim(claim: Claim, table: TableSpec, results: Mapping[str, RowResult]) -> Finding | None:
    """Whether the difference is as large as claimed; None where a row is missing."""
    other = best_baseline(table, results) if claim.than == BEST_BASELINE else claim.than
    if other is None or other not in results or claim.row not in results:
        return None
    figure = claim.figure or table.ranked
    sign = -1.0 if claim.lower_is_better else 1.0
    cases, others = (by_case(results[row].outcomes, figure) for row in (claim.row, other))
    test = paired(cases, others) if cases and others else None
    name = figure.removeprefix(SET_FIGURE)
    if name == figure:
        return Finding(sign * test.difference.mean >= claim.margin, interval(test.difference), test) if test else None
    a, b = (distance_of(results[row], name) for row in (claim.row, other))
    found = f"{a:.1f} against {b:.1f} HU" + (f": {interval(test.difference, IN_HU)}" if test else "")
    return Finding(sign * (a - b) > claim.margin, found, test)
