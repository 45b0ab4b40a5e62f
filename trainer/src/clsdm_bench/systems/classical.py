"""Reconstruction without learning, from our own projector and its exact adjoint.

``fdk`` is filtered back-projection (Feldkamp, Davis and Kress 1984), a reference only where there are two views. The others
solve A x = b for the attenuation x: ``sirt`` with all views at once (Gilbert 1972), ``sart`` one view after another
(Andersen and Kak 1984), ``cgls`` by conjugate gradients on the normal equations (Hestenes and Stiefel 1952), ``tv`` by SIRT
with descent on the total variation after each iteration (after Sidky and Pan 2008). All but ``fdk`` and ``cgls`` keep x
non-negative and inside the body's hull: the voxels that no view sees through air.

They need line integrals, which projections are and radiographs of unknown exposure are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras, voxel_axis
from clsdm.geometry.lift import Rays, lift_rays, look_up
from clsdm.geometry.projector import project
from clsdm.geometry.view import View
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import attenuation_to_hu, hu_clamped
from clsdm.xray.preprocess import XRay

PIXELS_PER_VOXEL = 2.0
"""Finer panels are averaged down to about so many pixels a voxel, both at the isocentre."""
AIR_LINE = 0.02
"""Line integrals below this share of an image's largest are air."""
TV_STEPS, TV_SHARE = 5, 0.2
EPSILON = 1e-6


@dataclass(frozen=True)
class System:
    """The linear system of one patient's X-rays.

    Attributes:
        grid: of the unknown volume.
        cameras: (1, V) views.
        lines: (1, V, rows, cols) measured line integrals.
    """

    grid: Grid
    cameras: Cameras
    lines: Tensor

    @classmethod
    def of(cls, xrays: Sequence[XRay], grid: Grid) -> System:
        """From X-rays whose pixels are line integrals.

        Raises:
            InputError: the images cannot be brought to one size.
        """
        pairs = [_coarse(xray, grid.spacing_mm) for xray in xrays]
        shapes = {tuple(image.shape) for image, _ in pairs}
        if len(shapes) != 1:
            raise InputError(f"X-rays: classical methods need images of one size, got {sorted(shapes)}")
        cameras = Cameras.from_views([[view for _, view in pairs]])
        return cls(grid, cameras, torch.stack([image for image, _ in pairs])[None])

    @property
    def zeros(self) -> Tensor:
        """An empty volume (1, 1, n, n, n)."""
        return torch.zeros(1, 1, *[self.grid.size] * 3)

    def forward(self, volume: Tensor) -> Tensor:
        """A x: (1, V, rows, cols) line integrals."""
        return project(volume, self.grid.spacing_mm, self.cameras)

    def adjoint(self, lines: Tensor) -> Tensor:
        """Aᵀ y: (1, 1, n, n, n), by the derivative of the projector, which is linear."""
        with torch.enable_grad():
            volume = self.zeros.requires_grad_()
            (back,) = torch.autograd.grad(self.forward(volume), volume, lines)
        return back

    def single_views(self) -> list[System]:
        """One system for each view."""
        every = range(self.lines.shape[1])
        return [System(self.grid, self.cameras.each(_only(v)), self.lines[:, v : v + 1]) for v in every]

    def hull(self) -> Tensor:
        """(1, 1, n, n, n) 1 where every view that sees a voxel sees something along its ray, 0 elsewhere."""
        body = (self.lines > AIR_LINE * self.lines.amax((-2, -1), keepdim=True)).float()
        shadow = F.max_pool2d(body, 3, stride=1, padding=1)  # the border of the body is a little thicker than sharp
        where = self.rays().where
        on_panel = (where.abs() <= 1.0).all(-1)
        seen = look_up(shadow[:, :, None], where)[:, :, 0] > 0.0
        return (seen | ~on_panel).all(1, keepdim=True).float()

    def rays(self) -> Rays:
        """How the voxels are seen."""
        return lift_rays(self.cameras, voxel_axis(self.grid.size, self.grid.spacing_mm))


def _only(view: int) -> Callable[[Tensor], Tensor]:
    return lambda part: part[:, view : view + 1]


def _coarse(xray: XRay, spacing_mm: float) -> tuple[Tensor, View]:
    """An X-ray averaged to the resolution that the grid can use."""
    view, image = xray.view, torch.from_numpy(xray.image).float()
    limit = spacing_mm * view.magnification / (PIXELS_PER_VOXEL * max(view.pixel_mm))
    factor = max(k for k in range(1, max(1, round(limit)) + 1) if view.rows % k == 0 and view.cols % k == 0)
    small = F.avg_pool2d(image[None], factor)[0]
    rows, cols = small.shape
    pixel_mm = (view.pixel_mm[0] * factor, view.pixel_mm[1] * factor)
    return small, replace(view, rows=rows, cols=cols, pixel_mm=pixel_mm)


def fdk(system: System) -> Tensor:
    """Filtered back-projection of views spread over half a turn."""
    cameras = system.cameras
    source_axis = cameras.source.norm(dim=-1)  # (1, V)
    magnification = (cameras.centre - cameras.source).norm(dim=-1) / source_axis
    down = cameras.fan + (1.0 - cameras.fan) * magnification
    pixel_mm = cameras.pixel_mm / torch.stack((down, magnification), -1)  # at the isocentre
    row, col = (
        (torch.arange(count) - (count - 1) / 2) * pixel_mm[..., axis, None]
        for axis, count in enumerate((cameras.rows, cameras.cols))
    )
    slant = (source_axis[..., None, None] ** 2 + row[..., :, None] ** 2 + col[..., None, :] ** 2).sqrt()
    weighted = system.lines * source_axis[..., None, None] / slant
    filtered = _ramp_filtered(weighted, pixel_mm[..., 1, None, None])
    rays = system.rays()
    inside = (rays.where.abs() <= 1.0).all(-1)
    towards = F.normalize(-cameras.source, dim=-1)
    axis_mm = voxel_axis(system.grid.size, system.grid.spacing_mm)
    x, y, z = (towards[..., i, None] * axis_mm for i in range(3))
    ahead = x[..., None, None, :] + y[..., None, :, None] + z[..., :, None, None]
    distance = (1.0 + ahead / source_axis[..., None, None, None]).square()
    total = (look_up(filtered[:, :, None], rays.where)[:, :, 0] * inside / distance).sum(1, keepdim=True)
    return total * (math.pi / system.lines.shape[1])


def _ramp_filtered(images: Tensor, step_mm: Tensor) -> Tensor:
    """Each row convolved with the band-limited ramp (Kak and Slaney, eq. 61)."""
    count = images.shape[-1]
    offset = torch.arange(-(count - 1), count, dtype=torch.float64)
    odd = offset.long() % 2 == 1
    kernel = torch.where(odd, -1.0 / (math.pi * offset.where(offset != 0, torch.ones(()))) ** 2, torch.zeros(()))
    kernel[count - 1] = 0.25
    padded = F.conv1d(images.double().flatten(0, 2)[:, None], kernel.view(1, 1, -1).double(), padding=count - 1)
    return padded.view(images.shape).float() / step_mm


Update = Callable[[Tensor], Tensor]


def sirt(system: System, iterations: int = 100, *, by_view: bool = False, after: Update = lambda x: x) -> Tensor:
    """Weighted gradient descent, non-negative and inside the hull.

    Args:
        system: what to solve.
        iterations: through all views.
        by_view: one view after another (SART) instead of all together (SIRT).
        after: applied to the volume after each iteration.
    """
    parts = system.single_views() if by_view else [system]
    weights = [_weights(part) for part in parts]
    hull, volume = system.hull(), system.zeros
    for _ in range(iterations):
        for part, (by_ray, by_voxel) in zip(parts, weights, strict=True):
            step = by_voxel * part.adjoint(by_ray * (part.lines - part.forward(volume)))
            volume = (volume + step).clamp_min(0.0) * hull
        volume = after(volume)
    return volume


def _weights(system: System) -> tuple[Tensor, Tensor]:
    """Inverse row and column sums of A; 0 where a ray meets no voxel or a voxel no ray."""
    rays, voxels = system.forward(torch.ones_like(system.zeros)), system.adjoint(torch.ones_like(system.lines))
    shares = [torch.where(total > EPSILON, 1.0 / total.clamp_min(EPSILON), 0.0) for total in (rays, voxels)]
    return shares[0], shares[1]


def sart(system: System, iterations: int = 50) -> Tensor:
    """SIRT one view after another."""
    return sirt(system, iterations, by_view=True)


def cgls(system: System, iterations: int = 20) -> Tensor:
    """Conjugate gradients on AᵀA x = Aᵀb; stopping early is its regularisation."""
    volume, residual = system.zeros, system.lines
    gradient = system.adjoint(residual)
    direction, size = gradient, gradient.square().sum()
    for _ in range(iterations):
        lines = system.forward(direction)
        length = size / lines.square().sum().clamp_min(1e-30)
        volume, residual = volume + length * direction, residual - length * lines
        gradient = system.adjoint(residual)
        size, before = gradient.square().sum(), size
        direction = gradient + (size / before.clamp_min(1e-30)) * direction
    return volume


def tv(system: System, iterations: int = 100) -> Tensor:
    """SIRT, and after each iteration a descent on the total variation by a share of how far the iteration moved."""
    before = system.zeros
    hull = system.hull()

    def smooth(volume: Tensor) -> Tensor:
        nonlocal before
        length = TV_SHARE * (volume - before).norm() / TV_STEPS
        for _ in range(TV_STEPS):
            slope = _variation_slope(volume)
            volume = (volume - length * slope / slope.norm().clamp_min(1e-12)).clamp_min(0.0) * hull
        before = volume
        return volume

    return sirt(system, iterations, after=smooth)


def total_variation(volume: Tensor) -> Tensor:
    """Sum over voxels of the length of the gradient, smoothed where it vanishes."""
    steps = [torch.diff(volume, dim=axis, append=volume.narrow(axis, -1, 1)) for axis in (2, 3, 4)]
    return (torch.stack(steps).square().sum(0) + EPSILON**2).sqrt().sum()


def _variation_slope(volume: Tensor) -> Tensor:
    with torch.enable_grad():
        at = volume.detach().requires_grad_()
        (slope,) = torch.autograd.grad(total_variation(at), at)
    return slope


METHODS: dict[str, Callable[[System], Tensor]] = {"fdk": fdk, "sart": sart, "sirt": sirt, "cgls": cgls, "tv": tv}


@torch.no_grad()
def classical(method: str, grid: Grid, xrays: Sequence[XRay]) -> CTVolume:
    """The volume of one of ``METHODS``: HU on the grid, within the window."""
    attenuation = METHODS[method](System.of(xrays, grid))
    return CTVolume.on_grid(hu_clamped(attenuation_to_hu(attenuation))[0, 0].numpy(), grid)
