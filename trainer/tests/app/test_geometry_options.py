"""Geometry in the command line: for all views, and for one apart; and the verdict in words."""

import json

import pytest
from torso import PIXEL_MM, TOP, dicom, eight_bits, picture, torso

from clsdm.app.cli import build_parser, main
from clsdm.app.geometry_options import overrides_from
from clsdm.xray.read import GeometryOverrides


def parsed(*options: str) -> tuple[GeometryOverrides, GeometryOverrides, GeometryOverrides]:
    """The overrides of the frontal, the lateral and a further view."""
    found = build_parser().parse_args(["reconstruct", *options])
    return tuple(overrides_from(found, role) for role in ("frontal", "lateral", "view"))


def test_a_value_without_a_role_holds_for_all_views():
    all_alike = parsed("--spacing", "0.2", "0.3", "--source-axis", "1500", "--invert", "--frame", "2")
    assert set(all_alike) == {GeometryOverrides(pixel_mm=(0.2, 0.3), source_axis_mm=1500.0, invert=True, frame=2)}


def test_a_value_with_a_role_holds_for_that_view_alone():
    frontal, lateral, further = parsed(
        *("--spacing", "0.2", "--lateral-spacing", "0.4", "--frontal-source-detector", "1800"),
        *("--invert", "--no-lateral-invert", "--flip", "lateral", "--frontal-frame", "3"),
    )
    assert frontal == GeometryOverrides((0.2, 0.2), source_detector_mm=1800.0, invert=True, frame=3)
    assert lateral == GeometryOverrides((0.4, 0.4), invert=False, flip_horizontal=True)
    assert further == GeometryOverrides((0.2, 0.2), invert=True)


def test_the_record_keeps_what_was_given_for_each_view(tmp_path, small_model, capfd):
    frontal = picture("pa.png", eight_bits)(tmp_path)
    lateral = picture("lat.png", lambda: 255 - eight_bits())(tmp_path)
    command = ["reconstruct", "--frontal", frontal, "--lateral", lateral, "--bundle", small_model.path, "--quiet"]
    options = ["--spacing", PIXEL_MM, "--lateral-spacing", 1.9, "--lateral-invert", "--out", tmp_path / "r.nii.gz"]
    assert main([str(each) for each in [*command, *options]]) == 0
    views = json.loads((tmp_path / "r.json").read_text())["request"]["views"]
    assert [view["geometry"]["pixel_mm"] for view in views] == [[2.0, 2.0], [1.9, 1.9]]
    assert [view["geometry"]["invert"] for view in views] == [None, True]
    out, err = capfd.readouterr()
    assert out.count("The images ") == 2  # the verdict, for each view
    assert "pa.png (PA): The images disagree: do not trust the volume" in out  # of a model that was never trained
    assert "lat.png (left lateral): The images" in out
    assert "note: pa.png: The images disagree: do not trust the volume" in err
    assert "try another spacing or distance" in err
    assert "the options are --spacing" in err
    assert "note: assumed: source to detector 1800 mm, source to patient's middle 1600 mm (both X-rays)" in err
    assert any("do not trust the volume" in each for each in json.loads((tmp_path / "r.json").read_text())["warnings"])


@pytest.mark.parametrize(
    ("axis", "says"), [(1.6, "source-axis distance is 1.6 mm; expected"), (250.0, "outside the cube")]
)
def test_a_source_inside_the_cube_is_refused(tmp_path, small_model, capfd, axis, says):
    path = dicom(torso() * (4095 // TOP), DistanceSourceToPatient=None, DistanceSourceToDetector=None)(tmp_path)
    command = ["reconstruct", "--frontal", path, "--bundle", small_model.path, "--out", tmp_path / "r.nii.gz"]
    distances = ["--source-axis", axis, "--source-detector", axis + 400.0, "--quiet"]
    assert main([str(each) for each in [*command, *distances]]) == 2
    line = capfd.readouterr().err
    assert says in line
    assert "in mm?" in line
