"""Cone- and fan-beam forward projection by Joseph's method: line integrals of attenuation.

Joseph (IEEE TMI 1, 1982): walk along the axis to which the ray is closest to parallel, and at each voxel plane
interpolate bilinearly. Each plane is one image of a single ``grid_sample``, so the back-projection that autograd derives
is the exact adjoint, and the cost is one bilinear look-up per ray and plane: there is nothing left to skip.

Axis order: volumes (B, 1, z, y, x), images (B, V, row, column).
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

from clsdm.geometry.cameras import Cameras

# Look-ups at a time. A CPU is faster while their coordinates (8 bytes each) stay in its cache and the allocator reuses the
# memory (benchmarks/projector.py: half the time at 256²); a GPU wants few launches, up to about 200 MB.
_AT_ONCE = {"cpu": 1_000_000}
_AT_ONCE_ELSEWHERE = 16_000_000


def project(volume: Tensor, spacing_mm: float, cameras: Cameras) -> Tensor:
    """Line integrals through a cubic-voxel volume centred at the isocentre.

    Args:
        volume: (B, 1, nz, ny, nx), for example attenuation in 1/mm.
        spacing_mm: voxel edge.
        cameras: B samples of V views.

    Returns:
        (B, V, rows, cols) integrals in [unit of volume] * mm. Voxels act as bilinear functions between their centres
        and fall to zero half a voxel beyond the outermost centres.

    Raises:
        ValueError: batch sizes differ, or a view looks along the z axis.
    """
    batch, views = cameras.shape
    if volume.ndim != 5 or volume.shape[:2] != (batch, 1):
        raise ValueError(f"project: expected a volume of shape ({batch}, 1, z, y, x), got {tuple(volume.shape)}")
    pixels = cameras.pixel_centres()
    sources = cameras.sources()
    direction = pixels - sources
    axis = (cameras.centre - cameras.source).abs().argmax(-1)
    if bool((axis == 2).any()):
        raise ValueError(
            "project: a view looks along the patient's long axis; only tilts below 45 degrees are possible"
        )
    images = [
        _project_one(volume[b, 0], spacing_mm, sources[b, v], direction[b, v], int(axis[b, v]))
        for b in range(batch)
        for v in range(views)
    ]
    return torch.stack(images).view(batch, views, cameras.rows, cameras.cols)


def _project_one(volume: Tensor, spacing_mm: float, source: Tensor, direction: Tensor, axis: int) -> Tensor:
    """One view of one volume, rays from (rows, 1, 3) ``source``; ``axis`` (0: x, 1: y) is the one to march along."""
    other = 1 - axis
    # (plane, z, other), with neighbours along ``other`` side by side in memory: as they lie, look-ups took three times longer.
    planes = (volume.transpose(1, 2).contiguous() if axis == 0 else volume).permute(1, 0, 2)
    count, height, width = planes.shape
    at = (torch.arange(count, device=volume.device) - (count - 1) / 2) * spacing_mm
    slope = 1.0 / direction[..., axis]
    step_mm = spacing_mm * direction.norm(dim=-1) * slope.abs()
    # In-plane position is linear in the plane's coordinate: source + (at - source_axis) * d_other / d_axis.
    gain = torch.stack((direction[..., other] * slope, direction[..., 2] * slope), -1)
    scale = torch.tensor([2.0 / ((width - 1) * spacing_mm), 2.0 / ((height - 1) * spacing_mm)], device=volume.device)
    start = (torch.stack((source[..., other], source[..., 2]), -1) - source[..., axis, None] * gain) * scale
    gain = gain * scale
    total = torch.zeros_like(step_mm)
    chunk = max(1, _AT_ONCE.get(volume.device.type, _AT_ONCE_ELSEWHERE) // step_mm.numel())
    for first in range(0, count, chunk):
        positions = at[first : first + chunk, None, None, None]
        grid = torch.addcmul(start, positions, gain)
        sampled = F.grid_sample(planes[first : first + chunk, None], grid, align_corners=True, padding_mode="zeros")
        total = total + sampled[:, 0].sum(0)
    return total * step_mm
