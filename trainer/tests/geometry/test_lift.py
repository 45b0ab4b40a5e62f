"""Where the voxels of a cube fall in the X-rays, which of them are measured, and how views are put together."""

from dataclasses import replace

import pytest
import torch
from small_bundle import cameras_at
from torch import nn

from clsdm.geometry.cameras import voxel_axis, voxel_centres
from clsdm.geometry.lift import coverage, fuse, lift_rays, parallel_rays
from clsdm.geometry.view import Detector, View, preset
from clsdm.xray.preprocess import cameras_for

DETECTOR = Detector(32, 480.0)


@pytest.mark.parametrize("size", [32, 33])
def test_a_voxel_samples_the_feature_at_its_own_projection(size):
    """A bright spot painted where a voxel projects is sampled there, for every voxel on its ray and for no other."""
    detector = Detector(size, 480.0)
    view = replace(preset("x2ct").view(30.0), tilt_deg=5.0)
    cameras = cameras_for([[view]], detector)
    axis_mm = voxel_axis(8, 48.0)
    centres, where = voxel_centres(8, 48.0).view(-1, 3), lift_rays(cameras, axis_mm).where.view(1, 1, -1, 2)
    chosen = 3 * 64 + 2 * 8 + 5  # z, y, x = 3, 2, 5
    row, col = (((where[0, 0, chosen].flip(0) + 1) / 2) * (size - 1)).round().int().tolist()
    spot = torch.zeros(1, 1, size, size)
    spot[0, 0, row, col] = 1.0
    sampled = nn.functional.grid_sample(spot, where[0, None], align_corners=True)[0, 0, 0]
    assert float(sampled[chosen]) > 0.25
    # Those that see it lie within one pixel (at the isocentre, magnified by nearness) of the ray through the voxel.
    source = cameras.source[0, 0]
    along = nn.functional.normalize(centres[chosen] - source, dim=0)
    aside = torch.linalg.cross(centres - source, along.expand_as(centres)).norm(dim=-1)
    assert float(aside[sampled > 0].max()) < 2.0 * 1.6 * 480.0 / size
    assert bool((sampled[aside > 3.2 * 480.0 / size] == 0).all())


def test_a_lift_voxel_knows_how_frontal_its_ray_is_and_its_depth():
    """Squared x and y of the unit direction, and a depth of zero at the isocentre that grows away from the source."""
    rays = lift_rays(cameras_at(0.0, 90.0), torch.tensor([-160.0, 0.0, 160.0]))
    middle = rays.direction[0, :, :, 1, :, 1]  # (frontal or lateral, view, y) on the line x = z = 0
    torch.testing.assert_close(middle[:, 0], torch.tensor([[1.0] * 3, [0.0] * 3]), atol=1e-5, rtol=0)
    torch.testing.assert_close(middle[:, 1, 1], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)
    oblique = rays.direction[0, :, 0, 1, 1, 2]  # x = 160, seen from 1600 mm
    torch.testing.assert_close(oblique, torch.tensor([100.0, 1.0]) / 101.0, atol=1e-5, rtol=0)
    torch.testing.assert_close(rays.depth[0, 0, 1, :, 1], torch.tensor([0.1, 0.0, -0.1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("tilt_deg", [0.0, 7.0])
@pytest.mark.parametrize("scout_deg", [None, 180.0, 90.0])
def test_the_rays_of_a_cube_are_those_of_its_points(tilt_deg, scout_deg):
    """Sums over axes against ``Cameras.project``, point by point; cone and fan beams side by side."""
    views = [replace(preset("x2ct").view(angle), tilt_deg=tilt_deg) for angle in (0.0, 37.0, 90.0)]
    views += [] if scout_deg is None else [preset("localizer").view(scout_deg)]
    cameras, axis_mm = cameras_for([views, views[::-1]], DETECTOR), voxel_axis(5, 60.0)
    rays = lift_rays(cameras, axis_mm)
    where, ray = cameras.project(voxel_centres(5, 60.0).view(-1, 3))
    torch.testing.assert_close(rays.where.flatten(2, 4), where, atol=1e-5, rtol=1e-5)
    squared = (ray / ray.norm(dim=-1, keepdim=True)).square()
    torch.testing.assert_close(rays.direction.flatten(3), torch.stack((squared[..., 1], squared[..., 0]), 1))
    distance = ray.norm(dim=-1) / cameras.source.norm(dim=-1, keepdim=True) - 1.0
    torch.testing.assert_close(rays.depth.flatten(2), distance, atol=1e-5, rtol=0)


def test_frontal_and_lateral_views_are_averaged_apart_and_unseen_ones_not_at_all():
    per_view = torch.tensor([2.0, 4.0, 10.0, 99.0]).view(1, 4, 1, 1, 1, 1)
    direction = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]).view(1, 2, 4, 1, 1, 1)
    fused, weight = fuse(per_view, direction, torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 4, 1, 1, 1))
    assert fused.flatten().tolist() == [3.0, 10.0]  # frontal, lateral
    assert weight.flatten().tolist() == [2.0, 1.0]


def test_a_voxel_is_covered_where_its_ray_hits_a_measured_pixel():
    """The left half of the PA panel is masked: the patient's right side is not covered."""
    mask = torch.ones(1, 2, 32, 32)
    mask[0, 0, :, :16] = 0.0
    where = lift_rays(cameras_at(0.0, 90.0), torch.tensor([-60.0, 60.0, 400.0])).where
    seen = coverage(mask, where)[0]
    assert seen[:, 1, 1, :2].tolist() == [[0.0, 1.0], [1.0, 1.0]]  # right and left of the patient
    assert seen[:, 2, 1, 1].tolist() == [0.0, 0.0]  # far above the panel


@pytest.mark.parametrize(("angle_deg", "sign", "axis"), [(0.0, 1, 0), (180.0, -1, 0), (90.0, 1, 1), (-90.0, -1, 1)])
def test_the_parallel_lift_replicates_frontals_along_y_and_laterals_along_x(angle_deg, sign, axis):
    """docs/method.md, 2.4: the published lift was (y, z, x). Columns follow x or y, rows follow -z, and depth does not count."""
    axis_mm = voxel_axis(6, 64.0)
    rays, centres = parallel_rays(cameras_at(angle_deg), axis_mm), voxel_centres(6, 64.0).view(-1, 3)
    where = rays.where[0, 0].view(-1, 2)
    torch.testing.assert_close(where[:, 0], sign * centres[:, axis] * 2 / 384.0)
    torch.testing.assert_close(where[:, 1], -centres[:, 2] * 2 / 384.0)
    assert rays.direction[0, :, 0, 0, 0, 0].tolist() == ([1.0, 0.0] if axis == 0 else [0.0, 1.0])


def test_a_view_of_the_detector_is_what_the_lift_is_made_for():
    """The images that the network gets are on the virtual detector: cameras of the raw panel would shift every ray."""
    raw = View(0.0, 1600.0, 1800.0, 32, 32, (13.5, 13.5), offset_mm=(0.0, 40.0))
    points = torch.tensor([[50.0, 0.0, 0.0]])
    on_detector = cameras_for([[raw]], DETECTOR).project(points)[0][0, 0, 0, 0]
    assert float(on_detector) == pytest.approx(50.0 / (480.0 / 2) * 32 / 31, rel=1e-4)
