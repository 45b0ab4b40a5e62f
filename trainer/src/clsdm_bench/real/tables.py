"""Figures of reconstructions from real X-rays: every patient in ``cases.csv``, means with intervals in the others."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clsdm_bench.lines import Figures, summaries, write_lines
from clsdm_trainer.figures import Column, figures_table
from clsdm_trainer.files import write_json, write_text

COLUMNS = (
    Column("psnr_db", "PSNR dB", 2),
    Column("psnr_body_db", "PSNR body dB", 2),
    Column("body_dice", "body Dice", 3),
    Column("lung_dice", "lung Dice", 3),
    Column("lung_absolute_error", "lung volume, absolute error %", 1, 100.0),
    Column("residual", "residual, % of contrast", 1, 100.0),
    Column("correlation", "correlation with the X-rays", 3),
    Column("registered_correlation", "correlation after registration", 3),
    Column("turned_deg", "turned by, degrees", 1),
    Column("found_turned_deg", "lateral found turned by, degrees", 1),
    Column("found_down_mm", "lower by, mm", 0),
    Column("found_scale", "magnified by", 3),
)


@dataclass(frozen=True)
class Row:
    """The figures of one patient under one condition, or why there are none."""

    case: str
    condition: str
    figures: Figures
    refused: str = ""


def write_tables(rows: Sequence[Row], out: Path, about: dict[str, Any]) -> str:
    """Write ``cases.csv``, ``results.json`` and ``table.md``; returns the table.

    Raises:
        InputError: a file cannot be written.
    """
    lines = [{"case": row.case, "condition": row.condition, "refused": row.refused, **row.figures} for row in rows]
    write_lines(lines, out / "cases.csv")
    groups: dict[str, list[Figures]] = {}
    for row in rows:
        if not row.refused:
            groups.setdefault(row.condition, []).append(row.figures)
    methods = {f"{condition} ({len(each)})": summaries(each) for condition, each in groups.items()}
    shown = [asdict(column) for column in COLUMNS if any(column.key in row for row in methods.values())]
    refused = [{"case": row.case, "condition": row.condition, "reason": row.refused} for row in rows if row.refused]
    results = {"about": about, "columns": shown, "methods": methods, "refused": refused}
    write_json(out / "results.json", results)
    text = (
        f"Model `{about['model']}`; {about['what']} Compared on voxels of {about['spacing_mm']:g} mm where the scan covers, "
        "data range 2500 HU; lungs are below -500 HU within the body. Mean over patients [95 % bootstrap interval].\n\n"
        f"{figures_table(results)}\nRefused: {len(refused)}.\n"
    ) + "".join(f"- {each['case']}, {each['condition']}: {each['reason']}\n" for each in refused)
    write_text(out / "table.md", text)
    return text
