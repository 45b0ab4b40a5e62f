"""Cone-beam geometry: where source, detector and voxels are.

Coordinates: everything is in millimetres in the *canonical frame*, which is LPS (x to the patient's left, y to
posterior, z to superior) with its origin at the isocentre. Volumes are indexed (z, y, x); images (row, column).

A view is described the way a radiographer would: an angle around the patient's long axis, the two distances, and the
panel. Angle 0 deg is postero-anterior (source behind the patient), +90 deg is a left lateral (source at the patient's
right, detector at the left). Images are stored as they are read: at 0 deg columns run to the patient's left and rows to
the feet; at 90 deg columns run to posterior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clsdm.errors import InputError

MAX_VIEWS = 8


@dataclass(frozen=True)
class View:
    """One X-ray exposure.

    Attributes:
        angle_deg: rotation of source and detector around +z (towards superior); 0 is PA, 90 a left lateral.
        source_axis_mm: distance from the source to the isocentre.
        source_detector_mm: distance from the source to the detector plane.
        rows: image height in pixels.
        cols: image width in pixels.
        pixel_mm: (row spacing, column spacing) on the detector plane.
        tilt_deg: rotation of the source towards superior (cranial angulation).
        offset_mm: (down, right) shift of the image centre from the principal ray, on the detector plane.
    """

    angle_deg: float
    source_axis_mm: float
    source_detector_mm: float
    rows: int
    cols: int
    pixel_mm: tuple[float, float]
    tilt_deg: float = 0.0
    offset_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        numbers = (self.angle_deg, self.source_axis_mm, self.source_detector_mm, self.tilt_deg)
        if not all(math.isfinite(value) for value in (*numbers, *self.pixel_mm, *self.offset_mm)):
            raise InputError(f"view geometry: every number must be finite, got {self}")
        if not 0.0 < self.source_axis_mm < self.source_detector_mm:
            raise InputError(
                "view geometry: expected 0 < source-axis < source-detector distance, got "
                f"{self.source_axis_mm:g} and {self.source_detector_mm:g} mm"
            )
        if min(self.pixel_mm) <= 0.0:
            raise InputError(f"view geometry: pixel spacing must be positive, got {self.pixel_mm} mm")
        if min(self.rows, self.cols) < 2:
            raise InputError(f"view geometry: image must have at least 2x2 pixels, got {self.rows}x{self.cols}")
        if abs(self.tilt_deg) > 40.0:
            raise InputError(f"view geometry: tilt must be within 40 degrees, got {self.tilt_deg:g}")

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the isocentre."""
        return self.source_detector_mm / self.source_axis_mm


@dataclass(frozen=True)
class GeometryPreset:
    """Distances and square panel of a kind of machine; :meth:`view` makes an exposure of it."""

    name: str
    source_axis_mm: float
    source_detector_mm: float
    panel_mm: float
    pixels: int

    def view(self, angle_deg: float, pixels: int | None = None) -> View:
        """An exposure at ``angle_deg``, optionally with another number of pixels on the same panel."""
        pixels = self.pixels if pixels is None else pixels
        spacing = self.panel_mm / pixels
        return View(angle_deg, self.source_axis_mm, self.source_detector_mm, pixels, pixels, (spacing, spacing))


PRESETS: dict[str, GeometryPreset] = {
    preset.name: preset
    for preset in (
        GeometryPreset("x2ct", 541.0, 949.0, 500.0, 320),
        GeometryPreset("chest", 1600.0, 1800.0, 432.0, 432),
        GeometryPreset("c-arm", 700.0, 1100.0, 400.0, 400),
        GeometryPreset("linac-kv", 1000.0, 1536.0, 400.0, 400),
    )
}
"""``x2ct``: the published protocol. ``chest``: 17 inch panel, patient's mid-plane 200 mm before it."""


def preset(name: str) -> GeometryPreset:
    """The preset of that name.

    Raises:
        InputError: no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"geometry preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]


@dataclass(frozen=True)
class Detector:
    """The virtual detector on which every network sees every view: ``size``² pixels over ``field_mm`` at the isocentre.

    Resampling a view to it (``xray.preprocess``) makes the network independent of panel size and pixel pitch; what
    remains of the machine is the cone angle, which the geometry carries.
    """

    size: int
    field_mm: float

    def view(self, view: View) -> View:
        """``view`` with its panel replaced by this detector, centred on the principal ray."""
        pixel = self.field_mm / self.size * view.magnification
        return replace(view, rows=self.size, cols=self.size, pixel_mm=(pixel, pixel), offset_mm=(0.0, 0.0))


@dataclass(frozen=True)
class Cameras:
    """Views as tensors, for B samples of V views each that share one image size.

    Attributes:
        source: (B, V, 3) source position.
        centre: (B, V, 3) centre of the image on the detector plane.
        right: (B, V, 3) unit vector along which columns increase.
        down: (B, V, 3) unit vector along which rows increase.
        pixel_mm: (B, V, 2) row and column spacing.
        rows: image height.
        cols: image width.
    """

    source: Tensor
    centre: Tensor
    right: Tensor
    down: Tensor
    pixel_mm: Tensor
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
            [
                [
                    [v.angle_deg, v.tilt_deg, v.source_axis_mm, v.source_detector_mm, *v.offset_mm, *v.pixel_mm]
                    for v in sample
                ]
                for sample in views
            ],
            dtype=torch.float64,
        )
        angle, tilt, source_axis, source_detector, offset_down, offset_right, *_ = table.unbind(-1)
        angle, tilt = angle.deg2rad(), tilt.deg2rad()
        zero = torch.zeros_like(angle)
        right = torch.stack((angle.cos(), angle.sin(), zero), -1)
        level = torch.stack((-angle.sin(), angle.cos(), zero), -1)  # isocentre -> source, without tilt
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(level)
        to_source = tilt.cos()[..., None] * level + tilt.sin()[..., None] * up
        down = tilt.sin()[..., None] * level - tilt.cos()[..., None] * up
        centre = (
            -(source_detector - source_axis)[..., None] * to_source
            + offset_down[..., None] * down
            + offset_right[..., None] * right
        )
        parts = (source_axis[..., None] * to_source, centre, right, down, table[..., 6:8])
        at, centre, right, down, pixel_mm = (part.float().to(device) for part in parts)
        return cls(at, centre, right, down, pixel_mm, rows, cols)

    @property
    def shape(self) -> tuple[int, int]:
        """(B, V)."""
        return self.source.shape[0], self.source.shape[1]

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
            the source to the points.
        """
        normal = torch.linalg.cross(self.right, self.down)
        ray = points - self.source[:, :, None]  # (B, V, N, 3)
        to_plane = ((self.centre - self.source) * normal).sum(-1)[..., None]
        hit = ray * (to_plane / (ray * normal[:, :, None]).sum(-1))[..., None]
        on_panel = hit + (self.source - self.centre)[:, :, None]
        col = (on_panel * self.right[:, :, None]).sum(-1) / self.pixel_mm[..., 1, None] * (2 / (self.cols - 1))
        row = (on_panel * self.down[:, :, None]).sum(-1) / self.pixel_mm[..., 0, None] * (2 / (self.rows - 1))
        return torch.stack((col, row), -1), ray


def voxel_axis(size: int, spacing_mm: float, device: torch.device | str = "cpu") -> Tensor:
    """(size,) positions in mm of the voxel centres of a cube at the isocentre, along any of its axes."""
    return (torch.arange(size, device=device) - (size - 1) / 2) * spacing_mm


def voxel_centres(size: int, spacing_mm: float, device: torch.device | str = "cpu") -> Tensor:
    """(size, size, size, 3) centres (x, y, z) in mm of the voxels of a cube at the isocentre, indexed (z, y, x)."""
    axis_mm = voxel_axis(size, spacing_mm, device)
    z, y, x = torch.meshgrid(axis_mm, axis_mm, axis_mm, indexing="ij")
    return torch.stack((x, y, z), -1)
