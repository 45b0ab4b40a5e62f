"""Data consistency after the network: the estimate moves as little as it must, where it is least sure, until its
projections explain the X-rays.

With the estimate's error taken as independent Gaussians of known size, of covariance S, and what a pixel need not explain
as one of standard deviation ``noise``, the corrected estimate is x + S A' (A S A' + noise²)^-1 (y - A x), by a few
conjugate-gradient steps (Hestenes & Stiefel 1952). Of y only what can be trusted is used: an X-ray's exposure is never known,
so a gain of each view is left out; and matter outside the cube (shoulders, arms, abdomen) attenuates too, but smoothly over
the image, so all that a low-order cosine background can explain is left out with it.

Volumes (B, 1, z, y, x); images (B, V, row, column); B = 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.volume.hu import MU_WATER_PER_MM, attenuation_to_hu, hu_to_attenuation

SATURATED = 1.49
"""Normalised intensities beyond this were cut off (``xray.preprocess.normalise`` limits them to 1.5)."""


@dataclass(frozen=True)
class Correction:
    """How closely the X-rays are followed; the defaults are the best on projections of scans.

    Attributes:
        noise: standard deviation that a pixel may keep, in line integrals of attenuation (a chest has up to about 8).
        background: highest order of the cosines in the smooth background.
        iterations: conjugate-gradient steps.
    """

    noise: float = 0.1
    background: int = 10
    iterations: int = 8


def consistent(
    hu: Tensor,
    error_hu: Tensor,
    images: Tensor,
    cameras: Cameras,
    spacing_mm: float,
    correction: Correction | None = None,
) -> Tensor:
    """The estimate corrected by the X-rays.

    Args:
        hu: (1, 1, n, n, n) estimate.
        error_hu: (1, 1, n, n, n) standard deviation of its error; 0 where it must not move.
        images: (1, V, 2, size, size) X-rays and masks, as the networks see them.
        cameras: of the X-rays.
        spacing_mm: voxel edge.
        correction: how closely; the default where None.

    Returns:
        (1, 1, n, n, n) HU, not clamped.
    """
    correction = correction or Correction()
    with torch.inference_mode(False), torch.enable_grad():  # the adjoint is autograd's
        image, mask = images.float().clone().unbind(2)
        mask = mask * (image.abs() < SATURATED)
        free = without_exposure(image, mask, correction.background)
        estimate = hu_to_attenuation(hu.float().clone())
        variance = (error_hu.float().clone() * (1e-3 * MU_WATER_PER_MM)).square()

        def forward(volume: Tensor) -> Tensor:
            return project(volume, spacing_mm, cameras)

        def adjoint(residual: Tensor) -> Tensor:
            volume = torch.zeros_like(estimate).requires_grad_()
            return torch.autograd.grad(forward(volume), volume, residual)[0]

        def covariance(weights: Tensor) -> Tensor:
            return free(forward(variance * adjoint(weights))) + correction.noise**2 * weights

        projected = forward(estimate)
        residual = free(gain(image, projected, mask) * image - projected)
        weights = conjugate_gradients(covariance, residual, correction.iterations)
        return attenuation_to_hu(estimate + variance * adjoint(weights)).detach()


def fixed_by_views(values: Tensor, seen: Tensor, cameras: Cameras, spacing_mm: float, iterations: int = 60) -> Tensor:
    """The part of a volume that its X-rays fix: its projection A' (A A')^-1 A v onto the range of A', the adjoint.

    Two volumes with the same X-rays have this part in common; the rest, in the null space of A, leaves no trace in them and
    comes from other patients. Conjugate gradients approach it from below: what they have not reached counts as the rest.

    Args:
        values: (1, 1, n, n, n), any unit.
        seen: (1, V, size, size) 1 where a pixel was measured.
        cameras: of the X-rays.
        spacing_mm: voxel edge.
        iterations: conjugate-gradient steps.

    Returns:
        (1, 1, n, n, n) in the same unit.
    """
    with torch.inference_mode(False), torch.enable_grad():  # the adjoint is autograd's
        volume, seen = values.float().clone(), seen.float().clone()

        def forward(each: Tensor) -> Tensor:
            return project(each, spacing_mm, cameras) * seen

        def adjoint(image: Tensor) -> Tensor:
            zero = torch.zeros_like(volume).requires_grad_()
            return torch.autograd.grad(forward(zero), zero, image)[0]

        weights = conjugate_gradients(
            lambda image: forward(adjoint(image)).detach(), forward(volume).detach(), iterations
        )
        return adjoint(weights).detach()


def without_exposure(image: Tensor, mask: Tensor, background: int) -> Callable[[Tensor], Tensor]:
    """The orthogonal projection of images (1, V, rows, cols) onto what neither a gain nor a background explains.

    Args:
        image: the measured intensities, whose gain is unknown.
        mask: pixels that count; the others are set to 0.
        background: highest order of its cosines, 0 for a mere offset.
    """
    inside = mask.flatten(2)[0]
    smooth = cosines(image.shape[-2], image.shape[-1], background).to(image)
    bases = []
    for own, counts in zip(image.flatten(2)[0], inside, strict=True):
        functions = torch.cat((smooth, own[None])) * counts
        bases.append(torch.linalg.qr(functions.T.double()).Q.to(image))

    def free(values: Tensor) -> Tensor:
        flat = values.flatten(2)[0] * inside
        left = [part - basis @ (basis.T @ part) for part, basis in zip(flat, bases, strict=True)]
        return torch.stack(left).view_as(values)

    return free


def cosines(rows: int, cols: int, order: int) -> Tensor:
    """(count, rows * cols) two-dimensional cosines whose orders along rows and columns add up to at most ``order``."""
    degree = torch.arange(order + 1)[:, None]
    y, x = (torch.cos(torch.pi * degree * (torch.arange(count) + 0.5) / count) for count in (rows, cols))
    return torch.stack([torch.outer(y[i], x[j]).flatten() for i in range(order + 1) for j in range(order + 1 - i)])


def gain(image: Tensor, projected: Tensor, mask: Tensor) -> Tensor:
    """(1, V, 1, 1) line integrals for each unit of normalised intensity: the slope of the projections on the images."""
    flat, wanted, inside = (values.flatten(2) for values in (image, projected, mask))
    count = inside.sum(2, keepdim=True).clamp_min(1.0)
    flat, wanted = (values - (values * inside).sum(2, keepdim=True) / count for values in (flat, wanted))
    return ((flat * wanted * inside).sum(2) / (flat.square() * inside).sum(2).clamp_min(1e-6))[..., None, None]


def conjugate_gradients(operator: Callable[[Tensor], Tensor], wanted: Tensor, iterations: int) -> Tensor:
    """An approximate solution of ``operator(w) = wanted`` for a symmetric positive operator."""
    solution, residual = torch.zeros_like(wanted), wanted
    direction, square = residual, residual.square().sum()
    for _ in range(iterations):
        image = operator(direction)
        step = square / (direction * image).sum().clamp_min(1e-30)
        solution, residual = solution + step * direction, residual - step * image
        before, square = square, residual.square().sum()
        direction = residual + (square / before.clamp_min(1e-30)) * direction
    return solution
