"""The command line ``clsdm-train``: prepare, deform, train the three stages, export, or all of it.

What measures (``evaluate``, ``benchmark``) belongs to ``clsdm-bench``, to which it is handed over. Every training command goes
on where it was cut; ``--minutes`` cuts it. Exit codes: 0 done, 2 unusable input, 3 stopped before the end (call it again),
4 the loss became non-finite.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clsdm import NOTICE
from clsdm.errors import InputError, printable
from clsdm.failures import in_words
from clsdm.memory import ask_for_large_pages
from clsdm.model.bundle import Bundle, Encoding
from clsdm.progress import terminal
from clsdm_trainer.options import OneLineParser, decimal, missing_package, path, whole

EXIT_INPUT, EXIT_UNFINISHED, EXIT_NON_FINITE = 2, 3, 4
OF_BENCH = ("evaluate", "benchmark", "score")
"""Commands of ``clsdm-bench``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    ask_for_large_pages()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _hand_over(arguments) if arguments and arguments[0] in OF_BENCH else _run(arguments)
    except ModuleNotFoundError as error:
        print(f"clsdm-train: {missing_package(error, 'train')}", file=sys.stderr)
    except (InputError, OSError) as error:
        print(f"clsdm-train: {' '.join(printable(in_words(error)).split())}", file=sys.stderr)
    return EXIT_INPUT


def _run(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    from clsdm_trainer.loop import NonFiniteLossError

    try:
        return options.run(options)
    except NonFiniteLossError as error:
        print(f"clsdm-train: {error}", file=sys.stderr)
        return EXIT_NON_FINITE


def _hand_over(arguments: Sequence[str]) -> int:
    """Run a command of the benchmark, which is a client of this package and need not be there."""
    try:
        bench = importlib.import_module("clsdm_bench.cli")
    except ModuleNotFoundError as error:
        raise InputError(
            f"{arguments[0]}: a command of clsdm-bench, which is not installed here (no module {error.name!r}); "
            "install it with: pip install 'clsdm[train,bench]'"
        ) from None
    return bench.main(arguments)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from clsdm_trainer.stages import STAGES

    parser = OneLineParser(
        prog="clsdm-train",
        description=f"Train and export CLS-DM models. {NOTICE}",
        epilog=f"{', '.join(OF_BENCH)}: handed over to clsdm-bench, see clsdm-bench --help",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_prepare(commands)
    _add_deform(commands)
    for name in (*STAGES, "all"):
        text = "All stages, then export and evaluation." if name == "all" else f"Train stage {name}, or go on with it."
        stages = tuple(STAGES) if name == "all" else (name,)
        _add_training(commands.add_parser(name, help=text, description=text), name, stages)
    _add_export(commands)
    return parser


def _add_prepare(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    text = "Turn scans into a canonical store, split by patient."
    parser = commands.add_parser("prepare", help=text, description=text)
    parser.add_argument("--source", action="append", required=True, metavar="KIND:FOLDER[,option=value ...]",
                        help="folder, dicom, x2ct-hdf5 or ctspine1k; repeatable")  # fmt: skip
    parser.add_argument("--preset", default="openkbp64", help="recipe whose grid to use (default: %(default)s)")
    parser.add_argument("--out", type=path, required=True, help="folder of the store")
    parser.add_argument("--one-scan-per-patient", action="store_true",
                        help="every file of a folder source is another patient, whatever the names look like; otherwise "
                        "name the patient in them with the option patient_pattern=REGEX of the source")  # fmt: skip
    parser.add_argument("--workers", type=whole(1, 1024), help="processes")
    parser.add_argument("--strict", action="store_true", help="stop at the first scan that cannot be used")
    parser.set_defaults(run=_prepare)


def _add_deform(commands: Any) -> None:  # noqa: ANN401
    text = "Find deformations between the training patients of a region that has few, for augment.between_probability."
    parser = commands.add_parser("deform", help=text, description=text)
    parser.add_argument("--store", type=path, required=True, help="folder of clsdm-train prepare")
    parser.add_argument("--towards", type=whole(1, 1000), default=6,
                        help="how many others each patient is deformed to (default: %(default)s)")  # fmt: skip
    parser.add_argument("--workers", type=whole(1, 1024), help="processes")
    parser.set_defaults(run=_deform)


def _add_training(parser: argparse.ArgumentParser, name: str, stages: tuple[str, ...]) -> None:
    parser.add_argument("--preset", default="openkbp64", help="shipped recipe or YAML file (default: %(default)s)")
    parser.add_argument("--store", type=path, required=True, help="folder of clsdm-train prepare")
    parser.add_argument("--run", type=path, required=True, dest="folder", help="folder of the run")
    parser.add_argument("--init", type=path, metavar="BUNDLE", dest="initial",
                        help="start from a bundle of the same grid and networks (fine-tuning); stages that are not "
                        "trained in this run stay as they are in it")  # fmt: skip
    parser.add_argument(
        "--minutes", type=decimal(0.0, 1e7), help="stop after so long, to be continued by the same command"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument(
        "--devices", type=whole(1, 1024), default=1, help="GPUs or processes on each node (default: %(default)s)"
    )
    parser.add_argument(
        "--nodes", type=whole(1, 65_536), default=1, help="nodes, under SLURM or torchrun (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, print the resolved recipe, and stop")
    parser.add_argument("--json", action="store_true", help="log records as JSON lines on standard output")
    if name == "all":
        parser.add_argument("--bundle", type=path, help="bundle to write (default: RUN/bundle)")
        parser.add_argument("--about", type=path, help="YAML for the model card, see export")
    parser.set_defaults(run=_train, stages=stages)


def _add_export(commands: Any) -> None:  # noqa: ANN401
    text = "Write a finished run as a bundle with its model card."
    parser = commands.add_parser("export", help=text, description=text)
    parser.add_argument("--run", type=path, required=True, dest="folder")
    parser.add_argument("--store", type=path, required=True)
    parser.add_argument("--out", type=path, required=True, help="bundle folder")
    parser.add_argument("--encoding", choices=("int8", "float16", "float32"), default="int8",
                        help="of the weights (default: %(default)s)")  # fmt: skip
    parser.add_argument("--results", type=path, help="results.json of an evaluation of this bundle, for the card")
    parser.add_argument("--about", type=path, help="YAML with licence, anatomy, data, recipe and remarks, in words")
    parser.set_defaults(run=_export)


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
    if report.doubt:
        print(f"clsdm-train: {report.doubt}", file=sys.stderr)
    return report.exit_code


def _deform(options: argparse.Namespace) -> int:
    from clsdm_trainer.data.between import deform
    from clsdm_trainer.data.store import Store

    found = deform(Store.open(options.store), options.towards, options.workers)
    print(f"{options.store}: {sum(found.values())} deformations between {len(found)} patients")
    return 0


def _train(options: argparse.Namespace) -> int:
    import time
    from contextlib import ExitStack

    import yaml

    from clsdm_trainer.lock import in_first, only_one_of
    from clsdm_trainer.reporting import training_report
    from clsdm_trainer.run import open_run, train_stage
    from clsdm_trainer.stages import STAGES

    config, store, initial = _checked(options)
    if options.dry_run:
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")
        return 0
    started = time.monotonic()
    with ExitStack() as held:
        for name in options.stages:
            left = None if options.minutes is None else options.minutes - (time.monotonic() - started) / 60.0
            fabric = _engine(options, config.section(STAGES[name]).precision)
            if name == options.stages[0]:
                held.enter_context(only_one_of(options.folder, fabric))
                in_first(fabric, lambda: open_run(options.folder, config, store, initial))
            folder, first = options.folder / name, fabric.is_global_zero
            with training_report(folder, as_json=options.json, first=first) as sink:
                if not train_stage(config, STAGES[name], store, options.folder, fabric, sink, left):
                    print(f"{name}: stopped before its end; the same command goes on", file=sys.stderr)
                    return EXIT_UNFINISHED
    return _finish(options) if len(options.stages) > 1 and fabric.is_global_zero else 0


def _checked(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Recipe, store and the bundle to start from, with everything checked that can be before anything is written."""
    from clsdm.reconstruction import choose_device
    from clsdm_trainer.checks import check_networks, check_precision, check_store
    from clsdm_trainer.data.store import Store
    from clsdm_trainer.export import read_about
    from clsdm_trainer.initial import check_initial
    from clsdm_trainer.recipe import load_config
    from clsdm_trainer.stages import STAGES

    config, device = load_config(options.preset), choose_device(options.device)
    for name in options.stages:
        check_networks(config, STAGES[name])
        check_precision(config, STAGES[name], device)
    store = Store.open(options.store)
    check_store(store, config)
    if len(options.stages) > 1:
        read_about(options.about, config.name)  # find out before the training, not after it
    initial = None if options.initial is None else Bundle.open(options.initial)
    if initial is not None:
        check_initial(initial, config, store)
    with terminal(enabled=not options.json) as report:
        store.verify("train", "val", report=report)
    return config, store, initial


def _engine(options: argparse.Namespace, precision: Any) -> Any:  # noqa: ANN401 - imported late
    """The engine for a stage, with the processes that it trains in."""
    from lightning_fabric import Fabric

    from clsdm.reconstruction import choose_device
    from clsdm_trainer.precision import usable

    fabric = Fabric(
        accelerator=options.device,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy="ddp" if options.devices * options.nodes > 1 else "auto",
        precision=usable(precision, choose_device(options.device)),
    )
    fabric.launch()
    return fabric


def _finish(options: argparse.Namespace) -> int:
    """After all stages: the bundle, its figures, and the bundle again with the figures in its card."""
    out, results = options.bundle or options.folder / "bundle", options.folder / "results"
    _exported(options, out)
    measured = ["--bundle", str(out), "--store", str(options.store), "--out", str(results), "--device", options.device]
    code = main(["evaluate", *measured, *(["--json"] if options.json else [])])
    if code == 0:
        bundle = _exported(options, out, results=results / "results.json")
        print(json.dumps({"bundle": str(bundle.path), "weights": bundle.hash}) if options.json else _in_short(bundle))
    return code


def _export(options: argparse.Namespace) -> int:
    print(_in_short(_exported(options, options.out, options.encoding, options.results)))
    return 0


def _exported(
    options: argparse.Namespace, out: Path, encoding: Encoding = "int8", results: Path | None = None
) -> Bundle:
    from clsdm_trainer.data.store import Store
    from clsdm_trainer.export import export_bundle, read_about
    from clsdm_trainer.figures import read_results
    from clsdm_trainer.recipe import load_config
    from clsdm_trainer.run import CONFIG

    config = load_config(str(options.folder / CONFIG))
    return export_bundle(
        config,
        options.folder,
        Store.open(options.store),
        out,
        about=read_about(options.about, config.name),
        encoding=encoding,
        results=None if results is None else read_results(results),
    )


def _in_short(bundle: Bundle) -> str:
    return f"{bundle.path}: {sum(entry.bytes for entry in bundle.files.values()) / 1e6:.1f} MB, weights {bundle.hash}"


if __name__ == "__main__":
    sys.exit(main())
