"""The command line ``clsdm``: project, reconstruct, pacs, compare, measure, bundle, serve.

Exit codes: 0 done, 2 the input or the call cannot be used (one line says why), 3 cancelled; 1 is a defect of the
program. With ``--json``, and always for ``clsdm reconstruct request.json``, progress and result are JSON lines on
standard output.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from clsdm import NOTICE, __version__
from clsdm.app import cli_help, worker
from clsdm.app.command import command, note, say
from clsdm.app.compare_command import add_compare
from clsdm.app.measure_command import add_measure
from clsdm.app.pacs_command import add_pacs
from clsdm.app.reconstruct_command import add_reconstruct
from clsdm.engines import NETWORKS, OPSET, export_onnx
from clsdm.errors import Cancelled, InputError, printable
from clsdm.failures import in_words, kind_of
from clsdm.files.names import given_path
from clsdm.files.strict_json import to_plain
from clsdm.geometry.view import PRESETS
from clsdm.memory import ask_for_large_pages
from clsdm.model.bundle import Bundle, embedded_bundles
from clsdm.progress import Report, json_lines, terminal

EXIT_INPUT, EXIT_CANCELLED = 2, 3
POSITIONAL = ("request", "ct", "reconstruction")
PATHS = (
    *POSITIONAL, "frontal", "lateral", "bundle", "out", "truth", "fixed", "folder", "localizers", "dicom", "table", "studies",
    "ca_bundle", "onnx", "key_file", "ca_file", "cert", "cert_key",
)  # fmt: skip
"""Arguments that are one path."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    ask_for_large_pages()
    as_json = False
    try:
        options = build_parser().parse_args(arguments)
        _refuse_impossible_paths(options)
        if options.run is worker.run_options:  # has its own streams and its own end
            return worker.run_options(options)
        as_json = options.json or getattr(options, "request", None) is not None
        with _cancellable(), _one_voice(), _progress(as_json, options.quiet) as report:
            result = options.run(options, report)
    except (Cancelled, KeyboardInterrupt):
        return _failed(as_json, "cancelled", "cancelled", EXIT_CANCELLED)
    except Exception as error:
        kind = kind_of(error)
        if kind == "defect":
            raise
        return _failed(as_json, kind, in_words(error), EXIT_INPUT)
    if as_json:
        print(json.dumps({"result": result}), flush=True)
    return 0


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a call, and what was given to it, which may be a file's name, in printable letters."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT, f"{self.prog}: error: {printable(message)}; {self.prog} --help shows the call\n")


def _refuse_impossible_paths(options: argparse.Namespace) -> None:
    """An empty path would be the current folder, or the default."""
    for name in PATHS:
        if (text := getattr(options, name, None)) is not None:
            given_path(text, name if name in POSITIONAL else f"--{name.replace('_', '-')}")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="clsdm",
        description=f"Reconstruct a CT volume from a few X-ray images. {NOTICE}",
        epilog=f"{cli_help.OVERVIEW}\n{cli_help.EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"clsdm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_project(commands)
    add_reconstruct(commands)
    add_pacs(commands)
    add_compare(commands)
    add_measure(commands)
    _add_bundle(commands)
    _add_serve(commands)
    return parser


def _add_project(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    text = "Make X-rays of a CT: DICOM DX with full geometry, PNG previews."
    parser = command(commands, "project", _project, text, cli_help.PROJECT)
    parser.add_argument("ct", help="NIfTI, NRRD or MetaImage file, or DICOM folder")
    parser.add_argument("--series", metavar="ID", help=cli_help.SERIES)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="chest", help="machine (default: %(default)s)")
    parser.add_argument("--angles", type=float, nargs="+", default=[0.0, 90.0], metavar="DEG",
                        help="0 is PA, 90 a left lateral (default: 0 90)")  # fmt: skip
    parser.add_argument("--isocentre", type=float, nargs=3, metavar=("X", "Y", "Z"),
                        help="LPS position in mm (default: middle of the body)")  # fmt: skip
    parser.add_argument("--photons", type=float, help="add the noise of so many photons per pixel (default: none)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    parser.add_argument(
        "--out",
        required=True,
        help="folder for frontal.dcm (0), lateral.dcm (90), view_ANGLE.dcm of others, and a PNG of each",
    )


def _add_bundle(commands: Any) -> None:  # noqa: ANN401
    text = (
        "List the embedded models, show one or one of yours, verify its files, or export a network for other engines."
    )
    parser = command(commands, "bundle", _bundle, text, cli_help.BUNDLE)
    parser.add_argument("action", choices=("list", "info", "verify", "export"))
    parser.add_argument("bundle", nargs="?", help="folder, archive, or a name from the list (default: its first)")
    parser.add_argument("--onnx", metavar="FILE", help="of export: the file to write (opset 18, float32)")
    parser.add_argument("--network", choices=NETWORKS, default="mean", help="of export (default: %(default)s)")
    parser.add_argument(
        "--views", type=int, default=2, help="X-rays that the exported network takes (default: %(default)s)"
    )


def _add_serve(commands: Any) -> None:  # noqa: ANN401
    text = "Work for another program, by JSON lines, or for other computers, over HTTP; the model is kept loaded."
    parser = commands.add_parser(
        "serve",
        help=text,
        description=text,
        epilog=f"{cli_help.SERVE}\n{cli_help.EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    worker.add_arguments(parser)
    parser.set_defaults(run=worker.run_options)


def _project(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    from clsdm.simulate import project_to_folder

    notes: list[str] = []
    files = project_to_folder(
        options.ct,
        options.preset,
        options.out,
        options.angles,
        isocentre_mm=tuple(options.isocentre) if options.isocentre else None,
        photons=options.photons,
        seed=options.seed,
        series=options.series,
        on_view=lambda done, total: report("project", done, total),
        on_note=notes.append,
    )
    for text in notes:
        note(options, text)
    say(options, "\n".join(str(file) for file in files))
    return {"files": [str(file) for file in files], "notes": notes}


def _bundle(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    if options.onnx and options.action != "export":
        raise InputError(f"--onnx: goes with bundle export; bundle {options.action} writes nothing")
    if options.action == "list":
        return _list(options)
    bundle = Bundle.open(options.bundle)
    report("verify", 1, 1)
    if options.action == "export":
        return _export(options, bundle, report)
    if options.action == "verify":
        say(options, f"{bundle.path}: {len(bundle.files)} files agree with the manifest")
    table = {"path": str(bundle.path), **to_plain(bundle.manifest), "sha256": bundle.hash, "figures": bundle.figures}
    if options.action == "info":
        say(options, json.dumps(table, indent=1))
    return table


def _list(options: argparse.Namespace) -> dict[str, Any]:
    if options.bundle:
        raise InputError(f"bundle list shows the embedded models alone; {options.bundle}: clsdm bundle info shows it")
    found, unusable = [], {}
    for number, (name, path) in enumerate(embedded_bundles().items()):
        try:
            each = Bundle.open(path).manifest
        except InputError as error:  # one that is damaged does not hide the others
            unusable[name] = str(error)
            note(options, f"{name}, which the index names, cannot be used: {error}")
            continue
        grid, mark = each.model.grid, "" if number else " (default)"
        say(options, f"{each.id}{mark}: {grid.size}\u00b3 voxels of {grid.spacing_mm:g} mm; {each.trained_anatomy}")
        found.append(to_plain(each))
    if not found and not unusable:
        say(options, "No model is embedded in this installation; name a folder or an archive with --bundle.")
    return {"bundles": found, "unusable": unusable}


def _export(options: argparse.Namespace, bundle: Bundle, report: Report) -> dict[str, Any]:
    if not options.onnx:
        raise InputError("--onnx: missing; name the file to write, for example mean.onnx")
    if Path(options.onnx).suffix.lower() != ".onnx":
        raise InputError(f"--onnx: {options.onnx}; expected a name that ends in .onnx")
    report("export", 0, 1)
    difference = export_onnx(bundle, Path(options.onnx), options.network, options.views)
    report("export", 1, 1)
    checked = "not compared with torch: onnxruntime is not installed"
    if difference is not None:
        checked = f"differs from torch by at most {difference:.1g} in the unit range"
    say(options, f"{options.onnx}: {options.network}, opset {OPSET}, {checked}")
    return {"file": options.onnx, "network": options.network, "opset": OPSET, "difference": difference}


def _failed(as_json: bool, kind: str, message: str, code: int) -> int:
    if as_json:
        print(json.dumps({"error": message, "kind": kind}), flush=True)
    print(f"clsdm: {printable(' '.join(message.splitlines()))}", file=sys.stderr)
    return code


@contextmanager
def _progress(as_json: bool, quiet: bool) -> Iterator[Report]:
    if as_json:
        yield json_lines(sys.stdout)
        return
    with terminal(enabled=not quiet) as report:
        yield report


@contextmanager
def _cancellable() -> Iterator[None]:
    """A request to terminate ends like Ctrl-C: temporary files are removed on the way out.

    Python handles signals in the main thread only; elsewhere the caller cancels by other means.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not stop the cleaning up
        raise Cancelled

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)


@contextmanager
def _one_voice() -> Iterator[None]:
    """Keep off the console what ITK's C code prints by itself: an exception says the same, in one line.

    File descriptor 2 leads nowhere meanwhile, and Python's own standard error goes on to where that led.
    """
    try:
        console = os.dup(2)
    except OSError:  # a program without a console
        yield
        return
    before, nowhere = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    if _leads_to(before, 2):
        sys.stderr = os.fdopen(console, "w", 1, before.encoding, before.errors, closefd=False)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.dup2(console, 2)
        os.close(console)


def _leads_to(stream: Any, descriptor: int) -> bool:  # noqa: ANN401
    try:
        return stream.fileno() == descriptor
    except (AttributeError, OSError, ValueError):  # replaced or closed
        return False


if __name__ == "__main__":
    sys.exit(main())
