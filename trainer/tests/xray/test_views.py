"""From where a file says it was taken: view codes, contradictions, runs, the images of a treatment machine."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from torso import dicom, torso

from clsdm.errors import InputError, in_full
from clsdm.geometry.view import View
from clsdm.xray.read import GeometryOverrides, read_xray


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


@pytest.mark.parametrize(
    ("item", "angle_deg"),
    [
        (("R-10206", "SNM3", "antero-posterior"), 180.0),
        (("272479007", "SCT", "postero-anterior"), 0.0),
        (("R-10236", "SRT", "left lateral"), 90.0),
        (("399198007", "SCT", "right lateral"), -90.0),
        (("77", "99LOCAL", "Left lateral"), 90.0),
        (("78", "99LOCAL", "PA"), None),
    ],
)
def test_a_view_code_says_the_angle(tmp_path, item, angle_deg):
    xray = read_xray(dicom(ViewPosition=None, ViewCodeSequence=[code(*item)])(tmp_path), default_angle_deg=33.0)
    assert (xray.view.angle_deg, xray.origins["angle_deg"]) == (
        (33.0, "default") if angle_deg is None else (angle_deg, "tag")
    )


def test_a_view_code_that_contradicts_the_view_position_is_said(tmp_path):
    item = code("R-10236", "SRT", "left lateral")
    xray = read_xray(dicom(ViewPosition="PA", ViewCodeSequence=[item])(tmp_path))
    assert xray.view.angle_deg == 0.0
    assert any("ViewCodeSequence says LL, but ViewPosition PA" in warning for warning in xray.warnings)


def test_a_lateral_given_as_the_frontal_one_is_followed_and_said(tmp_path):
    path = dicom(ViewPosition=None, ViewCodeSequence=[code("R-10236", "SRT", "left lateral")])(tmp_path)
    xray = read_xray(path, default_angle_deg=0.0)
    assert xray.view.angle_deg == 90.0
    assert any(
        "given as PA, but the file says left lateral (the file was followed)" in warning for warning in xray.warnings
    )


@pytest.mark.parametrize(
    ("letters", "default_deg", "angle_deg"), [("LF", 90.0, 0.0), ("PF", 0.0, 90.0), ("LF", 0.0, 0.0), ("RF", 0.0, 0.0)]
)
def test_patient_orientation_tells_a_frontal_view_from_a_lateral_one(tmp_path, letters, default_deg, angle_deg):
    xray = read_xray(
        dicom(ViewPosition=None, PatientOrientation=list(letters))(tmp_path), default_angle_deg=default_deg
    )
    assert xray.view.angle_deg == angle_deg


def test_a_frame_of_a_turning_run_has_its_own_angle(tmp_path):
    tags = {"Modality": "XA", "PositionerPrimaryAngle": -30.0, "PositionerPrimaryAngleIncrement": [0.0, 45.0, 90.0],
            "PositionerSecondaryAngle": 5.0, "ViewPosition": None, "NumberOfFrames": 3, "Rows": 200, "Columns": 200}  # fmt: skip
    path = dicom(np.stack([torso()] * 3), **tags)(tmp_path)
    for frame, angle in ((1, -30.0), (2, 15.0), (3, 60.0)):
        view = read_xray(path, overrides=GeometryOverrides(frame=frame)).view
        assert (view.angle_deg, view.tilt_deg) == (angle, -5.0)


@pytest.mark.parametrize("gantry_deg", [0.0, 90.0, 180.0, 270.0, 30.0])
def test_an_rt_image_lies_as_its_gantry_says(tmp_path, gantry_deg):
    """Seen from the source, columns to IEC's x of the turned receptor: the mirror image of ours."""
    tags = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.1",
        "Modality": "RTIMAGE",
        "ViewPosition": None,
        "ImagerPixelSpacing": None,
        "DistanceSourceToDetector": None,
        "DistanceSourceToPatient": None,
        "ImagePlanePixelSpacing": [2.0, 2.0],
        "RTImageSID": 1536.0,
        "RadiationMachineSAD": 1000.0,
        "GantryAngle": gantry_deg,
        "PatientPosition": "HFS",
    }
    xray = read_xray(dicom(**tags)(tmp_path))
    angle = {0.0: 180.0, 90.0: -90.0, 180.0: 0.0, 270.0: 90.0, 30.0: -150.0}[gantry_deg]
    assert abs((xray.view.angle_deg - angle + 180.0) % 360.0 - 180.0) < 1e-9
    assert xray.view == View(xray.view.angle_deg, 1000.0, 1536.0, 200, 200, (2.0, 2.0))
    np.testing.assert_array_equal(xray.image, np.fliplr(torso()))
    assert xray.origins["orientation"] == "tag"


def test_a_spacing_of_an_rt_image_that_can_be_none_is_said(tmp_path):
    tags = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.1", "Modality": "RTIMAGE", "ImagerPixelSpacing": None}
    path = dicom(**tags, ImagePlanePixelSpacing=[0.0, -2.0])(tmp_path)
    with pytest.raises(InputError, match=r"ImagePlanePixelSpacing is 0 x -2 mm; expected two numbers above 0\)"):
        read_xray(path, 0.0)


def test_the_distance_to_the_bucky_is_not_taken_for_the_patients_middle(tmp_path):
    xray = read_xray(dicom(DistanceSourceToPatient=1746.0)(tmp_path))
    assert (xray.view.source_axis_mm, xray.origins["source_axis_mm"]) == (1600.0, "default")
    assert any("54 mm before the detector, at the bucky" in warning for warning in xray.warnings)
    exact = read_xray(
        dicom(DistanceSourceToPatient=1746.0, EstimatedRadiographicMagnificationFactor=1800 / 1746)(tmp_path)
    )
    assert exact.view.source_axis_mm == 1746.0


def test_pixel_spacing_alone_is_taken_on_the_detector_and_the_way_out_is_said(tmp_path):
    tags = {"ImagerPixelSpacing": None, "PixelSpacing": [2.0, 2.0]}
    xray = read_xray(dicom(**tags)(tmp_path))
    assert xray.view.pixel_mm == (2.0, 2.0)
    assert any("give --spacing" in in_full(warning) for warning in xray.warnings)
    given = read_xray(dicom(**tags)(tmp_path), overrides=GeometryOverrides(pixel_mm=2.5))
    assert not any("--spacing" in in_full(warning) for warning in given.warnings)
    calibrated = read_xray(dicom(**tags, PixelSpacingCalibrationType="GEOMETRY")(tmp_path))
    assert calibrated.view.pixel_mm == pytest.approx((2.25, 2.25))


def test_a_spacing_of_exactly_1_mm_is_doubted_until_the_user_gives_one(tmp_path):
    image = sitk.GetImageFromArray(np.tile(np.arange(216, dtype=np.uint16), (216, 1)))
    sitk.WriteImage(image, str(tmp_path / "pa.nii.gz"))
    for given, doubted in ((None, True), (2.0, False)):
        warnings = read_xray(tmp_path / "pa.nii.gz", 0.0, GeometryOverrides(pixel_mm=given)).warnings
        assert any("exactly 1 mm" in warning for warning in warnings) is doubted
