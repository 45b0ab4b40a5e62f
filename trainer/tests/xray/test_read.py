"""Reading radiographs: every format and every wrong file that ``clsdm.xray.read`` knows about."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
from xray_files import COLS, ROWS, film_pixels, write_dicom, write_picture

from clsdm.errors import InputError
from clsdm.geometry.view import View
from clsdm.xray.preprocess import XRay
from clsdm.xray.read import GeometryOverrides, read_xray
from clsdm.xray.write_dx import write_dx

SPACING = GeometryOverrides(pixel_mm=2.0)


@pytest.mark.parametrize(
    ("angle_deg", "tilt_deg", "offset_mm"),
    [
        (0.0, 0.0, (0.0, 0.0)),
        (90.0, 0.0, (12.5, -7.25)),
        (180.0, 5.0, (0.0, 3.1)),
        (-90.0, 0.0, (1.0, 2.0)),
        (37.3, -12.7, (-3.3, 4.4)),
        (-141.0, 20.0, (0.0, 0.0)),
    ],
)
def test_a_dx_file_gives_back_the_view_it_was_written_with(tmp_path, angle_deg, tilt_deg, offset_mm):
    view = View(angle_deg, 541.0, 949.0, ROWS, COLS, (3.125, 4.1 + 1 / 3), tilt_deg, offset_mm)
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


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_a_grey_picture_is_read_with_the_users_spacing(tmp_path, suffix):
    path = write_picture(tmp_path / f"x{suffix}", film_pixels(np.uint8))
    xray = read_xray(path, 0.0, SPACING)
    np.testing.assert_array_equal(xray.image, film_pixels())
    assert xray.view == View(0.0, 1600.0, 1800.0, ROWS, COLS, (2.0, 2.0))
    assert xray.origins == dict.fromkeys(("angle_deg", "pixel_mm"), "user") | dict.fromkeys(
        ("tilt_deg", "source_axis_mm", "source_detector_mm", "offset_mm", "orientation", "invert"), "default"
    )
    assert "8-bit" in " ".join(xray.warnings)
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
    image.SetSpacing((1.5, 1.75))  # x, y
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
    xray = read_xray(tmp_path / f"x{suffix}", 90.0)
    np.testing.assert_array_equal(xray.image, integrals)
    assert xray.view.pixel_mm == pytest.approx((1.75, 1.5))


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
    assert "image: lossy compression" in xray.warnings


def test_the_patient_key_is_one_way_and_depends_on_the_issuer(tmp_path):
    keys = [
        read_xray(write_dicom(tmp_path / "a.dcm", IssuerOfPatientID=issuer)).patient_key for issuer in ("A", "A", "B")
    ]
    assert keys[0] == keys[1] != keys[2]
    assert "4711" not in keys[0]
    assert read_xray(write_dicom(tmp_path / "n.dcm", PatientID="")).patient_key is None


def test_real_radiographs_are_read(shared_data):
    files = sorted((shared_data / "xray").glob("p*_frontal.*"))
    assert len(files) == 6
    for file in files:
        xray = read_xray(file, 0.0, GeometryOverrides(pixel_mm=0.4))
        height, width = xray.image.shape
        spine = np.median(xray.image[height // 2 :, int(0.45 * width) : int(0.55 * width)])
        assert spine > np.median(xray.image), f"{file.name}: the spine must be brighter than the rest"
