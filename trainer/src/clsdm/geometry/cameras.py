"""Cone-beam geometry: where source, detector and voxels are.

Coordinates: everything is in millimetres in the *canonical frame*, which is LPS (x to the patient's left, y to
posterior, z to superior) with its origin at the isocentre. Volumes are indexed (z, y, x); images (row, column).

A view is described the way a radiographer would: an angle around the patient's long axis, the two distances, and the
panel. Angle 0 deg is postero-anterior (source behind the patient), +90 deg is a left lateral (source at the patient's
right, detector at the left). Images are stored as they are read: at 0 deg columns run to the patient's left and rows to
the feet; at 90 deg columns run to posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clsdm.geometry.directions import image_axes
from clsdm.geometry.view import MAX_VIEWS, PRESETS, Detector, GeometryPreset, View, preset

__all__ = ["MAX_VIEWS", "PRESETS", "Cameras", "Detector", "GeometryPreset", "View", "preset", "voxel_centres"]


@dataclass(frozen=True)
class Cameras:
    """Views as tensors, for B samples of V views each that share one image size.

    Attributes:
        source: (B, V, 3) source position; of a fan beam, where it is for the row through the image's centre.
        centre: (B, V, 3) centre of the image on the detector plane.
        right: (B, V, 3) unit vector along which columns increase.
        down: (B, V, 3) unit vector along which rows increase.
        pixel_mm: (B, V, 2) row and column spacing.
        fan: (B, V) 1 where the source travels with the rows, 0 where it stands still.
        rows: image height.
        cols: image width.
    """

    source: Tensor
    centre: Tensor
    right: Tensor
    down: Tensor
    pixel_mm: Tensor
    fan: Tensor
    rows: int
    cols: int

    @classmethod
    def from_views(cls, views: Sequence[Sequence[View]], device: torch.device | str = "cpu") -> Cameras:
        """Tensors for ``views[b][v]``; every sample has as many views, all of one image size."""
        sizes = {(view.rows, view.cols) for sample in views for view in sample}
        if len(sizes) != 1 or len({len(sample) for sample in views}) != 1:
            raise ValueError(f"cameras: need equally many views of one image size in every sample, got sizes {sizes}")
        ((rows, cols),) = sizes
        table = torch.tensor(
            [[[v.source_axis_mm, v.source_detector_mm, *v.offset_mm, *v.pixel_mm] for v in sample] for sample in views],
            dtype=torch.float64,
        )
        source_axis, source_detector, offset_down, offset_right, *_ = table.unbind(-1)
        axes = np.array([[image_axes(v.angle_deg, v.tilt_deg) for v in sample] for sample in views])
        right, down = torch.from_numpy(axes).unbind(2)
        to_source = torch.linalg.cross(right, down)  # from the isocentre
        centre = (
            -(source_detector - source_axis)[..., None] * to_source
            + offset_down[..., None] * down
            + offset_right[..., None] * right
        )
        fan = torch.tensor([[float(v.beam == "fan") for v in sample] for sample in views], dtype=torch.float64)
        source = source_axis[..., None] * to_source + (fan * offset_down)[..., None] * down
        exact = cls(source, centre, right, down, table[..., 4:6], fan, rows, cols)
        return exact.each(lambda part: part.float().to(device))

    @property
    def shape(self) -> tuple[int, int]:
        """(B, V)."""
        return self.source.shape[0], self.source.shape[1]

    def of(self, sample: int) -> Cameras:
        """Those of one sample, B = 1."""
        return self.each(lambda part: part[sample : sample + 1])

    def each(self, change: Callable[[Tensor], Tensor]) -> Cameras:
        """Every tensor (B, V, ...) changed alike: some samples or views of them, in another order, elsewhere."""
        return Cameras(
            change(self.source),
            change(self.centre),
            change(self.right),
            change(self.down),
            change(self.pixel_mm),
            change(self.fan),
            self.rows,
            self.cols,
        )

    def mapped(self, matrix: Tensor, shift_mm: Tensor) -> Cameras:
        """The same rays in other coordinates, ``matrix @ position + shift_mm``.

        Args:
            matrix: (B, 3, 3), any affine map; where it does not keep lengths, line integrals change as
                :meth:`ray_lengths_mm` do.
            shift_mm: (B, 3).
        """
        at, centre = (
            torch.einsum("bij,bvj->bvi", matrix, part) + shift_mm[:, None] for part in (self.source, self.centre)
        )
        right, down = (torch.einsum("bij,bvj->bvi", matrix, part) for part in (self.right, self.down))
        longer = torch.stack((down.norm(dim=-1), right.norm(dim=-1)), -1)
        right, down = right / longer[..., 1:], down / longer[..., :1]
        return Cameras(at, centre, right, down, self.pixel_mm * longer, self.fan, self.rows, self.cols)

    def ray_lengths_mm(self) -> Tensor:
        """(B, V, rows, cols) distance from the source to each pixel's centre."""
        return (self.pixel_centres() - self.sources()).norm(dim=-1)

    def sources(self) -> Tensor:
        """(B, V, rows, 1, 3) where the rays to each row of pixels start."""
        row = (torch.arange(self.rows, device=self.source.device) - (self.rows - 1) / 2) * self.pixel_mm[..., 0, None]
        travelled = (self.fan[..., None] * row)[..., None] * self.down[:, :, None]
        return (self.source[:, :, None] + travelled)[:, :, :, None]

    def pixel_centres(self) -> Tensor:
        """(B, V, rows, cols, 3) positions of the pixel centres on the detector plane."""
        row = torch.arange(self.rows, device=self.source.device) - (self.rows - 1) / 2
        col = torch.arange(self.cols, device=self.source.device) - (self.cols - 1) / 2
        down = row[:, None] * self.pixel_mm[..., 0, None, None]  # (B, V, rows, 1)
        right = col[None, :] * self.pixel_mm[..., 1, None, None]  # (B, V, 1, cols)
        return (
            self.centre[:, :, None, None]
            + down[..., None] * self.down[:, :, None, None]
            + right[..., None] * self.right[:, :, None, None]
        )

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where points fall on the images.

        Args:
            points: (N, 3) positions in mm.

        Returns:
            (B, V, N, 2) image coordinates as (column, row), scaled so that the image spans [-1, 1] between the centres
            of its outermost pixels (``grid_sample`` with ``align_corners=True``), and (B, V, N, 3) vectors in mm from
            the source to the points; of a fan beam, from where the source is for their row.
        """
        normal = torch.linalg.cross(self.right, self.down)
        ray = points - self.source[:, :, None]  # (B, V, N, 3)
        to_plane = ((self.centre - self.source) * normal).sum(-1)[..., None]
        stretch = to_plane / (ray * normal[:, :, None]).sum(-1)
        down, right = ((ray * edge[:, :, None]).sum(-1) for edge in (self.down, self.right))
        fan = self.fan[..., None]
        beside = self.source - self.centre
        row = down * (fan + (1.0 - fan) * stretch) + (beside * self.down).sum(-1)[..., None]
        col = right * stretch + (beside * self.right).sum(-1)[..., None]
        where = (
            col / self.pixel_mm[..., 1, None] * (2 / (self.cols - 1)),
            row / self.pixel_mm[..., 0, None] * (2 / (self.rows - 1)),
        )
        return torch.stack(where, -1), ray - (fan * down)[..., None] * self.down[:, :, None]


def voxel_axis(size: int, spacing_mm: float, device: torch.device | str = "cpu") -> Tensor:
    """(size,) positions in mm of the voxel centres of a cube at the isocentre, along any of its axes."""
    return (torch.arange(size, device=device) - (size - 1) / 2) * spacing_mm


def voxel_centres(size: int, spacing_mm: float, device: torch.device | str = "cpu") -> Tensor:
    """(size, size, size, 3) centres (x, y, z) in mm of the voxels of a cube at the isocentre, indexed (z, y, x)."""
    axis_mm = voxel_axis(size, spacing_mm, device)
    z, y, x = torch.meshgrid(axis_mm, axis_mm, axis_mm, indexing="ij")
    return torch.stack((x, y, z), -1)
