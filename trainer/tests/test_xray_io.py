"""Reading radiographs: every format, tag and wrong file that ``clsdm.xray_io`` knows about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from clsdm.dx_write import write_dx
from clsdm.errors import InputError
from clsdm.geometry import View
from clsdm.xray import XRay
from clsdm.xray_io import GeometryOverrides, check_same_patient, read_xray

ROWS, COLS = 70, 90
SPACING = GeometryOverrides(spacing_mm=2.0)


def film_pixels(dtype: type = np.uint16) -> np.ndarray:
    """(70, 90) with a bright block at the top right and a dimmer one at the bottom left: no turn leaves it as it is."""
    pixels = np.full((ROWS, COLS), 20, dtype=dtype)
    pixels[5:20, 60:80] = 200
    pixels[50:60, 10:20] = 120
    return pixels


def write_dicom(path: Path, pixels: np.ndarray | None = None, **tags: object) -> Path:
    """A CR file as a modality would write it, with ``tags`` on top; a tag of None is left out."""
    pixels = film_pixels() if pixels is None else pixels
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    stated = {
        "Modality": "DX",
        "PatientID": "SECRET-4711",
        "PatientName": "Doe^Jane",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "ImagerPixelSpacing": [2.0, 2.0],
        "DistanceSourceToDetector": 1500.0,
        "DistanceSourceToPatient": 1250.0,
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": 8 * pixels.dtype.itemsize,
        "HighBit": 8 * pixels.dtype.itemsize - 1,
        "PixelRepresentation": 0,
    } | tags
    for keyword, value in stated.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_picture(path: Path, pixels: np.ndarray, *, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=vector), str(path))
    return path


def assert_same_up_to_scale(image: np.ndarray, expected: np.ndarray) -> None:
    """Equal after scale and offset are removed, and of the same sign."""
    expected = expected.astype(float)
    assert image.shape == expected.shape
    unit, wanted = ((part - part.min()) / np.ptp(part) for part in (image, expected))
    np.testing.assert_allclose(unit, wanted, atol=1e-5)


# -- what we write ourselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("angle_deg", "tilt_deg", "offset_mm"),
    [(0.0, 0.0, (0.0, 0.0)), (90.0, 0.0, (12.5, -7.25)), (180.0, 5.0, (0.0, 3.1)), (-90.0, 0.0, (1.0, 2.0))]
    + [(37.3, -12.7, (-3.3, 4.4)), (-141.0, 20.0, (0.0, 0.0))],
)
def test_a_dx_file_gives_back_the_view_it_was_written_with(tmp_path, angle_deg, tilt_deg, offset_mm):
    view = View(angle_deg, 541.0, 949.0, ROWS, COLS, (1.5625, 0.1 + 1 / 3), tilt_deg, offset_mm)
    image = np.random.default_rng(0).normal(3.0, 1.0, (ROWS, COLS)).astype(np.float32)
    write_dx(XRay(image, view, patient_key="a" * 32), tmp_path / "x.dcm")
    found = read_xray(tmp_path / "x.dcm")
    assert found.view.offset_mm == pytest.approx(offset_mm, abs=1e-4)
    assert replace(found.view, offset_mm=(0.0, 0.0), pixel_mm=(1.0, 1.0)) == replace(
        view, offset_mm=(0.0, 0.0), pixel_mm=(1.0, 1.0)
    )
    assert found.view.pixel_mm == pytest.approx(view.pixel_mm, rel=1e-12)
    np.testing.assert_allclose(found.image, image, atol=np.ptp(image) / 65534)
    assert (found.patient_key, found.warnings, set(found.origins.values())) == ("a" * 32, (), {"tag"})


def test_pixels_without_measurement_survive_writing_and_reading(tmp_path):
    valid = np.ones((ROWS, COLS), dtype=bool)
    valid[:, :30] = False
    view = View(0.0, 1600.0, 1800.0, ROWS, COLS, (2.0, 2.0))
    write_dx(XRay(film_pixels().astype(np.float32), view, valid), tmp_path / "x.dcm")
    np.testing.assert_array_equal(read_xray(tmp_path / "x.dcm").valid, valid)


# -- grey values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "bright_is_attenuation"),
    [
        ({"PhotometricInterpretation": "MONOCHROME2"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1"}, False),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, False),
        ({"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": 1}, False),
        ({"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1}, True),
        ({"PixelIntensityRelationshipSign": 1, "PresentationIntentType": "FOR PRESENTATION"}, True),
        ({"Modality": "XA", "PixelIntensityRelationship": "DISP", "PositionerPrimaryAngle": 0}, False),
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


def test_a_modality_lut_is_applied(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = [(255 - value) ** 2 for value in range(256)]
    table["LUTData"].VR = "US"
    stored = film_pixels()
    image = read_xray(write_dicom(tmp_path / "x.dcm", stored, ModalityLUTSequence=[table])).image
    assert_same_up_to_scale(image, (255 - stored.astype(float)) ** 2)


def test_grey_levels_that_were_processed_or_reduced_are_reported(tmp_path):
    tags = {"PresentationIntentType": "FOR PRESENTATION", "LossyImageCompression": "01"}
    warnings = " ".join(read_xray(write_dicom(tmp_path / "x.dcm", film_pixels(np.uint8), **tags)).warnings)
    assert all(part in warnings for part in ("FOR PRESENTATION", "lossy", "8-bit"))
    assert read_xray(write_dicom(tmp_path / "y.dcm")).warnings == ()


# -- orientation ---------------------------------------------------------------------------------------------------------


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
    assert any("orientation" in warning for warning in xray.warnings) == (orientation is None)


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


# -- angle, distances, spacing -------------------------------------------------------------------------------------------


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
    assert any("given as a view at 0 degrees" in warning for warning in frontal.warnings)
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
    assert any("source-axis distance unknown" in warning for warning in xray.warnings) == (origin == "default")


def test_the_users_distances_overrule_the_tags_and_impossible_ones_are_refused(tmp_path):
    path = write_dicom(tmp_path / "x.dcm")
    xray = read_xray(path, overrides=GeometryOverrides(source_axis_mm=700.0, source_detector_mm=1100.0))
    assert (xray.view.source_axis_mm, xray.view.source_detector_mm) == (700.0, 1100.0)
    with pytest.raises(InputError, match=r"x\.dcm: view geometry"):
        read_xray(path, overrides=GeometryOverrides(source_axis_mm=1600.0))


@pytest.mark.parametrize(
    ("tags", "pixel_mm"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.3], "PixelSpacing": [0.1, 0.1]}, (0.2, 0.3)),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.5, 0.25]}, (0.6, 0.3)),  # times 1500 / 1250
        ({"ImagerPixelSpacing": [0.0, 0.0], "NominalScannedPixelSpacing": [0.4, 0.4]}, (0.4, 0.4)),
    ],
)
def test_spacing_is_the_one_on_the_detector_plane(tmp_path, tags, pixel_mm):
    assert read_xray(write_dicom(tmp_path / "x.dcm", **tags)).view.pixel_mm == pytest.approx(pixel_mm)


@pytest.mark.parametrize("stated", [None, [0.0, 0.0]])
def test_an_unknown_spacing_is_asked_for(tmp_path, stated):
    path = write_dicom(tmp_path / "x.dcm", ImagerPixelSpacing=stated, PixelSpacing=stated)
    with pytest.raises(InputError, match=r"x\.dcm: .*--spacing"):
        read_xray(path)
    xray = read_xray(path, overrides=GeometryOverrides(spacing_mm=(0.2, 0.4)))
    assert (xray.view.pixel_mm, xray.origins["pixel_mm"]) == ((0.2, 0.4), "user")


# -- collimation ---------------------------------------------------------------------------------------------------------


def test_what_blades_and_shutters_cover_is_not_measured(tmp_path):
    tags = {
        "CollimatorShape": "RECTANGULAR",
        "CollimatorLeftVerticalEdge": 11,
        "CollimatorRightVerticalEdge": 80,
        "CollimatorUpperHorizontalEdge": 1,
        "CollimatorLowerHorizontalEdge": 60,
        "ShutterShape": "CIRCULAR",
        "CenterOfCircularShutter": [35, 45],
        "RadiusOfCircularShutter": 40,
    }
    row, col = np.mgrid[1 : ROWS + 1, 1 : COLS + 1]
    expected = (col >= 11) & (col <= 80) & (row <= 60) & ((row - 35) ** 2 + (col - 45) ** 2 <= 1600)
    np.testing.assert_array_equal(read_xray(write_dicom(tmp_path / "x.dcm", **tags)).valid, expected)


def test_a_polygonal_collimator_turns_with_the_image(tmp_path):
    tags = {
        "CollimatorShape": "POLYGONAL",
        "VerticesOfThePolygonalCollimator": [0, 0, 0, 200, 200, 0],  # (row, column) of a triangle: row + column < 200
        "PatientOrientation": ["R", "F"],
    }
    pixels = np.tile(film_pixels(), (2, 2))
    row, col = np.mgrid[1 : 2 * ROWS + 1, 1 : 2 * COLS + 1]
    valid = read_xray(write_dicom(tmp_path / "x.dcm", pixels, **tags)).valid
    np.testing.assert_array_equal(valid, np.fliplr(row + col < 200))


def test_padding_is_not_measured(tmp_path):
    pixels = film_pixels()
    pixels[:10] = 7
    valid = read_xray(write_dicom(tmp_path / "x.dcm", pixels, PixelPaddingValue=7)).valid
    np.testing.assert_array_equal(valid, np.arange(ROWS)[:, None].repeat(COLS, 1) >= 10)


# -- pictures and research formats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_a_grey_picture_is_read_with_the_users_spacing(tmp_path, suffix):
    path = write_picture(tmp_path / f"x{suffix}", film_pixels(np.uint8))
    xray = read_xray(path, 0.0, SPACING)
    np.testing.assert_array_equal(xray.image, film_pixels())
    assert xray.view == View(0.0, 1600.0, 1800.0, ROWS, COLS, (2.0, 2.0))
    assert xray.origins == dict.fromkeys(("angle_deg", "pixel_mm"), "user") | dict.fromkeys(
        ("tilt_deg", "source_axis_mm", "source_detector_mm", "offset_mm", "orientation"), "default"
    )
    assert "8-bit" in xray.warnings[0]
    inverted = read_xray(path, 0.0, replace(SPACING, invert=True))
    np.testing.assert_array_equal(inverted.image, -film_pixels().astype(np.float32))


def test_a_pictures_own_resolution_is_not_trusted(tmp_path):
    image = sitk.GetImageFromArray(film_pixels())
    image.SetSpacing((0.17, 0.17))
    sitk.WriteImage(image, str(tmp_path / "x.png"))
    with pytest.raises(InputError, match="--spacing"):
        read_xray(tmp_path / "x.png", 0.0)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_two_dimensional_research_image_keeps_its_spacing_and_decimals(tmp_path, suffix):
    integrals = film_pixels().astype(np.float32) / 37.0
    image = sitk.GetImageFromArray(integrals)
    image.SetSpacing((0.5, 0.75))  # x, y
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
    xray = read_xray(tmp_path / f"x{suffix}", 90.0)
    np.testing.assert_array_equal(xray.image, integrals)
    assert xray.view.pixel_mm == pytest.approx((0.75, 0.5))


@pytest.mark.parametrize("channels", [3, 4])
def test_equal_colour_channels_are_grey_and_said_to_be(tmp_path, channels):
    pixels = np.repeat(film_pixels(np.uint8)[..., None], channels, -1)
    pixels[..., 3:] = 255
    xray = read_xray(write_picture(tmp_path / "x.png", pixels, vector=True), 0.0, SPACING)
    np.testing.assert_array_equal(xray.image, film_pixels())
    assert xray.valid is None
    assert f"{channels} channels" in xray.warnings[0]


def test_a_small_coloured_mark_on_a_grey_film_is_left_out(tmp_path):
    pixels = np.repeat(film_pixels(np.uint8)[..., None], 3, -1)
    pixels[2:8, 3:9] = (250, 0, 0)
    valid = read_xray(write_picture(tmp_path / "x.png", pixels, vector=True), 0.0, SPACING).valid
    assert not valid[2:8, 3:9].any()
    assert int((~valid).sum()) == 36


def test_a_jpeg_is_read_and_its_compression_reported(tmp_path):
    path = write_picture(tmp_path / "x.jpg", film_pixels(np.uint8))
    xray = read_xray(path, 90.0, SPACING)
    assert np.abs(xray.image - film_pixels()).mean() < 3.0
    assert "lossy compression" in xray.warnings


def test_compressed_dicom_that_pydicom_cannot_decode_is_decoded_by_itk(tmp_path):
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jpeg_ls_lossless.dcm"))
    dataset.Modality = "CR"
    dataset.save_as(tmp_path / "x.dcm")
    expected = pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    assert_same_up_to_scale(read_xray(tmp_path / "x.dcm", 0.0, SPACING).image, expected)


# -- refusals ------------------------------------------------------------------------------------------------------------


def _missing(folder: Path) -> Path:
    return folder / "absent.dcm"


def _folder(folder: Path) -> Path:
    return folder


def _text_as(name: str):
    def write(folder: Path) -> Path:
        (folder / name).write_text("dear reader, I am no image\n" * 20)
        return folder / name

    return write


def _truncated(folder: Path) -> Path:
    path = write_dicom(folder / "x.dcm")
    path.write_bytes(path.read_bytes()[:-3000])
    return path


def _cut_in_the_header(folder: Path) -> Path:
    path = write_dicom(folder / "x.dcm")
    path.write_bytes(path.read_bytes()[:420])
    return path


def _cut_png(folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (ROWS, COLS), dtype=np.uint8)
    path = write_picture(folder / "x.png", noise)
    path.write_bytes(path.read_bytes()[:60])
    return path


def _undecodable(folder: Path) -> Path:
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jpeg_ls_lossless.dcm"))
    dataset.Modality = "CR"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    dataset.save_as(folder / "x.dcm")
    return folder / "x.dcm"


def _colour_picture(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (ROWS, COLS, 3), dtype=np.uint8)
    return write_picture(folder / "x.png", pixels, vector=True)


def _colour_dicom(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (ROWS, COLS, 3), dtype=np.uint8)
    return write_dicom(
        folder / "x.dcm", pixels, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )


def _ybr_dicom(folder: Path) -> Path:
    return write_dicom(folder / "x.dcm", PhotometricInterpretation="YBR_FULL")


def _volume(folder: Path) -> Path:
    return write_picture(folder / "ct.nii.gz", np.zeros((5, 6, 7), np.int16))


def _ct_slice(folder: Path) -> Path:
    return write_dicom(folder / "x.dcm", Modality="CT")


def _frames(folder: Path) -> Path:
    return write_dicom(folder / "x.dcm", np.tile(film_pixels(), (2, 1)), Rows=ROWS, NumberOfFrames=2)


def _no_pixels(folder: Path) -> Path:
    dataset = pydicom.dcmread(write_dicom(folder / "x.dcm"))
    del dataset.PixelData
    dataset.save_as(folder / "x.dcm")
    return folder / "x.dcm"


def _not_finite(folder: Path) -> Path:
    pixels = film_pixels(np.float32)
    pixels[3, 3] = np.nan
    return write_picture(folder / "x.mha", pixels)


def _constant(folder: Path) -> Path:
    return write_dicom(folder / "x.dcm", np.full((ROWS, COLS), 9, np.uint16))


def _tiny(folder: Path) -> Path:
    return write_dicom(folder / "x.dcm", film_pixels()[:10, :10].copy())


def _bad_number(folder: Path) -> Path:
    path = write_dicom(folder / "x.dcm")
    path.write_bytes(path.read_bytes().replace(b"1500", b"far.", 1))
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_missing, "no such file"),
        (_folder, "a folder"),
        (_text_as("x.png"), "not an image"),
        (_text_as("x.dcm"), "not a DICOM file"),
        (_text_as("x.nii.gz"), "not an image"),
        (_truncated, "truncated"),
        (_cut_in_the_header, "no PixelData|truncated"),
        (_cut_png, "damaged"),
        (_undecodable, r"MPEG2 .*1\.2\.840\.10008\.1\.2\.4\.100"),
        (_colour_picture, "colour image"),
        (_colour_dicom, "colour image"),
        (_ybr_dicom, "YBR_FULL, a colour image"),
        (_volume, "7x6x5 voxels, a CT in place of an X-ray"),
        (_ct_slice, "Modality is CT, a CT in place of an X-ray"),
        (_frames, "NumberOfFrames is 2"),
        (_no_pixels, "no PixelData"),
        (_not_finite, "NaN"),
        (_constant, "constant"),
        (_tiny, "64x64"),
        (_bad_number, "DistanceSourceToDetector is not a number"),
    ],
)
def test_an_unusable_file_is_refused_in_one_line_that_names_it(tmp_path, capfd, make, says):
    path = make(tmp_path)
    with pytest.raises(InputError, match=says) as caught:
        read_xray(path, 0.0, SPACING)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "SECRET" not in message
    assert "Doe" not in message
    assert capfd.readouterr() == ("", "")


# -- patients ------------------------------------------------------------------------------------------------------------


def test_two_patients_are_refused_without_being_named(tmp_path):
    one = read_xray(write_dicom(tmp_path / "a.dcm"))
    other = read_xray(write_dicom(tmp_path / "b.dcm", PatientID="SECRET-4712", ViewPosition="LL"), 90.0)
    with pytest.raises(InputError, match=r"a\.dcm and .*b\.dcm: two patients") as caught:
        check_same_patient([one, other])
    assert "SECRET" not in str(caught.value)


def test_the_patient_key_is_one_way_and_depends_on_the_issuer(tmp_path):
    keys = [
        read_xray(write_dicom(tmp_path / "a.dcm", IssuerOfPatientID=issuer)).patient_key for issuer in ("A", "A", "B")
    ]
    assert keys[0] == keys[1] != keys[2]
    assert "4711" not in keys[0]
    assert read_xray(write_dicom(tmp_path / "n.dcm", PatientID="")).patient_key is None


def test_views_from_one_direction_are_reported(tmp_path):
    frontal = read_xray(write_dicom(tmp_path / "a.dcm"))
    lateral = read_xray(write_dicom(tmp_path / "b.dcm", ViewPosition="LL", PatientOrientation=["P", "F"]))
    from_front = read_xray(write_dicom(tmp_path / "c.dcm", ViewPosition="AP"))
    assert check_same_patient([frontal, lateral]) == ()
    assert check_same_patient([frontal]) == ()
    assert "at most 0 degrees apart" in check_same_patient([frontal, from_front])[0]


# -- the real thing ------------------------------------------------------------------------------------------------------


def test_real_radiographs_are_read(shared_data):
    files = sorted((shared_data / "xray").glob("p*_frontal.*"))
    assert len(files) == 6
    for file in files:
        xray = read_xray(file, 0.0, GeometryOverrides(spacing_mm=0.4))
        height, width = xray.image.shape
        spine = np.median(xray.image[height // 2 :, int(0.45 * width) : int(0.55 * width)])
        assert spine > np.median(xray.image), f"{file.name}: the spine must be brighter than the rest"
