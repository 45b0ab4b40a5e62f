"""A bundle with random weights that reconstructs in a tenth of a second, and small X-rays to feed it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clsdm.bundle import MANIFEST, SCHEMA, Bundle, Encoding, Manifest, write_bundle
from clsdm.geometry import PRESETS, Detector
from clsdm.intensity import WINDOW_HU
from clsdm.model import CLSDM, ModelConfig
from clsdm.nets.autoencoder import AutoencoderConfig
from clsdm.nets.condition import ConditionConfig
from clsdm.nets.unet import UNetConfig
from clsdm.schedule import ProcessConfig
from clsdm.simulate import simulate_xrays
from clsdm.volume import CTVolume, Grid
from clsdm.xray import XRay

GRID = Grid(16, 24.0)
PIXELS = 64  # the fewest that the core takes for an image
CENTRE_MM = (12.0, -30.0, 250.0)

CONFIG = ModelConfig(
    grid=GRID,
    detector=Detector(32, 480.0),
    autoencoder=AutoencoderConfig(channels=(8, 16), latent_channels=4),
    condition=ConditionConfig(
        image_channels=(8, 16), features=8, fused=8, folded=4, channels=(16, 16), condition_channels=4, contrast_channels=4
    ),
    denoiser=UNetConfig(channels=(16, 16), attention=(False, True), head_width=8),
    process=ProcessConfig(steps=2),
)


def small_manifest(config: ModelConfig = CONFIG, encoding: Encoding = "float32", **changes: Any) -> Manifest:
    """The manifest of the small model."""
    fields = {"schema": SCHEMA, "id": "small", "version": "0", "licence": "none: random weights", "window_hu": WINDOW_HU}
    return Manifest(**{**fields, "model": config, "encoding": encoding, **changes})


def random_weights(config: ModelConfig = CONFIG, seed: int = 0) -> dict[str, Tensor]:
    """Weights that leave no branch idle: layers that training starts at zero get small random values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLSDM(config)
    state = model.state_dict()
    for value in state.values():
        if not value.any():
            value.copy_(0.05 * torch.randn(value.shape, generator=generator))
    return {name: value.clone() for name, value in state.items()}


def small_bundle(folder: Path, encoding: Encoding = "float32", config: ModelConfig = CONFIG, seed: int = 0) -> Bundle:
    """Write the small model and open it."""
    figures = {"psnr_db": {"mean": 0.0}}
    return write_bundle(folder, small_manifest(config, encoding), random_weights(config, seed), "# Small\n", figures)


def edited(bundle: Bundle, folder: Path, **changes: Any) -> Path:
    """A copy of a bundle's folder with top-level fields of its manifest replaced (by nothing where None)."""
    shutil.copytree(bundle.path, folder)
    table = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in table.items() if value is not None}
    (folder / MANIFEST).write_text(json.dumps(kept), encoding="utf-8")
    return folder


def small_xrays(
    ct: CTVolume,
    angles: Sequence[float] = (0.0, 90.0),
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    preset: str = "chest",
) -> list[XRay]:
    """X-rays of a CT in 64² pixels."""
    return simulate_xrays(ct, [PRESETS[preset].view(angle, PIXELS) for angle in angles], centre_mm)
