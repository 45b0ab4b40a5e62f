"""The command line ``clsdm-bench``: score a bundle on scan files.

Exit codes: 0 done, 2 unusable input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clsdm import NOTICE
from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS
from clsdm.model.bundle import Bundle, default_bundle_path
from clsdm.progress import terminal

EXIT_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        print(f"clsdm-bench: {error}", file=sys.stderr)
        return EXIT_INPUT


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="clsdm-bench", description=f"Measure CLS-DM models and others. {NOTICE}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_score(commands)
    return parser


def _add_score(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    text = "Score a bundle on scan files the way a user goes: project, reconstruct, compare."
    parser = commands.add_parser("score", help=text, description=text)
    parser.add_argument("--bundle", type=Path, help="folder or archive (default: the embedded one)")
    parser.add_argument("--cases", type=Path, nargs="+", required=True, metavar="PLACE",
                        help="volume files, or folders of them; splits.json there says which are whose")  # fmt: skip
    parser.add_argument("--split", nargs="+", choices=("train", "val", "test", "auxiliary"), default=["test"],
                        help="of folders with a splits.json (default: test)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for X-rays, volumes, tables and pictures")
    parser.add_argument("--products", nargs="+", choices=("mean", "sample", "ensemble"),
                        default=["mean", "sample", "ensemble"], help="(default: all)")  # fmt: skip
    parser.add_argument("--conditions", nargs="+", metavar="NAME",
                        help="of the X-rays: plain photons radiograph frontal wrong-angle shuffled (default: all)")  # fmt: skip
    parser.add_argument("--preset", choices=sorted(PRESETS), default="chest", help="machine (default: %(default)s)")
    parser.add_argument("--spacing", type=float, default=3.0, metavar="MM",
                        help="voxels on which volumes are compared (default: %(default)s)")  # fmt: skip
    parser.add_argument("--samples", type=int, default=8, help="of an ensemble (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of samples and noise (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.set_defaults(run=_score)


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
        tuple(options.products),
        conditions,
        options.preset,
        options.spacing,
        options.samples,
        options.seed,
        options.device,
    )
    scans = find_scans(options.cases, options.split, bundle.manifest.trained_patients)
    with terminal() as report:
        score_bundle(bundle, scans, options.out, settings, report)
    print((options.out / "table.md").read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
