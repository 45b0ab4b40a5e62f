"""A scanned patient in a pose: the truth on the network's cube, and line integrals through all that was scanned.

The pose is never applied to the scan that is projected: the rays are mapped into the scan's own coordinates instead, so
that X-rays are as sharp as the scan and hold what lies outside the cube. Volumes are (z, y, x) along LPS; positions are
in mm from the isocentre, LPS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.volume.ct import Grid
from clsdm.volume.hu import hu_clamped, hu_to_attenuation, hu_to_unit

BEYOND_MM = 60.0
"""How far beyond the cube an extended patient goes on: a cone beam sees some of it."""


@dataclass(frozen=True)
class Pose:
    """How the patient lies, and how the body differs from the scan.

    Attributes:
        matrix: (3, 3); with ``shift_mm`` it maps canonical positions to the scan's.
        shift_mm: (3,).
        warps_mm: each (3, c, c, c), displacements (x, y, z) at the control points of a cubic B-spline over the scan; they
            add up.
        extended: the end slices are repeated until the patient leaves the cube: a scan ends, a patient does not.
    """

    matrix: np.ndarray
    shift_mm: np.ndarray
    warps_mm: tuple[np.ndarray, ...] = ()
    extended: bool = False


@dataclass(frozen=True)
class Anatomy:
    """The scanned part of a patient.

    Attributes:
        hu: (z, y, x) HU on cubic voxels.
        spacing_mm: voxel edge.
        origin_mm: (x, y, z) position of the first voxel's centre.
        repeated: slices before and after those that were scanned.
    """

    hu: Tensor
    spacing_mm: float
    origin_mm: np.ndarray
    repeated: tuple[int, int] = (0, 0)

    @property
    def size(self) -> np.ndarray:
        """Voxels along x, y and z."""
        return np.array(self.hu.shape[::-1])

    @property
    def centre_mm(self) -> np.ndarray:
        """(x, y, z) position of its middle."""
        return self.origin_mm + (self.size - 1) / 2 * self.spacing_mm


def coarsened(anatomy: Anatomy, factor: int) -> Anatomy:
    """The anatomy on voxels ``factor`` times as large, each the mean of those in it that were scanned."""
    mean = F.avg_pool3d(anatomy.hu.float()[None], factor, ceil_mode=True, count_include_pad=False)[0]
    origin = anatomy.origin_mm + (factor - 1) / 2 * anatomy.spacing_mm
    return Anatomy(mean.round().to(anatomy.hu.dtype), anatomy.spacing_mm * factor, origin)


def posed(anatomy: Anatomy, pose: Pose, grid: Grid) -> Anatomy:
    """The anatomy with the pose's own changes: warped, and extended where the pose says so."""
    if pose.warps_mm:
        anatomy = warped(anatomy, *pose.warps_mm)
    return (
        extended(anatomy, grid.cube_mm / 2 + BEYOND_MM + float(np.abs(pose.shift_mm[2]))) if pose.extended else anatomy
    )


def warped(anatomy: Anatomy, *warps_mm: np.ndarray) -> Anatomy:
    """The scan deformed by the sum of cubic B-splines with displacements (3, c, c, c) of their control points."""
    field = torch.stack([_displacements(anatomy, each) for each in warps_mm]).sum(0)
    size = torch.tensor(anatomy.size, dtype=torch.float32, device=field.device)
    still = F.affine_grid(torch.eye(3, 4)[None].to(field), [1, 1, *anatomy.hu.shape], align_corners=False)
    grid = still + field * (2.0 / (size * anatomy.spacing_mm))
    moved = F.grid_sample(anatomy.hu.float()[None, None], grid, align_corners=False, padding_mode="border")
    return replace(anatomy, hu=moved[0, 0])


def _displacements(anatomy: Anatomy, warp_mm: np.ndarray) -> Tensor:
    """(z, y, x, 3) displacements in mm of the scan's voxels."""
    control = torch.from_numpy(warp_mm).to(anatomy.hu.device, torch.float32)
    weights = [spline_weights(n, control.shape[-1]).to(control) for n in anatomy.hu.shape]
    field = torch.einsum("za,kabc->kzbc", weights[0], control)
    field = torch.einsum("yb,kzbc->kzyc", weights[1], field)
    return torch.einsum("xc,kzyc->zyxk", weights[2], field)


def spline_weights(count: int, controls: int) -> Tensor:
    """(count, controls) uniform cubic B-spline weights of ``count`` evenly spaced positions; each row adds up to 1."""
    position = torch.linspace(0.0, controls - 3.0, count, dtype=torch.float64)
    first = position.floor().clamp(0, controls - 4)
    t = (position - first)[:, None]
    basis = torch.cat(((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3), dim=1) / 6.0
    weights = torch.zeros(count, controls, dtype=torch.float64)
    return weights.scatter_(1, first.long()[:, None] + torch.arange(4), basis)


def extended(anatomy: Anatomy, reach_mm: float) -> Anatomy:
    """The end slices repeated until the anatomy reaches from ``-reach_mm`` to ``reach_mm`` along z."""
    half = anatomy.spacing_mm / 2
    lowest, highest = (
        anatomy.origin_mm[2] - half,
        anatomy.origin_mm[2] + (anatomy.size[2] - 1) * anatomy.spacing_mm + half,
    )
    before, after = (max(0, round(gap / anatomy.spacing_mm)) for gap in (lowest + reach_mm, reach_mm - highest))
    parts = [anatomy.hu[:1].expand(before, -1, -1), anatomy.hu, anatomy.hu[-1:].expand(after, -1, -1)]
    origin = anatomy.origin_mm - np.array([0.0, 0.0, before * anatomy.spacing_mm])
    return Anatomy(torch.cat(parts), anatomy.spacing_mm, origin, (before, after))


def place(anatomies: Sequence[Anatomy], poses: Sequence[Pose], grid: Grid) -> tuple[Tensor, Tensor]:
    """Patients in their poses, on the network's cube.

    Returns:
        (B, 1, n, n, n) in the unit range, air where nothing was scanned; and (B, 1, n, n, n) 1 between the first and
        the last slice that was scanned, 0 where nobody knows what the patient looks like.
    """
    pairs = [_place(anatomy, pose, grid) for anatomy, pose in zip(anatomies, poses, strict=True)]
    return torch.stack([unit for unit, _ in pairs]), torch.stack([known for _, known in pairs])


def _place(anatomy: Anatomy, pose: Pose, grid: Grid) -> tuple[Tensor, Tensor]:
    span = anatomy.size * anatomy.spacing_mm / 2  # affine_grid's coordinates: both boxes span [-1, 1]
    gain = pose.matrix * (grid.cube_mm / 2) / span[:, None]
    shift = (pose.shift_mm - anatomy.centre_mm) / span
    theta = torch.from_numpy(np.concatenate((gain, shift[:, None]), axis=1)).float().to(anatomy.hu.device)
    where = F.affine_grid(theta[None], [1, 1, grid.size, grid.size, grid.size], align_corners=False)
    above_air = hu_to_unit(anatomy.hu.float())[None, None] + 1.0  # air is 0, which is what grid_sample pads with
    unit = F.grid_sample(above_air, where, align_corners=False)[0] - 1.0
    first, last = anatomy.repeated[0], anatomy.hu.shape[0] - anatomy.repeated[1]
    low, high = (2.0 * slices / anatomy.hu.shape[0] - 1.0 for slices in (first, last))
    height = where[..., 2]
    return unit, ((height >= low) & (height <= high)).float()


def line_integrals(anatomies: Sequence[Anatomy], poses: Sequence[Pose], cameras: Cameras) -> Tensor:
    """(B, V, rows, cols) line integrals of attenuation through all that was scanned."""
    matrix = torch.from_numpy(np.stack([pose.matrix for pose in poses])).to(cameras.source)
    shift = np.stack([pose.shift_mm - anatomy.centre_mm for anatomy, pose in zip(anatomies, poses, strict=True)])
    rays = cameras.mapped(matrix, torch.from_numpy(shift).to(cameras.source))
    images = [
        project(hu_to_attenuation(hu_clamped(anatomy.hu.float()))[None, None], anatomy.spacing_mm, rays.of(index))
        for index, anatomy in enumerate(anatomies)
    ]
    return torch.cat(images) * (cameras.ray_lengths_mm() / rays.ray_lengths_mm())
