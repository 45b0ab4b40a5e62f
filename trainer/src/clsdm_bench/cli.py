"""The command line ``clsdm-bench``: score a bundle on scan files, evaluate it on a store, benchmark it beside other systems.

``localizers`` and ``real-pairs`` try it on real X-rays whose CT is known. ``benchmark`` goes on where it was cut. Exit
codes: 0 done, 2 unusable input (also where every patient was refused), 3 stopped before the end (call it again), 4 the
loss of a training became non-finite.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from clsdm import NOTICE
from clsdm.errors import InputError, printable
from clsdm.geometry.view import PRESETS
from clsdm.model.bundle import Bundle, default_bundle_path
from clsdm.progress import json_lines, terminal
from clsdm_trainer.options import OneLineParser, decimal, path, whole

EXIT_INPUT, EXIT_UNFINISHED, EXIT_NON_FINITE = 2, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    from clsdm_trainer.loop import NonFiniteLossError

    try:
        return options.run(options)
    except (InputError, NonFiniteLossError) as error:
        print(f"clsdm-bench: {' '.join(printable(str(error)).split())}", file=sys.stderr)
        return EXIT_INPUT if isinstance(error, InputError) else EXIT_NON_FINITE
    except ModuleNotFoundError as error:
        print(f"clsdm-bench: needs the package {error.name}; install clsdm[train,bench]", file=sys.stderr)
        return EXIT_INPUT


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = OneLineParser(prog="clsdm-bench", description=f"Measure CLS-DM models and others. {NOTICE}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add, run, text in (
        (_add_score, _score, "Score a bundle on scan files the way a user goes: project, reconstruct, compare."),
        (_add_localizers, _localizers, "Volumes from the localizers of CT studies against their own scans."),
        (_add_pairs, _real_pairs, "Volumes from radiographs against a CT of the patient from another day."),
        (_add_evaluate, _evaluate, "Measure a bundle on the test patients of a store, beside the sanity rows."),
        (_add_numbers, _numbers, "Numbers of reconstructions beside their scans': errors, coverage, what was made up."),
        (_add_calibrate, _calibrate, "Put a table of its errors on patients into a bundle."),
        (_add_benchmark, _benchmark, "Train and measure every system of a table side by side, and write the results."),
        (_add_report, _report, "Write the page and the README's comparison anew from the records of a benchmark."),
    ):  # fmt: skip
        command = commands.add_parser(run.__name__.strip("_").replace("_", "-"), help=text, description=text)
        command.set_defaults(run=run)
        add(command.add_argument)
    return parser


Add = Callable[..., Any]
"""``add_argument`` of a command's parser."""
SEED = whole(0, 2**63 - 1)
PRODUCTS = ("mean", "sample", "ensemble")


def _device(add: Add) -> None:
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")


def _add_scored(add: Add) -> None:
    """Options of every command that compares volumes with scans."""
    add("--bundle", type=path, help="folder or archive (default: the embedded one)")
    add("--out", type=path, required=True, help="folder for X-rays, volumes, tables and pictures")
    add("--spacing", type=decimal(0.05, 25.0), default=3.0, metavar="MM",
        help="voxels on which volumes are compared (default: %(default)s)")  # fmt: skip
    add("--seed", type=SEED, default=0, help="of samples and noise (default: %(default)s)")
    _device(add)


def _add_score(add: Add) -> None:
    add("--cases", nargs="+", required=True, metavar="[GROUP=]PLACE",
        help="volume files, or folders of them, where a splits.json says which are whose")  # fmt: skip
    add("--split", nargs="+", choices=("train", "val", "test", "auxiliary"), default=["test"],
        help="of folders with a splits.json (default: test)")  # fmt: skip
    add("--products", nargs="+", choices=PRODUCTS, default=[*PRODUCTS], help="(default: all)")
    add("--conditions", nargs="+", metavar="NAME",
        help="of the X-rays: plain photons radiograph frontal wrong-angle shuffled (default: all)")  # fmt: skip
    add("--preset", choices=sorted(PRESETS), default="chest", help="machine (default: %(default)s)")
    add("--samples", type=whole(2, 1000), default=8, help="of an ensemble (default: %(default)s)")
    _add_scored(add)


def _add_real(add: Add) -> None:
    add("--product", choices=PRODUCTS, default="mean", help="(default: %(default)s)")
    add("--limit", type=whole(1, 10**9), help="use only the first so many patients")
    _add_scored(add)


def _add_localizers(add: Add) -> None:
    add("--data", type=path, required=True, help="DICOM tree, as The Cancer Imaging Archive gives it")
    _add_real(add)


def _add_pairs(add: Add) -> None:
    add("--store", type=path, required=True, help="of clsdm-train prepare; lists the radiographs")
    add("--data", type=path, required=True, help="root of the data set that the store was made from")
    add("--preset", choices=sorted(PRESETS), default="chest",
        help="geometry that the files do not state (default: %(default)s)")  # fmt: skip
    _add_real(add)


def _add_numbers(add: Add) -> None:
    _add_cases(add, ["test"])
    add("--wrong", action="store_true", help="also hand in 40 wrong inputs and 40 right ones")
    add("--pictures", action="store_true", help="of each scan, what X-rays fix of it and how sure the rest is")


def _add_calibrate(add: Add) -> None:
    _add_cases(add, ["train", "val"])
    add("--write", type=path, required=True, help="bundle folder to write; may be --bundle itself")


def _add_cases(add: Add, splits: list[str]) -> None:
    add("--bundle", type=path, help="folder or archive (default: the embedded one)")
    add("--cases", nargs="+", required=True, metavar="[GROUP=]PLACE", help="as for score")
    add("--split", nargs="+", choices=("train", "val", "test"), default=splits,
        help=f"of folders with a splits.json (default: {' '.join(splits)})")  # fmt: skip
    add("--out", type=path, required=True, help="folder for X-rays, volumes and tables; a call that was cut goes on")
    add("--products", nargs="+", choices=("mean", "sample", "ensemble"), default=["mean", "ensemble"],
        help="(default: mean ensemble)")  # fmt: skip
    add("--conditions", nargs="+", metavar="NAME", default=["plain", "photons", "wrong-angle"],
        help="of the X-rays, as for score (default: plain photons wrong-angle)")  # fmt: skip
    add("--preset", choices=sorted(PRESETS), default="chest", help="machine (default: %(default)s)")
    add("--samples", type=whole(2, 1000), default=8, help="of an ensemble (default: %(default)s)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")


def _add_evaluate(add: Add) -> None:
    add("--bundle", type=path, required=True)
    add("--store", type=path, required=True)
    add("--out", type=path, required=True, help="folder for results.json, results.md, cases.csv")
    add("--split", choices=("test", "val"), default="test", help="(default: %(default)s)")
    add("--geometry", choices=sorted(PRESETS), default="chest", help="(default: %(default)s)")
    add("--angles", type=decimal(-720.0, 720.0), nargs="+", default=[0.0, 90.0], help="(default: 0 90)")
    add("--seeds", type=SEED, nargs="+", default=[0, 1, 2], help="of the samples (default: 0 1 2)")
    add("--samples", type=whole(2, 1000), default=8, help="of the ensemble (default: %(default)s)")
    _device(add)
    add("--products-only", action="store_true", help="leave the sanity rows out")
    add("--json", action="store_true", help="progress as JSON lines on standard output")


def _add_benchmark(add: Add) -> None:
    _add_table(add)
    add("--store", type=path, required=True, help="folder of clsdm-train prepare; made from --data")
    add("--data", type=path, metavar="ROOT", help="public data set, prepared if the store is not there")
    add("--out", type=path, required=True, help="folder for runs, volumes and RESULTS.md")
    add("--records", type=path, help="folder of what is kept of the rows (default: OUT/records)")
    add("--only", nargs="+", default=[], metavar="ROW", help="rows (default: all)")
    add("--budget", type=whole(1, 10**12), metavar="SAMPLES", help="training samples of each method")
    add("--minutes-each", type=decimal(1e-3, 1e7), metavar="MINUTES",
        help="in place of --budget: training minutes of each method, by --speeds")  # fmt: skip
    add("--speeds", type=path, metavar="RECORDS", help="of a benchmark with --budget on this machine")
    add("--minutes", type=decimal(0.0, 1e7), help="stop after so long, to be continued by the same command")
    _device(add)
    add("--costs", action="store_true", help="measure anew what a case and the training cost, of all rows")
    add("--dry-run", action="store_true", help="print the runs with their samples, and stop")
    add("--json", action="store_true", help="log records as JSON lines on standard output")


def _add_report(add: Add) -> None:
    _add_table(add)
    add("--records", type=path, required=True, help="folder of a benchmark's records")
    add("--page", type=path, metavar="FILE", help="Markdown file to write")
    add("--readme", type=path, metavar="FILE", help="file in which the comparison is to be replaced")


def _add_table(add: Add) -> None:
    add("--table", "--preset", default="body128", help="shipped table or YAML file (default: %(default)s)")


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

    bundle = Bundle.open(options.bundle or default_bundle_path())
    with terminal() as report:
        rows = score_localizers(bundle, options.data, _settings(options), report)
    what = "the frontal and the lateral localizer of each CT study against its own scan."
    return _write_real(options, bundle, rows, what, "localizers")


def _real_pairs(options: argparse.Namespace) -> int:
    from clsdm_bench.real.pairs import score_pairs
    from clsdm_trainer.data.store import Store

    bundle = Bundle.open(options.bundle or default_bundle_path())
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
    from clsdm_bench.score import Settings, score_bundle
    from clsdm_bench.score.cases import find_scans
    from clsdm_bench.score.exposures import CONDITIONS

    conditions = tuple(options.conditions or CONDITIONS)
    unknown = [name for name in conditions if name not in CONDITIONS]
    if unknown:
        raise InputError(f"--conditions: expected some of {', '.join(CONDITIONS)}, got {unknown[0]!r}")
    bundle = Bundle.open(options.bundle or default_bundle_path())
    settings = Settings(
        tuple(options.products), conditions, options.preset, options.spacing, options.samples, options.seed, options.device
    )  # fmt: skip
    scans = find_scans(options.cases, options.split, bundle.manifest.trained_patients)
    with terminal() as report:
        score_bundle(bundle, scans, options.out, settings, report)
    print((options.out / "table.md").read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
