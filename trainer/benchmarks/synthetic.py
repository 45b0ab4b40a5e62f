"""A store of made-up volumes in a temporary folder, in the format of ``clsdm-train prepare``."""

from pathlib import Path

import numpy as np

from clsdm.volume.ct import Grid
from clsdm_trainer.config import PlacementConfig
from clsdm_trainer.data.manifest import Case, write_manifest
from clsdm_trainer.data.store import Store, padded_grid
from clsdm_trainer.files import sha256_of


def phantom_hu(random: np.random.Generator, size: int) -> np.ndarray:
    """(z, y, x) int16: a noisy body with two lungs and a spine, a little different each time."""
    axis = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    z, y, x = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    wide, deep = random.uniform(0.7, 0.9, 2)
    body = (x / wide) ** 2 + (y / (0.7 * deep)) ** 2 + 0.0 * z < 1.0
    lungs = ((np.abs(x) - 0.35) / 0.25) ** 2 + (y / 0.35) ** 2 + (z / 0.8) ** 2 < 1.0
    spine = x**2 + (y - 0.35) ** 2 + 0.0 * z < 0.02
    hu = np.select([spine, lungs, body], [500.0, -800.0, 40.0], -1000.0)
    return np.where(body, hu + random.normal(0.0, 25.0, hu.shape), hu).astype(np.int16)


def synthetic_store(folder: Path, grid: Grid, data: PlacementConfig, count: int) -> Store:
    """``count`` patients to train on, written and opened."""
    random = np.random.default_rng(0)
    cases = []
    first_mm = -(padded_grid(grid, data.margin).size - 1) / 2 * grid.spacing_mm
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        name = f"case{index}"
        path = folder / f"{name}.npy"
        np.save(path, phantom_hu(random, padded_grid(grid, data.margin).size))
        sha256 = sha256_of(path)
        scan = {"scan": path.name, "scan_sha256": sha256, "scan_origin_mm": (first_mm,) * 3}
        cases.append(Case(name, name, "train", path.name, sha256, name, sha256, (0.0, 0.0, 0.0), 1.0, **scan))
    settings = {"placement": data.placement, "background": data.background}
    write_manifest(folder, grid, data.margin, grid.spacing_mm, cases, settings)
    return Store.open(folder)
