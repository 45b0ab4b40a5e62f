"""The comparison in the README, made from the benchmark's rows and the table's published figures; never typed by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from clsdm_bench.pages import marks, publish
from clsdm_bench.records import RowResult
from clsdm_bench.report.claims import interval, summary_of
from clsdm_bench.report.page import HEADINGS
from clsdm_bench.table import TableSpec
from clsdm_trainer.figures import Column, markdown_table

NAME = "benchmark"
BEGIN, END = marks(NAME)
GROUPS = ("ours", "published", "baseline", "classical", "sanity")
SSIM = Column("honest.ssim_3d", "SSIM of the cube", 3)
HELD_OUT = Column("reprojection_held_out_rmse", "residual, held-out views", 3)
COLUMNS = {
    "honest.psnr_3d_db": (
        Column("honest.psnr_3d_db", "PSNR dB", 2),
        SSIM,
        Column("honest.mae_body_hu", "MAE body HU", 1),
        HELD_OUT,
    ),
    "covered.psnr_db": (
        Column("covered.psnr_db", "PSNR dB", 2),
        SSIM,
        Column("covered.mae_body_hu", "MAE body HU", 1),
        Column("covered.lung_dice", "lung Dice", 3),
        HELD_OUT,
    ),
}
"""The columns, by the figure that a table ranks by; PSNR is the first."""


def comparison(table: TableSpec, results: Mapping[str, RowResult]) -> str:
    """Measured rows, then the literature's, which were measured otherwise and say so."""
    columns = COLUMNS[table.ranked]
    rows: list[Sequence[str]] = []
    for group in GROUPS:
        names = [name for name, row in table.rows.items() if row.group == group and name in results]
        rows += [[f"**{HEADINGS[group]}**", *("" for _ in columns)]] if names else []
        for name in names:
            cells = (interval(summary_of(results[name], column.key), column) for column in columns)
            rows.append([table.rows[name].label, *cells])
    if table.published:
        rows.append(["**Literature, as published; protocol differs**", *("" for _ in columns)])
    for each in table.published:
        known = {columns[0].key: f"{each.psnr:.2f}", SSIM.key: f"{each.ssim:.3f}"}
        rows.append([f"{each.label}; {each.source}", *(known.get(column.key, "-") for column in columns)])
    text = markdown_table(["method", *(column.head for column in columns)], rows)
    if not results:
        text += "\nNot measured yet: `clsdm-bench benchmark` makes the rest of this table."
    return text.rstrip()


def write_readme(table: TableSpec, results: Mapping[str, RowResult], path: Path) -> None:
    """Put the comparison between its marks.

    Raises:
        InputError: unreadable, or the marks are not there.
    """
    publish(path, {NAME: comparison(table, results)})
