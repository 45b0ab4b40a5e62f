"""The common part of the commands of ``clsdm``: how they look in ``--help``, and how they speak."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from clsdm.app import cli_help
from clsdm.errors import printable


def command(commands: Any, name: str, run: Callable[..., Any], text: str, examples: str) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps the type to itself
    """A command with the options that all have."""
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"{examples}\n{cli_help.EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="progress and result as JSON lines on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)
    return parser


def note(options: argparse.Namespace, text: str) -> None:
    """Say what the user should know beside the result."""
    say(options, f"note: {text}", stream=sys.stderr)


def say(options: argparse.Namespace, text: str, stream: Any = None) -> None:  # noqa: ANN401
    """Print for a person; a program reads JSON lines."""
    if not (options.json or getattr(options, "request", None)):
        print(printable(text), file=stream or sys.stdout)
