"""Models of the trainer's presets with random weights, their tiny versions for ``--smoke``, and X-rays to feed them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clsdm.geometry.view import Detector, View, preset
from clsdm.model.bundle import SCHEMA, WEIGHTS, Bundle, FileEntry, Manifest
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.volume.ct import Grid
from clsdm.volume.hu import WINDOW_HU
from clsdm.xray.preprocess import XRay


def tiny(config: ModelConfig) -> ModelConfig:
    """The same kinds of network, as small as they come: 32³ voxels, a few channels."""
    fine = (8,) * len(config.condition.fine)
    condition = replace(
        config.condition, image_channels=(8, 8), features=4, channels=(8, 8, 8), condition_channels=4, fine=fine
    )
    widths = (8,) * len(config.autoencoder.channels)
    return replace(
        config,
        grid=Grid(32, config.grid.cube_mm / 32),
        detector=Detector(32, config.detector.field_mm),
        autoencoder=replace(config.autoencoder, channels=widths, res_blocks=1, latent_channels=2),
        condition=condition,
        denoiser=replace(config.denoiser, channels=(8, 8), attention=(False, True), res_blocks=1, head_width=8),
        process=replace(config.process, steps=min(config.process.steps, 4)),
    )


def random_model(config: ModelConfig, device: torch.device, seed: int = 0) -> CLSDM:
    """The networks as ``Bundle.model`` gives them; layers that training starts at zero get small random values."""
    torch.manual_seed(seed)
    model = CLSDM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()):
                parameter.normal_(std=0.01)
    return model.to(device).eval().requires_grad_(False)


def nameless_bundle(config: ModelConfig) -> Bundle:
    """All that ``clsdm.reconstruction`` asks of a bundle; its networks are loaded already, and nothing is written."""
    manifest = Manifest(SCHEMA, "random", "0", "none: random weights", WINDOW_HU, config, "float32")
    return Bundle(Path("random"), manifest, {WEIGHTS: FileEntry("0" * 64, 0)})


def biplanar_xrays() -> list[XRay]:
    """A frontal and a lateral X-ray of something round, on the panel of the published protocol."""
    views: list[View] = [preset("x2ct").view(angle) for angle in (0.0, 90.0)]
    axis = np.linspace(-1.2, 1.2, views[0].rows, dtype=np.float32)
    squared = axis[:, None] ** 2 + axis[None, :] ** 2
    image = np.sqrt(np.maximum(1.0 - squared, 0.0)) + 0.1 * np.cos(12.0 * axis)[:, None]
    return [XRay(image * depth, view) for depth, view in zip((0.9, 1.0), views, strict=True)]  # two, not one twice
