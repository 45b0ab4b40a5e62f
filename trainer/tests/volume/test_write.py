"""Volumes written a piece at a time are the volumes that ITK reads."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
from processes import needs_full_disk, python

from clsdm.volume import write as image_write
from clsdm.volume.write import Placed, volume_in_steps


def axes(seed: int, *, mirrored: bool) -> np.ndarray:
    """Orthonormal columns that lie in no plane of the patient's."""
    found = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return found * (np.sign(np.linalg.det(found)) * (-1 if mirrored else 1))


def written(path: Path, hu: np.ndarray, placed: Placed) -> sitk.Image:
    assert list(volume_in_steps(path, hu, placed, "RESEARCH ONLY"))[-1] == 1.0
    return sitk.ReadImage(str(path))


@pytest.mark.parametrize("suffix", image_write.SUFFIXES_IN_STEPS)
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_itk_reads_every_voxel_at_its_place(tmp_path, suffix, mirrored, seed, monkeypatch):
    monkeypatch.setattr(image_write, "PIECE_VOXELS", 100)  # several pieces
    hu = np.random.default_rng(seed).uniform(-2000, 3000, (7, 6, 5)).astype(np.float32)
    placed = Placed((0.7, 1.3, 2.5), (-12.5, 40.25, 301.0), axes(seed, mirrored=mirrored).tolist())
    image = written(tmp_path / f"volume{suffix}", hu, placed)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), np.rint(hu))
    np.testing.assert_allclose(image.GetSpacing(), placed.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), placed.origin_mm, rtol=1e-6)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), placed.direction, atol=1e-6)


@pytest.mark.parametrize("unset", [252, 254])
@pytest.mark.parametrize(
    "turn", [axes(0, mirrored=True), np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.diag([1.0, -1, -1])]
)
def test_quaternion_and_matrix_of_nifti_say_the_same(tmp_path: Path, unset: int, turn: np.ndarray) -> None:
    path = tmp_path / "volume.nii.gz"
    written(path, np.zeros((2, 3, 4)), Placed((1, 2, 3), (4, 5, 6), turn.tolist()))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[unset : unset + 2] = b"\0\0"  # the code that says that the one or the other is there
    path.write_bytes(gzip.compress(bytes(content)))
    image = sitk.ReadImage(str(path))
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), turn, atol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), (4, 5, 6), atol=1e-5)


@pytest.mark.parametrize("suffix", image_write.SUFFIXES_IN_STEPS)
def test_the_note_stands_in_the_header(tmp_path: Path, suffix: str) -> None:
    image = written(tmp_path / f"volume{suffix}", np.zeros((2, 3, 4)), Placed((1, 1, 1), (0, 0, 0), np.eye(3).tolist()))
    assert image.GetMetaData("ITK_FileNotes") == "RESEARCH ONLY"


def test_values_that_are_no_short_are_cut_not_wrapped(tmp_path: Path) -> None:
    hu = np.array([[[-1e6, 1e6]]])
    image = written(tmp_path / "volume.nrrd", hu, Placed((1, 1, 1), (0, 0, 0), np.eye(3).tolist()))
    assert sitk.GetArrayFromImage(image).tolist() == [[[-32768, 32767]]]


@needs_full_disk
@pytest.mark.parametrize("suffix", image_write.SUFFIXES_IN_STEPS)
def test_a_full_disk_is_an_error(tmp_path: Path, suffix: str) -> None:
    code = """
import sys
from pathlib import Path
import numpy as np
from clsdm.volume.write import Placed, volume_in_steps
hu = np.random.default_rng(0).normal(0, 300, (40, 40, 40))
list(volume_in_steps(Path(sys.argv[1]), hu, Placed((1, 1, 1), (0, 0, 0), np.eye(3).tolist())))
"""
    assert "OSError: [Errno 27]" in python(code, tmp_path / f"volume{suffix}", largest_file=20_000).stderr
