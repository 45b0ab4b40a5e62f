"""CT volumes: affines survive files and resampling, bad files are refused."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from one_line import refusal
from scipy.spatial.transform import Rotation

from clsdm.errors import InputError
from clsdm.volume.body import body_centre_mm, body_mask
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.cube import to_cube
from clsdm.volume.read import read_ct
from clsdm.volume.write import write_ct

OBLIQUE = Rotation.from_euler("xyz", [12, -25, 40], degrees=True).as_matrix()
DIRECTIONS = {
    "LPS": np.eye(3),
    "RAS": np.diag([-1.0, -1.0, 1.0]),
    "feet first": np.diag([1.0, -1.0, -1.0]),
    "sagittal": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "oblique": OBLIQUE,
}


@pytest.fixture
def oblique_ct() -> CTVolume:
    """Random HU, nothing symmetric about the affine."""
    hu = np.random.default_rng(1).integers(-1000, 1500, (7, 6, 5)).astype(np.float32)
    return CTVolume(hu, (5.7, 6.3, 7.5), (-31.5, 12.25, 140.0), OBLIQUE)


def ball_at(position_mm: tuple[float, float, float], direction: np.ndarray) -> CTVolume:
    """An anisotropic scan centred at (10, -20, 30) mm with a smooth ball at an LPS position."""
    shape, spacing = np.array([40, 60, 56]), np.array([2.0, 2.5, 3.5])  # of (x, y, z) index axes
    origin = np.array([10.0, -20.0, 30.0]) - direction @ ((shape - 1) / 2 * spacing)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape[::-1]), indexing="ij")[::-1], -1)
    lps = origin + (index * spacing) @ direction.T
    distance = np.linalg.norm(lps - np.array(position_mm), axis=-1)
    hu = -1000.0 + 1000.0 * np.exp(-0.5 * (distance / 9.0) ** 2)
    return CTVolume(hu.astype(np.float32), tuple(spacing), tuple(origin), direction)


def centroid_mm(ct: CTVolume) -> np.ndarray:
    """LPS centre of mass of everything denser than air."""
    weight = np.clip(ct.hu + 990.0, 0.0, None)
    index = [(weight * axis).sum() / weight.sum() for axis in np.indices(ct.hu.shape)][::-1]
    return np.array(ct.origin_mm) + ct.direction @ (np.array(index) * np.array(ct.spacing_mm))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".NII.GZ"])
def test_a_volume_comes_back_from_a_file_with_its_affine(tmp_path, oblique_ct, suffix):
    write_ct(oblique_ct, tmp_path / f"ct{suffix}")
    back = read_ct(tmp_path / f"ct{suffix}")
    np.testing.assert_array_equal(back.hu, oblique_ct.hu)
    np.testing.assert_allclose(back.spacing_mm, oblique_ct.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(back.origin_mm, oblique_ct.origin_mm, rtol=1e-6)
    np.testing.assert_allclose(back.direction, oblique_ct.direction, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [f"ct{suffix}"]


def test_hu_are_rounded_to_whole_numbers_unless_decimals_are_asked_for(tmp_path):
    hu = np.full((4, 4, 4), -1000.0, dtype=np.float32)
    hu[0, 0, :3] = [-0.6, 10.4, 10.6]
    ct = CTVolume.on_grid(hu, Grid(4, 6.0))
    write_ct(ct, tmp_path / "whole.nii.gz")
    write_ct(ct, tmp_path / "exact.nii.gz", decimals=True)
    assert read_ct(tmp_path / "whole.nii.gz").hu[0, 0, :3].tolist() == [-1.0, 10.0, 11.0]
    np.testing.assert_array_equal(read_ct(tmp_path / "exact.nii.gz").hu, hu)
    assert sitk.ReadImage(str(tmp_path / "whole.nii.gz")).GetPixelID() == sitk.sitkInt16


def test_a_canonical_cube_is_centred_where_it_is_told():
    ct = CTVolume.on_grid(np.zeros((8, 8, 8)), Grid(8, 5.0), (11.0, -7.0, 300.0))
    assert ct.centre_mm == pytest.approx((11.0, -7.0, 300.0))
    assert ct.to_sitk().TransformContinuousIndexToPhysicalPoint((3.5, 3.5, 3.5)) == pytest.approx((11.0, -7.0, 300.0))


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr", ".png", ".txt", ""])
def test_a_format_that_one_file_cannot_hold_is_refused_before_anything_is_written(tmp_path, oblique_ct, suffix):
    with pytest.raises(InputError, match=r"\.nii\.gz, \.nii, \.nrrd, \.mha"):
        write_ct(oblique_ct, tmp_path / "new" / f"ct{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=list(DIRECTIONS))
def test_the_cube_keeps_a_ball_in_its_place_whatever_the_orientation_of_the_scan(direction):
    scan = ball_at((22.0, -38.0, 47.0), direction)
    cube = to_cube(scan, Grid(32, 6.0), scan.centre_mm)
    np.testing.assert_array_equal(cube.direction, np.eye(3))
    np.testing.assert_allclose(cube.centre_mm, (10.0, -20.0, 30.0), atol=1e-9)
    np.testing.assert_allclose(centroid_mm(cube), (22.0, -38.0, 47.0), atol=0.2)
    # Array order is (z, y, x) towards superior, posterior, left of the centre.
    brightest = np.unravel_index(cube.hu.argmax(), cube.hu.shape)
    assert [index > 15.5 for index in brightest] == [True, False, True]


def test_larger_voxels_hold_the_mean_of_the_smaller_ones():
    hu = np.random.default_rng(2).uniform(-1000, 1000, (32, 32, 32))
    cube = to_cube(CTVolume.on_grid(hu, Grid(32, 1.5)), Grid(8, 6.0), (0.0, 0.0, 0.0))
    expected = hu.reshape(8, 4, 8, 4, 8, 4).mean((1, 3, 5))
    np.testing.assert_allclose(cube.hu, expected, atol=0.01)


def test_a_cube_on_the_scans_own_grid_changes_nothing(asymmetric_phantom):
    cube = to_cube(asymmetric_phantom, Grid(64, 6.0), (0.0, 0.0, 0.0))
    np.testing.assert_allclose(cube.hu, asymmetric_phantom.hu, atol=1e-3)


def test_what_lies_outside_the_scan_is_air():
    cube = to_cube(CTVolume.on_grid(np.zeros((8, 8, 8)), Grid(8, 6.0)), Grid(16, 6.0), (0.0, 0.0, 0.0))
    assert (cube.hu[4:12, 4:12, 4:12] == 0.0).all()
    assert (cube.hu[:4] == -1024.0).all()


def test_a_scanners_padding_is_air_and_does_not_darken_its_neighbours():
    hu = np.full((8, 8, 8), -3024.0, dtype=np.float32)
    hu[:, :, 4:] = -1000.0
    cube = to_cube(CTVolume(hu, (3.0, 3.0, 3.0), (-10.5, -10.5, -10.5)), Grid(4, 6.0), (0.0, 0.0, 0.0))
    assert float(cube.hu.min()) >= -1024.0
    assert float(cube.hu[:, :, 3].max()) == pytest.approx(-1000.0)


def test_the_body_contains_its_lungs_but_neither_couch_nor_air():
    y, x = np.mgrid[:48, :64]
    slab = np.full((48, 64), -1000.0)
    slab[((x - 32) / 26) ** 2 + ((y - 20) / 16) ** 2 < 1] = 30.0
    lung = ((x - 20) / 8) ** 2 + ((y - 20) / 8) ** 2 < 1
    slab[lung] = -850.0
    couch = (y >= 42) & (y < 45)
    slab[couch] = 50.0
    mask = body_mask(np.stack([slab] * 6).astype(np.float32))
    assert mask[:, lung].all()
    assert mask[:, 20, 32].all()
    assert not mask[:, couch].any()
    assert not mask[:, 0, 0].any()


def test_air_alone_has_no_body_and_is_centred_on_the_volume():
    ct = CTVolume.on_grid(np.full((6, 6, 6), -1000.0), Grid(6, 5.0), (1.0, 2.0, 3.0))
    assert not body_mask(ct.hu).any()
    assert body_centre_mm(ct) == pytest.approx((1.0, 2.0, 3.0))


def test_the_body_centre_is_the_middle_of_its_box_in_patient_coordinates():
    hu = np.full((12, 30, 30), -1000.0, dtype=np.float32)
    hu[2:8, 5:17, 9:25] = 40.0
    ct = CTVolume(hu, (2.0, 3.0, 4.0), (100.0, -50.0, 7.0), np.diag([-1.0, -1.0, 1.0]))
    assert body_centre_mm(ct) == pytest.approx((100 - 16.5 * 2, -50 - 10.5 * 3, 7 + 4.5 * 4))


# What cannot be read -------------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    """The one line with which ``read_ct`` refuses a file."""
    message = refusal(read_ct, path)
    assert message.startswith(str(path))
    return message


def write_raw(array: np.ndarray, path: Path, *, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))
    return path


def some_hu(shape: tuple[int, ...] = (8, 8, 8)) -> np.ndarray:
    return np.random.default_rng(3).integers(-1000, 1000, shape).astype(np.float32)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_nan_is_refused_and_counted_in_every_format(tmp_path, suffix, kind):
    """ITK's NIfTI reader makes NaN 0 without a word, which would be water."""
    hu = some_hu().astype(kind)
    hu[1, 2, 3], hu[4, 4, :3] = np.inf, np.nan
    message = refused(write_raw(hu, tmp_path / f"nan{suffix}"))
    assert "4 " in message
    assert "NaN or infinite" in message


def test_colour_and_flat_images_are_refused(tmp_path):
    rgb = np.zeros((8, 8, 8, 3), np.uint8)
    assert "3 components" in refused(write_raw(rgb, tmp_path / "rgb.nii.gz", vector=True))
    assert "expected .nii, .nii.gz" in refused(write_raw(np.zeros((64, 64), np.uint8), tmp_path / "film.png"))
    assert "found 2-D" in refused(write_raw(np.zeros((64, 64), np.uint8), tmp_path / "film.nrrd"))
    assert "only (8, 8, 2) voxels" in refused(write_raw(some_hu((2, 8, 8)), tmp_path / "thin.nrrd"))


@pytest.mark.parametrize(
    "values", [(some_hu() + 1000) / 2000, np.zeros((8, 8, 8), np.float32), np.clip(some_hu(), 0, None), some_hu() / 20]
)
def test_values_that_are_not_hu_are_refused(tmp_path, values):
    assert "are not HU" in refused(write_raw(values, tmp_path / "unit.nrrd"))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_sheared_orientation_is_refused(tmp_path, suffix):
    path = tmp_path / f"shear{suffix}"
    if suffix == ".nii.gz":
        nibabel = pytest.importorskip("nibabel")
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        affine[0, 1] = 1.5
        nibabel.save(nibabel.Nifti1Image(some_hu().astype(np.int16), affine), path)
    else:
        image = sitk.GetImageFromArray(some_hu())
        image.SetDirection((1.0, 0.4, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
        sitk.WriteImage(image, str(path))
    assert "orthonormal" in refused(path)
