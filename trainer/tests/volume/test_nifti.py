"""NIfTI's affine by one rule: against nibabel, with what is said where two forms disagree."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clsdm.errors import InputError
from clsdm.volume.nifti import read_header
from clsdm.volume.read import read_ct

HU = np.random.default_rng(0).integers(-1000, 900, (38, 33, 30)).astype(np.int16)  # (x, y, z), as nibabel has it
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine(seed: int, flip: bool = False) -> np.ndarray:
    turn = Rotation.random(random_state=seed).as_matrix() @ np.diag([-1.0 if flip else 1.0, 1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn * (4.0, 5.0, 6.0), (-30.0, 20.0, 100.0)
    return matrix


def save(path: Path, sform: np.ndarray | None, qform: np.ndarray | None, kind: type = nibabel.Nifti1Image) -> Path:
    image = kind(HU, None)
    image.header.set_zooms((4.0, 5.0, 6.0))
    image.set_qform(qform, code=0 if qform is None else 1)
    image.set_sform(sform, code=0 if sform is None else 2)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def lps_of(path: Path) -> np.ndarray:
    ct = read_ct(path)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = ct.direction * ct.spacing_mm, ct.origin_mm
    np.testing.assert_array_equal(ct.hu, HU.T)
    return matrix


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("forms", ["sform", "qform", "both"])
def test_the_affine_is_nibabels(tmp_path: Path, forms: str, flip: bool, kind: type):
    wanted = affine(3, flip)
    path = save(tmp_path / "ct.nii.gz", wanted * (forms != "qform") if forms != "qform" else None,
                wanted if forms != "sform" else None, kind)  # fmt: skip
    np.testing.assert_allclose(lps_of(path), RAS_TO_LPS @ nibabel.load(path).affine, atol=1e-4)
    np.testing.assert_allclose(lps_of(path), RAS_TO_LPS @ wanted, atol=1e-4)
    assert read_ct(path).notes == ()


def test_where_the_forms_disagree_the_sform_is_used_and_the_distance_said(tmp_path: Path):
    path = save(tmp_path / "ct.nii", affine(1), affine(2))
    np.testing.assert_allclose(lps_of(path), RAS_TO_LPS @ affine(1), atol=1e-4)
    (note,) = read_ct(path).notes
    assert "sform and qform" in note
    assert "the sform was used" in note


def test_a_file_without_any_form_says_how_it_is_taken(tmp_path: Path):
    path = save(tmp_path / "ct.nii", None, None)
    np.testing.assert_allclose(lps_of(path)[:3, :3], np.diag([4.0, 5.0, 6.0]), atol=1e-5)
    (note,) = read_ct(path).notes
    assert "says no orientation" in note


def test_metres_and_micrometres_become_millimetres(tmp_path: Path):
    for unit, factor in (("meter", 0.001), ("micron", 1000.0)):
        image = nibabel.Nifti1Image(HU, np.diag([factor, factor, factor, 1 / 4.0]) * 4.0)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / f"{unit}.nii")
        assert read_ct(tmp_path / f"{unit}.nii").spacing_mm == pytest.approx((4.0, 4.0, 4.0))


def test_metres_that_are_not_said_to_be_are_asked_about(tmp_path: Path):
    nibabel.save(nibabel.Nifti1Image(HU, np.diag([0.004, 0.004, 0.004, 1.0])), tmp_path / "ct.nii")
    with pytest.raises(InputError, match=r"voxel spacing along x is 0\.004 mm; expected .* in mm\?"):
        read_ct(tmp_path / "ct.nii")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_slope_type_and_byte_order_give_the_values_of_nibabel(tmp_path: Path, dtype: type, order: str):
    stored = np.random.default_rng(0).integers(0, 200, (8, 8, 8)).astype(dtype)
    image = nibabel.Nifti1Image(stored, np.diag([4.0, 4.0, 4.0, 1.0]), nibabel.Nifti1Header(endianness=order))
    image.set_data_dtype(dtype)
    nibabel.save(image, tmp_path / "ct.nii")
    data = bytearray((tmp_path / "ct.nii").read_bytes())
    data[112:120] = np.array([10.0, -1024.0], f"{order}f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "ct.nii").write_bytes(data)
    wanted = nibabel.load(tmp_path / "ct.nii").get_fdata().T
    np.testing.assert_allclose(read_ct(tmp_path / "ct.nii").hu, wanted, atol=1e-3)


def test_rows_run_up_as_dcm2niix_writes_them_and_down_as_itk_does(tmp_path: Path):
    """dcm2niix turns the rows of a film round, whose second axis then runs to NIfTI's +y."""
    film = np.zeros((5, 6, 1), np.int16)
    up, down = np.diag([2.0, 2.0, 1.0, 1.0]), np.diag([-2.0, -2.0, 1.0, 1.0])
    for name, matrix, expected in (("up", up, True), ("down", down, False)):
        nibabel.save(nibabel.Nifti1Image(film, matrix), tmp_path / f"{name}.nii")
        assert read_header(tmp_path / f"{name}.nii").rows_run_up is expected
    uncoded = nibabel.Nifti1Image(film, up)
    uncoded.set_sform(up, code=0)
    uncoded.set_qform(up, code=0)
    nibabel.save(uncoded, tmp_path / "uncoded.nii")
    assert read_header(tmp_path / "uncoded.nii").rows_run_up
