"""Trains what the table needs and is not there yet, in slices, through the one loop."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from clsdm.errors import InputError
from clsdm.model.clsdm import CLSDM
from clsdm.reconstruction import choose_device
from clsdm_bench.resolve import Budget, config_of, samples_of
from clsdm_bench.systems.networks import make_network
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.stages import ALL_STAGES
from clsdm_bench.table import TableSpec
from clsdm_trainer.checkpoint import load_part
from clsdm_trainer.data.store import Store
from clsdm_trainer.files import sha256_of
from clsdm_trainer.lock import only_one
from clsdm_trainer.loop import BEST, CHECKPOINT
from clsdm_trainer.precision import usable
from clsdm_trainer.reporting import training_report
from clsdm_trainer.run import ENVIRONMENT, open_run, seen_patients, train_stage


@dataclass(frozen=True)
class Trained:
    """A run of the benchmark on disk.

    Attributes:
        name: in the table.
        config: resolved recipe.
        folder: where it is.
        stages: of it, in order.
        shared: stages taken from another run.
    """

    name: str
    config: BenchmarkConfig
    folder: Path
    stages: tuple[str, ...]
    shared: tuple[str, ...]

    def finished(self, stage: str) -> bool:
        """Whether a stage has done all its steps, and left what later ones need."""
        path = self.folder / stage / CHECKPOINT
        measured = self.folder / (ALL_STAGES[stage].product or stage)
        if not path.exists() or not measured.exists():
            return False
        return load_part(path, "progress")["step"] >= self.config.section(ALL_STAGES[stage]).steps

    def fingerprint(self, stages: Sequence[str]) -> str:
        """Hash of the weights of these stages."""
        return sha256_of(*(self.folder / stage / BEST for stage in stages))

    def patients(self) -> list[str]:
        """Its training manifest."""
        return seen_patients(self.folder)

    def cost(self, stages: Sequence[str]) -> dict[str, Any]:
        """Samples and minutes of these stages' training, those taken from other runs included, and the machine.

        The minutes are the clock's: what else ran on the machine is in them (``costs.py`` measures without).
        """
        seconds, samples = 0.0, 0
        for stage in stages:
            seconds += load_part(self.folder / stage / CHECKPOINT, "progress")["seconds"]
            samples += samples_of(self.config, stage)
        environment = json.loads((self.folder / ENVIRONMENT).read_text(encoding="utf-8"))
        return {"samples": samples, "minutes": seconds / 60.0, "environment": environment}


def open_trained(table: TableSpec, name: str, budget: Budget, out: Path) -> Trained:
    """Where a run of the table is, trained or not."""
    shared = tuple(table.run(name).share)
    return Trained(name, config_of(table, name, budget), out / "runs" / name, table.stages(name), shared)


def train_missing(
    table: TableSpec,
    wanted: Mapping[str, Sequence[str]],
    store: Store,
    out: Path,
    budget: Budget,
    device: str,
    left: Callable[[], float | None],
    *,
    as_json: bool = False,
) -> bool:
    """Train stages of runs, each from its last checkpoint.

    Args:
        table: the benchmark.
        wanted: stages of each run, runs first from which others take stages.
        store: the patients.
        out: folder of the benchmark.
        budget: of each method.
        device: "auto", "cpu" or "cuda".
        left: minutes left, or None for no limit.
        as_json: log records as JSON lines.

    Returns:
        Whether all of them are finished.

    Raises:
        InputError: a run was begun with other patients or another recipe.
    """
    for name, stages in wanted.items():
        run = open_trained(table, name, budget, out)
        with only_one(run.folder):
            open_run(run.folder, run.config, store)
            for stage in stages:
                if run.finished(stage):
                    continue
                if stage in run.shared:
                    take_stage(open_trained(table, table.run(name).share[stage], budget, out), run, stage)
                    continue
                minutes = left()
                if minutes is not None and minutes <= 0.0:
                    return False
                if not _train(run, stage, store, device, minutes, as_json):
                    return False
    return True


def _train(run: Trained, stage: str, store: Store, device: str, minutes: float | None, as_json: bool) -> bool:
    with training_report(run.folder / stage, as_json=as_json) as sink:
        return train_stage(
            run.config, ALL_STAGES[stage], store, run.folder, fabric_for(run, stage, device), sink, minutes
        )


def fabric_for(run: Trained, stage: str, device: str) -> Fabric:
    """The engine for a stage, in the precision that the device can do."""
    precision = usable(run.config.section(ALL_STAGES[stage]).precision, choose_device(device))
    fabric = Fabric(accelerator=device, devices=1, precision=precision)
    fabric.launch()
    return fabric


def take_stage(source: Trained, run: Trained, stage: str) -> None:
    """Copy a finished stage with what it measured.

    Raises:
        InputError: it is not finished, or was trained with other settings than this run wants.
    """
    if not source.finished(stage):
        raise InputError(f"{source.folder / stage}: run {run.name!r} takes this stage, but it is not finished")
    kind = ALL_STAGES[stage]
    if source.config.section(kind) != run.config.section(kind):
        raise InputError(f"run {run.name!r} takes stage {stage!r} of {source.name!r} with other settings")
    if stage == "autoencoder" and source.config.model.autoencoder != run.config.model.autoencoder:
        raise InputError(f"run {run.name!r} takes the autoencoder of {source.name!r}, but has other sizes")
    if kind.product is not None:
        shutil.copyfile(source.folder / kind.product, run.folder / kind.product)
    (run.folder / stage).mkdir(exist_ok=True)
    for name in (BEST, CHECKPOINT):  # the checkpoint last: it says that the stage is finished
        shutil.copyfile(source.folder / stage / name, run.folder / stage / name)


def parameters_of(run: Trained, product: str) -> int:
    """Parameters of the networks that reconstruct a product."""
    model, total = _networks(run), 0
    parts: tuple[str, ...] = ("condition",) if product == "mean" else ("condition", "autoencoder", "denoiser")
    for part, module in model.items():
        if part in (*parts, "network"):
            total += sum(parameter.numel() for parameter in module.parameters())
    return total


def _networks(run: Trained) -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        if run.config.baseline is not None and "baseline" in run.stages:
            return {"network": make_network(run.config.baseline.network, run.config.model)}
        model = CLSDM(run.config.model)
    return {"condition": model.condition, "autoencoder": model.autoencoder, "denoiser": model.denoiser}
