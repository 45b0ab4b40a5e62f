"""Which X-rays go together, which two of many, and what is said of them: few lines, in the reader's words."""

from dataclasses import replace

import numpy as np
import pytest
from xray_files import film_pixels, write_dicom

from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS
from clsdm.simulate import simulate_xrays
from clsdm.volume.ct import CTVolume, Grid
from clsdm.xray.notes import gathered, left_out
from clsdm.xray.pair import check_together, depth_warning, frontal_and_lateral
from clsdm.xray.read import GeometryOverrides, inspect_xray, read_xray


def test_two_patients_are_refused_without_being_named(tmp_path):
    one = read_xray(write_dicom(tmp_path / "a.dcm"))
    other = read_xray(write_dicom(tmp_path / "b.dcm", PatientID="SECRET-4712", ViewPosition="LL"), 90.0)
    with pytest.raises(InputError, match=r"a\.dcm and .*b\.dcm: two patients") as caught:
        check_together([one, other])
    assert "SECRET" not in str(caught.value)


def test_views_from_one_direction_are_reported(tmp_path):
    others = [film_pixels()[::-1].copy(), film_pixels() // 2 + 30]
    frontal = read_xray(write_dicom(tmp_path / "a.dcm"))
    lateral = read_xray(write_dicom(tmp_path / "b.dcm", others[0], ViewPosition="LL", PatientOrientation=["P", "F"]))
    from_front = read_xray(write_dicom(tmp_path / "c.dcm", others[1], ViewPosition="AP"))
    assert check_together([frontal, lateral]) == ()
    assert check_together([frontal]) == ()
    assert "at most 0 degrees apart" in check_together([frontal, from_front])[0]


@pytest.mark.parametrize("geometry", [GeometryOverrides(), GeometryOverrides(flip_horizontal=True)])
def test_one_image_as_two_views_is_refused(tmp_path, geometry):
    frontal = read_xray(write_dicom(tmp_path / "a.dcm"))
    again = read_xray(write_dicom(tmp_path / "b.dcm"), 90.0, geometry)
    with pytest.raises(InputError, match=r"a\.dcm and .*b\.dcm: the same image, as PA and as left lateral"):
        check_together([frontal, again])


def test_one_file_given_twice_is_refused_though_it_says_its_view(tmp_path):
    frontal = read_xray(write_dicom(tmp_path / "a.dcm"))
    with pytest.raises(InputError, match=r"a\.dcm and .*a\.dcm: the same image, twice; expected two, or leave one out"):
        check_together([frontal, frontal])


def test_a_round_phantom_that_looks_the_same_from_two_sides_is_only_remarked_on():
    grid = np.stack(np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij"))
    ball = CTVolume.on_grid(np.where((grid**2).sum(0) < 144.0, 0.0, -1000.0), Grid(32, 8.0))
    views = [PRESETS["chest"].view(angle) for angle in (0.0, 90.0)]
    one, other = (replace(xray, image=xray.image.round(1)) for xray in simulate_xrays(ball, views))  # as in 8 bits
    assert np.array_equal(one.image, other.image)
    (warning,) = check_together([one, other])
    assert "the same image, as PA and as left lateral; only of a round phantom" in warning


def test_the_two_views_furthest_apart_decide_whether_depth_is_seen():
    assert depth_warning([0.0]) == depth_warning([0.0, 180.0, 90.0]) == depth_warning([0.0, 60.0]) == ""
    assert "at most 30 degrees" in depth_warning([0.0, 180.0, 210.0])


def test_a_pair_is_of_one_study_and_nearest_to_a_right_angle(tmp_path):
    tags = (
        {"ViewPosition": "PA"},
        {"ViewPosition": "LL", "StudyInstanceUID": "9.9"},
        {"ViewPosition": None, "PositionerPrimaryAngle": 60, "PositionerType": "CARM"},
        {"ViewPosition": "LL"},
        {"ViewPosition": None},
    )
    headers = [
        inspect_xray(write_dicom(tmp_path / f"{at}.dcm", **({"PatientOrientation": None} | each)))
        for at, each in enumerate(tags)
    ]
    assert frontal_and_lateral(headers) == (0, 3)
    assert frontal_and_lateral(headers[:3]) == (0, 2)
    assert frontal_and_lateral(headers[:2]) == (0, None)
    assert frontal_and_lateral(headers[1:2]) == (None, 0)
    assert frontal_and_lateral(headers[4:]) == (None, None)


A, B = "a.png", "b.png"


@pytest.mark.parametrize(
    ("notes", "lines"),
    [
        ([(A, "odd"), (B, "odd")], ("both X-rays: odd",)),
        ([(A, "odd"), (B, "other")], ("a.png: odd", "b.png: other")),
        ([(A, "image: 8 bits"), (B, "image: 8 bits"), (A, "image: lossy")], ("image: 8 bits (both X-rays); lossy (a.png)",)),
        ([(A, "assumed: x"), (A, "odd"), (A, "image: y"), (A, "image: z")],
         ("a.png: odd", "image: y, z (a.png)", "assumed: x (a.png)")),
    ],
)  # fmt: skip
def test_what_holds_for_both_is_said_once_and_one_line_says_all_of_a_kind(notes, lines):
    assert gathered(notes, 2) == lines


def test_a_single_x_ray_is_named_and_three_are_all():
    assert gathered([(A, "odd")], 1) == ("a.png: odd",)
    assert gathered([(each, "odd") for each in (A, B, "c.png")], 3) == ("all X-rays: odd",)


def test_what_rounds_to_nothing_is_no_news():
    assert left_out(0.0004, "marks") == ()
    assert left_out(0.0006, "marks") == ("left out: 0.1% of the image, marks",)
