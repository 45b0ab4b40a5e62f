"""Poses and exposures: what is drawn depends on the sample alone, and what is applied agrees with geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import (
    GRID,
    MARGIN,
    one_thread,  # noqa: F401 - a fixture
    phantom_hu,
)

from clsdm.geometry.view import Detector, View, preset
from clsdm.volume.ct import Grid
from clsdm.volume.hu import hu_to_unit, unit_to_attenuation
from clsdm.xray.preprocess import expose
from clsdm_trainer.augment import (
    Exposure,
    Pose,
    _rotation,
    blur,
    draw_exposures,
    draw_pose,
    numpy_generator,
    place,
    take_xrays,
)
from clsdm_trainer.config import AugmentConfig

pytestmark = pytest.mark.usefixtures("one_thread")

DETECTOR = Detector(48, 480.0)
IDENTITY = Pose(np.eye(3), np.zeros(3), interpolated=False)
MIRRORED = Pose(np.diag([-1.0, 1.0, 1.0]), np.zeros(3), interpolated=False)


@pytest.fixture
def stored() -> torch.Tensor:
    """(1, M, M, M) int16 asymmetric phantom with its margin."""
    return torch.from_numpy(phantom_hu(np.random.default_rng(0)))[None]


def chest(angle_deg: float) -> View:
    return preset("chest").view(angle_deg)


def xrays(unit: torch.Tensor, *exposures: Exposure, spacing_mm: float = GRID.spacing_mm) -> torch.Tensor:
    """(V, 2, size, size) of one cube, without noise."""
    noise = torch.zeros(1, len(exposures), DETECTOR.size, DETECTOR.size)
    return take_xrays(unit, [list(exposures)], Grid(unit.shape[-1], spacing_mm), DETECTOR, noise)[0][0]


def test_the_same_key_draws_the_same_sample_and_another_key_another():
    config = AugmentConfig()
    first, again, other = (numpy_generator(*key) for key in ((0, 2, 5), (0, 2, 5), (0, 2, 6)))
    poses = [draw_pose(config, GRID, random) for random in (first, again, other)]
    assert np.array_equal(poses[0].matrix, poses[1].matrix)
    assert not np.array_equal(poses[0].shift_mm, poses[2].shift_mm)
    exposures = [draw_exposures(config, 2, random) for random in (first, again, other)]
    assert exposures[0] == exposures[1] != exposures[2]


def test_poses_stay_inside_their_ranges_and_reach_most_of_them():
    config = AugmentConfig(exact_probability=0.0)
    poses = [draw_pose(config, GRID, numpy_generator(0, number)) for number in range(300)]
    scales = np.array([abs(np.linalg.det(pose.matrix)) ** (1 / 3) for pose in poses])
    assert np.exp(-config.scale) <= scales.min() < 0.92
    assert 1.08 < scales.max() <= np.exp(config.scale)
    shifts = np.abs([pose.shift_mm for pose in poses])
    assert 0.9 * config.shift_mm < shifts.max() <= config.shift_mm
    flipped = np.mean([np.linalg.det(pose.matrix) < 0 for pose in poses])
    assert 0.4 < flipped < 0.6


def test_an_exact_pose_shifts_by_whole_voxels_and_does_not_rotate():
    config = AugmentConfig(exact_probability=1.0, shift_mm=100.0)
    for number in range(50):
        pose = draw_pose(config, GRID, numpy_generator(1, number))
        assert not pose.interpolated
        assert np.array_equal(np.abs(pose.matrix), np.eye(3))
        assert np.array_equal(pose.matrix[1:, 1:], np.eye(2))  # only left and right are ever mirrored
        assert np.allclose(pose.shift_mm / GRID.spacing_mm, np.round(pose.shift_mm / GRID.spacing_mm))


def test_the_identity_pose_is_the_central_crop(stored):
    inner = slice(MARGIN, MARGIN + GRID.size)
    unit = place(stored, [IDENTITY], GRID)
    assert unit.shape == (1, 1, *[GRID.size] * 3)
    torch.testing.assert_close(unit[0, 0], hu_to_unit(stored[0].float())[inner, inner, inner], rtol=0, atol=2e-5)


@pytest.mark.parametrize(("axis", "name"), [(0, "x"), (1, "y"), (2, "z")])
def test_a_shift_of_one_voxel_moves_the_crop_by_one_voxel_along_that_axis(axis, name, stored):
    shift = np.zeros(3)
    shift[axis] = GRID.spacing_mm
    unit = place(stored, [Pose(np.eye(3), shift, interpolated=False)], GRID)
    crop = [slice(MARGIN, MARGIN + GRID.size)] * 3
    crop[2 - axis] = slice(MARGIN + 1, MARGIN + 1 + GRID.size)  # arrays are (z, y, x)
    torch.testing.assert_close(unit[0, 0], hu_to_unit(stored[0].float())[tuple(crop)], rtol=0, atol=2e-5)


def test_what_lies_outside_the_stored_volume_is_air(stored):
    unit = place(stored, [Pose(np.eye(3), np.array([0.0, 0.0, 30 * GRID.spacing_mm]), interpolated=False)], GRID)
    assert torch.equal(unit, torch.full_like(unit, -1.0))


def test_a_flip_mirrors_left_and_right_only(stored):
    plain, mirrored = place(stored, [IDENTITY], GRID), place(stored, [MIRRORED], GRID)
    torch.testing.assert_close(mirrored, plain.flip(-1), rtol=0, atol=2e-5)
    assert (plain - plain.flip(-1)).abs().max() > 0.1


def test_the_frontal_x_ray_of_a_mirrored_patient_is_mirrored(stored):
    images = [xrays(place(stored, [pose], GRID), Exposure(chest(0.0)))[0, 0] for pose in (IDENTITY, MIRRORED)]
    torch.testing.assert_close(images[1], images[0].flip(-1), rtol=0, atol=1e-3)
    assert (images[0] - images[0].flip(-1)).abs().max() > 0.2


def test_turning_the_patient_is_turning_the_machine_the_other_way():
    """``matrix`` maps canonical to stored positions: turned by +10 degrees, the patient lies at -10."""
    axis = (torch.arange(48) - 23.5) * 8.0
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    blobs = ((60.0, -20.0, 40.0, 900.0), (-70.0, 30.0, -30.0, 600.0), (10.0, 60.0, -60.0, 400.0))
    hu = -1000.0 + 1000.0 * torch.exp(-(((x / 130) ** 2 + (y / 90) ** 2 + (z / 150) ** 2) ** 2))
    for bx, by, bz, height in blobs:
        hu = hu + height * torch.exp(-((x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2) / (2 * 30.0**2))
    volume, grid = hu.round().short()[None], Grid(48, 8.0)
    turned = Pose(_rotation(np.deg2rad([0.0, 0.0, 10.0])), np.zeros(3), interpolated=True)
    patient = xrays(place(volume, [turned], grid), Exposure(chest(0.0)), spacing_mm=8.0)[0, 0]
    plain = place(volume, [IDENTITY], grid)
    same, opposite, still = (xrays(plain, Exposure(chest(angle)), spacing_mm=8.0)[0, 0] for angle in (10.0, -10.0, 0.0))
    inner = slice(8, 40)
    errors = [float((patient - image)[inner, inner].abs().mean()) for image in (same, opposite, still)]
    assert errors[0] < 0.02
    assert min(errors[1:]) > 4 * errors[0]


def test_x_rays_that_nothing_spoils_are_the_plain_exposure(stored):
    unit = place(stored, [IDENTITY], GRID)
    views = [chest(0.0), chest(90.0)]
    noise = torch.randn(1, 2, DETECTOR.size, DETECTOR.size)  # of strength zero
    spoiled, cameras = take_xrays(unit, [[Exposure(view) for view in views]], GRID, DETECTOR, noise)
    plain, plain_cameras = expose(unit_to_attenuation(unit), GRID.spacing_mm, [views], DETECTOR)
    assert torch.equal(spoiled, plain)
    assert torch.equal(cameras.source, plain_cameras.source)


@pytest.mark.parametrize("spoiler", [{"gamma": 0.3}, {"noise": 0.05}, {"scatter": 0.3}])
def test_each_spoiler_changes_the_intensities_and_not_the_mask(spoiler, stored):
    unit = place(stored, [IDENTITY], GRID)
    noise = torch.randn(1, 1, DETECTOR.size, DETECTOR.size)
    plain, changed = (
        take_xrays(unit, [[Exposure(chest(0.0), **values)]], GRID, DETECTOR, noise)[0][0, 0] for values in ({}, spoiler)
    )
    assert (plain[0] - changed[0]).abs().max() > 0.02
    assert torch.equal(plain[1], changed[1])
    assert changed.isfinite().all()


def test_a_dropped_view_is_masked_out_and_holds_nothing_of_the_patient(stored):
    unit = place(stored, [IDENTITY], GRID)
    images = xrays(unit, Exposure(chest(0.0)), Exposure(chest(90.0), kept=False))
    assert images[0, 1].sum() > 0
    assert torch.equal(images[1, 1], torch.zeros_like(images[1, 1]))
    assert torch.equal(images[1, 0], torch.full_like(images[1, 0], -1.0))


@pytest.mark.parametrize(
    ("position", "hidden"),
    [
        (0, np.s_[:12, :]),
        (1, np.s_[36:, :]),
        (2, np.s_[:, :12]),
        (3, np.s_[:, 36:]),
    ],
    ids=["top", "bottom", "left", "right"],
)
def test_collimation_hides_its_share_at_its_border(position, hidden, stored):
    borders = [0.0] * 4
    borders[position] = 0.25
    unit = place(stored, [IDENTITY], GRID)
    plain = xrays(unit, Exposure(chest(0.0)))[0]
    image, mask = xrays(unit, Exposure(chest(0.0), borders=tuple(borders)))[0]
    expected = plain[1].clone()
    expected[hidden] = 0.0
    assert torch.equal(mask, expected)
    assert (image[mask < 0.5] == -1.0).all()


def test_without_jitter_two_views_are_frontal_and_lateral_of_one_machine():
    config = AugmentConfig(
        presets={"c-arm": 1.0},
        angle_jitter_deg=0.0,
        tilt_jitter_deg=0.0,
        distance_jitter=0.0,
        opposite_probability=0.0,
        drop_probability=0.0,
        radiograph_probability=0.0,
    )
    for number in range(20):
        exposures = draw_exposures(config, 2, numpy_generator(number))
        machine = preset("c-arm")
        assert exposures == [Exposure(machine.view(0.0)), Exposure(machine.view(90.0))]
        (single,) = draw_exposures(config, 1, numpy_generator(number))
        assert single in exposures


def test_jitter_stays_inside_its_ranges_and_never_drops_the_only_view():
    config = AugmentConfig(presets={"chest": 1.0}, drop_probability=1.0, opposite_probability=0.0)
    for number in range(100):
        pair = draw_exposures(config, 2, numpy_generator(number))
        assert sum(exposure.kept for exposure in pair) == 1
        for exposure, angle in zip(pair, (0.0, 90.0), strict=True):
            view = exposure.view
            assert abs(view.angle_deg - angle) <= config.angle_jitter_deg
            assert abs(view.tilt_deg) <= config.tilt_jitter_deg
            assert abs(view.source_axis_mm / 1600.0 - 1.0) <= config.distance_jitter
            assert max(exposure.borders) <= config.collimation
        assert pair[0].view.source_axis_mm == pair[1].view.source_axis_mm  # one machine
        assert draw_exposures(config, 1, numpy_generator(number))[0].kept


def test_the_same_patient_is_seen_whatever_lies_beside_him_in_the_batch(stored):
    other = torch.from_numpy(phantom_hu(np.random.default_rng(8)))[None]
    exposure = Exposure(chest(5.0), scatter=0.2, noise=0.01)
    noise = torch.randn(2, 1, DETECTOR.size, DETECTOR.size)
    both = place(torch.cat((other, stored)), [IDENTITY, MIRRORED], GRID)
    alone = place(stored, [MIRRORED], GRID)
    assert torch.equal(both[1:], alone)
    views = [[replace(exposure, gamma=0.1)], [exposure]]
    together = take_xrays(both, views, GRID, DETECTOR, noise)[0]
    assert torch.equal(together[1:], take_xrays(alone, views[1:], GRID, DETECTOR, noise[1:])[0])


def test_blur_by_zero_is_the_identity_and_keeps_the_mass_otherwise():
    unit = torch.full((2, 1, 15, 15, 15), -1.0)
    unit[:, 0, 7, 7, 7] = 1.0
    sharp, soft = blur(unit, [0.0, 1.5])
    assert torch.equal(sharp, unit[0])
    assert float((soft + 1.0).sum()) == pytest.approx(2.0, rel=1e-4)
    along_z, along_x = soft[0, :, 7, 7] + 1.0, soft[0, 7, 7, :] + 1.0
    torch.testing.assert_close(along_z, along_x)
    ratio = float(along_z[8] / along_z[7])
    assert ratio == pytest.approx(np.exp(-0.5 / 1.5**2), rel=1e-3)
