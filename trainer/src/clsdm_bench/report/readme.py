"""The comparison in the README, made from the benchmark's rows and the table's published figures; never typed by hand."""

from collections.abc import Mapping
from pathlib import Path

from clsdm.errors import InputError
from clsdm_bench.records import RowResult
from clsdm_bench.report.claims import interval, summary_of
from clsdm_bench.report.page import HEADINGS
from clsdm_bench.table import TableSpec
from clsdm_trainer.figures import Column
from clsdm_trainer.files import write_text

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
GROUPS = ("ours", "published", "baseline", "classical", "sanity")
COLUMNS = (
    Column("honest.psnr_3d_db", "PSNR dB", 2),
    Column("honest.ssim_3d", "SSIM", 3),
    Column("honest.mae_body_hu", "MAE body HU", 1),
    Column("reprojection_held_out_rmse", "residual, held-out views", 3),
)


def comparison(table: TableSpec, results: Mapping[str, RowResult]) -> str:
    """Measured rows, then the literature's, which were measured otherwise and say so."""
    heads = ("method", *(column.head for column in COLUMNS))
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for group in GROUPS:
        names = [name for name, row in table.rows.items() if row.group == group and name in results]
        lines += [f"| **{HEADINGS[group]}** |" + " |" * len(COLUMNS)] if names else []
        for name in names:
            cells = [interval(summary_of(results[name], column.key), column) for column in COLUMNS]
            lines.append(f"| {table.rows[name].label} | " + " | ".join(cells) + " |")
    lines += [f"| **Literature, as published; protocol differs** |{' |' * len(COLUMNS)}"] if table.published else []
    for item in table.published:
        rest = " | ".join("-" * (len(COLUMNS) - 2))
        lines.append(f"| {item.label}; {item.source} | {item.psnr:.2f} | {item.ssim:.3f} | {rest} |")
    if not results:
        lines += ["", "Not measured yet: `clsdm-bench benchmark` makes the rest of this table."]
    return "\n".join(lines)


def write_readme(table: TableSpec, results: Mapping[str, RowResult], path: Path) -> None:
    """Replace the text between the two marks.

    Raises:
        InputError: unreadable, or the marks are not there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{path}: expected the marks {BEGIN} and {END} around the table")
    write_text(path, f"{before}{BEGIN}\n{comparison(table, results)}\n{END}{after}")
