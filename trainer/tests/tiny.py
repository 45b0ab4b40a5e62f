"""A recipe and a store so small that a training step takes milliseconds, and the steps that many tests share.

Run as a script it trains the autoencoder in a process of its own: ``python tiny.py STORE RUN STEPS [UNTIL]``.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from clsdm.volume.ct import Grid
from clsdm_bench.systems.stages import ALL_STAGES
from clsdm_trainer.anatomy import Anatomy
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.data.manifest import Case, write_manifest
from clsdm_trainer.data.store import Store, padded_grid
from clsdm_trainer.files import sha256_of
from clsdm_trainer.loop import CHECKPOINT, Runner
from clsdm_trainer.recipe import RunConfig
from clsdm_trainer.run import build_runner, train_stage

GRID, MARGIN = Grid(16, 24.0), 2
PADDED = padded_grid(GRID, MARGIN)
SPLIT_OF = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "test"}
STAGE_NAMES = ("autoencoder", "alignment", "diffusion")
# 12 and 24 channels make groups of three: with one channel a group, a bias before the normalisation would be idle.
# No level is smaller than 4³: at 2³ the weight gradients of torch 2.13's bfloat16 conv3d are garbage on the CPU
# (AVX512-BF16, kernel 3, stride 1: up to 1e37 from memory that was never written).
MODEL: dict[str, Any] = {
    "grid": {"size": GRID.size, "spacing_mm": GRID.spacing_mm},
    "detector": {"size": 32, "field_mm": 480.0},
    "autoencoder": {"channels": [24], "latent_channels": 4},
    "condition": {
        "image_channels": [12, 24],
        "features": 12,
        "channels": [24, 24],
        "condition_channels": 4,
        "contrast_channels": 8,
    },
    "denoiser": {"channels": [24, 24], "attention": [False, True]},
    "process": {"steps": 2},
}
PYRAMID: dict[str, Any] = {
    "autoencoder": {"channels": [24, 24], "latent_channels": 4},
    "condition": {**MODEL["condition"], "channels": [24], "fine": [24, 24]},
    "denoiser": {"channels": [24], "attention": [True]},
}
"""Sections of a model that estimates coarsely and refines."""
STAGE: dict[str, Any] = {
    "steps": 6,
    "batch": 2,
    "optimiser": {"lr": 1e-3, "warmup_steps": 2, "weight_decay": 0.01},
    "validate_every": 3,
    "checkpoint_every": 3,
    "precision": "32-true",
}


def tiny_config(*, seed: int = 0, model: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    """The recipe; ``changes`` go to every stage, those of the autoencoder's GAN only to it.

    Args:
        seed: of the run.
        model: replaces sections of the model.
        **changes: fields of the stages.
    """
    special = ("adversarial_start", "adversarial_weight", "blur_probability")
    own = {name: changes.pop(name) for name in special if name in changes}
    stage = {**STAGE, **changes}
    table = {"name": "tiny", "seed": seed, "model": {**MODEL, **(model or {})}, "data": {"margin": MARGIN}}
    return RunConfig.model_validate(
        {**table, "autoencoder": {**stage, **own}, "alignment": {**stage, "positions": 16}, "diffusion": stage}
    )


def phantom_hu(random: np.random.Generator, grid: Grid = PADDED) -> np.ndarray:
    """(z, y, x) int16: a body with a dense ellipsoid at the left and a lung at the right, each a little different."""
    axis_mm = (np.arange(grid.size) - (grid.size - 1) / 2) * grid.spacing_mm
    z, y, x = np.meshgrid(axis_mm, axis_mm, axis_mm, indexing="ij")
    wide, deep, high = random.uniform(0.85, 1.15, 3) * (150.0, 100.0, 170.0)
    hu = np.where((x / wide) ** 2 + (y / deep) ** 2 + (z / high) ** 2 < 1, 40.0, -1000.0)
    centre = random.uniform(-12.0, 12.0, 3)
    hu[((x - 60 - centre[0]) / 50) ** 2 + ((y + 20) / 40) ** 2 + ((z - 50 - centre[2]) / 60) ** 2 < 1] = 900.0
    hu[((x + 60) / 45) ** 2 + ((y - 10 - centre[1]) / 45) ** 2 + ((z + 40) / 70) ** 2 < 1] = -800.0
    return hu.astype(np.int16)


def tiny_case(name: str, split: str, file: str, sha256: str) -> Case:
    """A patient of whom nothing was scanned but the cube with its margin."""
    first = -(PADDED.size - 1) / 2 * PADDED.spacing_mm
    known = {"source": f"{name}.nii", "source_sha256": sha256, "centre_mm": (0.0, 0.0, 0.0), "fov_fraction": 1.0}
    scan = {"scan": file, "scan_sha256": sha256, "scan_origin_mm": (first,) * 3}
    return Case(name, f"patient-{name}", split, file, sha256, **known, **scan)


def padded_anatomy(hu: torch.Tensor) -> Anatomy:
    """A cube of the store, (M, M, M) HU with its margin, as all that was scanned of a patient."""
    return Anatomy(hu, GRID.spacing_mm, np.full(3, -(len(hu) - 1) / 2 * GRID.spacing_mm))


def tiny_store(folder: Path, split_of: dict[str, str] | None = None, seed: int = 1) -> Store:
    """Five patients, written and opened: three to train on, one to validate, one to test."""
    split_of = SPLIT_OF if split_of is None else split_of
    random = np.random.default_rng(seed)
    cases = []
    for name, split in split_of.items():
        path = folder / "volumes" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, phantom_hu(random))
        sha256 = sha256_of(path)
        cases.append(tiny_case(name, split, f"volumes/{name}.npy", sha256))
    write_manifest(folder, GRID, MARGIN, GRID.spacing_mm, cases, {"placement": "body", "background": "keep"})
    return Store.open(folder)


def cpu_fabric(config: RunConfig, name: str, devices: int = 1) -> Fabric:
    """The engine for a stage, on the CPU."""
    precision = config.section(ALL_STAGES[name]).precision
    strategy = "ddp" if devices > 1 else "auto"
    fabric = Fabric(accelerator="cpu", devices=devices, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def tiny_runner(config: RunConfig, name: str, store: Store, folder: Path) -> Runner:
    """A stage of the run in ``folder``, continued where it stands there."""
    return build_runner(config, ALL_STAGES[name], store, folder, cpu_fabric(config, name), lambda record: None)


def train(config: RunConfig, store: Store, folder: Path, *names: str) -> bool:
    """Train stages one after the other; whether the last was finished (and not stopped by a signal)."""
    finished = True
    for name in names:
        finished = train_stage(config, ALL_STAGES[name], store, folder, cpu_fabric(config, name), lambda record: None)
    return finished


def run_to(runner: Runner, step: int) -> bool:
    """Train until ``step`` steps are done."""
    return runner.run(lambda: runner.progress.step >= step)


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    """A stage's checkpoint without the times in it."""
    state = load_state(folder / name / CHECKPOINT)
    state["progress"].pop("seconds")
    return state


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Paths at which two nested structures of tensors and plain values are not the same to the bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [path for key in a for path in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [path for index in range(len(a)) for path in differences(a[index], b[index], f"{where}/{index}")]
    return [] if type(a) is type(b) and a == b else [where]


def main(store: str, run: str, steps: str, until: str | None = None) -> None:
    """Train an autoencoder with its adversary in a process of its own, to its end or until so many steps are done."""
    config = tiny_config(steps=int(steps), accumulate=2, adversarial_start=1)
    if until is None:
        train(config, Store.open(store), Path(run), "autoencoder")
    else:
        run_to(tiny_runner(config, "autoencoder", Store.open(store), Path(run)), int(until))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
