"""One training step of each stage: where its time goes, against making the batch alone, and against another recipe.

It is the loop's own step (``loop.Runner``). ``batch`` is making a batch by itself (volumes in their poses and fresh X-rays,
all on the training device), so the loader's share is its ratio to the step. A stage stands here twice where some of its
steps do more: the adversary, the projected estimate. Volumes are made up and weights untrained; neither changes the
arithmetic.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from measuring import Comparison, main
from models import tiny
from synthetic import synthetic_store

from clsdm_bench.measures.speed import kinds_of_steps, untrained_runner
from clsdm_trainer.loop import Runner
from clsdm_trainer.precision import usable
from clsdm_trainer.recipe import RunConfig, load_config
from clsdm_trainer.stages import STAGES

VOLUMES, CPU_BATCH = 4, 2
MORE = {"autoencoder": " with adversary", "alignment": ", projecting"}
"""The work of some steps of a stage beside that of all."""


def configured(preset: str, arguments: argparse.Namespace, device: torch.device) -> RunConfig:
    """A recipe, with the batch and precision to measure."""
    config = load_config(preset)
    cpu = device.type == "cpu"
    changes: dict[str, Any] = {"accumulate": 1} if cpu else {}
    if arguments.batch or cpu:
        changes["batch"] = arguments.batch or CPU_BATCH
    sections: dict[str, Any] = {}
    for stage in STAGES.values():
        section = config.section(stage)
        kept = "32-true" if arguments.smoke else arguments.precision or usable(section.precision, device)
        sections[stage.name] = section.model_copy(update={**changes, "precision": kept})
    if arguments.smoke:
        sections["alignment"] = sections["alignment"].model_copy(update={"positions": 8})
        sections["model"] = tiny(config.model)
    return config.model_copy(update=sections)


def steps_of(config: RunConfig, folder: Path, device: torch.device) -> dict[str, Callable[[], object]]:
    """A step of every stage and kind, and the batches that they take."""
    store = synthetic_store(folder / "store", config.model.grid, config.data, VOLUMES)
    calls: dict[str, Callable[[], object]] = {}
    for name, stage in STAGES.items():
        fabric = Fabric(accelerator=device.type, devices=1, precision=config.section(stage).precision)
        runner = untrained_runner(config, stage, store, folder, fabric)
        for (coarser, extended), numbers in sorted(kinds_of_steps(runner).items()):
            kind = name + (", coarse" if coarser > 1 else "") + (MORE[name] if extended else "")
            calls[kind] = _stepper(runner, numbers)
        calls[f"{name}: batch"] = _batches(runner)
    return calls


def _stepper(runner: Runner, numbers: list[int]) -> Callable[[], object]:
    turn = cycle(numbers)
    return lambda: runner.step(next(turn))


def _batches(runner: Runner) -> Callable[[], object]:
    """The batches of a step, micro-batch by micro-batch."""
    config, xrays = runner.config, runner.stage.uses_xrays
    return lambda: [runner.data.batch(micro, config.batch, xrays=xrays) for micro in range(config.accumulate)]


def comparisons(arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    """All stages of the recipe, and those of the other beside them."""
    recipes = {"": arguments.preset} | ({f"{arguments.against}: ": arguments.against} if arguments.against else {})
    with tempfile.TemporaryDirectory() as folder:
        calls = {}
        for index, (prefix, preset) in enumerate(recipes.items()):
            steps = steps_of(configured(preset, arguments, device), Path(folder) / str(index), device)
            calls |= {prefix + name: call for name, call in steps.items()}
        ratios = [(f"{name}: batch", name) for name in STAGES]
        others = (name for name in calls if arguments.against and name.startswith(f"{arguments.against}: "))
        ratios += [(name, mine) for name in others if (mine := name.partition(": ")[2]) in calls]
        yield Comparison("a step of every stage", calls, ratios)


if __name__ == "__main__":
    options: dict[str, dict[str, Any]] = {
        "preset": {"default": "x2ct128", "help": "recipe: a preset or a YAML file"},
        "against": {"metavar": "PRESET", "help": "another recipe, its steps in turn with those of --preset"},
        "batch": {"type": int, "help": f"samples in a micro-batch (the recipe's on a GPU, {CPU_BATCH} on a CPU)"},
        "precision": {"choices": ("32-true", "bf16-mixed"), "help": "instead of the recipe's"},
    }
    main(__doc__, comparisons, options, rounds=5)
