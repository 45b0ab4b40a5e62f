"""DICOM CTs: one stack of slices with the right numbers in the right places, or one line that says why not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from ct_series import edit, write_series
from one_line import refusal
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, RLELossless, SecondaryCaptureImageStorage

from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct
from clsdm.volume.write import write_ct

SHAPE = (24, 40, 48)
SPACING_MM = (8.0, 7.0, 9.0)
ORIGIN_MM = (-190.0, -130.0, 40.0)
SLICE_9_MM = ORIGIN_MM[2] + 9 * SPACING_MM[2]


def tissue(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A smooth body with a denser blob at its left, anterior and superior; HU at positions in mm (LPS)."""
    body = np.exp(-((((x + 5) / 110) ** 2 + ((y - 8) / 80) ** 2 + ((z - 145) / 90) ** 2) ** 2))
    blob = np.exp(-(((x - 50) ** 2 + (y + 20) ** 2 + (z - 180) ** 2) / 2 / 22**2))
    return np.round(-1000.0 + 1040.0 * body + 500.0 * blob).astype(np.float32)


def sampled(direction: np.ndarray, path: np.ndarray) -> CTVolume:
    """The body on slices of this orientation, each one ``path`` (mm, LPS) from the one before."""
    z, y, x = np.indices(SHAPE, dtype=float)
    position = np.array(ORIGIN_MM) + x[..., None] * SPACING_MM[0] * direction[:, 0]
    position = position + y[..., None] * SPACING_MM[1] * direction[:, 1] + z[..., None] * path
    return CTVolume(tissue(*np.moveaxis(position, -1, 0)), SPACING_MM, ORIGIN_MM, direction)


@pytest.fixture
def ct() -> CTVolume:
    return sampled(np.eye(3), np.array([0.0, 0.0, SPACING_MM[2]]))


def test_a_folder_is_read_at_any_depth_with_its_affine(ct: CTVolume, tmp_path: Path):
    write_series(tmp_path / "study" / "series", ct)
    (tmp_path / "study" / "LICENSE").write_text("text")
    back = read_ct(tmp_path)
    np.testing.assert_array_equal(back.hu, ct.hu)
    assert (back.spacing_mm, back.origin_mm, back.notes) == (pytest.approx(SPACING_MM), pytest.approx(ORIGIN_MM), ())


def test_missing_and_doubled_slices_are_refused_with_their_number(ct: CTVolume, tmp_path: Path):
    paths = write_series(tmp_path / "missing", ct)
    for path in paths[5:8]:
        path.unlink()
    assert "3 missing slices" in refusal(read_ct, tmp_path / "missing")
    paths = write_series(tmp_path / "doubled", ct)
    for at in (3, 9):
        edit(paths[at], ImagePositionPatient=pydicom.dcmread(paths[at + 1]).ImagePositionPatient)
    assert "2 doubled slices" in refusal(read_ct, tmp_path / "doubled")


def test_a_file_that_was_copied_is_taken_once(ct: CTVolume, tmp_path: Path):
    paths = write_series(tmp_path, ct)
    (tmp_path / "copy of.dcm").write_bytes(paths[3].read_bytes())
    back = read_ct(tmp_path)
    np.testing.assert_array_equal(back.hu, ct.hu)
    assert back.notes == ("1 images were there twice",)


@pytest.mark.parametrize("degrees", [-20.0, 12.0])
def test_a_tilted_gantry_puts_the_patient_where_he_is(degrees: float, tmp_path: Path, ct: CTVolume):
    """Slices turned about x, stacked along the table: read as they are they would shear the patient."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    direction = np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    tilted = sampled(direction, np.array([0.0, 0.0, SPACING_MM[2]]))
    for at, path in enumerate(write_series(tmp_path, tilted)):
        edit(path, ImagePositionPatient=[*ORIGIN_MM[:2], ORIGIN_MM[2] + at * SPACING_MM[2]])
    back = read_ct(tmp_path)
    assert f"gantry tilt of {abs(degrees)} degrees" in back.notes[0]
    z, y, x = np.indices(back.hu.shape, dtype=float)
    position = np.array(back.origin_mm) + (np.stack((x, y, z), -1) * back.spacing_mm) @ back.direction.T
    expected = tissue(*np.moveaxis(position, -1, 0))
    inside = back.hu > -1020.0  # what the tilted slices did not reach is air
    assert inside.mean() > 0.6
    assert np.abs(back.hu - expected)[inside].mean() < 6.0
    assert np.abs(back.hu - expected)[inside].max() < 60.0


def test_a_truncated_slice_is_refused_and_named(ct: CTVolume, tmp_path: Path):
    paths = write_series(tmp_path, ct)
    edit(paths[7], PixelData=pydicom.dcmread(paths[7]).PixelData[:1000])
    said = refusal(read_ct, tmp_path)
    assert said.startswith(str(paths[7]))
    assert "found 1000 bytes, expected 3840" in said


@pytest.mark.parametrize("tags", [{"ImageType": ["DERIVED", "PRIMARY", "LOCALIZER"]}, {"ScanOptions": "SCOUT MODE"}])
def test_a_scout_in_the_series_is_no_slice(tags: dict[str, object], ct: CTVolume, tmp_path: Path):
    paths = write_series(tmp_path, ct)
    scout = tmp_path / "scout.dcm"
    scout.write_bytes(paths[0].read_bytes())
    edit(scout, SOPInstanceUID="1.2.3", ImageOrientationPatient=[1, 0, 0, 0, 0, -1], **tags)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, ct.hu)


@pytest.mark.parametrize(
    ("at", "tags", "said"),
    [
        (5, {"PatientID": "somebody else"}, "one series holds images of 2 patients (their PatientIDs differ)"),
        (9, {"ImagePositionPatient": [ORIGIN_MM[0] + 12.0, ORIGIN_MM[1], SLICE_9_MM]}, "beside the line of the others"),
        (9, {"ImagePositionPatient": [*ORIGIN_MM[:2], SLICE_9_MM + 2.0]}, "uneven slice spacing"),
        (9, {"ImagePositionPatient": None}, "a slice has no ImagePositionPatient"),
        (9, {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "1 images of another orientation or size"),
        (9, {"PixelSpacing": [1.0, 1.0]}, "1 images of another orientation or size"),
        (9, {"PixelSpacing": [0.0, 0.0]}, "PixelSpacing of a slice is not valid"),
        (9, {"NumberOfFrames": 7}, "multi-frame image without per-frame positions"),
        (0, {"NumberOfFrames": "0"}, "NumberOfFrames is 0; expected 1 or more"),
        (0, {"NumberOfFrames": "-1"}, "NumberOfFrames is -1; expected 1 or more"),
        (3, {"RescaleType": "MGML"}, "RescaleType of a slice is MGML; expected HU"),
    ],
)
def test_one_slice_that_does_not_belong_to_the_others_is_not_lost_without_a_word(at, tags, said, ct, tmp_path):
    edit(write_series(tmp_path, ct)[at], **tags)
    assert said in refusal(read_ct, tmp_path)


def test_a_spacing_in_cm_is_asked_about(ct: CTVolume, tmp_path: Path):
    tenth = replace(ct, spacing_mm=(ct.spacing_mm[0] / 10, ct.spacing_mm[1] / 10, ct.spacing_mm[2]))
    write_series(tmp_path, tenth)
    assert "is its spacing in mm?" in read_ct(tmp_path).notes[0]


def test_an_unlabelled_image_across_the_others_is_left_out_and_said(ct: CTVolume, tmp_path: Path):
    paths = write_series(tmp_path, ct)
    (tmp_path / "across.dcm").write_bytes(paths[0].read_bytes())
    edit(tmp_path / "across.dcm", SOPInstanceUID="1.2.3", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    back = read_ct(tmp_path)
    np.testing.assert_array_equal(back.hu, ct.hu)
    assert "1 images of another orientation" in back.notes[0]


@pytest.mark.parametrize("tag", [("AcquisitionNumber", 1, 2), ("ConvolutionKernel", "B30f", "B70f")])
def test_two_acquisitions_of_one_series_are_listed_and_one_can_be_chosen(tag, ct: CTVolume, tmp_path: Path):
    name, first, second = tag
    uid = "1.2.826.0.1.3680043.8.498.1"
    write_series(tmp_path, ct, "a", SeriesInstanceUID=uid, SeriesNumber=3, **{name: first})
    later = CTVolume(np.maximum(ct.hu - 40.0, -1000.0), ct.spacing_mm, ct.origin_mm)
    write_series(tmp_path, later, "b", SeriesInstanceUID=uid, SeriesNumber=3, **{name: second})
    said = refusal(read_ct, tmp_path)
    assert all(part in said for part in ("3/1 (24 slices", "3/2 (24 slices", "--series"))
    np.testing.assert_array_equal(read_ct(tmp_path, "3/2").hu, later.hu)
    assert "fits 2 series" in refusal(read_ct, tmp_path, "3")


def test_several_series_are_named_with_their_slices_and_one_is_chosen(ct: CTVolume, tmp_path: Path):
    write_series(tmp_path / "lung", ct, SeriesNumber=4, SeriesDescription="Lung 1.0 B70f")
    soft = CTVolume(ct.hu[4:], ct.spacing_mm, ct.origin_mm)
    paths = write_series(tmp_path / "soft", soft, SeriesNumber=3, SeriesDescription="Chest 5.0 B31f")
    monitor = CTVolume(ct.hu[:2], ct.spacing_mm, ct.origin_mm)
    write_series(tmp_path / "monitoring", monitor, SeriesNumber=9)
    said = refusal(read_ct, tmp_path)
    assert "4 'Lung 1.0 B70f' (24 slices" in said
    assert "3 'Chest 5.0 B31f' (20 slices" in said
    uid = str(pydicom.dcmread(paths[0]).SeriesInstanceUID)
    assert uid in said
    for asked in ("3", uid):
        back = read_ct(tmp_path, asked)
        np.testing.assert_array_equal(back.hu, soft.hu)
        assert back.notes == ("1 series of fewer than 4 slices were left out",)
    assert "series 7 fits 0" in refusal(read_ct, tmp_path, "7")


@pytest.mark.parametrize(("numbers", "way"), [((1, 2), "by its number or UID"), ((1, 1), "by its UID")])
def test_a_series_is_chosen_by_its_number_where_that_tells_it_from_the_others(
    numbers, way, ct: CTVolume, tmp_path: Path
):
    for name, number in zip("ab", numbers, strict=True):
        write_series(tmp_path / name, ct, SeriesNumber=number)
    assert refusal(read_ct, tmp_path).endswith(f"choose one with --series, {way}")


def test_a_file_of_one_volume_has_no_series_to_choose(ct: CTVolume, tmp_path: Path):
    write_ct(ct, tmp_path / "ct.nrrd")
    assert "holds one volume" in refusal(read_ct, tmp_path / "ct.nrrd", "3")


def test_captures_and_radiographs_beside_the_slices_are_none(ct: CTVolume, tmp_path: Path):
    write_series(tmp_path / "ct", ct)
    write_series(tmp_path / "dose", ct, SOPClassUID=SecondaryCaptureImageStorage)
    write_series(tmp_path / "film", ct, Modality="DX")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, ct.hu)


def test_a_damaged_file_is_left_out_and_said(ct: CTVolume, tmp_path: Path):
    paths = write_series(tmp_path, ct)
    paths[-1].write_text("no such thing")
    (tmp_path / "README.txt").write_text("which is none")
    assert read_ct(tmp_path).notes == ("1 damaged DICOM files were left out",)
    paths[10].write_bytes(paths[10].read_bytes()[:140] + b"\xff" * 60)
    assert "1 missing slices" in refusal(read_ct, tmp_path)
    assert "2 damaged DICOM files were left out" in refusal(read_ct, tmp_path)


def test_every_slice_has_its_own_slope_and_a_compressed_one_is_the_same(ct: CTVolume, tmp_path: Path):
    paths = write_series(tmp_path, ct)
    for at, path in enumerate(paths):
        item = pydicom.dcmread(path)
        item.PixelData = ((ct.hu[at] + 1100.0) * (1 + at % 2)).astype(np.uint16).tobytes()
        item.RescaleSlope, item.RescaleIntercept = 1.0 / (1 + at % 2), -1100
        if at % 3 == 0:
            item.compress(RLELossless)
        item.save_as(path)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, ct.hu)


def test_slices_without_the_header_of_part_10_are_read(ct: CTVolume, tmp_path: Path):
    for path in write_series(tmp_path, ct):
        data = path.read_bytes()
        path.write_bytes(data[data.index(b"\x08\x00\x08\x00CS") :])  # from ImageType on
    np.testing.assert_array_equal(read_ct(tmp_path).hu, ct.hu)


def enhanced(path: Path, ct: CTVolume, order: np.ndarray) -> Path:
    """An enhanced CT of one file, its frames in another order than in space."""
    (first, *others) = write_series(path.parent / "parts", ct)
    item = pydicom.dcmread(first)
    for other in (first, *others):
        other.unlink()
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    del (
        item.ImagePositionPatient,
        item.ImageOrientationPatient,
        item.PixelSpacing,
        item.RescaleSlope,
        item.RescaleIntercept,
    )
    measures, turn, values, shared = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [ct.spacing_mm[1], ct.spacing_mm[0]]
    turn.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 0.5, -1000, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([turn])
    shared.PixelValueTransformationSequence = Sequence([values])
    frames = []
    for at in order:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [*ct.origin_mm[:2], ct.origin_mm[2] + at * ct.spacing_mm[2]]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    item.SharedFunctionalGroupsSequence = Sequence([shared])
    item.PerFrameFunctionalGroupsSequence = Sequence(frames)
    item.NumberOfFrames = len(order)
    item.PixelData = ((ct.hu[order] + 1000.0) * 2).astype(np.uint16).tobytes()
    item.save_as(path)
    return path


def test_an_enhanced_file_is_a_volume_whatever_the_order_of_its_frames(ct: CTVolume, tmp_path: Path):
    path = enhanced(tmp_path / "ct.dcm", ct, np.random.default_rng(0).permutation(SHAPE[0]))
    back = read_ct(path)
    np.testing.assert_array_equal(back.hu, ct.hu)
    assert (back.spacing_mm, back.origin_mm) == (pytest.approx(SPACING_MM), pytest.approx(ORIGIN_MM))
