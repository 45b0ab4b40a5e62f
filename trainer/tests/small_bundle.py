"""A bundle with random weights that reconstructs in a tenth of a second, and small X-rays to feed it."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clsdm.app.cli import main
from clsdm.files.digest import sealed
from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import PRESETS, Detector
from clsdm.model.autoencoder import AutoencoderConfig
from clsdm.model.bundle import MANIFEST, SCHEMA, Bundle, Encoding, Manifest, write_bundle
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.model.condition import ConditionConfig
from clsdm.model.denoiser import UNetConfig
from clsdm.model.schedule import ProcessConfig
from clsdm.simulate import simulate_xrays
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import WINDOW_HU
from clsdm.xray.preprocess import XRay, cameras_for

PIXELS = 64  # the fewest along an edge that the core takes for an image
CENTRE_MM = (12.0, -30.0, 250.0)

CONFIG = ModelConfig(
    grid=Grid(16, 24.0),
    detector=Detector(32, 480.0),
    autoencoder=AutoencoderConfig(channels=(8, 16), latent_channels=4),
    condition=ConditionConfig(
        image_channels=(8, 16), features=8, channels=(16, 16), condition_channels=4, contrast_channels=4
    ),
    denoiser=UNetConfig(channels=(16, 16), attention=(False, True), head_width=8),
    process=ProcessConfig(steps=2),
)
FINER = replace(CONFIG, grid=Grid(32, 12.0), detector=Detector(64, 480.0))
"""Enough latent voxels (8³) and detector pixels that left and right of a receptive field can be told apart."""


PUBLISHED: dict[str, Any] = {"attention": True, "narrow_upsample": False, "shortcut": False, "norm": "group"}
"""What the published autoencoder has otherwise than ours."""
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


def randomised(module: nn.Module, std: float = 0.1) -> nn.Module:
    """Every parameter random, also those at which training starts from zero (they would hide what is behind them)."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.eval()


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def cameras_at(*angles_deg: float) -> Cameras:
    """A chest machine's views on the small model's detector."""
    return cameras_for([[PRESETS["chest"].view(angle) for angle in angles_deg]], CONFIG.detector)


def small_manifest(config: ModelConfig = CONFIG, encoding: Encoding = "float32", **changes: Any) -> Manifest:
    """The manifest of the small model."""
    fields = {
        "schema": SCHEMA,
        "id": "small",
        "version": "0",
        "licence": "none: random weights",
        "window_hu": WINDOW_HU,
    }
    return Manifest(**{**fields, "model": config, "encoding": encoding, **changes})


def initial_weights(config: ModelConfig = CONFIG, seed: int = 0) -> dict[str, Tensor]:
    """Weights as training starts: attention and other residual branches are still zero, so every effect is local."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {
            name: value.clone(memory_format=torch.contiguous_format)
            for name, value in CLSDM(config).state_dict().items()
        }


def random_weights(config: ModelConfig = CONFIG, seed: int = 0) -> dict[str, Tensor]:
    """Weights that leave no branch idle: what training starts at zero gets small random values."""
    generator = torch.Generator().manual_seed(seed)
    weights = initial_weights(config, seed)
    for value in weights.values():
        if not value.any():
            value.copy_(0.05 * torch.randn(value.shape, generator=generator))
    return weights


def small_bundle(
    folder: Path, config: ModelConfig = CONFIG, weights: dict[str, Tensor] | None = None, encoding: Encoding = "float32"
) -> Bundle:
    """Write the small model and open it."""
    weights = random_weights(config) if weights is None else weights
    return write_bundle(folder, small_manifest(config, encoding), weights, "# Small\n", {"psnr_db": {"mean": 0.0}})


def edited(bundle: Bundle, folder: Path, **changes: Any) -> Path:
    """A copy of a bundle's folder with top-level fields of its manifest replaced (left out where None), signed again."""
    shutil.copytree(bundle.path, folder)
    table = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in table.items() if value is not None}
    (folder / MANIFEST).write_text(json.dumps(sealed(kept)), encoding="utf-8")
    return folder


def small_xrays(
    ct: CTVolume,
    angles: Sequence[float] = (0.0, 90.0),
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    preset: str = "chest",
) -> list[XRay]:
    """X-rays of a CT in 64² pixels."""
    return simulate_xrays(ct, [PRESETS[preset].view(angle, PIXELS) for angle in angles], centre_mm)


def small_phantom(centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> CTVolume:
    """A body of 180 x 120 x 220 mm with a dense ball at its left, anterior and superior, on a 32³ grid of 12 mm."""
    axis = (np.arange(32) - 15.5) * 12.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    hu = np.where((x / 90) ** 2 + (y / 60) ** 2 + (z / 110) ** 2 < 1, 40.0, -1000.0)
    hu[(x - 40) ** 2 + (y + 25) ** 2 + (z - 50) ** 2 < 25**2] = 900.0
    return CTVolume.on_grid(hu, Grid(32, 12.0), centre_mm)


def reconstruct_command(films: Path, bundle: Bundle, out: Path, *more: str) -> list[str]:
    """Arguments that reconstruct the two films."""
    views = ["--frontal", str(films / "frontal.dcm"), "--lateral", str(films / "lateral.dcm")]
    return ["reconstruct", *views, "--bundle", str(bundle.path), "--device", "cpu", "--out", str(out), *more]


def run(capfd, *arguments: str | Path) -> tuple[int, str, str]:
    """Call the command line in this process: exit code, standard output and standard error, libraries' own included."""
    capfd.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, *capfd.readouterr()
