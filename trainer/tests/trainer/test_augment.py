"""Poses and exposures: what is drawn depends on the sample alone, and what is applied agrees with geometry."""

import numpy as np
import pytest
import torch
from tiny import GRID, padded_anatomy, phantom_hu
from torch import Tensor

from clsdm.geometry.view import Detector, View, preset
from clsdm_trainer.anatomy import Anatomy, Pose, line_integrals
from clsdm_trainer.augment import (
    Exposure,
    blur,
    draw_exposures,
    draw_pose,
    numpy_generator,
    radiographs,
    virtual_cameras,
)
from clsdm_trainer.config import AugmentConfig
from clsdm_trainer.recipe import load_config

DETECTOR = Detector(48, 480.0)
IDENTITY = Pose(np.eye(3), np.zeros(3))
MIRRORED = Pose(np.diag([-1.0, 1.0, 1.0]), np.zeros(3))


@pytest.fixture
def stored() -> Anatomy:
    """An asymmetric phantom, (M, M, M) int16 with its margin."""
    return padded_anatomy(torch.from_numpy(phantom_hu(np.random.default_rng(0))))


def chest(angle_deg: float) -> View:
    return preset("chest").view(angle_deg)


def taken(anatomies: list[Anatomy], poses: list[Pose], exposures: list[list[Exposure]], noise: torch.Tensor) -> Tensor:
    """(B, V, 2, size, size)."""
    integrals = line_integrals(anatomies, poses, virtual_cameras(exposures, DETECTOR, torch.device("cpu")))
    return radiographs(integrals, exposures, DETECTOR, noise)


def xrays(anatomy: Anatomy, pose: Pose, *exposures: Exposure) -> torch.Tensor:
    """(V, 2, size, size) of one patient, without noise."""
    noise = torch.zeros(1, len(exposures), DETECTOR.size, DETECTOR.size)
    return taken([anatomy], [pose], [list(exposures)], noise)[0]


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
        assert np.array_equal(np.abs(pose.matrix), np.eye(3))
        assert np.array_equal(pose.matrix[1:, 1:], np.eye(2))  # only left and right are ever mirrored
        assert np.allclose(pose.shift_mm / GRID.spacing_mm, np.round(pose.shift_mm / GRID.spacing_mm))


def test_warps_and_extensions_are_drawn_as_often_as_the_recipe_says():
    config = AugmentConfig(warp_mm=5.0, warp_probability=0.3, extend_probability=0.6, axial_shift_mm=50.0)
    poses = [draw_pose(config, GRID, numpy_generator(2, number)) for number in range(400)]
    warps = [warp for pose in poses for warp in pose.warps_mm]
    assert len(warps) / 400 == pytest.approx(0.3, abs=0.08)
    assert np.std(warps) == pytest.approx(5.0, rel=0.05)
    assert np.mean([pose.extended for pose in poses]) == pytest.approx(0.6, abs=0.08)
    reach = np.abs([pose.shift_mm for pose in poses]).max(0)
    assert reach[:2].max() <= 15.0 + GRID.spacing_mm / 2
    assert 55.0 < reach[2] <= 65.0 + GRID.spacing_mm / 2  # exact poses shift by whole voxels
    assert all(draw_pose(AugmentConfig(), GRID, numpy_generator(2, n)).warps_mm == () for n in range(20))


def test_deformations_towards_others_are_drawn_as_often_as_the_recipe_says_and_of_every_size():
    config = AugmentConfig(between_probability=0.4)
    between = np.stack([np.full((3, 4, 4, 4), size) for size in (10.0, 20.0)])
    poses = [draw_pose(config, GRID, numpy_generator(3, number), between) for number in range(400)]
    warps = np.array([warp[0, 0, 0, 0] for pose in poses for warp in pose.warps_mm])
    assert len(warps) / 400 == pytest.approx(0.4, abs=0.08)
    assert warps.mean() == pytest.approx(7.5, rel=0.15)  # half of 10 or 20 mm
    assert 0.0 < warps.min() < 1.0
    assert 18.0 < warps.max() < 20.0
    assert all(draw_pose(config, GRID, numpy_generator(3, n), between[:0]).warps_mm == () for n in range(20))


@pytest.mark.parametrize(
    "spoiler",
    [
        {"gamma": 0.3},
        {"noise": 0.05},
        {"scatter": 0.3},
        {"hardening": 0.3},
        {"tone": 0.5},
        {"local_contrast": 0.8},
        {"sharpness": 0.8},
        {"sharpness": -1.0},
        {"patches": ((0.4, 0.4, 0.1, 0.1, 1.2),)},
    ],
    ids=lambda spoiler: "{}={}".format(*next(iter(spoiler.items()))),
)
def test_each_spoiler_changes_the_intensities_and_not_the_mask(spoiler, stored):
    noise = torch.randn(1, 1, DETECTOR.size, DETECTOR.size)
    plain, changed = (
        taken([stored], [IDENTITY], [[Exposure(chest(0.0), **values)]], noise)[0, 0] for values in ({}, spoiler)
    )
    assert (plain[0] - changed[0]).abs().max() > 0.02
    assert torch.equal(plain[1], changed[1])
    assert changed.isfinite().all()


def test_hardening_lowers_dense_pixels_more_than_thin_ones(stored):
    cameras = virtual_cameras([[Exposure(chest(0.0))]], DETECTOR, torch.device("cpu"))
    integrals = line_integrals([stored], [IDENTITY], cameras)[0, 0]
    plain, hardened = (xrays(stored, IDENTITY, Exposure(chest(0.0), hardening=h))[0, 0] for h in (0.0, 0.3))
    middle = (integrals > 0.3 * integrals.max()) & (integrals < 0.6 * integrals.max())
    assert (hardened - plain)[middle].mean() > 0.05  # both span [-1, 1]: what lies between moves up


def test_a_dropped_view_is_masked_out_and_holds_nothing_of_the_patient(stored):
    images = xrays(stored, IDENTITY, Exposure(chest(0.0)), Exposure(chest(90.0), kept=False))
    assert images[0, 1].sum() > 0
    assert torch.equal(images[1, 1], torch.zeros_like(images[1, 1]))
    assert torch.equal(images[1, 0], torch.full_like(images[1, 0], -1.0))


@pytest.mark.parametrize(
    ("position", "hidden"),
    [(0, np.s_[:12, :]), (1, np.s_[36:, :]), (2, np.s_[:, :12]), (3, np.s_[:, 36:])],
    ids=["top", "bottom", "left", "right"],
)
def test_collimation_hides_its_share_at_its_border(position, hidden, stored):
    borders = [0.0] * 4
    borders[position] = 0.25
    plain = xrays(stored, IDENTITY, Exposure(chest(0.0)))[0]
    image, mask = xrays(stored, IDENTITY, Exposure(chest(0.0), borders=tuple(borders)))[0]
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


@pytest.mark.parametrize("config", [AugmentConfig(), load_config("x2ct128").augment], ids=["default", "x2ct128"])
def test_localizers_are_drawn_and_are_never_tilted(config):
    """Slot scanners' rays run level, whatever the jitter of the others."""
    drawn = [draw_exposures(config, 2, numpy_generator(0, number)) for number in range(60)]
    views = [exposure.view for exposures in drawn for exposure in exposures]
    assert {view.beam for view in views} == {"cone", "fan"}
    assert all(view.tilt_deg == 0.0 for view in views if view.beam == "fan")
    assert any(view.tilt_deg != 0.0 for view in views if view.beam == "cone")


def test_effects_are_drawn_one_by_one_and_within_their_ranges():
    ranges = {"gamma": 0.3, "noise": 0.02, "scatter": 0.1, "hardening": 0.2, "tone": 0.5, "local_contrast": 0.7}
    config = AugmentConfig(
        radiograph_probability=1.0, effect_probability=0.4, sharpness=0.9, patches=3, drop_probability=0.0, **ranges
    )
    drawn = [draw_exposures(config, 1, numpy_generator(4, number))[0] for number in range(400)]
    for name, largest in {**ranges, "sharpness": 0.9}.items():
        values = np.array([getattr(exposure, name) for exposure in drawn])
        assert np.mean(values != 0.0) == pytest.approx(0.4, abs=0.08)
        assert 0.85 * largest < np.abs(values).max() <= largest
    assert max(len(exposure.patches) for exposure in drawn) == 3


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
