"""A command line: numbers with ranges, and one line for what is wrong with it or missing where it runs."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from clsdm.errors import InputError, printable
from clsdm.files.names import given_path

INPUT_EXIT = 2


class OneLineParser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong with a command line, with a word of where help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(INPUT_EXIT, f"{self.prog}: {' '.join(printable(message).split())} (--help lists what there is)\n")


def missing_package(error: ModuleNotFoundError, extras: str) -> str:
    """What to install where a command finds no package of its extras.

    Raises:
        ModuleNotFoundError: ``error`` itself, where a module of this distribution is missing, which is a defect.
    """
    if (error.name or "clsdm").startswith("clsdm"):
        raise error
    return f"needs the package {error.name}; install it with: pip install 'clsdm[{extras}]'"


def whole(low: int, high: int) -> Callable[[str], int]:
    """Reads a whole number from ``low`` to ``high``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:  # also of thousands of digits
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}, got {text[:40]!r}")
        return value

    return read


def decimal(low: float, high: float) -> Callable[[str], float]:
    """Reads a finite number from ``low`` to ``high``."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected a number from {low:g} to {high:g}, got {text[:40]!r}")
        return value

    return read


def path(text: str) -> Path:
    """Reads a path; an empty one would be the current folder."""
    try:
        return given_path(text, "path")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
