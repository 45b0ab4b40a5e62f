"""Readers and splits: each published layout, written small, ends up as LPS HU with the right patient."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from ct_series import write_series
from one_line import refusal

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.write import write_ct
from clsdm_trainer.data.prepare import PrepareConfig, prepare
from clsdm_trainer.data.readers import READERS
from clsdm_trainer.data.source import SourceConfig, scans_of
from clsdm_trainer.data.splits import ctspine1k_table, lidc_patient, split_by_hash, splits_from_file, x2ct_splits

BALL = (43, 26, 41)  # (z, y, x): in the bright ball of the phantom, at left, anterior and superior
GRID = Grid(64, 6.0)
SHAPE = (10, 12, 14)
SPACING_MM = (2.0, 3.0, 4.0)


@pytest.fixture
def small_ct() -> CTVolume:
    """Air with one bright voxel near the first corner, on a small anisotropic grid away from the origin."""
    hu = np.full(SHAPE, -1000.0, dtype=np.float32)
    hu[3:, 4:, 5:] = 40.0
    hu[1, 2, 3] = 900.0
    return CTVolume(hu, SPACING_MM, (-50.0, 20.0, 100.0))


def ball_position_mm(ct: CTVolume, above_hu: float = 800.0) -> np.ndarray:
    """(x, y, z) LPS centre of what is brighter than that."""
    index = np.argwhere(ct.hu > above_hu).mean(0)[::-1]
    return np.array(ct.origin_mm) + ct.direction @ (index * np.array(ct.spacing_mm))


def read_only_series(root: Path) -> CTVolume:
    (scan,) = READERS["dicom"].find(root).scans
    return READERS["dicom"].read(scan)


# --- folder -----------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_every_volume_format_with_its_affine(tmp_path: Path, small_ct: CTVolume):
    for name in ("a.nii.gz", "b.nrrd", "c.mha", "sub/d.nii"):
        write_ct(small_ct, tmp_path / name)
    sitk.WriteImage(small_ct.to_sitk(), str(tmp_path / "e.mhd"))
    (tmp_path / "notes.txt").write_text("not a volume")
    scans = READERS["folder"].find(tmp_path).scans
    assert [scan.id for scan in scans] == ["a", "b", "c", "e", "sub__d"]
    for scan in scans:
        ct = READERS["folder"].read(scan)
        assert np.array_equal(ct.hu, small_ct.hu)
        assert np.allclose(ball_position_mm(ct), ball_position_mm(small_ct))
    assert [path.name for path in scans[3].files] == ["e.mhd", "e.raw"]


def test_a_pattern_tells_which_files_belong_to_one_patient(tmp_path: Path, small_ct: CTVolume):
    for name in ("p1_before", "p1_after", "p2_before"):
        write_ct(small_ct, tmp_path / f"{name}.nii.gz")
    source = SourceConfig(kind="folder", root=tmp_path, patient_pattern=r"^(p\d+)_")
    placed, _ = scans_of(source)
    assert [scan.patient for scan, _ in placed] == ["p1", "p1", "p2"]
    assert placed[0][1] == placed[1][1]
    with pytest.raises(InputError, match="does not match"):
        scans_of(SourceConfig(kind="folder", root=tmp_path, patient_pattern=r"^(q\d+)"))


# --- X2CT -------------------------------------------------------------------------------------------------------------


def write_x2ct(root: Path, case: str, hu_of: np.ndarray) -> None:
    """As in the archive: HU + 1024, z towards inferior, a stale spacing."""
    (root / case).mkdir(parents=True)
    with h5py.File(root / case / "ct_xray_data.h5", "w") as file:
        file["ct"] = (hu_of[::-1] + 1024).astype(np.int16)
        file["spacing"] = np.array([2.5, 2.5, 2.5])
        file["xray1"] = file["xray2"] = np.zeros((2, 2))


def test_the_x2ct_cube_spans_320_mm_whatever_its_stale_spacing_says(tmp_path: Path):
    write_x2ct(tmp_path, "LIDC-IDRI-0001.20000101.3000566.1", np.full((8, 8, 8), -1024) + np.arange(8) * 200)
    (scan,) = READERS["x2ct-hdf5"].find(tmp_path).scans
    ct = READERS["x2ct-hdf5"].read(scan)
    assert ct.spacing_mm == (40.0, 40.0, 40.0)
    assert np.allclose(ct.centre_mm, 0.0)
    assert (ct.hu.min(), ct.hu.max()) == (-1024.0, 376.0)
    assert (scan.id, scan.patient) == ("LIDC-IDRI-0001.20000101.3000566.1", "LIDC-IDRI-0001")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 7)), "cube of 256"),
        (np.full((8, 8, 8), -1000), r"expected HU \+ 1024"),
        (np.linspace(0, 1, 512).reshape(8, 8, 8), r"expected HU \+ 1024"),
        (None, "cannot be read as HDF5"),
    ],
)
def test_an_hdf5_file_of_another_kind_and_one_that_is_none_are_refused(tmp_path, array, message):
    (tmp_path / "case").mkdir()
    path = tmp_path / "case" / "ct_xray_data.h5"
    path.write_bytes(b"nonsense")
    if array is not None:
        with h5py.File(path, "w") as file:
            file["ct"] = array
    (scan,) = READERS["x2ct-hdf5"].find(tmp_path).scans
    with pytest.raises(InputError, match=message):
        READERS["x2ct-hdf5"].read(scan)


# --- CTSpine1K --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("volumes", ["raw_data/volumes", "rawdata/volumes", "data"])
def test_ctspine1k_volumes_are_found_without_their_labels(tmp_path: Path, small_ct: CTVolume, volumes: str):
    names = ("COLONOG/1.3.6.1.4.1.9328.50.4.0001", "COVID-19/volume-covid19-A-0202_0_ct", "HNSCC-3DCT-RT/HN_P001")
    for name in names:
        write_ct(small_ct, tmp_path / volumes / f"{name}.nii.gz")
        write_ct(small_ct, tmp_path / volumes.replace("volumes", "labels") / f"{name}_seg.nii.gz")
    scans = READERS["ctspine1k"].find(tmp_path).scans
    assert [scan.id for scan in scans] == [name.split("/")[1] for name in names]
    assert [scan.patient for scan in scans] == ["1.3.6.1.4.1.9328.50.4.0001", "volume-covid19-A-0202", "HN_P001"]
    assert np.array_equal(READERS["ctspine1k"].read(scans[0]).hu, small_ct.hu)


def test_the_published_ctspine1k_split_is_read_with_its_doubled_last_line():
    text = "trainset:\nHN_P001.nii.gz\nliver_0.nii.gz\n\n"
    text += "test_public:\nliver_1.nii.gz\n\ntest_private:\na_ct.nii.gza_ct.nii.gz\n"
    assert ctspine1k_table(text) == {"train": ["HN_P001", "liver_0"], "val": ["liver_1"], "test": ["a_ct"]}


# --- DICOM ------------------------------------------------------------------------------------------------------------


def test_a_patient_gives_the_ct_series_with_most_slices_and_nothing_else(tmp_path: Path, small_ct: CTVolume):
    folder = tmp_path / "LIDC-IDRI-0001"
    long = write_series(folder / "long", small_ct)
    write_series(folder / "short", CTVolume(small_ct.hu[:6], SPACING_MM, (0, 0, 0)))
    more = CTVolume(np.repeat(small_ct.hu, 2, axis=0), SPACING_MM, (0, 0, 0))
    write_series(folder / "radiograph", more, Modality="DX")
    write_series(folder / "scout", more, ImageType=["DERIVED", "PRIMARY", "LOCALIZER"])
    (folder / "LICENSE").write_text("text")
    (scan,) = READERS["dicom"].find(tmp_path).scans
    assert set(scan.files) == set(long)
    assert (scan.patient, scan.source) == ("LIDC-IDRI-0001", "LIDC-IDRI-0001/long")


def test_own_patients_get_a_salted_one_way_name_everywhere(tmp_path: Path, small_ct: CTVolume):
    write_series(tmp_path / "data" / "DOE^JANE", small_ct, PatientID="4711")
    salts = [tmp_path / "salt1", tmp_path / "salt2"]
    sources = [SourceConfig(kind="dicom", root=tmp_path / "data", salt_file=salt) for salt in salts]
    first, again, other = (scans_of(source)[0][0][0] for source in (sources[0], sources[0], sources[1]))
    assert (first.id, first.patient) == (again.id, again.patient)
    assert first.patient != other.patient
    assert not any("4711" in text or "DOE" in text for text in (first.id, first.patient, first.source))


def test_nothing_of_an_own_patient_is_written_even_when_the_scan_is_rejected(tmp_path: Path, small_ct: CTVolume):
    for name, number in (("DOE^JANE", "4711"), ("ROE^RICHARD", "4712")):
        paths = write_series(tmp_path / "data" / name, small_ct, PatientID=number)
    paths[4].unlink()
    source = SourceConfig(kind="dicom", root=tmp_path / "data", salt_file=tmp_path / "salt", split="train")
    report = prepare(PrepareConfig(sources=(source,), out=tmp_path / "out", size=8, margin=0, workers=1))
    assert "1 missing slices" in report.rejected[0].reason
    assert (report.made, len(report.rejected)) == (1, 1)
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        assert not any(secret in path.read_bytes() for secret in (b"DOE", b"ROE", b"4711", b"4712")), path


def test_dicom_needs_a_decision_about_patient_ids(tmp_path: Path):
    with pytest.raises(InputError, match="give either salt_file"):
        SourceConfig.parse(f"dicom:{tmp_path}")


# --- sources and splits -----------------------------------------------------------------------------------------------


def test_a_source_is_parsed_from_one_line_even_with_a_drive_letter_and_commas():
    source = SourceConfig.parse(r"dicom:C:\data, old,public_ids=true,fractions=0.5+0.25+0.25,limit=3")
    assert str(source.root) == r"C:\data, old"
    assert (source.public_ids, source.fractions, source.limit) == (True, (0.5, 0.25, 0.25), 3)
    lists = SourceConfig.parse("x2ct-hdf5:/d,x2ct_lists=train.txt+test.txt").x2ct_lists
    assert lists == (Path("train.txt"), Path("test.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/data", "expected KIND:FOLDER"),
        ("zip:/data", "kind"),
        ("folder:/data,split=training", "split"),
        ("folder:/data,typo=1", "unknown option 'typo'; expected some of split, "),
        ("folder:/data,split=train,typo=1", "unknown option 'typo'"),
        ("folder:/data,split=train,splits=x.json", "give only one of"),
        ("folder:/data,fractions=0.5+0.5+0.5", "add up to 1"),
    ],
)
def test_a_wrong_source_is_refused_in_one_line(text: str, message: str):
    assert re.search(message, refusal(SourceConfig.parse, text))


def test_a_split_file_places_cases_and_reports_what_does_not_fit(tmp_path: Path, small_ct: CTVolume):
    for name in "abc":
        write_ct(small_ct, tmp_path / f"{name}.nii.gz")
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["a"], "test": ["b", "z"]}))
    placed, rejected = scans_of(SourceConfig(kind="folder", root=tmp_path))
    assert [(scan.id, split) for scan, split in placed] == [("a", "train"), ("b", "test")]
    assert {item.id for item in rejected} == {"c", "z"}


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"train": ["a"], "test": ["a"]}', "in two splits"), ('{"training": []}', "expected lists"), ("[", "cannot be")],
)
def test_a_split_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str, message: str):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(InputError, match=message):
        splits_from_file(tmp_path / "s.json")


def test_the_hash_split_keeps_its_shares_and_never_moves_a_patient():
    sides = [split_by_hash(f"p{i}", (0.8, 0.1, 0.1)) for i in range(2000)]
    assert sides == [split_by_hash(f"p{i}", (0.8, 0.1, 0.1)) for i in range(2000)]
    assert abs(sides.count("train") / 2000 - 0.8) < 0.03
    assert abs(sides.count("val") / 2000 - 0.1) < 0.03
    assert split_by_hash("LIDC-IDRI-0001", (0.8, 0.1, 0.1)) == "val"  # known: must not change between versions


def test_the_x2ct_split_has_no_leak():
    train = [f"LIDC-IDRI-{i:04d}.2000.{scan}" for i in range(1, 500) for scan in range(1 + i % 2)]
    test = [f"LIDC-IDRI-{i:04d}.2000.9" for i in (132, 151, 355, 600, 601)]
    splits = x2ct_splits(train, test)
    patients = {
        side: {lidc_patient(case) for case, where in splits.split_of.items() if where == side}
        for side in ("train", "val", "test")
    }
    assert len(patients["val"]) == 50
    assert not patients["train"] & patients["val"]
    assert not (patients["train"] | patients["val"]) & patients["test"]
    assert {case for case, where in splits.split_of.items() if where == "test"} == set(test)
    dropped = {"LIDC-IDRI-0442", "LIDC-IDRI-0132", "LIDC-IDRI-0151", "LIDC-IDRI-0355"}
    assert not dropped & (patients["train"] | patients["val"])
    assert all(splits.drops(case, lidc_patient(case)) for case in train if lidc_patient(case) in dropped)
    assert x2ct_splits(reversed(train), test).split_of == splits.split_of
