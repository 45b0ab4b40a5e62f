"""``RESULTS.md``: tables with intervals, tests, costs, commands and pictures; every figure in it comes from the records.

A row that is not there yet is named as missing, and a claim that does not hold is printed as one that does not.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clsdm_bench.evaluate import by_case
from clsdm_bench.measures.distribution import SET_FIGURE
from clsdm_bench.measures.statistics import holm, paired
from clsdm_bench.records import PATIENTS, Records, RowResult
from clsdm_bench.report.claims import IN_HU, best_baseline, check_claim, distance_of, interval, summary_of
from clsdm_bench.table import TableSpec
from clsdm_trainer.figures import Column, markdown_table
from clsdm_trainer.files import write_text

HEADINGS = {
    "ours": "Ours",
    "published": "CLS-DM as published",
    "baseline": "Learned baselines",
    "classical": "Classical",
    "ablation": "Ablations",
    "sanity": "Sanity",
}
SIGNIFICANT = 0.05
TRUTH, LATENTS = "ct", "latents-"
"""Names of the pictures that are of no row: that of the CTs, and those of a run's latents."""

RESIDUALS = (
    Column("reprojection_rmse", "residual, input views", 3),
    Column("reprojection_held_out_rmse", "residual, held-out views", 3),
)
MAIN = {
    "honest.psnr_3d_db": (
        Column("honest.psnr_3d_db", "PSNR dB", 2),
        Column("honest.psnr_body_db", "PSNR body dB", 2),
        Column("honest.ssim_3d", "SSIM", 3),
        Column("honest.mae_body_hu", "MAE body HU", 1),
        *RESIDUALS,
    ),
    "covered.psnr_db": (
        Column("covered.psnr_db", "PSNR dB", 2),
        Column("covered.psnr_body_db", "PSNR body dB", 2),
        Column("covered.mae_body_hu", "MAE body HU", 1),
        Column("covered.lung_dice", "lung Dice", 3),
        Column("covered.lung_absolute_error", "lung volume, absolute error %", 1, 100.0),
        *RESIDUALS,
    ),
}
"""The columns of the first table, by the figure that a table ranks by."""
FURTHER = (
    Column("honest.mae_lung_hu", "MAE lung HU", 1),
    Column("honest.mae_soft_tissue_hu", "MAE soft tissue HU", 1),
    Column("honest.mae_bone_hu", "MAE bone HU", 1),
    Column("x2ct.psnr_slices_db", "x2ct PSNR slices dB", 2),
    Column("x2ct.psnr_3d_db", "x2ct PSNR 3-D dB", 2),
    Column("x2ct.ssim_slices", "x2ct SSIM slices", 3),
)
Results = Mapping[str, RowResult]


def write_page(table: TableSpec, records: Records, path: Path) -> None:
    """Write the page of the rows that are there.

    Raises:
        InputError: it cannot be written.
    """
    write_text(path, results_page(table, records, Path(os.path.relpath(records.folder, path.parent)).as_posix()))


def results_page(table: TableSpec, records: Records, folder: str) -> str:
    """The whole page as Markdown; ``folder`` is where it finds the records."""
    results = {name: records.rows[name] for name in table.rows if name in records.rows}
    missing = [f"`{name}`" for name in table.rows if name not in results]
    command = records.about["command"]
    parts = [
        "# Results",
        "",
        *([table.about, ""] if table.about else []),
        protocol_sentence(records),
        "",
        hardware_sentence(results, records.about["budget"]),
        "",
        *([f"Not there yet: {', '.join(missing)}.", ""] if missing else []),
        "## Protocol `honest`" if table.ranked.startswith("honest") else "## Where the scan covers",
        _table(table, results, MAIN[table.ranked]),
        "## Regions, and protocol `x2ct`",
        _table(table, results, FURTHER),
        "## Distribution",
        "Sliced Wasserstein distance between 3-D patches of reconstructions and CTs, in HU "
        "(`clsdm_bench/measures/distribution.py`); the nearest training patient is a real CT and shows how near a set of real "
        "CTs comes. A distance of few patients is too large; `without bias` is the mean of what each patient adds to it "
        "(jackknife pseudo-values), by which the claims are tested.",
        _distances(table, results),
        "## Differences from the best baseline",
        _differences(table, results),
        "## Claims",
        _claims(table, results),
        *(f"- {text}" for text in table.remarks),
        *([""] if table.remarks else []),
        "## Latent alignment",
        _alignments(table, records, results, folder),
        "## Cost and commands",
        *_where_measured(results),
        f"Every patient's figures: [{PATIENTS}]({folder}/{PATIENTS}). A row by itself: `{command} --only ROW`.",
        "",
        _costs(table, results),
        "## Pictures",
        f"The same {table.pictures} patients for every method, coronal and axial.",
        "",
        *_pictures(table, results, records.folder, folder),
        *_notes(table, results),
    ]
    return "\n".join(parts).rstrip() + "\n"


def protocol_sentence(records: Records) -> str:
    """Whom and how the rows were measured on, from the records."""
    protocol = records.protocol
    angles, held_out = (", ".join(f"{angle:g}°" for angle in protocol[key]) for key in ("angles_deg", "held_out_deg"))
    return (
        f"Made by `{records.about['command']}`. {len(protocol['cases'])} patients of split `{protocol['split']}`; X-rays: "
        f"{protocol['xrays']}, geometry `{protocol['geometry']}`, views at {angles}; held-out views at {held_out}. Mean over "
        "patients [95 % bootstrap interval]; stochastic rows are averaged over seeds "
        f"{', '.join(map(str, protocol['seeds']))} first. Protocols `honest` (float volumes, data range 2500 HU) and `x2ct` "
        "(peak 4095, comparable with published tables only) are defined in `clsdm/quality/metrics.py`."
    )


def hardware_sentence(results: Results, budget: str) -> str:
    """The hardware and budget of the figures, as a sentence."""
    environments = [result.cost["environment"] for result in results.values() if result.cost]
    machines = sorted({_machine(environment) for environment in environments}) or ["nothing was trained"]
    minutes = {row.made_from["weights"]: row.cost["minutes"] for row in results.values() if row.cost}
    return (
        f"Hardware: {'; '.join(machines)}. Budget: {budget}; {sum(minutes.values()):.0f} minutes of training in all by the "
        "clock (stages that runs share are counted with each)."
    )


def _machine(environment: Mapping[str, Any]) -> str:
    threads = environment["processor_threads"]
    arithmetic = "" if environment.get("processor_bfloat16", True) else ", float32 in place of bfloat16"
    where = environment["gpu"] or f"CPU, {threads} thread{'s' * (threads > 1)}{arithmetic} ({environment['platform']})"
    return f"{where}, torch {environment['packages']['torch']}"


def grouped(table: TableSpec, results: Results) -> list[tuple[str, list[str]]]:
    """The rows that are there under the headings of their groups, in the table's order."""
    groups = [
        (heading, [n for n in table.rows if n in results and table.rows[n].group == g])
        for g, heading in HEADINGS.items()
    ]
    return [(heading, names) for heading, names in groups if names]


def _lines(table: TableSpec, results: Results, heads: Sequence[str], cells: Callable[[str], Iterable[str]]) -> str:
    """A Markdown table with one line for each row, under the headings of the groups."""
    rows: list[Sequence[str]] = []
    for heading, names in grouped(table, results):
        rows.append([f"**{heading}**", *("" for _ in heads)])
        rows += [[table.rows[name].label, *cells(name)] for name in names]
    return markdown_table(["method", *heads], rows)


def _table(table: TableSpec, results: Results, columns: Sequence[Column]) -> str:
    def cells(name: str) -> list[str]:
        return [interval(summary_of(results[name], column.key), column) for column in columns]

    return _lines(table, results, [column.head for column in columns], cells)


def _distances(table: TableSpec, results: Results) -> str:
    def cells(name: str) -> Iterable[str]:
        for key in ("patches_hu", "detail_hu"):
            yield f"{distance_of(results[name], key):.1f}"
            yield interval(summary_of(results[name], f"{SET_FIGURE}{key}"), IN_HU)

    return _lines(table, results, ("patches HU", "without bias", "detail HU", "without bias"), cells)


def _differences(table: TableSpec, results: Results) -> str:
    reference = best_baseline(table, results)
    if reference is None:
        return "No baseline is there yet.\n"
    figures = {name: by_case(result.outcomes, table.ranked) for name, result in results.items()}
    names = [
        name for name in results if name != reference and table.rows[name].method not in ("round-trip", "shuffled")
    ]
    found = {name: paired(figures[name], figures[reference]) for name in names}
    adjusted = dict(zip(names, holm([test.p for test in found.values()]), strict=True))

    def cells(name: str) -> list[str]:
        return [interval(found[name].difference), f"{found[name].p:.2g}", f"{adjusted[name]:.2g}"]

    head = (
        f"Against {table.rows[reference].label}, in PSNR (`{table.ranked}`), patient by patient; Wilcoxon's signed-rank test, "
        f"corrected over the {len(names)} rows (Holm).\n\n"
    )
    return head + _lines(table, {name: results[name] for name in names}, ("difference dB", "p", "p, corrected"), cells)


def _claims(table: TableSpec, results: Results) -> str:
    checked = [(claim, check_claim(claim, table, results)) for claim in table.claims]
    tests = [finding.test.p for _, finding in checked if finding is not None and finding.test is not None]
    adjusted = iter(holm(tests))
    rows = []
    for claim, finding in checked:
        if finding is None:
            rows.append([claim.text, "not known yet", "-", "-"])
            continue
        p = next(adjusted) if finding.test is not None else None
        holds = finding.large_enough and (p is None or p < SIGNIFICANT)
        answer = ("yes" if p is not None else "yes, untested") if holds else "**no**"
        rows.append([claim.text, answer, finding.found, "-" if p is None else f"{p:.2g}"])
    return markdown_table(("claim", "holds", "found", "p, corrected"), rows)


def _alignments(table: TableSpec, records: Records, results: Results, folder: str) -> str:
    runs = dict.fromkeys(table.rows[name].run for name in results)
    found = {run: records.latents[run]["spaces"] for run in runs if run is not None and run in records.latents}
    if not found:
        return "Not measured yet.\n"
    heads = ("run, space", "cosine", "cosine, others", "retrieval@1", "retrieval@1, back", "voxel retrieval@1")
    rows = [
        [f"{run}, {space}", *(f"{value:.3f}" for value in values.values())]
        for run, spaces in found.items()
        for space, values in spaces.items()
    ]
    pictures = [f"![Latents of {run}]({folder}/{LATENTS}{run}.png)" for run in found]
    words = (
        "Between X-ray and CT latents of the test patients (`clsdm_bench/measures/latents.py`): `mean` the encoded estimate, "
        "`contrast` the space of the contrastive term, whose projections are random where that term is off.\n\n"
    )
    return words + markdown_table(heads, rows) + "\n" + "\n".join(pictures) + "\n"


def _where_measured(results: Results) -> list[str]:
    machines = sorted({_machine(result.measured["environment"]) for result in results.values() if result.measured})
    words = (
        "Seconds and peak memory of a case, and minutes of training: measured for all rows alike with untrained weights, "
        f"which take as long as trained ones (`clsdm_bench/costs.py`), on {'; '.join(machines)}. Training is the number of its "
        "steps times the median of a few. Memory is what torch holds beside the weights, on a CPU with numpy "
        "(`clsdm_bench/measures/memory.py`)."
    )
    return [words, ""] if machines else []


def _costs(table: TableSpec, results: Results) -> str:
    def cells(name: str) -> list[str]:
        result = results[name]
        measured = result.measured or {}
        return [
            _number(measured.get("case_seconds"), 2),
            _number(measured.get("case_peak_mib"), 0),
            f"{result.parameters / 1e6:.1f}" if result.parameters else "-",
            f"{result.cost['samples']}" if result.cost else "-",
            _number(measured.get("training_minutes"), 0),
            f"`{name}`",
        ]

    heads = ("s / case", "peak MiB / case", "parameters, M", "training samples", "training minutes", "row")
    return _lines(table, results, heads, cells)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _pictures(table: TableSpec, results: Results, records: Path, folder: str) -> list[str]:
    """The truth first, then the methods under one another; without ablations."""
    names = [name for _, group in grouped(table, results) for name in group if table.rows[name].group != "ablation"]
    shown = [name for name in (TRUTH, *names) if (records / f"{name}.png").exists()]
    return [*(f"![{name}]({folder}/{name}.png)  " for name in shown), ""]


def _notes(table: TableSpec, results: Results) -> list[str]:
    lines = [f"- {table.rows[name].label}: {table.rows[name].note}" for name in results if table.rows[name].note]
    runs = dict.fromkeys(table.rows[name].run for name in results)
    reduced = [(run, table.run(run).reduced) for run in runs if run is not None]
    lines += [f"- run `{run}`: {words}" for run, words in reduced if words]
    return ["## Remarks", *lines] if lines else []
