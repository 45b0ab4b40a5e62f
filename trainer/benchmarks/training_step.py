"""One training step of each stage: seconds per sample, and where they go.

It is the loop's own step (``loop.Runner``) with a clock around its parts: making the batch (volumes in their poses and
fresh X-rays, all on the training device), forward and backward, and the optimiser with clipping and averaging. The
stages run in turn, a step each. Issue 2 asks that the loader is never the bottleneck: see the share of the batch.

Volumes are made up and weights untrained; neither changes the arithmetic.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from measuring import MIB, Ratio, finish, parser, seconds_of, start
from models import tiny
from synthetic import synthetic_store

from clsdm_bench.measures.speed import kinds_of_steps, untrained_runner
from clsdm_trainer.data.store import Store
from clsdm_trainer.loop import Runner
from clsdm_trainer.precision import has_fast_bfloat16
from clsdm_trainer.recipe import RunConfig, load_config
from clsdm_trainer.stages import STAGES

VOLUMES = 4
CPU_BATCH = 2
MORE = {"autoencoder": " with adversary", "alignment": ", projecting"}
"""What some steps of a stage do beside what all do."""
BATCH, MOVE, TOTAL = "batch", "optimiser", "total"


class TimedStep:
    """A stage's step, with the seconds of its parts in every call.

    Attributes:
        name: of the stage.
        runner: the loop's.
        steps: their numbers, which decide what is in them (the adversary, the projector).
        seconds: of each part, one entry per step.
        peak_bytes: of the GPU's memory in the last step; 0 on a CPU.
    """

    def __init__(self, name: str, runner: Runner, steps: list[int]) -> None:
        self.name, self.runner, self.steps = name, runner, cycle(steps)
        self.seconds: dict[str, list[float]] = {BATCH: [], MOVE: [], TOTAL: []}
        self.peak_bytes = 0

    def __call__(self) -> None:
        """One optimiser step."""
        runner, device, step = self.runner, self.runner.fabric.device, next(self.steps)
        parts = {BATCH: 0.0, MOVE: 0.0}
        originals = runner.data.batch, runner._move, runner.ema.update

        def timed(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*words: Any, **named: Any) -> Any:
                results: list[Any] = []
                parts[part] += seconds_of(lambda: results.append(call(*words, **named)), device)
                return results[0]

            return wrapped

        runner.data.batch = timed(BATCH, originals[0])
        runner._move, runner.ema.update = timed(MOVE, originals[1]), timed(MOVE, originals[2])
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        total = seconds_of(lambda: runner.step(step), device)
        if device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(device)
        runner.data.batch, runner._move, runner.ema.update = originals
        for part, value in (parts | {TOTAL: total}).items():
            self.seconds[part].append(value)

    @property
    def kind(self) -> str:
        """The name without what differs between recipes."""
        return self.name.partition(" (")[0]

    @property
    def samples(self) -> int:
        """In a step."""
        return self.runner.config.batch * self.runner.config.accumulate

    def per_sample(self) -> list[float]:
        """Seconds of each step, the first left out."""
        return [seconds / self.samples for seconds in self.seconds[TOTAL][1:]]

    def row(self) -> dict[str, Any]:
        """Medians in seconds per sample, the first step left out."""
        parts = {part: values[1:] for part, values in self.seconds.items()}
        batch, move = (statistics.median(parts[part]) / self.samples for part in (BATCH, MOVE))
        passes = [t - b - m for t, b, m in zip(parts[TOTAL], parts[BATCH], parts[MOVE], strict=True)]
        return {
            "stage": self.name,
            "precision": self.runner.config.precision,
            "batch x accumulate": f"{self.runner.config.batch} x {self.runner.config.accumulate}",
            "s/sample": statistics.median(self.per_sample()),
            "batch": batch,
            "forward + backward": statistics.median(passes) / self.samples,
            "optimiser": move,
            "peak MiB (GPU)": self.peak_bytes / MIB or None,
        }

    def ratio(self) -> Ratio:
        """Share of the batch in the step."""
        return Ratio.of(f"{self.name}: batch / whole step", self.seconds[BATCH][1:], self.seconds[TOTAL][1:])


def configured(preset: str, arguments: argparse.Namespace, device: torch.device) -> RunConfig:
    """A recipe, with the batch, accumulation and precision to measure."""
    config = load_config(preset)
    cpu = device.type == "cpu"
    changes: dict[str, Any] = {"accumulate": 1} if cpu else {}
    if arguments.batch or cpu:
        changes["batch"] = arguments.batch or CPU_BATCH
    too_small = cpu and arguments.smoke  # for torch's bfloat16 on a CPU, see checks.check_precision
    if arguments.precision or too_small or not has_fast_bfloat16(device):
        changes["precision"] = arguments.precision or "32-true"
    sections: dict[str, Any] = {
        stage.name: config.section(stage).model_copy(update=changes) for stage in STAGES.values()
    }
    if arguments.smoke:
        sections["alignment"] = sections["alignment"].model_copy(update={"positions": 8})
        sections["model"] = tiny(config.model)
    return config.model_copy(update=sections)


def make_steps(config: RunConfig, folder: Path, device: torch.device) -> list[TimedStep]:
    """Every stage ready to run, twice where some of its steps do more than others."""
    store = synthetic_store(folder / "store", config.model.grid, config.data, VOLUMES)
    return [step for name in STAGES for step in kinds_of_step(make_runner(config, name, store, folder, device))]


def make_runner(config: RunConfig, name: str, store: Store, folder: Path, device: torch.device) -> Runner:
    """The loop of a stage, on untrained networks."""
    fabric = Fabric(accelerator=device.type, devices=1, precision=config.section(STAGES[name]).precision)
    return untrained_runner(config, STAGES[name], store, folder, fabric)


def kinds_of_step(runner: Runner) -> list[TimedStep]:
    """A stage's step, twice where some do more than others: first the plain one."""
    name, kinds = runner.stage.name, sorted(kinds_of_steps(runner).items())
    return [
        TimedStep(
            f"{name}{MORE[name]} ({len(steps)} of {runner.config.steps} steps)" if extended else name, runner, steps
        )
        for extended, steps in kinds
    ]


def command_line() -> argparse.Namespace:
    """The options."""
    options = parser(__doc__)
    options.add_argument("--preset", default="x2ct128", help="recipe: a preset or a YAML file")
    options.add_argument("--against", metavar="PRESET", help="another recipe, its steps in turn with those of --preset")
    options.add_argument(
        "--batch", type=int, help=f"samples in a micro-batch (the recipe's on a GPU, {CPU_BATCH} on a CPU)"
    )
    options.add_argument("--precision", choices=("32-true", "bf16-mixed"), help="instead of the recipe's")
    arguments = options.parse_args()
    if arguments.batch is not None and arguments.batch < 2:
        options.error("--batch: the contrast of the alignment stage needs at least 2")
    return arguments


def ratios_of(ours: list[TimedStep], theirs: list[TimedStep], against: str) -> list[Ratio]:
    """The loader's share in each of our steps, and the other recipe's time per sample over ours."""
    known = {step.kind: step for step in theirs}
    return [step.ratio() for step in ours] + [
        Ratio.of(f"{mine.kind}: {against} / ours, per sample", known[mine.kind].per_sample(), mine.per_sample())
        for mine in ours
        if mine.kind in known
    ]


def main() -> None:
    """Measure and print."""
    arguments = command_line()
    device = start(arguments)
    arguments.rounds = arguments.rounds or (1 if arguments.smoke else 5 if device.type == "cpu" else 20)
    names = [arguments.preset] + [arguments.against] * bool(arguments.against)
    configs = [configured(name, arguments, device) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        steps = [make_steps(config, Path(folder) / str(index), device) for index, config in enumerate(configs)]
        for _ in range(1 + arguments.rounds):  # the first is the warm-up
            for step in (each for recipe in steps for each in recipe):
                step()
    notes = [
        f"{config.name}: views of a sample and their weights {config.augment.view_counts}" for config in configs
    ] + ["the autoencoder's batch makes no X-rays", "GPU memory includes the weights of the stages measured in turn"]
    tables = {
        f"{config.name}, seconds per sample, median of the rounds": [step.row() for step in recipe]
        for config, recipe in zip(configs, steps, strict=True)
    }
    ratios = ratios_of(steps[0], steps[1] if arguments.against else [], arguments.against)
    finish("training_step", arguments, device, tables, ratios, notes)


if __name__ == "__main__":
    main()
