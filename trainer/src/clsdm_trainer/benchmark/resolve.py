"""From the table to the recipes: what each run is trained with, so that every method sees the same number of samples."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from clsdm.errors import InputError
from clsdm_trainer.benchmark.table import OURS_IN_THREE, TableSpec
from clsdm_trainer.config import AutoencoderStageConfig, RunConfig, StageConfig, changed, load_config


def samples_of(config: RunConfig, stage: str) -> int:
    """Training samples that a stage of a recipe sees."""
    section = getattr(config, stage)
    return section.steps * section.batch * section.accumulate


def budget_of(table: TableSpec, budget: int | None) -> int:
    """Training samples of every method: as asked for, as the table says, or those of its own recipe."""
    own = load_config(table.preset)
    return budget or table.budget or sum(samples_of(own, stage) for stage in OURS_IN_THREE)


def config_of(table: TableSpec, name: str, budget: int) -> RunConfig:
    """The resolved recipe of a run: its stages together see ``budget`` samples, in the proportions of its recipe.

    A run that trains only some of the three stages sees the samples that those have in the whole. A run that takes a
    stage from another takes it with the length it has there.

    Raises:
        InputError: a stage of the run has no section in its recipe, or a change does not fit.
    """
    spec, stages = table.run(name), table.stages(name)
    config = changed(load_config(spec.preset or table.preset), spec.changes)
    for stage in stages:
        if getattr(config, stage) is None:
            raise InputError(f"run {name!r}: stage {stage!r} has no section in its recipe")
    taken = {stage: config_of(table, other, budget) for stage, other in spec.share.items()}
    lengths = {stage: getattr(other, stage).model_dump(mode="json") for stage, other in taken.items()}
    left = budget - sum(samples_of(other, stage) for stage, other in taken.items())
    whole = (*stages, *(stage for stage in _rest(stages) if stage not in stages))
    free = [stage for stage in whole if stage not in taken and stage not in spec.steps]
    total = sum(samples_of(config, stage) for stage in free)
    changes: dict[str, Any] = dict(lengths)
    for stage in stages:
        if stage in spec.steps:
            changes[stage] = {"steps": spec.steps[stage]}
        elif stage not in taken:
            changes[stage] = _scaled(getattr(config, stage), left / total)
    return changed(config, changes)


def recipe_of(table: TableSpec, name: str, budget: int) -> str:
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
    return OURS_IN_THREE if set(stages) <= set(OURS_IN_THREE) else ()
