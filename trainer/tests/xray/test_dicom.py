"""What the tags of a DICOM radiograph say: grey values, orientation, angle, distances, spacing, collimation."""

import numpy as np
import pytest
from xray_files import COLS, ROWS, assert_same_up_to_scale, film_pixels, write_dicom

from clsdm.errors import InputError
from clsdm.xray.read import GeometryOverrides, read_xray


@pytest.mark.parametrize(
    ("tags", "bright_is_attenuation"),
    [
        ({"PhotometricInterpretation": "MONOCHROME2"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1"}, False),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, False),
        ({"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": 1}, False),
        ({"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1}, True),
        ({"PixelIntensityRelationshipSign": 1, "PresentationIntentType": "FOR PRESENTATION"}, True),
        ({"PixelIntensityRelationshipSign": 5}, True),
        ({"RescaleSlope": -1, "RescaleIntercept": 300}, False),
    ],
)
def test_brighter_means_more_attenuation_whatever_the_file_stores(tmp_path, tags, bright_is_attenuation):
    stored = film_pixels()
    image = read_xray(write_dicom(tmp_path / "x.dcm", stored, **tags)).image
    assert_same_up_to_scale(image, stored if bright_is_attenuation else -stored.astype(float))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_user_can_say_whether_bone_is_dark_in_the_picture_as_shown(tmp_path, photometric):
    stored = film_pixels()
    shown = stored.astype(float) if photometric == "MONOCHROME2" else -stored.astype(float)
    path = write_dicom(
        tmp_path / "x.dcm", stored, PhotometricInterpretation=photometric, PixelIntensityRelationshipSign=1
    )
    assert_same_up_to_scale(read_xray(path, overrides=GeometryOverrides(invert=True)).image, -shown)
    assert_same_up_to_scale(read_xray(path, overrides=GeometryOverrides(invert=False)).image, shown)


def test_linear_data_become_line_integrals(tmp_path):
    integral = np.linspace(0.0, 3.0, ROWS * COLS).reshape(ROWS, COLS)
    stored = np.round(60000 * np.exp(-integral)).astype(np.uint16)
    tags = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}
    image = read_xray(write_dicom(tmp_path / "x.dcm", stored, **tags)).image
    np.testing.assert_allclose(image, integral, atol=2e-4)


def test_grey_levels_that_were_processed_or_reduced_are_reported(tmp_path):
    tags = {"PresentationIntentType": "FOR PRESENTATION", "LossyImageCompression": "01"}
    warnings = " ".join(read_xray(write_dicom(tmp_path / "x.dcm", film_pixels(np.uint8), **tags)).warnings)
    assert all(part in warnings for part in ("FOR PRESENTATION", "lossy", "8-bit"))
    assert read_xray(write_dicom(tmp_path / "y.dcm", ImagerPixelSpacing=[4.0, 4.0])).warnings == ()


@pytest.mark.parametrize(
    ("position", "orientation", "turn"),
    [
        ("PA", ["L", "F"], lambda a: a),
        ("PA", ["R", "F"], np.fliplr),
        ("PA", ["R", "H"], lambda a: a[::-1, ::-1]),
        ("PA", ["F", "L"], np.transpose),
        ("PA", ["LP", "FR"], lambda a: a),
        ("AP", ["L", "F"], np.fliplr),
        ("AP", ["R", "F"], lambda a: a),
        ("AP", None, np.fliplr),
        ("LL", ["P", "F"], lambda a: a),
        ("LL", ["A", "F"], np.fliplr),
        ("LL", None, lambda a: a),
        ("RL", ["A", "F"], lambda a: a),
        ("RL", ["P", "F"], np.fliplr),
    ],
)
def test_the_image_is_turned_into_the_views_convention(tmp_path, position, orientation, turn):
    stored = film_pixels()
    xray = read_xray(write_dicom(tmp_path / "x.dcm", stored, ViewPosition=position, PatientOrientation=orientation))
    assert_same_up_to_scale(xray.image, turn(stored))
    assert xray.origins["orientation"] == ("default" if orientation is None else "tag")
    assert any("flip it otherwise" in warning for warning in xray.warnings) == (orientation is None)


def test_an_orientation_that_contradicts_the_angle_is_reported_and_not_used(tmp_path):
    xray = read_xray(write_dicom(tmp_path / "x.dcm", ViewPosition="LL", PatientOrientation=["L", "F"]))
    assert_same_up_to_scale(xray.image, film_pixels())
    assert any("L\\F does not fit" in warning for warning in xray.warnings)


def test_the_users_turn_and_flip_come_on_top_and_take_spacing_and_offset_along(tmp_path):
    stored = film_pixels()
    # Row 30, column 50 is where the principal ray hits: 5 rows above and 5 columns right of the middle.
    path = write_dicom(tmp_path / "x.dcm", ImagerPixelSpacing=[2.0, 3.0], PositionOfIsocenterProjection=[30.0, 50.0])
    assert read_xray(path).view.offset_mm == pytest.approx((10.0, -15.0))
    turned = read_xray(path, overrides=GeometryOverrides(rotate_quarters=1))
    assert_same_up_to_scale(turned.image, np.rot90(stored))
    assert turned.view.pixel_mm == (3.0, 2.0)
    assert turned.view.offset_mm == pytest.approx((15.0, 10.0))  # what was right is up now
    flipped = read_xray(path, overrides=GeometryOverrides(rotate_quarters=1, flip_horizontal=True))
    assert_same_up_to_scale(flipped.image, np.fliplr(np.rot90(stored)))
    assert flipped.view.offset_mm == pytest.approx((15.0, -10.0))
    assert flipped.origins["orientation"] == "user"
    given = read_xray(path, overrides=GeometryOverrides(rotate_quarters=1, offset_mm=(1.0, 2.0)))
    assert (given.view.offset_mm, given.origins["offset_mm"]) == ((1.0, 2.0), "user")


@pytest.mark.parametrize(
    ("tags", "angle_deg", "tilt_deg"),
    [
        ({"ViewPosition": "PA"}, 0.0, 0.0),
        ({"ViewPosition": "AP"}, 180.0, 0.0),
        ({"ViewPosition": "LL"}, 90.0, 0.0),
        ({"ViewPosition": "RL"}, -90.0, 0.0),
        ({"ViewPosition": "LL", "PositionerPrimaryAngle": 0}, 90.0, 0.0),  # a column stand that always writes 0
        ({"ViewPosition": None, "PositionerPrimaryAngle": 30, "PositionerSecondaryAngle": 10}, 30.0, -10.0),
        ({"Modality": "XA", "ViewPosition": None, "PositionerPrimaryAngle": -45}, -45.0, 0.0),
        ({"PositionerType": "CARM", "PositionerPrimaryAngle": 4}, 4.0, 0.0),
    ],
)
def test_the_angle_comes_from_the_tags(tmp_path, tags, angle_deg, tilt_deg):
    view = read_xray(write_dicom(tmp_path / "x.dcm", PatientOrientation=None, **tags)).view
    assert (view.angle_deg, view.tilt_deg) == (angle_deg, tilt_deg)


def test_the_users_angle_overrules_the_file_and_a_default_does_not(tmp_path):
    path = write_dicom(tmp_path / "x.dcm", ViewPosition="LL", PatientOrientation=["P", "F"])
    assert read_xray(path, 85.0).view.angle_deg == 85.0
    frontal = read_xray(path, default_angle_deg=0.0)
    assert (frontal.view.angle_deg, frontal.origins["angle_deg"]) == (90.0, "tag")
    assert any("given as PA" in warning for warning in frontal.warnings)
    unnamed = write_dicom(tmp_path / "y.dcm", ViewPosition=None)
    assert read_xray(unnamed, default_angle_deg=0.0).origins["angle_deg"] == "default"
    with pytest.raises(InputError, match="angle"):
        read_xray(unnamed)


@pytest.mark.parametrize(
    ("tags", "axis_mm", "detector_mm", "origin"),
    [
        ({}, 1250.0, 1500.0, "tag"),
        ({"DistanceSourceToPatient": None, "EstimatedRadiographicMagnificationFactor": 1.2}, 1250.0, 1500.0, "tag"),
        ({"EstimatedRadiographicMagnificationFactor": 1.5}, 1000.0, 1500.0, "tag"),  # contradiction: the ratio counts
        ({"DistanceSourceToPatient": 0.0}, 1300.0, 1500.0, "default"),  # the chest preset's 200 mm to the detector
        ({"DistanceSourceToPatient": 1500.0}, 1300.0, 1500.0, "default"),
        ({"DistanceSourceToPatient": None, "DistanceSourceToDetector": None}, 1600.0, 1800.0, "default"),
    ],
)
def test_distances_come_from_tags_and_then_from_the_preset(tmp_path, tags, axis_mm, detector_mm, origin):
    xray = read_xray(write_dicom(tmp_path / "x.dcm", **tags))
    assert xray.view.source_axis_mm == pytest.approx(axis_mm)
    assert xray.view.source_detector_mm == detector_mm
    assert xray.origins["source_axis_mm"] == origin
    assert any(warning.startswith("assumed: source to patient's middle") for warning in xray.warnings) == (
        origin == "default"
    )


def test_the_users_distances_overrule_the_tags_and_impossible_ones_are_refused(tmp_path):
    path = write_dicom(tmp_path / "x.dcm")
    xray = read_xray(path, overrides=GeometryOverrides(source_axis_mm=700.0, source_detector_mm=1100.0))
    assert (xray.view.source_axis_mm, xray.view.source_detector_mm) == (700.0, 1100.0)
    with pytest.raises(InputError, match=r"x\.dcm: view geometry"):
        read_xray(path, overrides=GeometryOverrides(source_axis_mm=1600.0))


@pytest.mark.parametrize(
    ("tags", "pixel_mm"),
    [
        ({"ImagerPixelSpacing": [1.2, 1.3], "PixelSpacing": [1.1, 1.1]}, (1.2, 1.3)),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [1.5, 1.25]}, (1.5, 1.25)),
        (  # times 1500 / 1250
            {"ImagerPixelSpacing": None, "PixelSpacing": [1.5, 1.25], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (1.8, 1.5),
        ),
        ({"ImagerPixelSpacing": [0.0, 0.0], "NominalScannedPixelSpacing": [1.4, 1.4]}, (1.4, 1.4)),
    ],
)
def test_spacing_is_the_one_on_the_detector_plane(tmp_path, tags, pixel_mm):
    assert read_xray(write_dicom(tmp_path / "x.dcm", **tags)).view.pixel_mm == pytest.approx(pixel_mm)


@pytest.mark.parametrize("stated", [None, [0.0, 0.0]])
def test_an_unknown_spacing_is_asked_for(tmp_path, stated):
    path = write_dicom(tmp_path / "x.dcm", ImagerPixelSpacing=stated, PixelSpacing=stated)
    with pytest.raises(InputError, match=r"x\.dcm: .*--spacing"):
        read_xray(path)
    xray = read_xray(path, overrides=GeometryOverrides(pixel_mm=(1.2, 1.4)))
    assert (xray.view.pixel_mm, xray.origins["pixel_mm"]) == ((1.2, 1.4), "user")


@pytest.mark.parametrize(
    ("stated", "said"), [([0.0, 0.0], "0 x 0 mm"), ([-0.2, 0.2], "-0.2 x 0.2 mm"), (0.2, "0.2 mm")]
)
def test_a_spacing_that_can_be_none_is_said_as_the_file_has_it(tmp_path, stated, said):
    path = write_dicom(tmp_path / "x.dcm", ImagerPixelSpacing=stated, PixelSpacing=None)
    with pytest.raises(InputError, match=rf"ImagerPixelSpacing is {said}; expected two numbers above 0\); .*--spacing"):
        read_xray(path)
    xray = read_xray(path, overrides=GeometryOverrides(pixel_mm=1.2))
    assert f"ImagerPixelSpacing is {said}; not used" in xray.warnings


def test_what_blades_and_shutters_cover_is_not_measured(tmp_path):
    tags = {
        "CollimatorShape": "RECTANGULAR",
        "CollimatorLeftVerticalEdge": 11,
        "CollimatorRightVerticalEdge": 80,
        "CollimatorUpperHorizontalEdge": 1,
        "CollimatorLowerHorizontalEdge": 60,
        "ShutterShape": "CIRCULAR",
        "CenterOfCircularShutter": [35, 45],
        "RadiusOfCircularShutter": 45,
    }
    row, col = np.mgrid[1 : ROWS + 1, 1 : COLS + 1]
    expected = (col >= 11) & (col <= 80) & (row <= 60) & ((row - 35) ** 2 + (col - 45) ** 2 <= 2025)
    np.testing.assert_array_equal(read_xray(write_dicom(tmp_path / "x.dcm", **tags)).valid, expected)


def test_a_polygonal_collimator_turns_with_the_image(tmp_path):
    tags = {
        "CollimatorShape": "POLYGONAL",
        "VerticesOfThePolygonalCollimator": [0, 0, 0, 200, 200, 0],  # (row, column) of a triangle: row + column < 200
        "PatientOrientation": ["R", "F"],
        "BurnedInAnnotation": "NO",  # else the small bright blocks are taken for letters
    }
    pixels = np.tile(film_pixels(), (2, 2))
    row, col = np.mgrid[1 : 2 * ROWS + 1, 1 : 2 * COLS + 1]
    valid = read_xray(write_dicom(tmp_path / "x.dcm", pixels, **tags)).valid
    np.testing.assert_array_equal(valid, np.fliplr(row + col < 200))
