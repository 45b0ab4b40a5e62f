"""The command line ``clsdm-train``: prepare, train the three stages, evaluate, export, or all of it; and benchmark.

Every training command goes on where it was cut; ``--minutes`` cuts it. Exit codes: 0 done, 2 unusable input, 3 stopped
before the end (call it again), 4 the loss became non-finite.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clsdm import NOTICE
from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS
from clsdm.model.bundle import Bundle
from clsdm.progress import json_lines, terminal
from clsdm_trainer.stages import STAGES

EXIT_INPUT, EXIT_UNFINISHED, EXIT_NON_FINITE = 2, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    from clsdm_trainer.loop import NonFiniteLossError

    try:
        return options.run(options)
    except InputError as error:
        print(f"clsdm-train: {error}", file=sys.stderr)
        return EXIT_INPUT
    except NonFiniteLossError as error:
        print(f"clsdm-train: {error}", file=sys.stderr)
        return EXIT_NON_FINITE


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="clsdm-train", description=f"Train, judge and export CLS-DM models. {NOTICE}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_prepare(commands)
    for name in (*STAGES, "all"):
        text = "All stages, then export and evaluation." if name == "all" else f"Train stage {name}, or go on with it."
        _add_training(commands.add_parser(name, help=text, description=text), name)
    _add_evaluate(commands)
    _add_export(commands)
    _add_benchmark(commands)
    return parser


def _add_prepare(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    text = "Turn scans into a canonical store, split by patient."
    parser = commands.add_parser("prepare", help=text, description=text)
    parser.add_argument("--source", action="append", required=True, metavar="KIND:FOLDER[,option=value ...]",
                        help="folder, dicom, x2ct-hdf5 or ctspine1k; repeatable")  # fmt: skip
    parser.add_argument("--preset", default="openkbp64", help="recipe whose grid to use (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the store")
    parser.add_argument("--one-scan-per-patient", action="store_true",
                        help="every file of a folder source is another patient, whatever the names look like; otherwise "
                        "name the patient in them with the option patient_pattern=REGEX of the source")  # fmt: skip
    parser.add_argument("--workers", type=int, help="processes")
    parser.add_argument("--strict", action="store_true", help="stop at the first scan that cannot be used")
    parser.set_defaults(run=_prepare)


def _add_training(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--preset", default="openkbp64", help="shipped recipe or YAML file (default: %(default)s)")
    parser.add_argument("--store", type=Path, required=True, help="folder of clsdm-train prepare")
    parser.add_argument("--run", type=Path, required=True, dest="folder", help="folder of the run")
    parser.add_argument("--init", type=Path, metavar="BUNDLE", dest="initial",
                        help="start from a bundle of the same grid and networks (fine-tuning); stages that are not "
                        "trained in this run stay as they are in it")  # fmt: skip
    parser.add_argument("--minutes", type=float, help="stop after so long, to be continued by the same command")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument("--devices", type=int, default=1, help="GPUs or processes on each node (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=1, help="nodes, under SLURM or torchrun (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="check everything, print the resolved recipe, and stop")
    parser.add_argument("--json", action="store_true", help="log records as JSON lines on standard output")
    if name == "all":
        parser.add_argument("--bundle", type=Path, help="bundle to write (default: RUN/bundle)")
        parser.add_argument("--about", type=Path, help="YAML for the model card, see export")
    parser.set_defaults(run=_train, stages=tuple(STAGES) if name == "all" else (name,))


def _add_evaluate(commands: Any) -> None:  # noqa: ANN401
    text = "Judge a bundle on the test patients, beside the sanity rows."
    parser = commands.add_parser("evaluate", help=text, description=text)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json, results.md, cases.csv")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="(default: %(default)s)")
    parser.add_argument("--geometry", choices=sorted(PRESETS), default="chest", help="(default: %(default)s)")
    parser.add_argument("--angles", type=float, nargs="+", default=[0.0, 90.0], help="(default: 0 90)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the samples (default: 0 1 2)")
    parser.add_argument("--samples", type=int, default=8, help="of the ensemble (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--products-only", action="store_true", help="leave the sanity rows out")
    parser.add_argument("--json", action="store_true", help="progress as JSON lines on standard output")
    parser.set_defaults(run=_evaluate)


def _add_export(commands: Any) -> None:  # noqa: ANN401
    text = "Write a finished run as a bundle with its model card."
    parser = commands.add_parser("export", help=text, description=text)
    parser.add_argument("--run", type=Path, required=True, dest="folder")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="bundle folder")
    parser.add_argument("--encoding", choices=("int8", "float16", "float32"), default="int8",
                        help="of the weights (default: %(default)s)")  # fmt: skip
    parser.add_argument("--results", type=Path, help="results.json of an evaluation of this bundle, for the card")
    parser.add_argument("--about", type=Path, help="YAML with licence, anatomy, data, recipe and remarks, in words")
    parser.set_defaults(run=_export)


def _add_benchmark(commands: Any) -> None:  # noqa: ANN401
    text = "Train and judge every system of a table side by side, and write the results."
    parser = commands.add_parser("benchmark", help=text, description=text)
    parser.add_argument("--preset", default="openkbp64", help="shipped table or YAML file (default: %(default)s)")
    parser.add_argument("--store", type=Path, required=True, help="folder of clsdm-train prepare; made from --data")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="public data set, prepared if the store is not there")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, rows and RESULTS.md")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows (default: all)")
    parser.add_argument("--budget", type=int, metavar="SAMPLES", help="training samples of each method")
    parser.add_argument("--minutes-each", type=float, metavar="MINUTES",
                        help="in place of --budget: training minutes of each method, by --speeds")  # fmt: skip
    parser.add_argument(
        "--speeds", type=Path, metavar="OUT", help="folder of a benchmark with --budget on this machine"
    )
    parser.add_argument("--minutes", type=float, help="stop after so long, to be continued by the same command")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="copy RESULTS.md, its pictures and cases there")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="replace the comparison in this file")
    parser.add_argument(
        "--costs", action="store_true", help="measure anew what a case and the training cost, of all rows"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the runs with their samples, and stop")
    parser.add_argument("--json", action="store_true", help="log records as JSON lines on standard output")
    parser.set_defaults(run=_benchmark)


def _prepare(options: argparse.Namespace) -> int:
    from clsdm_trainer.data.prepare import PrepareConfig, prepare
    from clsdm_trainer.data.source import SourceConfig
    from clsdm_trainer.recipe import load_config

    config = load_config(options.preset)
    grid = config.model.grid
    sources = [SourceConfig.parse(text) for text in options.source]
    if options.one_scan_per_patient:
        sources = [source.model_copy(update={"one_scan_per_patient": True}) for source in sources]
    workers = {} if options.workers is None else {"workers": options.workers}
    report = prepare(
        PrepareConfig(
            sources=tuple(sources),
            out=options.out,
            size=grid.size,
            spacing_mm=grid.spacing_mm,
            margin=config.data.margin,
            placement=config.data.placement,
            background=config.data.background,
            strict=options.strict,
            **workers,
        )
    )
    print(report.summary())
    return report.exit_code


def _train(options: argparse.Namespace) -> int:
    import time

    import yaml
    from lightning_fabric import Fabric

    from clsdm.reconstruct import choose_device
    from clsdm_trainer.data.store import Store
    from clsdm_trainer.export import read_about
    from clsdm_trainer.initial import check_initial
    from clsdm_trainer.precision import usable
    from clsdm_trainer.recipe import load_config
    from clsdm_trainer.reporting import training_report
    from clsdm_trainer.run import check_store, open_run, train_stage

    config, store = load_config(options.preset), Store.open(options.store)
    check_store(store, config)
    if len(options.stages) > 1:
        read_about(options.about, config.name)  # find out before the training, not after it
    initial = None if options.initial is None else Bundle.open(options.initial)
    if initial is not None:
        check_initial(initial, config, store)
    with terminal(enabled=not options.json) as report:
        store.verify("train", "val", report=report)
    if options.dry_run:
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")
        return 0
    started = time.monotonic()
    open_run(options.folder, config, store, initial)
    for name in options.stages:
        left = None if options.minutes is None else options.minutes - (time.monotonic() - started) / 60.0
        fabric = Fabric(
            accelerator=options.device,
            devices=options.devices,
            num_nodes=options.nodes,
            strategy="ddp" if options.devices * options.nodes > 1 else "auto",
            precision=usable(config.section(STAGES[name]).precision, choose_device(options.device)),
        )
        fabric.launch()
        with training_report(options.folder / name, as_json=options.json) as sink:
            if not train_stage(config, STAGES[name], store, options.folder, fabric, sink, left):
                print(f"{name}: stopped before its end; the same command goes on", file=sys.stderr)
                return EXIT_UNFINISHED
    return _finish(options, config, store) if len(options.stages) > 1 and fabric.is_global_zero else 0


def _finish(options: argparse.Namespace, config: Any, store: Any) -> int:  # noqa: ANN401 - imported late
    """After all stages: the bundle, its figures, and the bundle again with the figures in its card."""
    out = options.bundle or options.folder / "bundle"
    base = ["--run", str(options.folder), "--store", str(options.store), "--out", str(out)]
    base += ["--about", str(options.about)] if options.about else []
    results = options.folder / "results"
    steps = (
        ["export", *base],
        ["evaluate", "--bundle", str(out), "--store", str(options.store), "--out", str(results)],
        ["export", *base, "--results", str(results / "results.json")],
    )
    return next((code for code in map(main, steps) if code), 0)


def _evaluate(options: argparse.Namespace) -> int:
    from clsdm_bench.evaluate import evaluate, markdown, write_results
    from clsdm_trainer.data.store import Store

    bundle, store = Bundle.open(options.bundle), Store.open(options.store)
    with _progress(options.json) as report:
        store.verify(options.split, *(() if options.products_only else ("train",)), report=report)
        outcomes = evaluate(
            bundle,
            store,
            split=options.split,
            geometry=options.geometry,
            angles_deg=options.angles,
            seeds=options.seeds,
            samples=options.samples,
            device=options.device,
            sanity=not options.products_only,
            report=report,
        )
    angles = " ".join(f"{angle:g}" for angle in options.angles)
    about = {
        "model": bundle.manifest.id,
        "model_sha256": bundle.hash,
        "split": options.split,
        "patients": len(store.cases(options.split)),
        "geometry": options.geometry,
        "angles_deg": angles,
        "command": f"clsdm-train evaluate --bundle BUNDLE --store STORE --split {options.split} "
        f"--geometry {options.geometry} --angles {angles} --out OUT",
    }
    results = write_results(outcomes, options.out, about)
    print(json.dumps(results) if options.json else markdown(results["methods"]))
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    from clsdm_bench.command import RESULTS, Request, plan, prepare_store, run_benchmark
    from clsdm_bench.table import load_table

    request = Request(
        name=options.preset,
        table=load_table(options.preset),
        store=options.store,
        out=options.out,
        only=tuple(options.only),
        samples=options.budget,
        minutes_each=options.minutes_each,
        speeds=options.speeds,
        minutes=options.minutes,
        device=options.device,
        as_json=options.json,
        publish=options.publish,
        readme=options.readme,
        costs=options.costs,
    )
    if options.dry_run:
        print(plan(request), end="")
        return 0

    def say(text: str) -> None:
        print(f"benchmark: {text}", file=sys.stderr)

    if options.data is not None:
        prepare_store(request.table, options.data, options.store, say)
    if not run_benchmark(request, say):
        say(f"stopped before its end, {options.out / RESULTS} holds what is there; the same command goes on")
        return EXIT_UNFINISHED
    return 0


def _progress(as_json: bool) -> Any:  # noqa: ANN401 - a context manager
    from contextlib import nullcontext

    return nullcontext(json_lines(sys.stdout)) if as_json else terminal()


def _export(options: argparse.Namespace) -> int:
    from clsdm_trainer.data.store import Store
    from clsdm_trainer.export import export_bundle, read_about, read_results
    from clsdm_trainer.recipe import load_config
    from clsdm_trainer.run import CONFIG

    config = load_config(str(options.folder / CONFIG))
    bundle = export_bundle(
        config,
        options.folder,
        Store.open(options.store),
        options.out,
        about=read_about(options.about, config.name),
        encoding=options.encoding,
        results=read_results(options.results) if options.results else None,
    )
    print(f"{bundle.path}: {sum(entry.bytes for entry in bundle.files.values()) / 1e6:.1f} MB, weights {bundle.hash}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
