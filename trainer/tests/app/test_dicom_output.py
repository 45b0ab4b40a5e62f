"""``--dicom``: what a PACS gets, which is valid, says whose it is only when asked to, and lies where the volume lies."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from small_bundle import reconstruct_command, run

import clsdm
from clsdm.app.dicom_output import write_dicom
from clsdm.errors import InputError
from clsdm.files.png import write_png
from clsdm.model.bundle import Bundle

MARKED = {
    "PatientID": "SECRET-4711",
    "PatientName": "Doe^SECRET",
    "StudyInstanceUID": "1.2.3.4.5",
    "StudyDate": "20260102",
}


@pytest.fixture(scope="module")
def patients_films(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The films, of somebody."""
    folder = tmp_path_factory.mktemp("patient")
    for path in films.glob("*.dcm"):
        tags = pydicom.dcmread(path)
        for name, value in MARKED.items():
            setattr(tags, name, value)
        tags.save_as(folder / path.name)
    return folder


def made(capfd, films: Path, bundle: Bundle, folder: Path, *more: str) -> list[Path]:
    code, out, error = run(
        capfd, *reconstruct_command(films, bundle, folder / "r.nii.gz", "--dicom", str(folder / "d"), *more)
    )
    assert code == 0, error
    assert str(folder / "d") in out
    return sorted((folder / "d").iterdir())


@pytest.mark.parametrize("keep", [(), ("--keep-patient",)], ids=["of nobody", "of the patient"])
def test_the_series_and_its_picture_are_valid_and_name_the_patient_only_when_asked(
    keep, patients_films, small_model, tmp_path, capfd
):
    files = made(capfd, patients_films, small_model, tmp_path, *keep)
    tags = [pydicom.dcmread(path) for path in files]
    assert {each.Modality for each in tags} == {"CT", "OT"}
    assert len({each.StudyInstanceUID for each in tags}) == 1
    named = {
        path.name for path in files if any(text in path.read_bytes() for text in (b"SECRET", b"1.2.3.4.5", b"20260102"))
    }
    assert named == ({path.name for path in files} if keep else set())
    if validator := shutil.which("dciodvfy"):
        for path in files:
            done = subprocess.run([validator, str(path)], capture_output=True, text=True, check=False, timeout=60)
            assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_the_series_is_read_back_where_the_volume_lies_and_the_picture_is_a_picture(
    films, small_model, tmp_path, capfd
):
    files = made(capfd, films, small_model, tmp_path)
    back, volume = clsdm.read_ct(tmp_path / "d"), clsdm.read_ct(tmp_path / "r.nii.gz")
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-3)
    np.testing.assert_array_equal(back.hu, volume.hu)
    (picture,) = [each for each in map(pydicom.dcmread, files) if each.Modality == "OT"]
    assert picture.pixel_array.shape[2] == 3
    assert picture.pixel_array.std() > 20
    assert picture.ContentQualification == "RESEARCH"
    assert "not scanned" in picture.DerivationDescription


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_computed(
    there, films, small_model, tmp_path, capfd
):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old.dcm").touch()
    more = ("--dicom", str(tmp_path / "d")) if there else ("--keep-patient",)
    code, _, error = run(capfd, *reconstruct_command(films, small_model, tmp_path / "r.nii.gz", *more))
    assert code == 2
    assert ("new or empty folder" if there else "--keep-patient: goes with --dicom") in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]


@pytest.mark.parametrize("many", [False, True])
def test_pictures_which_name_nobody_are_refused_before_anything_is_computed(many, small_model, tmp_path, capfd):
    for name in ("pa.png", "lat.png"):
        write_png(np.zeros((64, 64), np.uint8), tmp_path / name)
    table, out = tmp_path / "t.csv", tmp_path / "out"
    table.write_text("case,frontal,lateral\na,pa.png,lat.png\n")
    pair = ("--frontal", tmp_path / "pa.png", "--lateral", tmp_path / "lat.png")
    files = ("--table", table, "--out", out) if many else (*pair, "--spacing", "1.5", "--out", out / "r.nii")
    kept = ("--dicom", tmp_path / "d", "--keep-patient", "--bundle", small_model.path)
    code, _, error = run(capfd, "reconstruct", *map(str, (*files, *kept)))
    assert code == 2
    assert "no X-ray is a DICOM file: patient and study are not known" in error
    assert not [path for path in out.rglob("*") if path.suffix in (".nii", ".gz")]
    assert not (tmp_path / "d").exists()


def test_a_file_that_was_replaced_or_is_no_dicom_gives_its_patient_to_no_volume(patients_films, small_model, tmp_path):
    for path in patients_films.glob("*.dcm"):
        shutil.copy(path, tmp_path)
    files = sorted(tmp_path.glob("*.dcm"))
    result = clsdm.reconstruct(*files[:2], bundle=small_model.path)
    other = pydicom.dcmread(files[0])
    other.PatientID, other.SOPInstanceUID = "ANOTHER", "1.2.3.9"
    other.save_as(files[0])
    with pytest.raises(InputError, match=r"SOP Instance UID was \S+, now it is 1\.2\.3\.9"):
        result.save_dicom(tmp_path / "d", keep_patient=True)
    result.save_dicom(tmp_path / "nobody")
    assert not any(b"ANOTHER" in path.read_bytes() for path in (tmp_path / "nobody").iterdir())
    arrays = [replace(each, source="X-ray", sop_instance="") for each in result.residuals]
    with pytest.raises(InputError, match="no X-ray is a DICOM file"):
        write_dicom(replace(result, residuals=tuple(arrays)), tmp_path / "e", True)
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / "e").exists()
