"""What a header says of a radiograph is what reading the whole file gives, without its pixels."""

import numpy as np
import pytest
from xray_files import COLS, ROWS, assert_same_up_to_scale, film_pixels, write_dicom, write_picture

from clsdm.errors import InputError
from clsdm.xray.read import GeometryOverrides, inspect_xray, read_xray

TAGS = [
    {},
    {"ViewPosition": "LL", "PatientOrientation": ["A", "F"]},
    {"ViewPosition": None, "PositionerPrimaryAngle": 30.0, "PositionerSecondaryAngle": -10.0, "Modality": "XA"},
    {"DistanceSourceToPatient": None, "EstimatedRadiographicMagnificationFactor": 1.3},
    {"ImagerPixelSpacing": None, "PixelSpacing": [1.0, 1.5]},
    {"PatientOrientation": ["F", "L"], "PhotometricInterpretation": "MONOCHROME1"},
    {"DistanceSourceToDetector": None, "DistanceSourceToPatient": None, "PatientOrientation": None},
]
OVERRIDES = [
    GeometryOverrides(),
    GeometryOverrides(rotate_quarters=1, flip_horizontal=True),
    GeometryOverrides(pixel_mm=(2.0, 3.0), source_axis_mm=1000.0, source_detector_mm=1400.0),
]


@pytest.mark.parametrize("overrides", OVERRIDES)
@pytest.mark.parametrize("tags", TAGS)
def test_a_header_says_what_reading_gives(tmp_path, tags, overrides):
    path = write_dicom(tmp_path / "x.dcm", **tags)
    header, xray = inspect_xray(path, None, overrides), read_xray(path, None, overrides)
    view = xray.view
    assert (header.rows, header.cols) == (view.rows, view.cols)
    assert header.angle_deg == view.angle_deg
    assert (header.source_axis_mm, header.source_detector_mm) == (view.source_axis_mm, view.source_detector_mm)
    assert header.pixel_mm == view.pixel_mm
    assert header.patient_key == xray.patient_key
    assert set(header.warnings) <= set(xray.warnings)  # the pixels may add what they show
    assert {name: header.origins[name] for name in xray.origins} == xray.origins


def test_a_pictures_header_says_what_is_missing(tmp_path):
    header = inspect_xray(write_picture(tmp_path / "x.png", film_pixels(np.uint8)))
    assert (header.rows, header.cols) == (ROWS, COLS)
    assert (header.pixel_mm, header.angle_deg, header.patient_key) == (None, None, None)
    assert "8-bit" in " ".join(header.warnings)


def test_pixels_are_not_read(tmp_path):
    path = write_dicom(tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes()[:-100])
    assert inspect_xray(path).rows == ROWS
    with pytest.raises(InputError, match="truncated"):
        read_xray(path)


@pytest.mark.parametrize(
    ("orientation", "angle_deg"),
    [(["L", "F"], 0.0), (["R", "F"], 180.0), (["P", "F"], 90.0), (["A", "F"], -90.0), (["F", "L"], None), (None, None)],
)
def test_patient_orientation_suggests_an_angle(tmp_path, orientation, angle_deg):
    path = write_dicom(tmp_path / "x.dcm", ViewPosition=None, PatientOrientation=orientation)
    header = inspect_xray(path)
    assert header.angle_deg is None
    assert header.likely_angle_deg == (180.0 if angle_deg == 180.0 else angle_deg)


@pytest.mark.parametrize("shown", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("invert", [True, False])
def test_inverting_is_said_as_it_was_asked_for(tmp_path, shown, invert):
    path = write_dicom(tmp_path / "x.dcm", PhotometricInterpretation=shown)
    header = inspect_xray(path, None, GeometryOverrides(invert=invert))
    assert (header.invert, header.origins["invert"]) == (invert, "user")
    assert (inspect_xray(path).invert, inspect_xray(path).origins["invert"]) == (False, "tag")


def test_a_window_limits_what_is_told_apart_and_nothing_else(tmp_path):
    pixels = film_pixels()
    limited = np.clip(pixels, 50, 150)
    window = GeometryOverrides(window=(50.0, 150.0), pixel_mm=2.0)
    path = write_dicom(tmp_path / "x.dcm", WindowCenter=100, WindowWidth=60)
    assert inspect_xray(path).window == (70.0, 130.0)
    assert_same_up_to_scale(read_xray(path, None, window).image, limited)
    assert_same_up_to_scale(read_xray(write_picture(tmp_path / "x.tif", pixels), 0.0, window).image, limited)
    assert_same_up_to_scale(read_xray(path).image, pixels)  # the file's own window does not
    with pytest.raises(InputError, match="window"):
        GeometryOverrides(window=(2.0, 1.0))


def test_an_isocentre_can_be_given(tmp_path):
    path = write_dicom(tmp_path / "x.dcm")
    assert read_xray(path).isocentre_mm is None
    assert read_xray(path, None, GeometryOverrides(isocentre_mm=(1.0, 2.0, 3.0))).isocentre_mm == (1.0, 2.0, 3.0)
