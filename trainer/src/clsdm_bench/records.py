"""What the benchmark keeps of each row: small text and a picture, which git can hold, so that no lost disk loses a result.

A folder of records holds, for each row, ``NAME.json`` (what it was made from, distances, cost), ``NAME.csv`` (each
patient's figures) and ``NAME.png`` (the same patients for every row), and ``latents-RUN.json`` and ``.png`` for each run
whose latents were measured. A record stands as long as what it was made from is the same: the row, the recipe, the
patients. It needs no weights, so a page can be made anew, and gone on with, on a machine that has trained none of it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm_bench.evaluate import Outcome, read_cases, write_cases
from clsdm_trainer.data.store import write_json

RECORDS = "results"
"""The folder of records beside the page."""


@dataclass(frozen=True)
class RowResult:
    """A judged row.

    Attributes:
        name: in the table.
        key: what it was made from: row, recipe, weights, patients.
        outcomes: one for each patient and seed.
        distances: sliced Wasserstein in HU, one for each seed.
        parameters: of the networks that reconstruct.
        cost: of the training as it went.
        revision: of the code that judged it.
        measured: what a case and the training cost, of ``costs.Costs``; None where nobody has measured it.
    """

    name: str
    key: dict[str, Any]
    outcomes: tuple[Outcome, ...]
    distances: tuple[dict[str, float], ...]
    parameters: int | None
    cost: dict[str, Any] | None
    revision: str | None = None
    measured: dict[str, Any] | None = None

    def made_from(self, definition: dict[str, Any]) -> bool:
        """Whether it is a result of just this definition, whatever the weights came out as."""
        return {name: value for name, value in self.key.items() if name != "weights"} == definition


def record_path(folder: Path, name: str, suffix: str) -> Path:
    """Where a row keeps a part of its record."""
    return folder / f"{name}{suffix}"


def write_row(folder: Path, result: RowResult) -> None:
    """Keep a result; the JSON last, which says that the rest is there."""
    write_cases(result.outcomes, record_path(folder, result.name, ".csv"))
    table = {
        "key": result.key,
        "distances": list(result.distances),
        "parameters": result.parameters,
        "cost": result.cost,
        "revision": result.revision,
        "measured": result.measured,
    }
    write_json(record_path(folder, result.name, ".json"), table)


def read_row(folder: Path, name: str) -> RowResult | None:
    """A kept result, or None where there is none.

    Raises:
        InputError: there is one that cannot be read.
    """
    path = record_path(folder, name, ".json")
    if not path.exists():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        outcomes = tuple(read_cases(record_path(folder, name, ".csv")))
        distances = tuple(table["distances"])
        return RowResult(
            name,
            table["key"],
            outcomes,
            distances,
            parameters=table["parameters"],
            cost=table["cost"],
            revision=table["revision"],
            measured=table.get("measured"),  # not in records of before it was
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected a row of the benchmark beside its .csv, found {type(error).__name__}: {error}"
        ) from None


def copy_record(source: Path, target: Path, name: str) -> None:
    """Copy a record, or what there is of it, ``NAME.json`` last."""
    target.mkdir(parents=True, exist_ok=True)
    for suffix in (".csv", ".png", ".json"):
        path = record_path(source, name, suffix)
        if path.exists():
            write_atomically(record_path(target, name, suffix), partial(shutil.copyfile, path))
