"""The figures of a model: what an evaluation leaves as ``results.json``, read and shown as a table.

Such a file holds ``about`` (model, patients, geometry, command, ...), ``methods`` (per row the figures, each a
``clsdm.quality.metrics.Summary``) and, where the columns are not those below, ``columns`` and ``protocol`` in words.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsdm.errors import InputError

PROTOCOL = "protocol `honest` (float volumes, data range 2500 HU, whole cube and body-masked)"


@dataclass(frozen=True)
class Column:
    """A figure of a table: its key, how the head calls it, digits, and by what it is multiplied."""

    key: str
    head: str
    digits: int
    factor: float = 1.0

    def cell(self, summary: Mapping[str, Any] | None) -> str:
        """``mean [low, high]``, of one patient the figure alone; a dash where it is undefined."""
        if summary is None:
            return "-"
        mean, low, high = (f"{summary[name] * self.factor:.{self.digits}f}" for name in ("mean", "low", "high"))
        return mean if summary.get("n") == 1 else f"{mean} [{low}, {high}]"


COLUMNS = (
    Column("honest.psnr_3d_db", "PSNR dB", 2),
    Column("honest.psnr_body_db", "PSNR body dB", 2),
    Column("honest.ssim_3d", "SSIM", 3),
    Column("honest.mae_hu", "MAE HU", 1),
    Column("honest.mae_body_hu", "MAE body HU", 1),
    Column("reprojection_rmse", "reprojection RMSE", 3),
)


def read_results(path: Path) -> dict[str, Any]:
    """``results.json`` of ``clsdm-bench evaluate`` or ``clsdm-bench score``.

    Raises:
        InputError: unreadable, or not such a file.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        results["about"], results["methods"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a results.json of clsdm-bench ({error})") from None
    return results


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, with a line end behind its last row."""
    lines = [_line(heads), "|" + "---|" * len(heads), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def figures_table(results: Mapping[str, Any]) -> str:
    """The methods as a Markdown table: mean over patients with its interval."""
    columns = [Column(**column) for column in results.get("columns", ())] or COLUMNS
    timed = any("seconds" in row for row in results["methods"].values())
    rows = (
        [name, *(column.cell(row.get(column.key)) for column in columns), *([f"{row['seconds']:.2f}"] if timed else [])]
        for name, row in results["methods"].items()
    )
    return markdown_table(["method", *(column.head for column in columns), *(["s / case"] if timed else [])], rows)


def figures_section(results: Mapping[str, Any]) -> str:
    """The table under a sentence on how it was measured."""
    about = results["about"]
    return (
        f"Test patients: {about['patients']}; geometry `{about['geometry']}`, views at {about['angles_deg']} degrees; "
        f"{results.get('protocol', PROTOCOL)}; mean over patients with bootstrap 95 % interval. Command: "
        f"`{about['command']}`\n\n{figures_table(results)}"
    )
