"""Random poses and exposures: :func:`draw` draws their parameters, the other functions apply them.

Every random number of a sample comes from one generator seeded by (run seed, sample number), so a sample does not depend
on its batch, on the number of devices, or on where a run was cut.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import Detector, View, preset
from clsdm.volume.ct import Grid
from clsdm.xray.preprocess import cameras_for, normalise, panel_mask
from clsdm_trainer.anatomy import Pose
from clsdm_trainer.config import AugmentConfig


@dataclass(frozen=True)
class Exposure:
    """How one view is taken and what spoils it.

    Attributes:
        view: geometry.
        kept: False for a view that was lost.
        gamma: log of the exponent of the intensity curve.
        noise: standard deviation, relative to the largest line integral.
        scatter: share of blurred background added.
        hardening: share by which the largest line integral is lowered, smaller ones by less (beam hardening).
        tone: strength of an S-shaped curve; negative flattens.
        local_contrast: strength of what a viewer's local contrast does; negative flattens.
        sharpness: strength of an unsharp mask; -1 is a box blur.
        borders: hidden shares (top, bottom, left, right).
        patches: (top, left, height, width) in shares of the image, and the intensity in [-1, 1.5], of each rectangle
            that covers the patient: letters, a lead marker, a label.
    """

    view: View
    kept: bool = True
    gamma: float = 0.0
    noise: float = 0.0
    scatter: float = 0.0
    hardening: float = 0.0
    tone: float = 0.0
    local_contrast: float = 0.0
    sharpness: float = 0.0
    borders: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    patches: tuple[tuple[float, float, float, float, float], ...] = ()


def numpy_generator(*key: int) -> np.random.Generator:
    """A generator that depends on nothing but ``key``."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def draw_pose(
    config: AugmentConfig, grid: Grid, random: np.random.Generator, between: np.ndarray | None = None
) -> Pose:
    """A random pose of the patient; ``between`` are (K, 3, c, c, c) deformations to the shapes of others."""
    exact = random.random() < config.exact_probability
    angles = np.deg2rad(random.uniform(-1, 1, 3) * config.rotation_deg)
    scale = np.exp(random.uniform(-1, 1) * config.scale + random.uniform(-1, 1, 3) * config.stretch)
    shift = random.uniform(-1, 1, 3) * (config.shift_mm, config.shift_mm, config.shift_mm + config.axial_shift_mm)
    flip = np.diag([-1.0 if random.random() < config.flip_probability else 1.0, 1.0, 1.0])
    extended = random.random() < config.extend_probability
    warps = []
    if config.warp_mm and random.random() < config.warp_probability:
        warps.append(random.standard_normal((3, *[config.warp_controls] * 3)) * config.warp_mm)
    if between is not None and len(between) and random.random() < config.between_probability:
        warps.append(random.random() * between[int(random.integers(len(between)))])
    if exact:
        return Pose(flip, np.round(shift / grid.spacing_mm) * grid.spacing_mm, tuple(warps), extended)
    return Pose(_rotation(angles) @ flip @ np.diag(scale), shift, tuple(warps), extended)


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
            tilt_deg=random.uniform(-1, 1) * (config.tilt_jitter_deg if machine.beam == "cone" else 0.0),
        )
        exposures.append(_spoil(Exposure(view, kept=index != dropped), config, random))
    return exposures


def _spoil(exposure: Exposure, config: AugmentConfig, random: np.random.Generator) -> Exposure:
    values = random.uniform(size=11)
    used = random.uniform(size=8) < config.effect_probability
    patches = random.uniform(size=(4, 5))
    if random.random() >= config.radiograph_probability:
        return exposure
    signed = 2 * values - 1
    top, bottom, left, right = (float(value * config.collimation * used[3]) for value in values[3:7])
    count = round(float(values[10]) * config.patches) if used[7] else 0
    return replace(
        exposure,
        gamma=float(signed[0] * config.gamma * used[0]),
        noise=float(values[1] * config.noise * used[1]),
        scatter=float(values[2] * config.scatter * used[2]),
        hardening=float(values[7] * config.hardening * used[4]),
        tone=float(signed[7] * config.tone * used[4]),
        local_contrast=float(signed[8] * config.local_contrast * used[5]),
        sharpness=float(signed[9] * config.sharpness * used[6]),
        borders=(top, bottom, left, right),
        patches=tuple(_patch(row) for row in patches[:count]),
    )


def _patch(values: np.ndarray) -> tuple[float, float, float, float, float]:
    top, left, height, width, intensity = (float(value) for value in values)
    return 0.95 * top, 0.95 * left, 0.02 + 0.08 * height, 0.02 + 0.14 * width, 2.5 * intensity - 1.0


def radiographs(
    integrals: Tensor, exposures: Sequence[Sequence[Exposure]], detector: Detector, noise: Tensor
) -> Tensor:
    """Line integrals as the networks see them, spoiled as the exposures say.

    Args:
        integrals: (B, V, size, size) of :func:`virtual_cameras`.
        exposures: V for each sample.
        detector: the virtual detector.
        noise: (B, V, size, size) unit Gaussian.

    Returns:
        (B, V, 2, size, size) intensity and mask.
    """
    views = [[exposure.view for exposure in sample] for sample in exposures]

    def each(read: Callable[[Exposure], float]) -> Tensor:
        return _parameters(exposures, read, integrals)

    largest = integrals.amax((-2, -1), keepdim=True)
    images = integrals * (1.0 - each(lambda e: e.hardening) * integrals / largest.clamp_min(1e-6))
    images = images + each(lambda e: e.scatter) * _local_mean(images, 31)
    images = images + each(lambda e: e.noise) * largest * noise
    mask = panel_mask(views, detector, integrals.device) * _collimation(exposures, detector, integrals.device)
    image = normalise(images, mask)
    displayed = normalise(_displayed(image, exposures, each), mask)
    image = torch.where(each(lambda e: float(_is_displayed(e))) > 0.5, displayed, image)
    kept = each(lambda e: float(e.kept))
    return torch.stack((torch.where(mask * kept > 0.5, image, -1.0), mask * kept), dim=2)


def _is_displayed(exposure: Exposure) -> bool:
    """Whether something changed the image after it was measured."""
    changes = (exposure.gamma, exposure.tone, exposure.local_contrast, exposure.sharpness)
    return any(changes) or bool(exposure.patches)


def _displayed(
    image: Tensor, exposures: Sequence[Sequence[Exposure]], each: Callable[[Callable[[Exposure], float]], Tensor]
) -> Tensor:
    """A measured image (B, V, size, size) in [-1, 1.5] as a machine or a viewer changes it."""
    unit = ((image.clamp(-1.0, 1.5) + 1.0) / 2.0).clamp_min(1e-4) ** each(lambda e: math.exp(e.gamma))
    inside = unit.clamp(0.0, 1.0)
    unit = unit + each(lambda e: e.tone) * (3.0 * inside**2 - 2.0 * inside**3 - inside)
    for size, strength in ((31, each(lambda e: e.local_contrast)), (3, each(lambda e: e.sharpness))):
        unit = unit + strength * (unit - _local_mean(unit, size))
    image = 2.0 * unit - 1.0
    side = image.shape[-1]
    for b, sample in enumerate(exposures):
        for v, exposure in enumerate(sample):
            for top, left, height, width, value in exposure.patches:
                rows, cols = (slice(round(a * side), round((a + n) * side)) for a, n in ((top, height), (left, width)))
                image[b, v, rows, cols] = value
    return image


def _local_mean(images: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(images, size, stride=1, padding=size // 2, count_include_pad=False)


def virtual_cameras(exposures: Sequence[Sequence[Exposure]], detector: Detector, device: torch.device) -> Cameras:
    """The cameras of the exposures on the virtual detector."""
    return cameras_for([[exposure.view for exposure in sample] for sample in exposures], detector, device)


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
