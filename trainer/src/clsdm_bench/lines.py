"""Figures of patients: each in a line of a CSV file, and their means with intervals."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clsdm.files.atomic import write_atomically
from clsdm.quality.metrics import summarise

Figures = dict[str, Any]
"""By name: a number, None where it is undefined, or a word."""


def write_lines(lines: Sequence[Mapping[str, object]], path: Path) -> None:
    """A CSV file whose columns are the keys in the order in which they appear; what a line lacks is empty.

    Raises:
        InputError: the file cannot be written.
    """
    keys = dict.fromkeys(key for line in lines for key in line)

    def write(name: Path) -> None:
        with name.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*keys], lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)

    write_atomically(path, write)


def summaries(found: Sequence[Figures]) -> dict[str, Any]:
    """Mean and interval of every figure that is a number for anybody (``metrics.Summary`` as a table)."""
    keys = dict.fromkeys(key for figures in found for key, value in figures.items() if isinstance(value, float))
    return {key: asdict(summarise([figures.get(key) for figures in found])) for key in keys}
