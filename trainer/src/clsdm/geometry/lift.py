"""From images to volumes: where the voxels of a cube are seen in each view, and what is there.

Rays are not marched: a voxel's centre is projected into every view, and the images are looked up there. Views are fused by
two averages, one weighted by how frontal and one by how lateral each ray is, so that their number and order do not matter.
Axis order: images (B, V, C, row, column), volumes (..., z, y, x).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.geometry.cameras import Cameras

DIRECTIONS = 2  # frontal and lateral average


@dataclass(frozen=True)
class Rays:
    """How the n³ voxels of a cube are seen in V views.

    Attributes:
        where: (B, V, z, y, x, 2) image coordinates (column, row) in [-1, 1].
        direction: (B, 2, V, z, y, x) squared y (frontal) and x (lateral) component of the ray's unit direction (LPS).
        depth: (B, V, z, y, x) distance from the source, relative to the isocentre's, minus 1.
    """

    where: Tensor
    direction: Tensor
    depth: Tensor


def look_up(maps: Tensor, where: Tensor) -> Tensor:
    """(B, V, C, rows, cols) at (B, V, z, y, x, 2) -> (B, V, C, z, y, x); beyond the border the border's value."""
    grid = where.flatten(0, 1).flatten(1, 2)  # (B V, z y, x, 2): grid_sample works on planes
    sampled = F.grid_sample(maps.flatten(0, 1), grid, align_corners=True, padding_mode="border")
    return sampled.view(*maps.shape[:3], *where.shape[2:5])


def coverage(mask: Tensor, where: Tensor) -> Tensor:
    """(B, V, rows, cols) mask of measured pixels at (B, V, z, y, x, 2) -> (B, V, z, y, x) 1 where a ray was measured."""
    grid = where.flatten(0, 1).flatten(1, 2)
    seen = F.grid_sample(mask.flatten(0, 1)[:, None].float(), grid, mode="nearest", align_corners=True)
    return seen.view(where.shape[:5])


def fuse(per_view: Tensor, direction: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Averages over the views that measured a voxel, weighted by how frontal and by how lateral each ray is.

    Args:
        per_view: (B, V, C, z, y, x) features.
        direction: (B, 2, V, z, y, x) of :class:`Rays`.
        seen: (B, V, z, y, x) 1 where measured.

    Returns:
        (B, 2C, z, y, x) frontal and lateral average (0 where no view tells), and (B, 2, z, y, x) the weights' sums.
    """
    weights = direction * seen[:, None]
    total = weights.sum(2)
    shares = (weights / total[:, :, None].clamp_min(1e-3))[:, :, :, None]  # (B, 2, V, 1, z, y, x)
    averages = [sum_over_views(per_view, share) for share in shares.unbind(1)]
    return torch.cat(averages, dim=1), total


def sum_over_views(per_view: Tensor, share: Tensor) -> Tensor:
    """(B, V, C, ...) and (B, V, 1, ...) -> (B, C, ...), one view at a time: the products are never all in memory."""
    total = per_view[:, 0] * share[:, 0]
    for view in range(1, per_view.shape[1]):
        total = torch.addcmul(total, per_view[:, view], share[:, view])
    return total


def scalar(values: Tensor) -> Tensor:
    """(B, V) -> (B, V, 1, 1, 1)."""
    return values[..., None, None, None]


def lift_rays(cameras: Cameras, axis_mm: Tensor) -> Rays:
    """The rays through the voxels of a cube, by the views' own geometry.

    Every quantity is a sum of functions of x, of y and of z alone, so the cube costs a few additions a voxel.
    """
    x, y, z = (axis_mm - cameras.source[..., None]).square().unbind(2)
    x, y = x[..., None, None, :], y[..., None, :, None]
    squared = x + (y + ((1.0 - cameras.fan[..., None]) * z)[..., :, None, None])  # the rays of a fan run level
    inverse = squared.reciprocal()
    depth = squared.sqrt() / scalar(cameras.source.norm(dim=-1)) - 1.0
    return Rays(lift_positions(cameras, axis_mm), torch.stack((y * inverse, x * inverse), 1), depth)


def lift_positions(cameras: Cameras, axis_mm: Tensor) -> Tensor:
    """``where`` of :class:`Rays` alone: (B, V, z, y, x, 2) image coordinates of the voxels of a cube."""

    def along(direction: Tensor) -> Tensor:
        """(B, V, z, y, x) component of the vectors from source to voxels along (B, V, 3) ``direction``."""
        x, y, z = (direction[..., i, None] * (axis_mm - cameras.source[..., i, None]) for i in range(3))
        return x[..., None, None, :] + (y[..., None, :, None] + z[..., :, None, None])

    normal = torch.linalg.cross(cameras.right, cameras.down)
    stretch = scalar(((cameras.centre - cameras.source) * normal).sum(-1)) / along(normal)  # voxel -> detector plane
    where = []
    straight = stretch.lerp(torch.ones_like(stretch), scalar(cameras.fan))  # rows of a fan are not magnified
    for edge, count, pixel_mm, stretched in (
        (cameras.right, cameras.cols, 1, stretch),
        (cameras.down, cameras.rows, 0, straight),
    ):
        to_centre = ((cameras.source - cameras.centre) * edge).sum(-1)
        scale = 2.0 / ((count - 1) * cameras.pixel_mm[..., pixel_mm])
        where.append(torch.addcmul(scalar(to_centre * scale), stretched, along(edge * scale[..., None])))
    return torch.stack(where, -1)


def parallel_rays(cameras: Cameras, axis_mm: Tensor) -> Rays:
    """The published lift: rays parallel to the nearest volume axis, the image spanning the cube; no geometry."""
    size = len(axis_mm)
    unit = axis_mm / (axis_mm[-1] + (axis_mm[1] - axis_mm[0]) / 2)  # -1 ... 1 over the cube
    frontal = (cameras.right[..., 0].abs() > 0.7)[..., None, None, None]  # columns run along x
    facing = cameras.right.sign()[..., None, None, None]
    horizontal = torch.where(frontal, facing[:, :, 0] * unit, facing[:, :, 1] * unit[:, None])
    shape = (*cameras.shape, size, size, size)
    where = torch.stack((horizontal.expand(shape), (-unit[:, None, None]).expand(shape)), dim=-1)
    direction = torch.stack((frontal, ~frontal), dim=1).to(axis_mm).expand(shape[0], DIRECTIONS, *shape[1:])
    return Rays(where, direction, torch.zeros(shape, device=axis_mm.device))
