"""The outcomes of many patients as a table and a page: ``summary.csv`` and ``index.html``, from what is on the disk.

Several processes may write them at once, each of the same files: whoever finds that the disk has changed meanwhile writes
again, so that the last one to end leaves the whole.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clsdm.app.cases import SUMMARY, Case
from clsdm.errors import InputError, no_formula
from clsdm.files.atomic import written_together
from clsdm.files.strict_json import read_json
from clsdm.quality.agreement import Agreement
from clsdm.quality.page import page

FAILED = "failed.json"
TITLE, LOOKED_AT = "Reconstructions", 1 << 16
"""Of the page; and how many letters of a file tell whether it is ours."""
MOST_NAMED = 20
"""Patients in one line."""
_FIRST_CELLS = "case,status,"


@dataclass(frozen=True)
class Row:
    """One patient in the table.

    Attributes:
        case: name.
        status: done, failed, skipped (no pair of X-rays), or waiting.
        volume: relative path, or "".
        views: number of X-rays.
        worst_correlation: of the X-ray that the volume explains worst.
        verdict: on it, in a few words, to sort by (``quality.agreement``).
        agreement: the same in a sentence.
        warnings: what the user should know.
        problem: why there is no result.
        model: that made it.
        product: mean, sample or ensemble.
    """

    case: str
    status: str
    volume: str = ""
    views: int = 0
    worst_correlation: float | None = None
    verdict: str = ""
    agreement: str = ""
    warnings: str = ""
    problem: str = ""
    model: str = ""
    product: str = ""

    @property
    def disagrees(self) -> bool:
        """Whether there is a result that is not to be trusted."""
        return self.status == "done" and Agreement(0.0, self.worst_correlation).disagrees


def is_summary(file: Path) -> bool:
    """Whether one of :data:`SUMMARY` was written here, by how it begins."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(LOOKED_AT)
    except OSError:
        return False
    return text.startswith(_FIRST_CELLS) if file.suffix == ".csv" else TITLE in text and '<p class="notice">' in text


def write_summary(cases: Sequence[Case], out: Path) -> list[Path]:
    """Write both files.

    Raises:
        InputError: they cannot be written.
    """
    rows: list[Row] = []
    while (found := [row_of(case) for case in cases]) != rows:
        rows = found
        with written_together(out) as scratch:
            (scratch / SUMMARY[0]).write_text(as_csv(rows), encoding="utf-8", newline="")
            (scratch / SUMMARY[1]).write_text(as_html(rows), encoding="utf-8")
    return [out / name for name in SUMMARY]


def row_of(case: Case) -> Row:
    """The state of a patient by the files on the disk."""
    if case.request is None:
        return Row(case.name, "skipped", problem=case.problem)
    volume = Path(case.request.out)
    if (failure := failure_in(volume.parent / FAILED)) is not None:
        return Row(case.name, "failed", problem=str(failure.get("message", "")))
    path = volume.with_name(f"{volume.name.partition('.')[0]}.json")
    record = _json(path)
    if record is None:
        return Row(case.name, "waiting")
    try:
        return _done(case, volume, record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Row(
            case.name,
            "failed",
            problem=f"{path.name}: expected a record of a reconstruction, found another one ({error})",
        )


def _done(case: Case, volume: Path, record: dict[str, Any]) -> Row:
    made = record.get("provenance", {})
    agreements = [Agreement(float(each["rmse"]), each["correlation"]) for each in record.get("residuals", [])]
    worst = min(agreements, key=lambda each: -1.0 if each.correlation is None else each.correlation, default=None)
    return Row(
        case.name,
        "done",
        f"{case.name}/{volume.name}",
        len(agreements),
        None if worst is None else worst.correlation,
        "" if worst is None else worst.verdict,
        "" if worst is None else str(worst),
        "; ".join(record.get("warnings", [])),
        model=str(made.get("model", "")),
        product=str(made.get("product", "")),
    )


def disagreeing(rows: Sequence[Row]) -> str:
    """A line that names the patients whose result is not to be trusted; "" where there are none."""
    names = [row.case for row in rows if row.disagrees]
    made = sum(row.status == "done" for row in rows)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    verb = "disagrees with its X-rays and is" if len(names) == 1 else "disagree with their X-rays and are"
    said = f"{len(names)} of {made} result{'s' if made > 1 else ''} {verb} not to be trusted"
    return f"{said}: {', '.join(names[:MOST_NAMED])}{more}" if names else ""


def failure_in(path: Path) -> dict[str, Any] | None:
    """Word of a failure that was left here; None of any other file of that name."""
    found = _json(path)
    return found if found is not None and set(found) == {"kind", "message", "details"} else None


def _json(path: Path) -> dict[str, Any] | None:
    try:
        data = read_json(path, "record") if path.is_file() else None
    except InputError:
        return None
    return data if isinstance(data, dict) else None


def as_csv(rows: Sequence[Row]) -> str:
    """One line for each patient below the names of the columns; what a spreadsheet would run as a formula is quoted."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(Row)])
    table.writeheader()
    for row in rows:
        cells = asdict(row).items()
        table.writerow({name: no_formula(value) if isinstance(value, str) else value for name, value in cells})
    return text.getvalue()


def as_html(rows: Sequence[Row]) -> str:
    """The page: a picture of each patient that leads to its report."""
    counted = ", ".join(f"{count} {status}" for status, count in Counter(row.status for row in rows).items())
    patients = "1 patient" if len(rows) == 1 else f"{len(rows)} patients"
    body = [
        f'<p>{patients}: {escape(counted)}. The figures are in <a href="{SUMMARY[0]}">{SUMMARY[0]}</a>.</p>',
        *(f'<p class="warning">{escape(text)}</p>' for text in [disagreeing(rows)] if text),
        f'<div class="cards">{"".join(map(_card, rows))}</div>',
    ]
    return page(TITLE, body, _STYLE, "'self' file:")


def _card(row: Row) -> str:
    folder, name = quote(row.case), escape(row.case)
    if row.status != "done":
        problem = f'<p class="warning">{escape(row.problem)}</p>' if row.problem else ""
        return f"<article><h2>{name}</h2><p>{row.status}</p>{problem}</article>"
    doubt = ' class="warning"' if row.disagrees else ""
    notes = f"<details><summary>what to know</summary>{escape(row.warnings)}</details>" if row.warnings else ""
    return (
        f'<article><h2>{name}</h2><a href="{folder}/report.html"><img loading="lazy" src="{folder}/comparison.png" '
        f'alt="{name}: axial, coronal and sagittal plane"></a><p{doubt}>{escape(row.agreement)}</p>{notes}'
        f'<p><a href="{folder}/report.html">report</a> · <a href="{quote(row.volume)}">volume</a></p></article>'
    )


_STYLE = """
body { max-width: 100rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.2rem; }
article { border: 1px solid var(--line); padding: .8rem; overflow-wrap: anywhere; }
article h2 { margin: 0 0 .5rem; font-size: 1.05rem; border: 0; } article p { margin: .5rem 0 0; }
article img { aspect-ratio: 1008 / 450; object-fit: cover; object-position: top; }
article a { color: inherit; } details { margin-top: .5rem; color: var(--soft); font-size: .9rem; }
"""
