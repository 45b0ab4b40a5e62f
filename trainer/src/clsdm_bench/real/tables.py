"""Figures of reconstructions from real X-rays: every patient in ``cases.csv``, means with intervals in the others."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clsdm.files.atomic import write_atomically
from clsdm.quality.metrics import summarise
from clsdm_trainer.data.store import write_json, write_text

Figures = dict[str, float | None]

COLUMNS: tuple[tuple[str, str, int, float], ...] = (
    ("psnr_db", "PSNR dB", 2, 1.0),
    ("psnr_body_db", "PSNR body dB", 2, 1.0),
    ("body_dice", "body Dice", 3, 1.0),
    ("lung_dice", "lung Dice", 3, 1.0),
    ("lung_absolute_error", "lung volume, absolute error %", 1, 100.0),
    ("residual", "residual, % of contrast", 1, 100.0),
    ("correlation", "correlation with the X-rays", 3, 1.0),
    ("registered_correlation", "correlation after registration", 3, 1.0),
    ("turned_deg", "turned by, degrees", 1, 1.0),
    ("found_turned_deg", "lateral found turned by, degrees", 1, 1.0),
    ("found_down_mm", "lower by, mm", 0, 1.0),
    ("found_scale", "magnified by", 3, 1.0),
)
"""Key, head, digits, factor."""


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
    write_atomically(out / "cases.csv", lambda path: _write_cases(rows, path))
    summaries = {name: _summaries(each) for name, each in _grouped(rows).items()}
    refused = [{"case": row.case, "condition": row.condition, "reason": row.refused} for row in rows if row.refused]
    plain = {name: {key: asdict(value) for key, value in each.items()} for name, each in summaries.items()}
    write_json(out / "results.json", {"about": about, "rows": plain, "refused": refused})
    text = _table(rows, about)
    write_text(out / "table.md", text)
    return text


def _grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if not row.refused:
            groups.setdefault(row.condition, []).append(row)
    return groups


def _summaries(rows: Sequence[Row]) -> dict[str, Any]:
    keys = dict.fromkeys(key for row in rows for key in row.figures)
    found = {key: [row.figures.get(key) for row in rows] for key in keys}
    return {key: summarise(each) for key, each in found.items() if any(value is not None for value in each)}


def _table(rows: Sequence[Row], about: dict[str, Any]) -> str:
    groups = _grouped(rows)
    summaries = {name: _summaries(each) for name, each in groups.items()}
    shown = [column for column in COLUMNS if any(column[0] in each for each in summaries.values())]
    lines = [
        f"Model `{about['model']}`; {about['what']} Compared on voxels of {about['spacing_mm']:g} mm where the scan covers, "
        "data range 2500 HU; lungs are below -500 HU within the body. Mean over patients [95 % bootstrap interval].",
        "",
        "| X-rays | patients | " + " | ".join(head for _, head, _, _ in shown) + " |",
        "|" + "---|" * (len(shown) + 2),
    ]
    for name, each in groups.items():
        cells = " | ".join(_cell(summaries[name].get(key), digits, factor) for key, _, digits, factor in shown)
        lines.append(f"| {name} | {len(each)} | {cells} |")
    refused = [row for row in rows if row.refused]
    lines += ["", f"Refused: {len(refused)}.", *(f"- {row.case}, {row.condition}: {row.refused}" for row in refused)]
    return "\n".join(lines) + "\n"


def _cell(summary: Any, digits: int, factor: float) -> str:  # noqa: ANN401 - a Summary or None
    if summary is None:
        return "-"
    mean, low, high = (f"{value * factor:.{digits}f}" for value in (summary.mean, summary.low, summary.high))
    return f"{mean} [{low}, {high}]"


def _write_cases(rows: Sequence[Row], path: Path) -> None:
    keys = list(dict.fromkeys(key for row in rows for key in row.figures))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "condition", "refused", *keys])
        for row in rows:
            found = ("" if (value := row.figures.get(key)) is None else value for key in keys)
            writer.writerow([row.case, row.condition, row.refused, *found])
