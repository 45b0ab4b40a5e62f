"""Random poses and exposures: :func:`draw` draws their parameters, the other functions apply them.

Every random number of a sample comes from one generator seeded by (run seed, sample number), so a sample does not depend
on its batch, on the number of devices, or on where a run was cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.geometry.view import Detector, View, preset
from clsdm.volume.ct import Grid
from clsdm.volume.hu import hu_to_unit, unit_to_attenuation
from clsdm.xray.preprocess import cameras_for, normalise, panel_mask
from clsdm_trainer.config import AugmentConfig


@dataclass(frozen=True)
class Pose:
    """How the patient lies: ``matrix`` (3, 3) and ``shift_mm`` map canonical positions to the stored volume's."""

    matrix: np.ndarray
    shift_mm: np.ndarray
    interpolated: bool


@dataclass(frozen=True)
class Exposure:
    """How one view is taken and what spoils it; ``borders`` are the hidden shares (top, bottom, left, right)."""

    view: View
    kept: bool = True
    gamma: float = 0.0
    noise: float = 0.0
    scatter: float = 0.0
    borders: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def numpy_generator(*key: int) -> np.random.Generator:
    """A generator that depends on nothing but ``key``."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def draw_pose(config: AugmentConfig, grid: Grid, random: np.random.Generator) -> Pose:
    """A random pose of the patient."""
    exact = random.random() < config.exact_probability
    angles = np.deg2rad(random.uniform(-1, 1, 3) * config.rotation_deg)
    scale = math.exp(random.uniform(-1, 1) * config.scale)
    shift = random.uniform(-1, 1, 3) * config.shift_mm
    flip = np.diag([-1.0 if random.random() < config.flip_probability else 1.0, 1.0, 1.0])
    if exact:
        return Pose(flip, np.round(shift / grid.spacing_mm) * grid.spacing_mm, interpolated=False)
    return Pose(_rotation(angles) @ flip * scale, shift, interpolated=True)


def _rotation(angles: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix


def draw_exposures(config: AugmentConfig, count: int, random: np.random.Generator) -> list[Exposure]:
    """``count`` views spread over half a turn, from one machine, each with its own errors."""
    names = list(config.presets)
    weights = np.array([config.presets[name] for name in names])
    machine = preset(names[int(random.choice(len(names), p=weights / weights.sum()))])
    stretch = 1.0 + random.uniform(-1, 1, 2) * config.distance_jitter
    dropped = int(random.integers(count)) if count > 1 and random.random() < config.drop_probability else None
    start = 90.0 * random.integers(2) if count == 1 else 0.0
    exposures = []
    for index in range(count):
        angle = start + index * 180.0 / count + random.uniform(-1, 1) * config.angle_jitter_deg
        if random.random() < config.opposite_probability:
            angle += 180.0
        axis = machine.source_axis_mm * stretch[0]
        behind = (machine.source_detector_mm - machine.source_axis_mm) * stretch[1]
        view = replace(
            machine.view(angle),
            source_axis_mm=axis,
            source_detector_mm=axis + behind,
            tilt_deg=random.uniform(-1, 1) * config.tilt_jitter_deg,
        )
        exposures.append(_spoil(Exposure(view, kept=index != dropped), config, random))
    return exposures


def _spoil(exposure: Exposure, config: AugmentConfig, random: np.random.Generator) -> Exposure:
    values = [float(value) for value in random.uniform(size=7)]
    if random.random() >= config.radiograph_probability:
        return exposure
    top, bottom, left, right = (value * config.collimation for value in values[3:])
    return replace(
        exposure,
        gamma=(2 * values[0] - 1) * config.gamma,
        noise=values[1] * config.noise,
        scatter=values[2] * config.scatter,
        borders=(top, bottom, left, right),
    )


def place(hu: Tensor, poses: Sequence[Pose], grid: Grid) -> Tensor:
    """Stored volumes in their poses, on the network's cube.

    Args:
        hu: (B, M, M, M) int16 stored volumes with margin.
        poses: one for each.
        grid: the network's cube.

    Returns:
        (B, 1, n, n, n) float32 in the unit range; air outside the stored volume.
    """
    stored = hu_to_unit(hu.float())[:, None] + 1.0  # air is 0, which is what grid_sample pads with
    theta = torch.stack([_theta(pose, grid, hu.shape[-1]) for pose in poses]).to(hu.device)
    size = [len(hu), 1, grid.size, grid.size, grid.size]
    return F.grid_sample(stored, F.affine_grid(theta, size, align_corners=False), align_corners=False) - 1.0


def _theta(pose: Pose, grid: Grid, stored: int) -> Tensor:
    """Affine map in ``affine_grid``'s coordinates, in which each cube spans [-1, 1]."""
    gain = grid.size / stored
    shift = pose.shift_mm * 2.0 / (stored * grid.spacing_mm)
    return torch.from_numpy(np.concatenate((pose.matrix * gain, shift[:, None]), axis=1)).float()


def take_xrays(
    unit: Tensor, exposures: Sequence[Sequence[Exposure]], grid: Grid, detector: Detector, noise: Tensor
) -> tuple[Tensor, Cameras]:
    """Spoiled X-rays of cubes, as the networks see them; without spoiling it is ``xray.expose``.

    Args:
        unit: (B, 1, n, n, n) in the unit range.
        exposures: V for each sample.
        grid: the cube.
        detector: the virtual detector.
        noise: (B, V, size, size) unit Gaussian.

    Returns:
        (B, V, 2, size, size) intensity and mask, and the cameras.
    """
    views = [[exposure.view for exposure in sample] for sample in exposures]
    cameras = cameras_for(views, detector, unit.device)
    images = project(unit_to_attenuation(unit), grid.spacing_mm, cameras)
    field = _parameters(exposures, lambda e: e.scatter, unit)
    images = images + field * F.avg_pool2d(images, 31, stride=1, padding=15)
    images = images + _parameters(exposures, lambda e: e.noise, unit) * images.amax((-2, -1), keepdim=True) * noise
    mask = panel_mask(views, detector, unit.device) * _collimation(exposures, detector, unit.device)
    image = normalise(images, mask)
    curve = (
        2.0
        * ((image.clamp(-1.0, 1.5) + 1.0) / 2.0).clamp_min(1e-4)
        ** _parameters(exposures, lambda e: math.exp(e.gamma), unit)
        - 1.0
    )
    kept = _parameters(exposures, lambda e: float(e.kept), unit)
    spoiled = torch.where(_parameters(exposures, lambda e: e.gamma, unit) != 0.0, curve, image)
    return torch.stack((torch.where(mask * kept > 0.5, spoiled, -1.0), mask * kept), dim=2), cameras


def _parameters(exposures: Sequence[Sequence[Exposure]], read: Callable[[Exposure], float], like: Tensor) -> Tensor:
    return torch.tensor([[read(e) for e in sample] for sample in exposures], device=like.device)[..., None, None]


def _collimation(exposures: Sequence[Sequence[Exposure]], detector: Detector, device: torch.device) -> Tensor:
    mask = torch.ones(len(exposures), len(exposures[0]), detector.size, detector.size, device=device)
    for b, sample in enumerate(exposures):
        for v, exposure in enumerate(sample):
            top, bottom, left, right = (round(share * detector.size) for share in exposure.borders)
            mask[b, v, :top] = mask[b, v, detector.size - bottom :] = 0.0
            mask[b, v, :, :left] = mask[b, v, :, detector.size - right :] = 0.0
    return mask


def blur(unit: Tensor, sigma_voxels: Sequence[float]) -> Tensor:
    """Gaussian blur of each volume (B, 1, n, n, n) by its own sigma in voxels; 0 leaves it as it is."""
    radius = 4
    x = torch.arange(-radius, radius + 1, device=unit.device)
    blurred = []
    for volume, sigma in zip(unit, sigma_voxels, strict=True):
        kernel = torch.exp(-0.5 * (x / max(sigma, 1e-3)) ** 2)
        kernel = kernel / kernel.sum()
        for shape in ((-1, 1, 1), (1, -1, 1), (1, 1, -1)):
            padding = [radius if n == -1 else 0 for n in shape]
            volume = (
                F.conv3d(volume[None] + 1.0, kernel.view(1, 1, *shape), padding=padding)[0] - 1.0 if sigma else volume
            )
        blurred.append(volume)
    return torch.stack(blurred)
