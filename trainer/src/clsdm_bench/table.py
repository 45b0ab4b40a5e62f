"""The benchmark's table: which systems are trained, and which rows are made of them. YAML, validated, nothing hidden.

A *run* is one training: a preset with changes, a list of stages, and stages it takes from another run. A *row* is one way
to reconstruct: a product of a run, a classical method, or a sanity check. Variants are changes, never copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from clsdm.errors import InputError
from clsdm_bench.systems.classical import METHODS
from clsdm_bench.systems.stages import ALL_STAGES
from clsdm_trainer.config import Frozen
from clsdm_trainer.recipe import merged
from clsdm_trainer.stages import STAGES
from clsdm_trainer.strict_yaml import read_yaml

Group = Literal["ours", "published", "baseline", "classical", "sanity", "ablation"]
SANITY = ("population-mean", "nearest-patient", "round-trip", "shuffled")
OWN_STAGES = tuple(STAGES)


class RunSpec(Frozen):
    """One training.

    Attributes:
        like: another run, whose preset, changes, stages and fixed steps are taken first.
        preset: recipe; the table's own if neither this nor ``like`` is given.
        changes: of the recipe, nested as the recipe is.
        stages: in the order in which they are trained.
        share: stages that are taken, with their weights, from another run.
        steps: stages with a fixed number of steps, whatever the budget.
        reduced: in words, what is smaller than published, and why.
    """

    like: str | None = None
    preset: str | None = None
    changes: dict[str, Any] = Field(default={})
    stages: tuple[str, ...] | None = None
    share: dict[str, str] = Field(default={})
    steps: dict[str, int] = Field(default={})
    reduced: str = ""


class RowSpec(Frozen):
    """One line of the results.

    Attributes:
        label: what it is called.
        group: which part of the table it belongs to.
        run: the training it needs, or None.
        method: a classical method, a sanity check, or None for a product of the run.
        product: of a latent model.
        steps: of the sampler; the recipe's if None.
        samples: of an ensemble.
        angles_deg: of its X-rays; the table's if None.
        note: a remark below the table.
    """

    label: str
    group: Group
    run: str | None = None
    method: str | None = None
    product: Literal["mean", "sample", "ensemble", "voxels"] = "mean"
    steps: int | None = None
    samples: int = 8
    angles_deg: tuple[float, ...] | None = None
    note: str = ""

    @property
    def stochastic(self) -> bool:
        """Whether it is another volume for another seed."""
        return self.method is None and self.product in ("sample", "ensemble")


class Claim(Frozen):
    """A claim about the results: ``row`` better than ``than`` by at least ``margin`` in ``figure``; the table's if None."""

    row: str
    than: str
    figure: str | None = None
    margin: float = 0.0
    lower_is_better: bool = False
    text: str


class Published(Frozen):
    """A figure from the literature."""

    label: str
    psnr: float
    ssim: float
    source: str


class TableSpec(Frozen):
    """The whole benchmark.

    Attributes:
        about: what the reader of the page must know first.
        preset: recipe of runs that name none.
        sources: for ``--data ROOT``: sources of ``clsdm-train prepare`` with ``{root}``, the first whose folder fits.
        split: patients on whom methods are compared.
        geometry: of their X-rays.
        angles_deg: of the X-rays that methods get.
        held_out_deg: of the X-rays by which they are checked.
        seeds: of stochastic rows.
        xrays: projected from the whole "scan", or from the "cube" that is predicted, as published DRRs are.
        ranked: figure by which methods are ranked: of the whole cube, or of what the scan covers of it.
        budget: training samples of each method, over all its stages; None for those of the recipe.
        pictures: how many patients are shown.
        runs: trainings by name.
        rows: lines by name, in the order of the table.
        claims: that are tested.
        remarks: what the reader of the claims must know; one paragraph each.
        published: figures for the README, printed as published.
    """

    about: str = ""
    preset: str
    sources: tuple[str, ...] = ()
    split: Literal["test", "val"] = "test"
    geometry: str = "chest"
    angles_deg: tuple[float, ...] = (0.0, 90.0)
    held_out_deg: tuple[float, float] = (45.0, 135.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    xrays: Literal["scan", "cube"] = "scan"
    ranked: Literal["honest.psnr_3d_db", "covered.psnr_db"] = "honest.psnr_3d_db"
    budget: int | None = None
    pictures: int = 3
    runs: dict[str, RunSpec]
    rows: dict[str, RowSpec]
    claims: tuple[Claim, ...] = ()
    remarks: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _names_exist(self) -> TableSpec:
        for name, run in self.runs.items():
            for other in (run.like, *run.share.values()):
                if other is not None and other not in self.runs:
                    raise ValueError(f"run {name!r} refers to {other!r}, which is no run")
            for stage in (*(run.stages or ()), *run.share, *run.steps):
                if stage not in ALL_STAGES:
                    raise ValueError(f"run {name!r}: {stage!r} is none of the stages {', '.join(ALL_STAGES)}")
        for name, row in self.rows.items():
            if row.run is not None and row.run not in self.runs:
                raise ValueError(f"row {name!r} refers to {row.run!r}, which is no run")
            if row.method is not None and row.method not in (*METHODS, *SANITY):
                raise ValueError(f"row {name!r}: method {row.method!r} is none of {', '.join((*METHODS, *SANITY))}")
            if row.run is None and row.method in (None, "round-trip", "shuffled"):
                raise ValueError(f"row {name!r} needs a run")
        for claim in self.claims:
            for side in (claim.row, claim.than):
                if side not in self.rows and side != BEST_BASELINE:
                    raise ValueError(f"claim {claim.text!r} refers to {side!r}, which is no row")
        return self

    def run(self, name: str) -> RunSpec:
        """A run with everything it takes from the one it is like."""
        own = self.runs[name]
        if own.like is None:
            return own
        base = self.run(own.like)
        return RunSpec(
            preset=own.preset or base.preset,
            changes=merged(base.changes, own.changes),
            stages=own.stages or base.stages,
            share=own.share,
            steps={**base.steps, **own.steps},
            reduced=own.reduced or base.reduced,
        )

    def stages(self, name: str) -> tuple[str, ...]:
        """The stages of a run, in order."""
        return self.run(name).stages or OWN_STAGES

    def stages_for(self, row: str) -> tuple[str, ...]:
        """The stages that a row needs of its run: a round trip the first alone, which is the autoencoder."""
        needed = self.rows[row].run
        stages = self.stages(needed) if needed is not None else ()
        return stages[:1] if self.rows[row].method == "round-trip" else stages

    def is_ablation(self, name: str) -> bool:
        """Whether a run is only there for ablations."""
        return all(row.group == "ablation" for row in self.rows.values() if row.run == name)

    def chosen(self, only: Sequence[str]) -> list[str]:
        """These rows in the table's order; all of them if none are named.

        Raises:
            InputError: one that the table does not have.
        """
        unknown = [name for name in only if name not in self.rows]
        if unknown:
            raise InputError(f"--only: no row {unknown[0]!r}; expected some of {', '.join(self.rows)}")
        return [name for name in self.rows if not only or name in only]

    def runs_for(self, rows: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The stages that these rows need of each run, runs first from which others take stages."""
        found: dict[str, tuple[str, ...]] = {}

        def add(name: str, stages: tuple[str, ...]) -> None:
            for stage, other in self.run(name).share.items():
                if stage in stages:
                    whole = self.stages(other)
                    add(other, whole[: whole.index(stage) + 1])
            found[name] = max(stages, found.get(name, ()), key=len)

        for row in rows:
            needed = self.rows[row].run
            if needed is not None:
                add(needed, self.stages_for(row))
        return found


TABLES = resources.files("clsdm_bench") / "tables"

BEST_BASELINE = "best-baseline"
"""Name in a claim for the baseline with the highest PSNR."""


def table_names() -> list[str]:
    """The shipped tables; what they have in common, under a name with an underscore, is none."""
    names = (entry.name.removesuffix(".yaml") for entry in TABLES.iterdir() if entry.name.endswith(".yaml"))
    return sorted(name for name in names if not name.startswith("_"))


def load_table(name_or_file: str) -> TableSpec:
    """A table by name, or a YAML file.

    Raises:
        InputError: no such table, or something in it that does not belong or does not fit.
    """
    try:
        return TableSpec.model_validate(_read(name_or_file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"benchmark {name_or_file}: {where}: {first['msg']}") from None


def _read(name_or_file: str) -> dict[str, Any]:
    """The table as it is written, with what it takes from the one named under ``like``, whose claims come first."""
    shipped = TABLES / f"{name_or_file}.yaml"
    if shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    elif Path(name_or_file).is_file():
        text = Path(name_or_file).read_text(encoding="utf-8")
    else:
        raise InputError(f"benchmark {name_or_file!r}: no such file, nor one of {', '.join(table_names())}")
    table = read_yaml(text, f"benchmark {name_or_file}")
    if not isinstance(table, dict):
        raise InputError(f"benchmark {name_or_file}: expected a table of fields, found {type(table).__name__}")
    if "like" not in table:
        return table
    base = _read(table.pop("like"))
    return {**merged(base, table), "claims": [*base.get("claims", ()), *table.get("claims", ())]}
