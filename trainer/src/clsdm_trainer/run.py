"""From a store to three trained stages: build the model, hand each stage what the earlier ones learned, run the loop.

Layout of a run: ``config.yaml``, ``environment.json``, ``patients.json`` (the training manifest), and a folder per
stage with ``checkpoint.safetensors``, ``best.safetensors`` (averaged weights, selected on the validation patients) and
``log.jsonl``.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from clsdm.errors import InputError
from clsdm.model.blocks import space_to_depth
from clsdm.model.bundle import patient_mark
from clsdm.model.clsdm import CLSDM
from clsdm.model.condition import FOLD
from clsdm.volume.hu import hu_to_unit
from clsdm_bench.systems.stages import ALL_STAGES
from clsdm_trainer.batches import Batch, TrainingData, fixed_batches
from clsdm_trainer.checkpoint import load_state, save_state
from clsdm_trainer.config import RunConfig, load_config, save_config
from clsdm_trainer.data.store import Store, write_json
from clsdm_trainer.loop import BEST, Runner
from clsdm_trainer.precision import has_fast_bfloat16, usable

SMALLEST_BFLOAT16 = 4
CONFIG, ENVIRONMENT = "config.yaml", "environment.json"
LATENTS, RESIDUALS = "latents.safetensors", "residuals.safetensors"
PATIENTS = "patients.json"
LEFT_BEHIND = {"autoencoder": LATENTS, "alignment": RESIDUALS}
"""What a finished stage measures for later ones."""

PARTS: dict[str, tuple[str, ...]] = {
    "autoencoder": ("autoencoder",),
    "alignment": ("condition",),
    "diffusion": ("denoiser",),
    "joint": ("condition", "denoiser"),
}
"""Which networks of the model each stage trains."""

Report = Callable[[dict[str, Any]], None]


def check_store(store: Store, config: RunConfig) -> None:
    """Refuse a store that was prepared for another grid.

    Raises:
        InputError: grid, margin or placement differ.
    """
    if store.grid != config.model.grid:
        raise InputError(
            f"{store.folder}: prepared for {store.grid}, the recipe {config.name} needs {config.model.grid}"
        )
    wanted = config.data.model_dump()
    found = {name: store.margin if name == "margin" else store.settings.get(name) for name in wanted}
    if found != wanted:
        raise InputError(f"{store.folder}: prepared with {found}, the recipe {config.name} needs {wanted}")
    for split in ("train", "val"):
        if not store.cases(split):
            raise InputError(f"{store.folder}: no case in split {split!r}")


def check_precision(config: RunConfig, name: str, device: torch.device) -> None:
    """Refuse what torch computes wrongly.

    torch 2.13 on a CPU with AVX512-BF16: the weight gradients of a bfloat16 kernel of 3³ on 2³ voxels are garbage (up to
    1e37, from memory that was never written).

    Raises:
        InputError: the stage trains such a level with bf16-mixed on a CPU.
    """
    model = config.model
    coarsest_of = {
        "autoencoder": model.latent_size,
        "alignment": (model.grid.size // FOLD) >> (len(model.condition.channels) - 1),
        "diffusion": model.latent_size // model.denoiser.patch >> (len(model.denoiser.channels) - 1),
        "baseline": SMALLEST_BFLOAT16,  # where the volume of X2CT begins; INRR3CT has no 3-D convolution
    }
    coarsest = coarsest_of[name] if name != "joint" else min(coarsest_of["alignment"], coarsest_of["diffusion"])
    precision = usable(getattr(config, name).precision, device)
    if device.type == "cpu" and precision == "bf16-mixed" and coarsest < SMALLEST_BFLOAT16:
        raise InputError(
            f"{name}.precision: bf16-mixed on a CPU needs at least {SMALLEST_BFLOAT16}³ voxels at the coarsest level, this "
            f"recipe goes down to {coarsest}³, where torch's gradients are wrong; use 32-true, a GPU, or fewer levels"
        )


def open_run(folder: Path, config: RunConfig, store: Store | None = None) -> None:
    """Create the run's folder, or check that it holds a run of the same recipe.

    A new folder gets a training manifest: the marks of the store's patients that training can see.

    Raises:
        InputError: the folder holds a run with another configuration.
    """
    path = folder / CONFIG
    if path.exists():
        if load_config(str(path)) != config:
            raise InputError(f"{path}: this folder holds a run with another configuration; choose another --run folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENVIRONMENT).write_text(json.dumps(environment(), indent=1), encoding="utf-8")
    if store is not None:
        write_json(folder / PATIENTS, seen_patients(store))
    save_config(config, path)


def seen_patients(store: Store) -> list[str]:
    """Marks of the patients that training and selection can see."""
    return sorted({patient_mark(case.patient) for case in store.cases() if case.split != "test"})


def trained_patients(folder: Path) -> list[str]:
    """The training manifest of a run.

    Raises:
        InputError: not there, so that nobody can tell whether a test patient was trained on.
    """
    try:
        return list(json.loads((folder / PATIENTS).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / PATIENTS}: cannot be read ({error}); expected the marks of patients") from None


def environment() -> dict[str, Any]:
    """What the run was made with: versions, revision, machine."""
    packages = ("torch", "numpy", "SimpleITK", "monai", "lightning-fabric", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_threads": torch.get_num_threads(),
        "processor_bfloat16": has_fast_bfloat16(torch.device("cpu")),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git_revision": git_revision(),
        "packages": {name: metadata.version(name) for name in packages},
    }


def git_revision() -> str | None:
    """Revision of the source tree, with a plus where it has changes; None outside a checkout."""
    here = Path(__file__).parent
    try:
        run = [
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return run[0] + ("+" if run[1] else "")


def load_stage(model: CLSDM, folder: Path, name: str) -> None:
    """Put the best weights of a trained stage into the model.

    Raises:
        InputError: that stage has not been trained in this run.
    """
    path = folder / name / BEST
    if not path.exists():
        raise InputError(f"{path}: stage {name!r} must be trained first")
    weights = load_state(path)["weights"]
    for part in PARTS[name]:
        own = {key[len(part) + 1 :]: value for key, value in weights.items() if key.startswith(f"{part}.")}
        getattr(model, part).load_state_dict(own)
    if name == "autoencoder" and (folder / LATENTS).exists():
        statistics = load_state(folder / LATENTS)
        model.latent_mean.copy_(statistics["mean"])
        model.latent_std.copy_(statistics["std"])
    if name == "alignment" and (folder / RESIDUALS).exists():
        model.residual_std.copy_(load_state(folder / RESIDUALS)["std"])


@torch.no_grad()
def measure_latents(model: CLSDM, store: Store, folder: Path, device: torch.device) -> None:
    """Mean and standard deviation of each latent channel over all training volumes, saved with the run."""
    sums = torch.zeros(3, model.latent_shape[0], dtype=torch.float64)
    for case in store.cases("train"):
        unit = hu_to_unit(torch.from_numpy(store.truth(case)))[None, None].to(device)
        latents = model.autoencoder.encode(unit).mean[0].flatten(1).double().cpu()
        sums += torch.stack((latents.sum(1), latents.square().sum(1), torch.full_like(latents[:, 0], latents.shape[1])))
    mean = sums[0] / sums[2]
    std = (sums[1] / sums[2] - mean.square()).sqrt()
    model.latent_mean.copy_(mean)
    model.latent_std.copy_(std)
    save_state(folder / LATENTS, {"mean": mean.float(), "std": std.float()})


@torch.no_grad()
def measure_residuals(model: CLSDM, batches: Iterable[Batch], folder: Path) -> None:
    """How far each latent channel lies from the aligned mean, as a standard deviation, saved with the run.

    Args:
        model: with its autoencoder and condition network trained.
        batches: of the validation patients: on its own the network is closer than it will be.
        folder: of the run.
    """
    squares = [
        (model.encode(batch.unit).float() - model.align(*batch.xrays).mean).square().mean((2, 3, 4))
        for batch in batches
    ]
    model.residual_std.copy_(torch.cat(squares).mean(0).sqrt())
    save_state(folder / RESIDUALS, {"std": model.residual_std})


@torch.no_grad()
def block_statistics(store: Store, factor: int, limit: int = 128) -> tuple[Tensor, Tensor]:
    """Mean (factor³,) and covariance of the blocks of voxels in the training volumes (at most ``limit`` of them)."""
    voxels = factor**3
    count, total = 0, torch.zeros(voxels, dtype=torch.float64)
    products = torch.zeros(voxels, voxels, dtype=torch.float64)
    for case in store.cases("train")[:limit]:
        unit = hu_to_unit(torch.from_numpy(store.truth(case)).double())[None, None]
        blocks = space_to_depth(unit, factor)[0].flatten(1)  # (factor³, blocks)
        count, total, products = count + blocks.shape[1], total + blocks.sum(1), products + blocks @ blocks.T
    mean = total / count
    return mean, products / count - mean[:, None] * mean[None, :]


def build_runner(config: RunConfig, name: str, store: Store, folder: Path, fabric: Fabric, report: Report) -> Runner:
    """A stage ready to run, with what earlier stages learned in place.

    Raises:
        InputError: the store does not fit, or an earlier stage is missing.
    """
    check_store(store, config)
    check_precision(config, name, fabric.device)
    torch.manual_seed(config.seed)  # initial weights; everything later draws from per-sample generators
    model = CLSDM(config.model).to(fabric.device)
    for earlier in ALL_STAGES[name].after:
        load_stage(model, folder, earlier)
    if name == "autoencoder" and config.model.autoencoder.shortcut:
        model.autoencoder.start_from_blocks(*block_statistics(store, config.model.autoencoder.factor))
    stage = ALL_STAGES[name](model, config)
    data = TrainingData(store, config.model, config.augment, config.seed, fabric.device)
    geometry = max(config.augment.presets, key=config.augment.presets.__getitem__)  # what it is trained for most
    validation = fixed_batches(store, config.model, "val", 2, fabric.device, geometry)
    return Runner(fabric, stage, data, validation, folder / name, report)


def untrained_runner(config: RunConfig, name: str, store: Store, folder: Path, fabric: Fabric) -> Runner:
    """A stage on networks that have learnt nothing and with nothing to validate on, to see how long its steps take."""
    torch.manual_seed(config.seed)
    model = CLSDM(config.model).to(fabric.device)
    data = TrainingData(store, config.model, config.augment, config.seed, fabric.device)
    return Runner(fabric, ALL_STAGES[name](model, config), data, [], folder / name)


def train_stage(
    config: RunConfig,
    name: str,
    store: Store,
    folder: Path,
    fabric: Fabric,
    report: Report,
    minutes: float | None = None,
) -> bool:
    """Train one stage, or go on with it, for at most ``minutes``.

    Returns:
        Whether the stage is finished.
    """
    runner = build_runner(config, name, store, folder, fabric, report)
    deadline = float("inf") if minutes is None else time.monotonic() + 60.0 * minutes
    finished = runner.run(lambda: time.monotonic() >= deadline)
    if finished and name in LEFT_BEHIND and fabric.is_global_zero:
        load_stage(runner.stage.model, folder, name)
        if name == "autoencoder":
            measure_latents(runner.stage.model, store, folder, fabric.device)
        else:
            measure_residuals(runner.stage.model, runner.validation, folder)
    fabric.barrier()
    return finished
