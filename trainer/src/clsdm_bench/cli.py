"""The command line ``clsdm-bench``: score a bundle on scan files, evaluate it on a store, benchmark it beside other systems.

``localizers`` and ``real-pairs`` try it on real X-rays whose CT is known. ``benchmark`` goes on where it was cut. Exit
codes: 0 done, 2 unusable input (also where every patient was refused), 3 stopped before the end (call it again), 4 the
loss of a training became non-finite.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from clsdm import NOTICE
from clsdm.errors import InputError, printable
from clsdm.memory import ask_for_large_pages
from clsdm.model.bundle import Bundle
from clsdm.progress import json_lines, terminal
from clsdm_bench import cli_options as options_of
from clsdm_trainer.options import OneLineParser, missing_package

EXIT_INPUT, EXIT_UNFINISHED, EXIT_NON_FINITE = 2, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    ask_for_large_pages()
    options = build_parser().parse_args(arguments)
    try:
        return _run(options)
    except ModuleNotFoundError as error:
        print(f"clsdm-bench: {missing_package(error, 'train,bench')}", file=sys.stderr)
        return EXIT_INPUT


def _run(options: argparse.Namespace) -> int:
    from clsdm_trainer.loop import NonFiniteLossError

    try:
        return options.run(options)
    except (InputError, NonFiniteLossError) as error:
        print(f"clsdm-bench: {' '.join(printable(str(error)).split())}", file=sys.stderr)
        return EXIT_INPUT if isinstance(error, InputError) else EXIT_NON_FINITE


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = OneLineParser(prog="clsdm-bench", description=f"Measure CLS-DM models and others. {NOTICE}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add, run, text in (
        (options_of.add_score, _score, "Score a bundle on scan files the way a user goes: project, reconstruct, compare."),
        (options_of.add_localizers, _localizers, "Volumes from the localizers of CT studies against their own scans."),
        (options_of.add_pairs, _real_pairs, "Volumes from radiographs against a CT of the patient from another day."),
        (options_of.add_evaluate, _evaluate, "Measure a bundle on the test patients of a store, beside the sanity rows."),
        (options_of.add_numbers, _numbers, "Numbers of reconstructions beside their scans': errors, coverage, what was made up."),
        (options_of.add_calibrate, _calibrate, "Put a table of its errors on patients into a bundle."),
        (options_of.add_benchmark, _benchmark, "Train and measure every system of a table side by side, and write the results."),
        (options_of.add_report, _report, "Write the page and the README's comparison anew from the records of a benchmark."),
    ):  # fmt: skip
        command = commands.add_parser(run.__name__.strip("_").replace("_", "-"), help=text, description=text)
        command.set_defaults(run=run)
        add(command.add_argument)
    return parser


def _evaluate(options: argparse.Namespace) -> int:
    from clsdm_bench.evaluate import evaluate, write_results
    from clsdm_trainer.data.store import Store
    from clsdm_trainer.figures import figures_table

    bundle, store = Bundle.open(options.bundle), Store.open(options.store)
    with nullcontext(json_lines(sys.stdout)) if options.json else terminal() as report:
        store.verify(options.split, *(() if options.products_only else ("train",)), report=report)
        outcomes = evaluate(
            bundle, store, split=options.split, geometry=options.geometry, angles_deg=options.angles, seeds=options.seeds,
            samples=options.samples, device=options.device, sanity=not options.products_only, report=report,
        )  # fmt: skip
    angles = " ".join(f"{angle:g}" for angle in options.angles)
    about = {
        "model": bundle.manifest.id,
        "model_sha256": bundle.hash,
        "split": options.split,
        "patients": len(store.cases(options.split)),
        "geometry": options.geometry,
        "angles_deg": angles,
        "command": f"clsdm-bench evaluate --bundle BUNDLE --store STORE --split {options.split} "
        f"--geometry {options.geometry} --angles {angles} --device {options.device} --out OUT",
    }
    results = write_results(outcomes, options.out, about)
    print(json.dumps(results) if options.json else figures_table(results))
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    from clsdm_bench.benchmark import RESULTS, plan, prepare_store, run_benchmark
    from clsdm_bench.records import Records
    from clsdm_bench.resolve import budget_of
    from clsdm_bench.rows import Benchmark
    from clsdm_bench.table import load_table
    from clsdm_trainer.data.store import Store

    table = load_table(options.table)
    speeds = None if options.speeds is None else Records.open(options.speeds)
    budget = budget_of(table, options.budget, options.minutes_each, speeds)
    rows = table.chosen(options.only)
    if options.dry_run:
        if options.data is None:  # else it is still to be prepared
            Store.open(options.store)
        print(plan(table, rows, budget, options.out), end="")
        return 0

    def say(text: str) -> None:
        print(f"benchmark: {text}", file=sys.stderr)

    if options.data is not None:
        prepare_store(table, options.data, options.store, say)
    length = f" --budget {options.budget}" if options.budget else ""
    length += f" --minutes-each {options.minutes_each:g} --speeds RECORDS" if options.minutes_each else ""
    command = f"clsdm-bench benchmark --table {options.table} --store STORE --out OUT{length}"
    records = Records.open(options.records or options.out / "records").described(
        table=options.table, command=command, budget=str(budget)
    )
    benchmark = Benchmark(table, Store.open(options.store), options.out, options.device, budget, records)
    only = rows if options.only else ()
    if not run_benchmark(benchmark, only, say, options.minutes, costs=options.costs, as_json=options.json):
        say(f"stopped before its end, {options.out / RESULTS} holds what is there; the same command goes on")
        return EXIT_UNFINISHED
    return 0


def _report(options: argparse.Namespace) -> int:
    from clsdm_bench.records import Records
    from clsdm_bench.report.page import write_page
    from clsdm_bench.report.readme import write_readme
    from clsdm_bench.table import load_table

    table, records = load_table(options.table), Records.open(options.records)
    if not records.rows:
        raise InputError(f"--records {options.records}: expected the records of a benchmark, found none")
    if options.page is not None:
        write_page(table, records, options.page)
    if options.readme is not None:
        write_readme(table, records.rows, options.readme)
    return 0


def _localizers(options: argparse.Namespace) -> int:
    from clsdm_bench.real.localizers import score_localizers

    bundle = Bundle.open(options.bundle)
    with terminal() as report:
        rows = score_localizers(bundle, options.data, _settings(options), report)
    what = "the frontal and the lateral localizer of each CT study against its own scan."
    return _write_real(options, bundle, rows, what, "localizers")


def _real_pairs(options: argparse.Namespace) -> int:
    from clsdm_bench.real.pairs import score_pairs
    from clsdm_trainer.data.store import Store

    bundle = Bundle.open(options.bundle)
    with terminal() as report:
        rows = score_pairs(bundle, Store.open(options.store), options.data, _settings(options), options.preset, report)
    what = "radiographs against a CT of another day, registered rigidly with the volume."
    return _write_real(options, bundle, rows, what, "real-pairs")


def _settings(options: argparse.Namespace) -> Any:  # noqa: ANN401 - imported late
    from clsdm_bench.real.localizers import Settings

    return Settings(options.product, options.spacing, options.seed, options.device, options.limit)


def _write_real(options: argparse.Namespace, bundle: Bundle, rows: Any, what: str, command: str) -> int:  # noqa: ANN401
    from clsdm_bench.real.tables import write_tables

    about = {
        "model": bundle.manifest.id,
        "model_sha256": bundle.hash,
        "what": what,
        "product": options.product,
        "spacing_mm": options.spacing,
        "command": f"clsdm-bench {command} --product {options.product} --spacing {options.spacing:g} --seed {options.seed}",
    }
    print(write_tables(rows, options.out, about), end="")
    return 0 if any(not row.refused for row in rows) else EXIT_INPUT


def _numbers(options: argparse.Namespace) -> int:
    from clsdm_bench.numbers.run import evaluate_numbers

    with terminal() as report:
        text = evaluate_numbers(options, report)
    print(text, end="")
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from clsdm_bench.numbers.run import calibrate_bundle

    with terminal() as report:
        text = calibrate_bundle(options, report)
    print(text)
    return 0


def _score(options: argparse.Namespace) -> int:
    from clsdm_bench.pages import publish
    from clsdm_bench.score import Settings, score_bundle
    from clsdm_bench.score.cases import find_scans
    from clsdm_bench.score.exposures import CONDITIONS
    from clsdm_bench.score.page import published
    from clsdm_trainer.figures import read_results

    if options.publish and options.steps is not None:
        raise InputError("--publish: puts the table of a model as it ships on a page; expected no --steps beside it")
    settings = Settings(
        products=tuple(options.products),
        conditions=tuple(options.conditions or CONDITIONS),
        preset=options.preset,
        spacing_mm=options.spacing,
        samples=options.samples,
        seed=options.seed,
        device=options.device,
        steps=options.steps,
    )
    bundle = Bundle.open(options.bundle)
    scans = find_scans(
        options.cases, options.split, bundle.manifest.trained_patients, bundle.manifest.selected_patients
    )
    with terminal() as report:
        score_bundle(bundle, scans, options.out, settings, report)
    print((options.out / "table.md").read_text(encoding="utf-8"), end="")
    for place in options.publish:
        publish(place, published(read_results(options.out / "results.json")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
