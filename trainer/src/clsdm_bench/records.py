"""The records of a benchmark: two files that git can hold, and a picture of each row.

A folder of records holds ``patients.csv`` (each patient's figures, of all rows), ``rows.json`` (the protocol, and of each row
what it was made from, distances and costs; of each run the agreement of its latents), ``ROW.png`` and ``latents-RUN.png``.
A row is as good as new while its definition, its recipe and the protocol with its patients are the same. That needs no
weights, so a page can be made anew, and gone on with, on a machine that has trained none of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from clsdm.errors import InputError
from clsdm_bench.patients import Outcome, read_cases, write_cases
from clsdm_trainer.files import write_json

ROWS, PATIENTS = "rows.json", "patients.csv"


@dataclass(frozen=True)
class RowResult:
    """A measured row.

    Attributes:
        name: in the table.
        made_from: its definition, its recipe, and its weights.
        outcomes: one for each patient and seed.
        distances: sliced Wasserstein in HU, one for each seed.
        parameters: of the networks that reconstruct.
        cost: of the training as it went.
        measured: what a case and the training cost, of ``costs.Costs``; None where nobody has measured it.
    """

    name: str
    made_from: dict[str, Any]
    outcomes: tuple[Outcome, ...]
    distances: tuple[dict[str, float], ...]
    parameters: int | None
    cost: dict[str, Any] | None
    measured: dict[str, Any] | None = None


@dataclass(frozen=True)
class Records:
    """The content of a folder of records; not changed in place.

    Attributes:
        folder: where it is.
        protocol: on whom and how all of its rows were measured; empty before the first.
        rows: by name.
        latents: agreement of the latents of each run, with what it is of.
        about: table, command and budget with which they were last gone on with.
    """

    folder: Path
    protocol: dict[str, Any] = field(default_factory=dict)
    rows: Mapping[str, RowResult] = field(default_factory=dict)
    latents: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> Records:
        """The records of a folder, which need not be there.

        Raises:
            InputError: a file cannot be read.
        """
        path = folder / ROWS
        if not path.exists():
            return cls(folder)
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            outcomes: dict[str, list[Outcome]] = {name: [] for name in table["rows"]}
            for outcome in read_cases(folder / PATIENTS):
                outcomes[outcome.method].append(outcome)
            rows = {
                name: RowResult(name, outcomes=tuple(outcomes[name]), distances=tuple(row.pop("distances")), **row)
                for name, row in table["rows"].items()
            }
            return cls(folder, table["protocol"], rows, table["latents"], table["about"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: expected the rows of a benchmark beside their {PATIENTS}, found {type(error).__name__}: {error}"
            ) from None

    def under(self, protocol: dict[str, Any]) -> Records:
        """The same records, if there are none of another protocol.

        Raises:
            InputError: there are.
        """
        if self.rows and self.protocol != protocol:
            other = next(key for key in {**protocol, **self.protocol} if protocol.get(key) != self.protocol.get(key))
            raise InputError(
                f"{self.folder / ROWS}: rows of another protocol ({other} differs); choose another folder for the records"
            )
        return replace(self, protocol=protocol)

    def described(self, **about: str) -> Records:
        """The same records gone on with by another command.

        Raises:
            InputError: their rows are of another budget, which the page would then state of all.
        """
        made, asked = self.about.get("budget"), about.get("budget")
        if self.rows and made is not None and made != asked:
            raise InputError(
                f"{self.folder / ROWS}: rows of another budget ({made}), asked for: {asked}; "
                "give the same --budget, or choose another folder for the records"
            )
        return replace(self, about=about)

    def with_row(self, row: RowResult) -> Records:
        """With one row added or replaced, written."""
        return replace(self, rows={**self.rows, row.name: row})._written()

    def with_latents(self, run: str, found: dict[str, Any]) -> Records:
        """With the agreement of one run's latents added or replaced, written."""
        return replace(self, latents={**self.latents, run: found})._written()

    def _written(self) -> Records:
        """The JSON last, which says that the rest is there."""
        write_cases([outcome for row in self.rows.values() for outcome in row.outcomes], self.folder / PATIENTS)
        rows = {name: asdict(replace(row, outcomes=())) for name, row in self.rows.items()}
        for row in rows.values():
            del row["name"], row["outcomes"]
        parts = {"about": dict(self.about), "protocol": self.protocol, "rows": rows, "latents": dict(self.latents)}
        write_json(self.folder / ROWS, parts)
        return self
