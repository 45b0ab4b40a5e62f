"""``RESULTS.md``: the table with its intervals, tests, costs, commands and pictures; every figure in it comes from a row's file.

A row that is not there yet is named as missing, and a claim that does not hold is printed as one that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clsdm_bench.distribution import SET_FIGURE
from clsdm_bench.figures import RANKED, best_baseline, by_case, distance_of, interval, judge_claim, summary_of
from clsdm_bench.records import RECORDS, RowResult
from clsdm_bench.resolve import Budget
from clsdm_bench.statistics import holm, paired
from clsdm_bench.table import TableSpec

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
"""Names of the records that are of no row: the picture of the CTs, and what is measured of a run's latents."""
Cells = Callable[[str], list[str]]
"""The cells of the row of that name."""


@dataclass(frozen=True)
class Column:
    """A figure of the main table."""

    key: str
    head: str
    digits: int


COLUMNS = (
    Column("honest.psnr_3d_db", "PSNR dB", 2),
    Column("honest.psnr_body_db", "PSNR body dB", 2),
    Column("honest.ssim_3d", "SSIM", 3),
    Column("honest.mae_body_hu", "MAE body HU", 1),
    Column("reprojection_rmse", "residual, input views", 3),
    Column("reprojection_held_out_rmse", "residual, held-out views", 3),
)
REGIONS = (
    Column("honest.mae_lung_hu", "MAE lung HU", 1),
    Column("honest.mae_soft_tissue_hu", "MAE soft tissue HU", 1),
    Column("honest.mae_bone_hu", "MAE bone HU", 1),
    Column("x2ct.psnr_slices_db", "x2ct PSNR slices dB", 2),
    Column("x2ct.psnr_3d_db", "x2ct PSNR 3-D dB", 2),
    Column("x2ct.ssim_slices", "x2ct SSIM slices", 3),
)


def results_page(
    table: TableSpec,
    results: Mapping[str, RowResult],
    *,
    command: str,
    budget: Budget,
    alignments: Mapping[str, Mapping[str, Mapping[str, float]]],
    patients: int,
    pictured: Collection[str],
) -> str:
    """The whole page as Markdown.

    Args:
        table: the benchmark.
        results: the rows that are there.
        command: that made them, without ``--only``.
        budget: of each method.
        alignments: per run, the agreements "mean" and "contrast" of ``latents.measure``.
        patients: how many were judged.
        pictured: records that have a picture.
    """
    parts = [
        "# Results",
        "",
        f"Made by `{command}`. {patients} patients of split `{table.split}`, geometry `{table.geometry}`, views at "
        f"{_angles(table.angles_deg)}; held-out views at {_angles(table.held_out_deg)}.",
        "Mean over patients [95 % bootstrap interval]; stochastic rows are averaged over seeds "
        f"{', '.join(map(str, table.seeds))} first. Protocols `honest` (float volumes, data range 2500 HU) and `x2ct` (peak "
        "4095, comparable with published tables only) are defined in `clsdm/quality/metrics.py`.",
        "",
        hardware_sentence(results, budget),
        "",
        *_missing(table, results),
        "## Protocol `honest`",
        _table(table, results, COLUMNS),
        "## Regions, and protocol `x2ct`",
        _table(table, results, REGIONS),
        "## Distribution",
        "Sliced Wasserstein distance between 3-D patches of reconstructions and CTs, in HU (`clsdm_bench/distribution.py`); "
        "the nearest training patient is a real CT and shows how near a set of real CTs comes. In brackets, and in the claims: "
        "intervals over what each patient adds to it (jackknife pseudo-values).",
        _distances(table, results),
        "## Differences from the best baseline",
        _differences(table, results),
        "## Claims",
        _claims(table, results),
        *(f"- {text}" for text in table.tried),
        *([""] if table.tried else []),
        "## Latent alignment",
        _alignments(alignments),
        "## Cost and commands",
        *_where_measured(results),
        _costs(table, results, command),
        "## Pictures",
        f"The same {table.pictures} patients for every method, coronal and axial.",
        "",
        *_pictures(table, results, pictured),
        *_notes(table, results),
    ]
    return "\n".join(parts).rstrip() + "\n"


def hardware_sentence(results: Mapping[str, RowResult], budget: Budget) -> str:
    """What hardware and budget the figures were made with."""
    environments = [result.cost["environment"] for result in results.values() if result.cost]
    machines = sorted({_machine(environment) for environment in environments}) or ["nothing was trained"]
    minutes = {row.key["weights"]: row.cost["minutes"] for row in results.values() if row.cost}
    revisions = sorted({row.revision[:10] for row in results.values() if row.revision})
    return (
        f"Hardware: {'; '.join(machines)}. Budget: {budget}; "
        f"{sum(minutes.values()):.0f} minutes of training in all by the clock (stages that runs share are counted with each)."
        + (f" Judged by the code of {', '.join(revisions)}." if revisions else "")
    )


def _machine(environment: Mapping[str, Any]) -> str:
    threads = environment["processor_threads"]
    arithmetic = "" if environment.get("processor_bfloat16", True) else ", float32 in place of bfloat16"
    where = environment["gpu"] or f"CPU, {threads} thread{'s' * (threads > 1)}{arithmetic} ({environment['platform']})"
    return f"{where}, torch {environment['packages']['torch']}"


def _missing(table: TableSpec, results: Mapping[str, RowResult]) -> list[str]:
    names = [name for name in table.rows if name not in results]
    return [f"Not there yet: {', '.join(f'`{name}`' for name in names)}.", ""] if names else []


def grouped(table: TableSpec, results: Mapping[str, RowResult]) -> list[tuple[str, list[str]]]:
    """The rows that are there under the headings of their groups, in the table's order."""
    groups = []
    for group, heading in HEADINGS.items():
        names = [name for name in table.rows if name in results and table.rows[name].group == group]
        if names:
            groups.append((heading, names))
    return groups


def _lines(table: TableSpec, results: Mapping[str, RowResult], heads: Sequence[str], cells: Cells) -> str:
    """A Markdown table with one line for each row, under the headings of the groups."""
    lines = ["| " + " | ".join(("method", *heads)) + " |", "|" + "---|" * (len(heads) + 1)]
    for heading, names in grouped(table, results):
        lines.append(f"| **{heading}** |" + " |" * len(heads))
        lines += [f"| {table.rows[name].label} | " + " | ".join(cells(name)) + " |" for name in names]
    return "\n".join(lines) + "\n"


def _table(table: TableSpec, results: Mapping[str, RowResult], columns: Sequence[Column]) -> str:
    def cells(name: str) -> list[str]:
        return [interval(summary_of(results[name], column.key), column.digits) for column in columns]

    return _lines(table, results, [column.head for column in columns], cells)


def _distances(table: TableSpec, results: Mapping[str, RowResult]) -> str:
    def cells(name: str) -> list[str]:
        return [_distance(results[name], key) for key in ("patches_hu", "detail_hu")]

    return _lines(table, results, ("patches HU", "detail HU"), cells)


def _distance(result: RowResult, key: str) -> str:
    shares = summary_of(result, f"{SET_FIGURE}{key}")
    return f"{distance_of(result, key):.1f}" + (f" [{shares.low:.1f}, {shares.high:.1f}]" if shares else "")


def _differences(table: TableSpec, results: Mapping[str, RowResult]) -> str:
    reference = best_baseline(table, results)
    if reference is None:
        return "No baseline is there yet.\n"
    names = [
        name for name in results if name != reference and table.rows[name].method not in ("round-trip", "shuffled")
    ]
    tests = [paired(by_case(results[name], RANKED), by_case(results[reference], RANKED)) for name in names]
    adjusted = dict(zip(names, holm([test.p for test in tests]), strict=True))
    found = dict(zip(names, tests, strict=True))

    def cells(name: str) -> list[str]:
        return [interval(found[name].difference, 2), f"{found[name].p:.2g}", f"{adjusted[name]:.2g}"]

    shown = {name: results[name] for name in names}
    head = (
        f"Against {table.rows[reference].label}, in PSNR (honest), patient by patient; Wilcoxon's signed-rank test, "
        f"corrected over the {len(names)} rows (Holm).\n\n"
    )
    return head + _lines(table, shown, ("difference dB", "p", "p, corrected"), cells)


def _claims(table: TableSpec, results: Mapping[str, RowResult]) -> str:
    judged = [(claim, judge_claim(claim, table, results)) for claim in table.claims]
    tests = [verdict.test.p for _, verdict in judged if verdict is not None and verdict.test is not None]
    adjusted = iter(holm(tests))
    lines = ["| claim | holds | found | p, corrected |", "|---|---|---|---|"]
    for claim, verdict in judged:
        if verdict is None:
            lines.append(f"| {claim.text} | not known yet | - | - |")
            continue
        p = next(adjusted) if verdict.test is not None else None
        holds = verdict.large_enough and (p is None or p < SIGNIFICANT)
        lines.append(f"| {claim.text} | {_answer(holds, p)} | {verdict.found} | {'-' if p is None else f'{p:.2g}'} |")
    return "\n".join(lines) + "\n"


def _answer(holds: bool, p: float | None) -> str:
    """In the table's words; without a test a difference may be chance."""
    return ("yes" if p is not None else "yes, untested") if holds else "**no**"


def _alignments(alignments: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    if not alignments:
        return "Not measured yet.\n"
    heads = ("cosine", "cosine, others", "retrieval@1", "retrieval@1, back", "voxel retrieval@1")
    lines = ["| run, space | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    for run, spaces in alignments.items():
        for space, values in spaces.items():
            lines.append(f"| {run}, {space} | " + " | ".join(f"{value:.3f}" for value in values.values()) + " |")
    pictures = [f"![Latents of {run} on the judged patients]({RECORDS}/{LATENTS}{run}.png)" for run in alignments]
    words = (
        "Between X-ray and CT latents of the judged patients (`clsdm_bench/latents.py`): `mean` the encoded estimate, "
        "`contrast` the space of the contrastive term, whose projections are random where that term is off.\n\n"
    )
    return words + "\n".join(lines) + "\n\n" + "\n".join(pictures) + "\n"


def _where_measured(results: Mapping[str, RowResult]) -> list[str]:
    machines = sorted({_machine(result.measured["environment"]) for result in results.values() if result.measured})
    words = (
        "Seconds and peak memory of a case, and minutes of training: measured for all rows alike with untrained weights, "
        f"which take as long as trained ones (`clsdm_bench/costs.py`), on {'; '.join(machines)}. Training is the number of its "
        "steps times the median of a few. Memory is what torch holds beside the weights, on a CPU with numpy (`memory.py`)."
    )
    return [words, ""] if machines else []


def _costs(table: TableSpec, results: Mapping[str, RowResult], command: str) -> str:
    def cells(name: str) -> list[str]:
        result = results[name]
        measured = result.measured or {}
        return [
            _number(measured.get("case_seconds"), 2),
            _number(measured.get("case_peak_mib"), 0),
            f"{result.parameters / 1e6:.1f}" if result.parameters else "-",
            f"{result.cost['samples']}" if result.cost else "-",
            _number(measured.get("training_minutes"), 0),
            f"[csv]({RECORDS}/{name}.csv)",
            f"`{command} --only {name}`",
        ]

    heads = (
        "s / case",
        "peak MiB / case",
        "parameters, M",
        "training samples",
        "training minutes",
        "patients",
        "command",
    )
    return _lines(table, results, heads, cells)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _pictures(table: TableSpec, results: Mapping[str, RowResult], pictured: Collection[str]) -> list[str]:
    """The truth first, then the methods under one another; ablations are linked."""
    names = [name for _, group in grouped(table, results) for name in group if name in pictured]
    shown = [TRUTH, *(name for name in names if table.rows[name].group != "ablation")]
    linked = [f"[{table.rows[name].label}]({RECORDS}/{name}.png)" for name in names if name not in shown]
    pictures = [f"![{name}]({RECORDS}/{name}.png)  " for name in shown]
    return [*pictures, "", *([f"Ablations: {'; '.join(linked)}.", ""] if linked else [])]


def _notes(table: TableSpec, results: Mapping[str, RowResult]) -> list[str]:
    lines = [f"- {table.rows[name].label}: {table.rows[name].note}" for name in results if table.rows[name].note]
    runs = dict.fromkeys(table.rows[name].run for name in results)
    reduced = [(run, table.run(run).reduced) for run in runs if run is not None]
    lines += [f"- run `{run}`: {words}" for run, words in reduced if words]
    return ["## Remarks", *lines] if lines else []


def _angles(angles_deg: Sequence[float]) -> str:
    return ", ".join(f"{angle:g}°" for angle in angles_deg)
