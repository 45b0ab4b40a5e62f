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
from clsdm.xray.pair import check_together, chosen_among, depth_warning, frontal_and_lateral
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


PARTS = {
    "a chest before a knee": (("PA", "KNEE", 1), ("LL", "KNEE", 2), ("PA", "CHEST", 3), ("LL", "CHEST", 4), (2, 3)),
    "one part for both": (("PA", "CHEST", 9), ("PA", "ABDOMEN", 1), ("LL", "ABDOMEN", 2), (1, 2)),
    "a skull before a hand": (("PA", "HAND", 9), ("LL", "HAND", 9), ("PA", "SKULL", 1), ("LL", "SKULL", 1), (2, 3)),
    "an unnamed part before a foot": (("PA", "FOOT", 9), ("LL", "FOOT", 9), ("PA", None, 1), ("LL", None, 1), (2, 3)),
    "the last of repeats": (("PA", "CHEST", 2), ("LL", "CHEST", 5), ("LL", "CHEST", 3), ("PA", "CHEST", 4), (3, 1)),
    "one alone": (("PA", "KNEE", 9), ("PA", "CHEST", 2), ("PA", "CHEST", 1), (1, None)),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("tag", ["AcquisitionDateTime", "AcquisitionTime", "InstanceNumber"])
def test_the_part_of_the_body_and_then_the_last_exposure_decide_whatever_the_order_of_files(name, tag, tmp_path):
    *images, expected = PARTS[name]
    for order in (1, -1):
        files = []
        for at, (view, part, minute) in enumerate(images):
            value = {"AcquisitionDateTime": f"2024010110{minute:02d}00.5+0100", "AcquisitionTime": f"10{minute:02d}00"}
            tags = {tag: value.get(tag, minute), "BodyPartExamined": part, "AcquisitionDate": "20240101"}
            orientation = {"PA": ["L", "F"], "LL": ["P", "F"]}[view]
            files.append(write_dicom(tmp_path / f"{at}.dcm", ViewPosition=view, PatientOrientation=orientation, **tags))
        pair = frontal_and_lateral([inspect_xray(file) for file in files[::order]])
        found = tuple(None if one is None else files[::order][one].stem for one in pair)
        assert found == tuple(None if one is None else f"{one}" for one in expected)


def test_what_was_chosen_among_several_is_said(tmp_path):
    def header(name, **tags):
        return inspect_xray(write_dicom(tmp_path / f"{name}.dcm", **tags))

    one = header("a", InstanceNumber=1, BodyPartExamined="CHEST")
    again = header("b", InstanceNumber=2, BodyPartExamined="CHEST")
    knee = header("c", InstanceNumber=3, BodyPartExamined="KNEE")
    assert chosen_among([one], (0, None)) == []
    assert chosen_among([one, again], (1, None)) == ["of 2 frontal X-rays of the study the last exposed is taken"]
    (note,) = chosen_among([one, one], (0, None))
    assert "nothing in the files tells" in note
    assert chosen_among([knee, one], (1, None)) == ["frontal: CHEST is taken before KNEE"]


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
