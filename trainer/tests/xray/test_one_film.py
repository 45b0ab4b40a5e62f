"""An encoding must not change the result: one film in every transfer syntax and picture format gives the same X-ray."""

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import AllTransferSyntaxes
from torso import (
    ENCODERS,
    FALLING,
    PICTURE_FILES,
    PIXEL_MM,
    SYNTAXES,
    TOP,
    UPSIDE_DOWN,
    dicom,
    eight_bits,
    encoded,
    lut,
    torso,
    without_preamble,
)

from clsdm.errors import InputError
from clsdm.files.dicom_pixels import _by_itk
from clsdm.geometry.view import View
from clsdm.xray.image import XRay
from clsdm.xray.read import GeometryOverrides, inspect_xray, picture_of, read_xray

VIEW = View(0.0, 1600.0, 1800.0, 200, 200, (PIXEL_MM, PIXEL_MM))
OPTIONS = GeometryOverrides(pixel_mm=PIXEL_MM, source_axis_mm=1600.0, source_detector_mm=1800.0)


def read(path) -> XRay:
    if path.suffix == ".dcm":
        return read_xray(path, default_angle_deg=0.0)
    return read_xray(path, 0.0, OPTIONS)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("shown", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_transfer_syntax_changes_nothing(tmp_path, syntax, shown):
    xray = read(SYNTAXES[syntax](PhotometricInterpretation=shown)(tmp_path))
    expected = torso().astype(float) if shown == "MONOCHROME2" else -torso().astype(float)
    assert correlation(xray.image, expected) > 0.999
    assert (xray.valid is None, xray.view) == (True, VIEW)


def test_every_transfer_syntax_that_is_decoded_here_is_tried(tmp_path):
    tried = {pydicom.dcmread(SYNTAXES[name]()(tmp_path)).file_meta.TransferSyntaxUID for name in SYNTAXES}
    assert tried == {syntax for syntax in AllTransferSyntaxes if _is_decoded(syntax)}


def _is_decoded(syntax: str) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


@pytest.mark.parametrize(
    "syntax", [name for name in SYNTAXES if name not in ENCODERS or "lossless" in name.replace("near lossless", "")]
)
def test_modality_lut_and_padding_hold_in_every_syntax(tmp_path, syntax):
    padded = int(np.median(torso()[torso() > 0]))
    tags = {"ModalityLUTSequence": [FALLING], "PixelPaddingValue": padded}
    if syntax in ("explicit big endian", "implicit little endian"):
        tags["ModalityLUTSequence"][0]["LUTData"].VR = "US"
    xray = read(SYNTAXES[syntax](**tags)(tmp_path))
    np.testing.assert_array_equal(xray.image, TOP - torso().astype(np.float32))
    np.testing.assert_array_equal(xray.valid, torso() != padded)


@pytest.mark.parametrize("kind", PICTURE_FILES)
def test_a_picture_format_changes_nothing(tmp_path, kind):
    xray = read(PICTURE_FILES[kind](tmp_path))
    assert correlation(xray.image, torso()) > 0.999
    assert (xray.valid is None, xray.view) == (True, VIEW)


@pytest.mark.parametrize("syntax", [name for name in ENCODERS if name[0] == "J"])  # no HTJ2K there
@pytest.mark.parametrize("shown", ["MONOCHROME1", "MONOCHROME2"])
def test_where_only_itk_decodes_the_stored_values_are_the_same(tmp_path, syntax, shown):
    tags = {"PhotometricInterpretation": shown, "RescaleSlope": 2, "RescaleIntercept": -1000}
    dataset = pydicom.dcmread(SYNTAXES[syntax](**tags)(tmp_path))
    decoded = _by_itk(dataset, 1)
    assert decoded is not None
    np.testing.assert_allclose(decoded, dataset.pixel_array, atol=1)


@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        (None, {"Modality": "DR"}),
        (None, {"Modality": "RTIMAGE"}),
        (None, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"}),
        (None, {"WindowCenter": 2048, "WindowWidth": 100}),
        (UPSIDE_DOWN, {"VOILUTSequence": [FALLING]}),
        (UPSIDE_DOWN, {"VOILUTSequence": [FALLING], "PresentationIntentType": "FOR PRESENTATION", "Modality": "DX"}),
        (UPSIDE_DOWN, {"ModalityLUTSequence": [FALLING]}),
        (UPSIDE_DOWN, {"RescaleSlope": -1, "RescaleIntercept": TOP, "RescaleType": "US"}),
        (
            UPSIDE_DOWN,
            {
                "RescaleSlope": -1,
                "RescaleIntercept": TOP,
                "PixelIntensityRelationship": "LOG",
                "PixelIntensityRelationshipSign": 1,
                "PresentationIntentType": "FOR PROCESSING",
            },
        ),
        (
            None,
            {"CollimatorShape": "RECTANGULAR", "CollimatorLeftVerticalEdge": -80, "CollimatorRightVerticalEdge": 80},
        ),
        (
            None,
            {
                "CollimatorShape": "RECTANGULAR",
                "CollimatorLeftVerticalEdge": 60,
                "CollimatorRightVerticalEdge": 90,
                "CollimatorUpperHorizontalEdge": 60,
                "CollimatorLowerHorizontalEdge": 90,
            },
        ),
        (None, {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": None}),
        (None, {"ShutterShape": "CIRCULAR"}),
        (None, {"Modality": "RF"}),
        (UPSIDE_DOWN, {"Modality": "RF"}),
        (UPSIDE_DOWN, {"Modality": "XA", "PhotometricInterpretation": "MONOCHROME1"}),
        (None, {"DistanceSourceToPatient": 1746.0, "Modality": "DX"}),
        (None, {"ImagerPixelSpacing": None, "PixelSpacing": [PIXEL_MM, PIXEL_MM]}),
        (None, {"PatientOrientation": ["L", "F"], "ViewPosition": None}),
    ],
)
def test_tags_that_say_the_same_otherwise_give_the_same_x_ray(tmp_path, pixels, tags):
    xray = read(dicom(pixels, **tags)(tmp_path))
    assert correlation(xray.image, torso()) > 0.999999
    assert (xray.valid is None, xray.view) == (True, VIEW)


@pytest.mark.parametrize("meta", [True, False])
def test_dicom_without_its_preamble_is_read(tmp_path, meta):
    np.testing.assert_array_equal(read(without_preamble(meta)(tmp_path)).image, torso())


def test_a_grey_image_in_colours_of_a_camera_is_read(tmp_path):
    path, stream = encoded("JPEG baseline")(tmp_path), io.BytesIO()
    Image.fromarray(eight_bits()).convert("RGB").save(stream, "JPEG", quality=95)
    dataset = pydicom.dcmread(path)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_FULL_422", 0
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset.save_as(path)
    xray = read(path)
    assert correlation(xray.image, torso()) > 0.999
    assert any("3 channels" in warning for warning in xray.warnings)


def test_a_grey_palette_is_read(tmp_path):
    ramp = np.arange(256, dtype="<u2")[::-1] * 257
    tags = {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16] for colour in ("Red", "Green", "Blue")}
    tags |= {f"{colour}PaletteColorLookupTableData": ramp.tobytes() for colour in ("Red", "Green", "Blue")}
    pixels = np.round((TOP - torso()) / TOP * 255).astype(np.uint8)
    path = dicom(pixels, BitsStored=8, HighBit=7, PhotometricInterpretation="PALETTE COLOR", **tags)(tmp_path)
    assert correlation(read(path).image, torso()) > 0.999


def test_one_frame_of_a_run_is_chosen(tmp_path):
    frames = np.stack((torso()[::-1], torso(), torso()[:, ::-1]))
    path = dicom(frames, Rows=200, Columns=200, NumberOfFrames=3)(tmp_path)
    with pytest.raises(InputError, match=r"the file holds 3 images; choose one with --frame 1 to 3"):
        read(path)
    with pytest.raises(InputError, match="image 4 is asked for; the file holds images 1 to 3"):
        read_xray(path, 0.0, GeometryOverrides(frame=4))
    np.testing.assert_array_equal(read_xray(path, 0.0, GeometryOverrides(frame=2)).image, torso())
    size, picture = picture_of(path, frame=2)
    assert size == (200, 200)
    assert correlation(picture.astype(float), torso()) > 0.99
    with pytest.raises(InputError, match="3 images"):
        picture_of(path)


def test_a_sigmoid_window_is_followed_for_presentation(tmp_path):
    tags = {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"}
    path = dicom(PresentationIntentType="FOR PRESENTATION", Modality="DX", **tags)(tmp_path)
    shown = 1.0 / (1.0 + np.exp(-4.0 * (torso() - 2000.0) / 1500.0))
    np.testing.assert_allclose(read(path).image, shown, atol=1e-6)


@pytest.mark.parametrize(("function", "low", "high"), [(None, 500.0, 2499.0), ("LINEAR_EXACT", 500.0, 2500.0)])
def test_values_beyond_the_window_are_clipped_for_presentation(tmp_path, function, low, high):
    tags = {"WindowCenter": 1500, "WindowWidth": 2000, "VOILUTFunction": function}
    path = dicom(PresentationIntentType="FOR PRESENTATION", Modality="DX", **tags)(tmp_path)
    np.testing.assert_array_equal(read(path).image, np.clip(torso().astype(np.float32), low, high))


def test_a_window_that_hides_the_image_is_not_used(tmp_path):
    tags = {"WindowCenter": 4000, "WindowWidth": 20, "PresentationIntentType": "FOR PRESENTATION"}
    xray = read(dicom(**tags)(tmp_path))
    np.testing.assert_array_equal(xray.image, torso())
    assert any("without contrast; not used" in warning for warning in xray.warnings)


def test_log_data_of_fluoroscopy_go_back_to_the_beam_through_their_lut(tmp_path):
    """Stored: 1000 log10 of the beam; the LUT makes the beam of it."""
    stored = np.round(3000.0 - torso() / TOP * 2000.0).astype(np.uint16)
    beam = lut(4096, 0, [min(65535, round(10 ** (value / 1000.0) * 16)) for value in range(4096)])
    tags = {"Modality": "XA", "PixelIntensityRelationship": "LOG", "ModalityLUTSequence": [beam]}
    xray = read(dicom(stored, **tags)(tmp_path))
    assert correlation(xray.image, torso()) > 0.9999


def test_a_tag_nobody_needs_may_hold_anything(tmp_path):
    path = dicom(WindowCenter="1234", DetectorPrimaryAngle="77")(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"1234", b"alot").replace(b"77", b"?!"))
    xray = read(path)
    np.testing.assert_array_equal(xray.image, torso())
    assert {w for w in xray.warnings if "unreadable" in w} == {
        "DetectorPrimaryAngle is unreadable; not used",
        "WindowCenter is unreadable; not used",
    }


def test_the_users_value_wins_over_a_malformed_tag(tmp_path):
    path = dicom(DistanceSourceToDetector="1812.5")(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"1812.5", b"1812,5"))
    with pytest.raises(
        InputError, match="DistanceSourceToDetector is not a number; correct it or give --source-detector"
    ):
        read(path)
    xray = read_xray(path, 0.0, GeometryOverrides(source_detector_mm=1800.0))
    assert (xray.view, xray.origins["source_detector_mm"]) == (VIEW, "user")


@pytest.mark.parametrize("orientation", [1, 6, 8])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_the_header_of_a_turned_picture_has_the_size_it_is_shown_with(tmp_path, kind, orientation):
    part = np.ascontiguousarray(eight_bits()[:, :150])
    stored = {1: part, 6: np.rot90(part), 8: np.rot90(part, -1)}[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = image.getexif()
    exif[274] = orientation
    image.save(tmp_path / f"x.{kind}", exif=exif)
    header = inspect_xray(tmp_path / f"x.{kind}", 0.0, OPTIONS)
    xray = read_xray(tmp_path / f"x.{kind}", 0.0, OPTIONS)
    assert (header.rows, header.cols) == xray.image.shape == part.shape
    np.testing.assert_array_equal(xray.image, part)


@pytest.mark.parametrize("syntax", [name for name in ENCODERS if "lossless" in name.replace("near lossless", "")])
def test_values_keep_their_sign_whatever_compresses_them(tmp_path, syntax):
    signed = torso().astype(np.int16) - 2000
    path = dicom(signed, PixelRepresentation=1)(tmp_path)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{ENCODERS[syntax][0]}"
    dataset.PixelData = encapsulate([bytes(ENCODERS[syntax][2]((signed & 0xFFF).astype(np.uint16)))])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    np.testing.assert_array_equal(read(path).image, signed)
