"""Conventions of the cone-beam geometry: sides, signs, distances, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from one_line import refusal
from torch import Tensor

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras, voxel_centres
from clsdm.geometry.view import PRESETS, Detector, View, preset

CHEST = preset("chest").view(0.0, pixels=64)


def image_mm(view: View, *point: float) -> Tensor:
    """(right, down) in mm on the detector plane, from the image's centre, where a point (x, y, z) falls."""
    where = Cameras.from_views([[view]]).project(torch.tensor([point]))[0][0, 0, 0]
    half = torch.tensor([(view.cols - 1) / 2 * view.pixel_mm[1], (view.rows - 1) / 2 * view.pixel_mm[0]])
    return where * half


@pytest.mark.parametrize(
    ("angle_deg", "right"),
    [
        (0.0, (1.0, 0.0)),  # PA: the patient's left is at the image's right
        (90.0, (0.0, 1.0)),  # left lateral: posterior is at the right, so anterior at the left
        (180.0, (-1.0, 0.0)),  # AP, seen from behind the panel
        (-90.0, (0.0, -1.0)),  # right lateral: anterior at the right
        (45.0, (math.sqrt(0.5), math.sqrt(0.5))),
    ],
)
def test_columns_run_to_the_named_side_and_rows_to_the_feet(angle_deg, right):
    view = replace(CHEST, angle_deg=angle_deg)
    to_the_right = image_mm(view, *(40.0 * part for part in right), 0.0)
    torch.testing.assert_close(to_the_right, torch.tensor([40.0 * view.magnification, 0.0]), atol=1e-3, rtol=0)
    superior = image_mm(view, 0.0, 0.0, 40.0)
    torch.testing.assert_close(superior, torch.tensor([0.0, -40.0 * view.magnification]), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("angle_deg", "side"), [(0.0, (0, 1)), (90.0, (-1, 0)), (180.0, (0, -1)), (-90.0, (1, 0))])
def test_the_source_stands_where_the_view_is_named_after(angle_deg, side):
    """PA: behind the patient; left lateral: at the right, so that the left side is near the panel."""
    cameras = Cameras.from_views([[replace(CHEST, angle_deg=angle_deg)]])
    expected = torch.tensor([1600.0 * side[0], 1600.0 * side[1], 0.0])
    torch.testing.assert_close(cameras.source[0, 0], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(cameras.centre[0, 0], -expected * 200.0 / 1600.0, atol=1e-3, rtol=0)


@pytest.mark.parametrize("angle_deg", [0.0, 45.0, 90.0, 180.0, -90.0, 17.0])
@pytest.mark.parametrize("tilt_deg", [-20.0, 0.0, 20.0])
def test_no_view_mirrors_the_patient(angle_deg, tilt_deg):
    """Right x down points from the panel to the source: every image is as seen by someone behind the panel, as films are."""
    cameras = Cameras.from_views([[replace(CHEST, angle_deg=angle_deg, tilt_deg=tilt_deg)]])
    right, down = cameras.right[0, 0], cameras.down[0, 0]
    to_source = torch.nn.functional.normalize(cameras.source[0, 0] - cameras.centre[0, 0], dim=0)
    torch.testing.assert_close(torch.linalg.cross(right, down), to_source, atol=1e-5, rtol=0)
    assert abs(float(right @ down)) < 1e-6


def test_a_cranial_tilt_lifts_the_source_and_throws_points_near_the_panel_up():
    tilted = replace(CHEST, tilt_deg=15.0)
    assert float(Cameras.from_views([[tilted]]).source[0, 0, 2]) == pytest.approx(1600.0 * math.sin(math.radians(15)))
    assert float(image_mm(tilted, 0.0, -50.0, 0.0)[1]) < -10.0  # anterior, near the panel: above the principal ray
    assert float(image_mm(tilted, 0.0, 50.0, 0.0)[1]) > 10.0


def test_magnification_grows_towards_the_source():
    view = preset("x2ct").view(0.0, pixels=64)
    assert float(image_mm(view, 30.0, 100.0, 0.0)[0]) == pytest.approx(30.0 * 949.0 / (541.0 - 100.0), rel=1e-5)
    assert float(image_mm(view, 30.0, -100.0, 0.0)[0]) == pytest.approx(30.0 * 949.0 / (541.0 + 100.0), rel=1e-5)


def test_an_offset_panel_shows_the_isocentre_on_the_other_side():
    moved = replace(CHEST, offset_mm=(30.0, -20.0))  # down, right
    torch.testing.assert_close(image_mm(moved, 0.0, 0.0, 0.0), torch.tensor([20.0, -30.0]), atol=1e-3, rtol=0)


def test_pixel_centres_project_onto_themselves():
    view = View(33.0, 700.0, 1100.0, 5, 7, (3.0, 4.0), tilt_deg=12.0, offset_mm=(11.0, -6.0))
    cameras = Cameras.from_views([[view]])
    where, ray = cameras.project(cameras.pixel_centres()[0, 0].view(-1, 3))
    where = where.view(5, 7, 2)
    torch.testing.assert_close(where[..., 0], torch.linspace(-1, 1, 7).expand(5, 7), atol=1e-4, rtol=0)
    torch.testing.assert_close(where[..., 1], torch.linspace(-1, 1, 5)[:, None].expand(5, 7), atol=1e-4, rtol=0)
    assert float(ray.norm(dim=-1).min()) > 1099.0


def test_voxel_centres_are_indexed_z_y_x_and_hold_x_y_z():
    centres = voxel_centres(4, 2.0)
    assert centres.shape == (4, 4, 4, 3)
    assert centres[0, 1, 3].tolist() == [3.0, -1.0, -3.0]
    torch.testing.assert_close(centres.mean((0, 1, 2)), torch.zeros(3))


def test_the_virtual_detector_keeps_its_field_at_the_isocentre_for_every_machine():
    detector = Detector(96, 480.0)
    for machine in PRESETS.values():
        original = replace(machine.view(30.0), offset_mm=(9.0, 4.0), tilt_deg=0.0 if machine.beam == "fan" else 3.0)
        view = detector.view(original)
        assert view.cols * view.pixel_mm[1] / view.magnification == pytest.approx(480.0)
        assert view.rows * view.pixel_mm[0] / view.magnifications[0] == pytest.approx(480.0)
        kept = ("angle_deg", "tilt_deg", "source_axis_mm", "source_detector_mm")
        assert [getattr(view, name) for name in kept] == [getattr(original, name) for name in kept]
        assert view.offset_mm == (0.0, 0.0)


def test_the_published_geometry_is_541_and_949_mm_with_pixels_of_1_5625_mm():
    view = preset("x2ct").view(90.0)
    assert (view.source_axis_mm, view.source_detector_mm) == (541.0, 949.0)
    assert (view.rows, view.pixel_mm) == (320, (1.5625,) * 2)
    assert preset("chest").source_detector_mm == 1800.0
    assert (preset("linac-kv").source_axis_mm, preset("linac-kv").source_detector_mm) == (1000.0, 1536.0)


def test_a_preset_keeps_its_panel_whatever_the_pixels():
    view = preset("c-arm").view(0.0, pixels=100)
    assert (view.rows, view.cols, view.pixel_mm) == (100, 100, (4.0, 4.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_axis_mm": 1800.0}, "source-axis < source-detector"),
        ({"source_axis_mm": -1.0}, "source-axis < source-detector"),
        ({"pixel_mm": (0.0, 1.0)}, "pixel spacing must be positive"),
        ({"rows": 1}, "at least 2x2 pixels"),
        ({"tilt_deg": 41.0}, "tilt must be within 40"),
        ({"angle_deg": math.nan}, "finite"),
        ({"offset_mm": (math.inf, 0.0)}, "finite"),
        ({"beam": "fan", "tilt_deg": 5.0}, "a fan beam has no tilt"),
        ({"beam": "disc"}, "cone or fan"),
    ],
)
def test_an_impossible_view_is_refused_in_one_line(change, message):
    assert message in refusal(replace, CHEST, **change)


def test_an_unknown_preset_is_refused_and_the_known_are_named():
    with pytest.raises(InputError, match=r"x2ct, chest, c-arm, linac-kv.*'mammo'"):
        preset("mammo")


@pytest.mark.parametrize("views", [[[CHEST], [CHEST, CHEST]], [[CHEST, replace(CHEST, rows=32)]]])
def test_cameras_need_equally_many_views_of_one_size(views):
    with pytest.raises(ValueError, match="equally many views of one image size"):
        Cameras.from_views(views)


SCOUT = View(0.0, 570.0, 1040.0, 65, 49, (2.0, 9.0), offset_mm=(30.0, 0.0), beam="fan")


@pytest.mark.parametrize("height_mm", [-100.0, -30.0, 0.0, 90.0])
def test_a_fan_beam_magnifies_across_and_not_along(height_mm):
    for depth in (-80.0, 0.0, 120.0):
        right, down = image_mm(SCOUT, 25.0, depth, height_mm)
        assert float(right) == pytest.approx(25.0 * 1040.0 / (570.0 - depth), rel=1e-5)
        assert float(down) == pytest.approx(-height_mm - 30.0, abs=1e-3)


def test_the_rays_of_a_fan_run_level_and_start_where_the_source_is_by_then():
    cameras = Cameras.from_views([[SCOUT]])
    sources, pixels = cameras.sources()[0, 0], cameras.pixel_centres()[0, 0]
    assert torch.equal(sources[:, 0, 2], pixels[:, 0, 2])
    torch.testing.assert_close(sources[:, 0, 1], torch.full((65,), 570.0))
    torch.testing.assert_close(sources[32, 0], torch.tensor([0.0, 570.0, -30.0]))
    where, ray = cameras.project(pixels.view(-1, 3))
    where = where.view(65, 49, 2)
    torch.testing.assert_close(where[..., 0], torch.linspace(-1, 1, 49).expand(65, 49), atol=1e-4, rtol=0)
    torch.testing.assert_close(where[..., 1], torch.linspace(-1, 1, 65)[:, None].expand(65, 49), atol=1e-4, rtol=0)
    assert float(ray[..., 2].abs().max()) < 1e-4


def test_cone_and_fan_stand_side_by_side_and_each_keeps_its_own_rays():
    cone = replace(SCOUT, beam="cone")
    both, alone = Cameras.from_views([[SCOUT, cone]]), [Cameras.from_views([[view]]) for view in (SCOUT, cone)]
    points = torch.tensor([[20.0, -50.0, 70.0], [-60.0, 30.0, -10.0]])
    for index, cameras in enumerate(alone):
        torch.testing.assert_close(both.project(points)[0][:, index], cameras.project(points)[0][:, 0])
        torch.testing.assert_close(both.sources()[:, index], cameras.sources()[:, 0])


def test_mapped_rays_of_a_fan_meet_the_mapped_points():
    cameras = Cameras.from_views([[SCOUT]])
    turn = torch.tensor([[[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]]])
    shift = torch.tensor([[10.0, -5.0, 40.0]])
    moved = cameras.mapped(turn, shift)
    torch.testing.assert_close(moved.sources(), cameras.sources() @ turn[0].T + shift[0], atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(
        moved.pixel_centres(), cameras.pixel_centres() @ turn[0].T + shift[0], atol=1e-3, rtol=1e-5
    )


def test_the_presets_of_slot_scanners_have_square_pixels_at_the_isocentre():
    for name in ("localizer", "eos"):
        view = preset(name).view(0.0)
        down, right = (p / m for p, m in zip(view.pixel_mm, view.magnifications, strict=True))
        assert down == pytest.approx(right)
    assert preset("localizer").view(0.0).pixel_mm[0] == pytest.approx(1.0, abs=1e-3)
