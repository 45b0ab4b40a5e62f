"""How long the training of a stage takes on a machine, from a few of its steps on networks that have learnt nothing."""

import statistics
import time
from itertools import cycle, islice
from pathlib import Path

import torch
from lightning_fabric import Fabric

from clsdm.model.clsdm import CLSDM
from clsdm_trainer.batches import TrainingData
from clsdm_trainer.checks import AnyStage
from clsdm_trainer.data.store import Store
from clsdm_trainer.loop import Runner
from clsdm_trainer.recipe import RunConfig


def untrained_runner(config: RunConfig, stage: AnyStage, store: Store, folder: Path, fabric: Fabric) -> Runner:
    """A stage on networks that have learnt nothing and with nothing to validate on, to see how long its steps take."""
    torch.manual_seed(config.seed)
    model = CLSDM(config.model).to(fabric.device)
    data = TrainingData(store, config.model, config.augment, config.seed, fabric.device)
    return Runner(fabric, stage(model, config.section(stage)), data, [], folder / stage.name)


def forecast(runner: Runner, repeats: int) -> float:
    """Seconds that all steps of a stage together take, by the median of some of each kind, after one that does not count.

    It trains without keeping count, validating or saving: make a runner for it.
    """
    return sum(len(steps) * _median_seconds(runner, steps, repeats) for steps in kinds_of_steps(runner).values())


def kinds_of_steps(runner: Runner) -> dict[tuple[int, bool], list[int]]:
    """The steps of each kind: how coarse (``Stage.coarser``), and whether they do more than others (``Stage.extended``)."""
    kinds: dict[tuple[int, bool], list[int]] = {}
    for step in range(runner.config.steps):
        kinds.setdefault((runner.stage.coarser(step), runner.stage.extended(step)), []).append(step)
    return kinds


def _median_seconds(runner: Runner, steps: list[int], repeats: int) -> float:
    seconds = []
    for step in islice(cycle(steps), 1 + repeats):
        started = time.perf_counter()
        runner.step(step)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])
