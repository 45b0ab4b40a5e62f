"""From the table to the recipes: what each run is trained with, so that every method has the same budget."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clsdm.errors import InputError
from clsdm_bench.records import Records
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.stages import ALL_STAGES
from clsdm_bench.table import OWN_STAGES, TableSpec
from clsdm_trainer.config import StageConfig
from clsdm_trainer.recipe import RunConfig, changed
from clsdm_trainer.stages.autoencoder import AutoencoderStageConfig


@dataclass(frozen=True)
class Budget:
    """The share of every method: the same number of training samples, or as many as it sees in the same minutes.

    Attributes:
        samples: of each method, unless there are minutes.
        minutes: of training, for each method.
        speeds: samples a minute, of each run that is no ablation.
    """

    samples: int
    minutes: float | None = None
    speeds: Mapping[str, float] = field(default_factory=dict)

    def of(self, table: TableSpec, name: str) -> int:
        """Training samples of a run; an ablation has those of what it is an ablation of, whatever it costs.

        Raises:
            InputError: how fast it is was never measured.
        """
        if self.minutes is None:
            return self.samples
        spec = table.runs[name]
        if name not in self.speeds and spec.like is not None and table.is_ablation(name):
            return self.of(table, spec.like)
        if name not in self.speeds:
            raise InputError(f"--speeds: no row of run {name!r} that was trained; expected one, to know its speed")
        return round(self.speeds[name] * self.minutes)

    def __str__(self) -> str:
        if self.minutes is None:
            return f"{self.samples} training samples for each method, over all its stages together"
        return f"{self.minutes:g} minutes of training for each method, in samples at the speed it was measured with"


def samples_of(config: RunConfig, stage: str) -> int:
    """Training samples that a stage of a recipe sees."""
    section = config.section(ALL_STAGES[stage])
    return section.steps * section.batch * section.accumulate


def budget_of(
    table: TableSpec, samples: int | None = None, minutes: float | None = None, speeds: Records | None = None
) -> Budget:
    """The budget of every method: samples as asked for, as the table says, or those of its own recipe; or minutes.

    Raises:
        InputError: minutes without speeds, or beside samples.
    """
    if minutes is not None and speeds is not None and samples is None:
        return budget_of_minutes(table, minutes, speeds)
    if minutes is not None or speeds is not None:
        raise InputError("--minutes-each: expected together with --speeds and without --budget")
    own = BenchmarkConfig.load(table.preset)
    return Budget(samples or table.budget or sum(samples_of(own, stage) for stage in OWN_STAGES))


def budget_of_minutes(table: TableSpec, minutes: float, records: Records) -> Budget:
    """The same minutes for every method, by what its training was measured to cost in a benchmark of equal samples.

    Args:
        table: the benchmark.
        minutes: of training.
        records: of that benchmark, on the same machine.
    """
    speeds = {}
    for name, row in table.rows.items():
        if row.run is None or table.is_ablation(row.run) or table.stages_for(name) != table.stages(row.run):
            continue  # a row of some stages alone says nothing about the whole run
        result = records.rows.get(name)
        if result is not None and result.cost and result.measured:
            speeds[row.run] = result.cost["samples"] / result.measured["training_minutes"]
    return Budget(0, minutes, speeds)


def config_of(table: TableSpec, name: str, budget: Budget) -> BenchmarkConfig:
    """The resolved recipe of a run: its stages together see its budget of samples, in the proportions of its recipe.

    A run that trains only some of the three stages sees the samples that those have in the whole. A run that takes a
    stage from another takes it with the length it has there.

    Raises:
        InputError: a stage of the run has no section in its recipe, a change does not fit, or the budget is used up
            by what it takes from another.
    """
    spec, stages = table.run(name), table.stages(name)
    config = changed(BenchmarkConfig.load(spec.preset or table.preset), spec.changes)
    taken = {stage: config_of(table, other, budget) for stage, other in spec.share.items()}
    lengths = {stage: other.section(ALL_STAGES[stage]).model_dump(mode="json") for stage, other in taken.items()}
    left = budget.of(table, name) - sum(samples_of(other, stage) for stage, other in taken.items())
    whole = (*stages, *(stage for stage in _rest(stages) if stage not in stages))
    if left <= 0:
        raise InputError(
            f"run {name!r}: a budget of {budget.of(table, name)} samples, but {-left} more in stages it takes"
        )
    free = [stage for stage in whole if stage not in taken and stage not in spec.steps]
    total = sum(samples_of(config, stage) for stage in free)
    changes: dict[str, Any] = dict(lengths)
    for stage in stages:
        if stage in spec.steps:
            changes[stage] = {"steps": spec.steps[stage]}
        elif stage not in taken:
            changes[stage] = _scaled(config.section(ALL_STAGES[stage]), left / total)
    return changed(config, changes)


def recipe_of(table: TableSpec, name: str, budget: Budget) -> str:
    """Hash of all that a run is trained with, except the patients: the resolved recipe and its stages."""
    recipe = {"stages": table.stages(name), **config_of(table, name, budget).model_dump(mode="json")}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _scaled(section: StageConfig, factor: float) -> dict[str, int]:
    """The length of a stage, and where in it the adversary joins."""
    scaled = {"steps": max(1, round(section.steps * factor))}
    if isinstance(section, AutoencoderStageConfig) and section.adversarial_start is not None:
        scaled["adversarial_start"] = round(section.adversarial_start * factor)
    return scaled


def _rest(stages: tuple[str, ...]) -> tuple[str, ...]:
    """The stages that belong to the same whole."""
    return OWN_STAGES if set(stages) <= set(OWN_STAGES) else ()
