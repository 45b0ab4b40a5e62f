"""A reconstruction written as DICOM: readable by others where it should lie, and never to be taken for a scan."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
from xray_files import write_dicom

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct
from clsdm.volume.write_dicom import Source, ct_series_in_steps, derivation, read_source, write_ct_series

PROVENANCE = {
    "product": "ensemble",
    "samples": 8,
    "steps": 20,
    "seed": 4711,
    "model": "openkbp64",
    "model_version": "1",
    "model_sha256": "ab" * 32,
    "software": "clsdm 9.9",
}
NOW = datetime(2026, 11, 25, 3, 4, 5)


@pytest.fixture(scope="module")
def volume() -> sitk.Image:
    """Another size, spacing and value along every axis."""
    z, y, x = np.meshgrid(np.arange(7), np.arange(11), np.arange(13), indexing="ij")
    image = sitk.GetImageFromArray((-1000.0 + 100 * z + 10 * y + x).astype(np.float32))
    image.SetSpacing((2.5, 3.0, 4.0))
    image.SetOrigin((-12.345678901, 7.0, -500.5))
    return image


@pytest.fixture
def xrays(tmp_path: Path) -> list[Path]:
    study = {"StudyInstanceUID": "1.2.3.4", "StudyDate": "20260102", "StudyID": "7", "PatientSex": "F"}
    folder = tmp_path / "xrays"
    folder.mkdir()
    return [write_dicom(folder / f"{name}.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.1", SOPInstanceUID=f"1.2.{number}",
                        **study) for number, name in enumerate(("frontal", "lateral"), 1)]  # fmt: skip


def sources_of(paths: list[Path]) -> list[Source]:
    return [source for source in map(read_source, paths) if source is not None]


def test_another_reader_finds_every_voxel_at_its_place_in_the_patient(volume: sitk.Image, tmp_path: Path):
    write_ct_series(volume, tmp_path / "series")
    ct = read_ct(tmp_path / "series")
    np.testing.assert_array_equal(ct.hu, sitk.GetArrayFromImage(volume))
    np.testing.assert_allclose(ct.spacing_mm, volume.GetSpacing())
    np.testing.assert_allclose(ct.origin_mm, volume.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(ct.direction, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAL", "PIR"])
def test_a_volume_stored_along_any_axes_keeps_its_anatomy(volume: sitk.Image, axes: str, tmp_path: Path):
    write_ct_series(sitk.DICOMOrient(volume, axes), tmp_path / "series")
    np.testing.assert_array_equal(read_ct(tmp_path / "series").hu, sitk.GetArrayFromImage(volume))


def test_an_oblique_volume_keeps_its_direction(volume: sitk.Image, tmp_path: Path):
    turned = sitk.Image(volume)
    c, s = np.cos(0.3), np.sin(0.3)
    turned.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    write_ct_series(turned, tmp_path / "series")
    ct = read_ct(tmp_path / "series")
    np.testing.assert_allclose(ct.direction.ravel(), turned.GetDirection(), atol=1e-9)
    np.testing.assert_allclose(ct.centre_mm, CTVolume.from_sitk(turned).centre_mm, atol=1e-6)


def test_every_slice_says_that_it_is_derived_and_for_research_only(volume: sitk.Image, tmp_path: Path):
    for path in write_ct_series(volume, tmp_path / "series", provenance=PROVENANCE, now=NOW):
        tags = pydicom.dcmread(path)
        assert list(tags.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert tags.ContentQualification == "RESEARCH"
        assert "research only" in tags.SeriesDescription
        assert "Research only" in tags.DerivationDescription
        assert "Research only" in tags.ImageComments
        assert tags.SeriesDate == "20261125"


def test_the_derivation_names_model_seed_and_product_and_fits_its_tag():
    text = derivation(PROVENANCE, 2)
    for part in ("2 X-rays", "product ensemble", "seed 4711", "openkbp64", "ab" * 32, "not scanned"):
        assert part in text
    assert len(derivation(PROVENANCE | {"model": "x" * 5000})) <= 1024


def test_the_series_is_filed_in_the_study_of_its_x_rays_and_points_to_them(volume, xrays, tmp_path: Path):
    path = write_ct_series(volume, tmp_path / "series", sources=sources_of(xrays))[0]
    tags = pydicom.dcmread(path)
    assert (tags.PatientID, tags.StudyInstanceUID) == ("SECRET-4711", "1.2.3.4")
    assert (tags.StudyDate, tags.PatientSex) == ("20260102", "F")
    assert [item.ReferencedSOPInstanceUID for item in tags.SourceImageSequence] == ["1.2.1", "1.2.2"]
    assert tags.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_nothing_of_the_patient_is_written_when_the_patient_is_left_out(volume, xrays, tmp_path: Path):
    for path in write_ct_series(volume, tmp_path / "series", sources=sources_of(xrays), keep_patient=False):
        assert b"SECRET" not in path.read_bytes()
        assert b"1.2.3.4" not in path.read_bytes()
        assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"


def test_every_export_has_new_identifiers(volume: sitk.Image, tmp_path: Path):
    series = [[pydicom.dcmread(path) for path in write_ct_series(volume, tmp_path / name)] for name in "ab"]
    instances = {tags.SOPInstanceUID for each in series for tags in each}
    assert len(instances) == 2 * len(series[0])
    assert len({tags.SeriesInstanceUID for each in series for tags in each}) == 2


def test_x_rays_of_two_patients_are_refused_and_nothing_is_left_behind(volume, xrays, tmp_path: Path):
    one, two = sources_of(xrays)
    with pytest.raises(InputError, match="two patients"):
        write_ct_series(volume, tmp_path / "series", sources=[one, replace(two, study={"PatientID": "other"})])
    assert not (tmp_path / "series").exists()


def test_an_x_ray_that_names_no_patient_does_not_stand_in_the_way(volume, xrays, tmp_path: Path):
    one, two = sources_of(xrays)
    nameless = replace(one, study={"StudyInstanceUID": "9.9"})
    tags = pydicom.dcmread(write_ct_series(volume, tmp_path / "series", sources=[nameless, two])[0])
    assert (tags.PatientID, tags.StudyInstanceUID) == ("SECRET-4711", "1.2.3.4")
    assert len(tags.SourceImageSequence) == 2


def test_a_model_with_any_name_can_be_written(volume: sitk.Image, tmp_path: Path):
    odd = PROVENANCE | {"model": "Röntgen-Modell " * 9}
    tags = pydicom.dcmread(write_ct_series(volume, tmp_path / "series", provenance=odd)[0])
    assert len(tags.ManufacturerModelName) <= 64
    assert "R?ntgen" in tags.DerivationDescription


def test_a_folder_with_files_is_refused_because_two_series_would_mix(volume: sitk.Image, tmp_path: Path):
    (tmp_path / "old.dcm").touch()
    with pytest.raises(InputError, match="new or empty folder"):
        write_ct_series(volume, tmp_path)


def test_an_export_that_is_stopped_or_fails_leaves_no_half_series(volume: sitk.Image, tmp_path: Path):
    steps = ct_series_in_steps(volume, tmp_path / "series")
    next(steps)
    steps.close()
    steps = ct_series_in_steps(volume, tmp_path / "series")
    next(steps)
    with pytest.raises(InputError, match="No space left"):
        steps.throw(OSError(28, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


def test_a_volume_that_is_no_ct_is_refused(volume: sitk.Image, tmp_path: Path):
    broken = sitk.GetImageFromArray(np.full((4, 4, 4), np.nan, np.float32))
    with pytest.raises(InputError, match="NaN"):
        write_ct_series(broken, tmp_path / "series")
    with pytest.raises(InputError, match="3-D"):
        write_ct_series(volume[:, :, 0], tmp_path / "series")


def test_hu_beyond_what_dicom_holds_are_clamped_not_wrapped(tmp_path: Path):
    image = sitk.GetImageFromArray(np.linspace(-1e6, 1e6, 512, dtype=np.float32).reshape(8, 8, 8))
    image.SetSpacing((5.0, 5.0, 5.0))
    write_ct_series(image, tmp_path / "series")
    hu = read_ct(tmp_path / "series").hu
    assert (hu.min(), hu.max()) == (-32768, 32767)


def test_a_picture_is_no_dicom_source(tmp_path: Path):
    (tmp_path / "film.png").write_bytes(b"\x89PNG")
    assert read_source(tmp_path / "film.png") is None
    assert read_source(tmp_path / "nowhere.dcm") is None
