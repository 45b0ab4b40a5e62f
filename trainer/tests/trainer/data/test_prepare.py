"""Preparation: the right cube, the same bytes every time, and a bad scan that stops nobody else."""

import json
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ct_series import edit, write_series
from xray_files import write_dicom

from clsdm.errors import InputError
from clsdm.volume.body import body_centre_mm
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import WINDOW_HU
from clsdm.volume.write import write_ct
from clsdm_trainer.data import parallel
from clsdm_trainer.data.cube import canonical_cube, fov_fraction, x2ct_centre_mm
from clsdm_trainer.data.manifest import MANIFEST
from clsdm_trainer.data.prepare import NOTES, REJECTED, PrepareConfig, prepare
from clsdm_trainer.data.readers import READERS
from clsdm_trainer.data.scan import Scan
from clsdm_trainer.data.source import SourceConfig
from clsdm_trainer.data.store import Store
from clsdm_trainer.files import sha256_of

BALL_MM = (55.0, -35.0, 70.0)  # (x, y, z) of the bright ball in the phantom: left, anterior, superior


@pytest.fixture
def scans(tmp_path: Path, asymmetric_phantom: CTVolume) -> Path:
    """Two scans of the phantom, the second one moved, and denser in one voxel: the same volume must not be on two sides."""
    folder = tmp_path / "scans"
    p = asymmetric_phantom
    hu = p.hu.copy()
    hu[32, 32, 32] += 80.0
    moved = CTVolume(hu, p.spacing_mm, tuple(value + 40.0 for value in p.origin_mm))
    write_ct(p, folder / "a.nii.gz")
    write_ct(moved, folder / "b.nii.gz")
    (folder / "splits.json").write_text(json.dumps({"train": ["a"], "test": ["b"]}))
    return folder


def config(folder: Path, out: Path, **changes: object) -> PrepareConfig:
    settings = {"size": 24, "spacing_mm": 12.0, "margin": 2, "workers": 1} | changes
    return PrepareConfig(sources=(SourceConfig(kind="folder", root=folder),), out=out, **settings)


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def voxel_of(position_mm: tuple[float, ...], centre_mm: tuple[float, ...], grid: Grid) -> tuple[int, ...]:
    """(z, y, x) index of a position in a cube around a centre."""
    index = (np.array(position_mm) - np.array(centre_mm)) / grid.spacing_mm + (grid.size - 1) / 2
    return tuple(np.rint(index[::-1]).astype(int))


def test_the_cube_is_centred_on_the_body_and_keeps_the_patient_the_right_way_round(scans: Path, tmp_path: Path):
    prepare(config(scans, tmp_path / "out"))
    store = Store.open(tmp_path / "out")
    first, moved = store.all_cases
    assert np.allclose(first.centre_mm, 0.0, atol=3.1)
    assert np.allclose(np.array(moved.centre_mm) - first.centre_mm, 40.0)
    volume = store.volume(first)
    assert volume[voxel_of(BALL_MM, first.centre_mm, store.padded)] > 500
    for flip in ((-1, 1, 1), (1, -1, 1), (1, 1, -1)):
        mirrored = tuple(a * b for a, b in zip(BALL_MM, flip, strict=True))
        assert volume[voxel_of(mirrored, first.centre_mm, store.padded)] < 100
    different = np.argwhere(volume != store.volume(moved))
    assert len(different) == 1
    assert np.abs(volume - store.volume(moved)).max() <= 10


def test_left_anterior_superior_stays_there_from_x2ct_file_to_store(tmp_path: Path):
    axis_mm = (np.arange(64) - 31.5) * 5.0
    z, y, x = np.meshgrid(axis_mm, axis_mm, axis_mm, indexing="ij")
    hu = np.where((x - 60) ** 2 + (y + 40) ** 2 + (z - 80) ** 2 < 25**2, 900, -1024)
    case = tmp_path / "in" / "LIDC-IDRI-0001.1.1.1"
    case.mkdir(parents=True)
    with h5py.File(case / "ct_xray_data.h5", "w") as file:
        file["ct"] = (hu[::-1] + 1024).astype(np.int16)  # z runs to inferior in the archive
    source = SourceConfig(kind="x2ct-hdf5", root=tmp_path / "in", split="test")
    prepare(
        PrepareConfig(sources=(source,), out=tmp_path, size=32, spacing_mm=10, margin=0, placement="x2ct", workers=1)
    )
    store = Store.open(tmp_path)
    (only,) = store.all_cases
    assert np.allclose(only.centre_mm, 0.0)
    assert only.fov_fraction == 1.0
    middle = np.argwhere(store.volume(only) > 400).mean(0)
    assert np.allclose(middle, np.array([80, -40, 60]) / 10 + 15.5, atol=0.3)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_same_scans_give_the_same_bytes_in_any_number_of_processes(workers: int, scans: Path, tmp_path: Path):
    prepare(config(scans, tmp_path / "one"))
    prepare(config(scans, tmp_path / "two", workers=workers))
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


def test_a_second_run_keeps_what_is_right_and_makes_again_what_is_not(scans: Path, tmp_path: Path):
    out = tmp_path / "out"
    first = prepare(config(scans, out))
    assert (first.made, first.kept, first.exit_code) == (2, 0, 0)
    assert json.loads((out / REJECTED).read_text()) == []
    before = all_bytes(out)
    (out / "volumes" / "a.npy").write_bytes(b"damaged")
    second = prepare(config(scans, out))
    assert (second.made, second.kept) == (1, 1)
    assert all_bytes(out) == before
    third = prepare(config(scans, out, margin=3))
    assert (third.made, third.kept) == (2, 0)
    write_ct(
        CTVolume(np.where(np.eye(64) > 0, 500.0, -1000.0)[None].repeat(64, 0), (6,) * 3, (0,) * 3), scans / "b.nii.gz"
    )
    fourth = prepare(config(scans, out, margin=3))
    assert (fourth.made, fourth.kept) == (1, 1)


def test_strict_stops_at_a_bad_scan_and_leaves_no_manifest(scans: Path, tmp_path: Path):
    (scans / "bad.nii.gz").write_bytes(b"this is no volume")
    (scans / "splits.json").write_text(json.dumps({"train": ["a", "bad"], "test": ["b"]}))
    with pytest.raises(InputError, match=r"bad\.nii\.gz: truncated or damaged"):
        prepare(config(scans, tmp_path / "out", strict=True))
    assert not (tmp_path / "out" / MANIFEST).exists()


@pytest.mark.parametrize("content", ["{}", '{"name": "CT of our department", "cases": 12}', "not JSON"])
def test_another_programs_manifest_is_not_deleted(scans: Path, tmp_path: Path, content: str):
    (tmp_path / MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json: is there and is not of a store"):
        prepare(config(scans, tmp_path))
    assert (tmp_path / MANIFEST).read_text(encoding="utf-8") == content


def test_one_patient_in_two_sources_on_two_sides_is_refused(scans: Path, tmp_path: Path, asymmetric_phantom: CTVolume):
    write_ct(asymmetric_phantom, tmp_path / "more" / "b.nii.gz")
    two = (
        SourceConfig(kind="folder", root=scans),
        SourceConfig(kind="folder", root=tmp_path / "more", split="auxiliary"),
    )
    with pytest.raises(InputError, match="'b' occurs twice"):
        prepare(PrepareConfig(sources=two, out=tmp_path / "out", workers=1))
    (tmp_path / "more" / "b.nii.gz").rename(tmp_path / "more" / "b_again.nii.gz")
    two = (two[0], two[1].model_copy(update={"patient_pattern": "^[a-z]"}))
    with pytest.raises(InputError, match="patient 'b' is in two splits, test and train"):
        prepare(PrepareConfig(sources=two, out=tmp_path / "out", workers=1))
    assert not (tmp_path / "out").exists()


def test_a_store_that_cannot_be_written_stops_the_run(scans: Path, tmp_path: Path):
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot be"):
        prepare(config(scans, tmp_path / "out"))


def test_an_unknown_setting_is_refused(scans: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="spacing"):
        config(scans, tmp_path, spacing=6.0)


def test_the_x2ct_crop_takes_the_most_superior_part_and_centres_a_short_scan():
    tall = CTVolume(np.zeros((200, 4, 4), np.float32), (1.0, 1.0, 2.0), (10.0, 20.0, 30.0))  # z: 29 ... 429 mm
    assert x2ct_centre_mm(tall, 320.0) == pytest.approx((11.5, 21.5, 429.0 - 160.0))
    upside_down = CTVolume(tall.hu, tall.spacing_mm, (10.0, 20.0, 428.0), np.diag([1.0, -1.0, -1.0]))
    assert x2ct_centre_mm(upside_down, 320.0)[2] == pytest.approx(429.0 - 160.0)
    short = CTVolume(np.zeros((50, 4, 4), np.float32), (1.0, 1.0, 2.0), (10.0, 20.0, 30.0))
    assert x2ct_centre_mm(short, 320.0) == pytest.approx(short.centre_mm)


def test_a_couch_is_removed_only_on_request(asymmetric_phantom: CTVolume):
    hu = asymmetric_phantom.hu.copy()
    hu[:, 55:58, 10:54] = 300.0  # behind the patient
    ct = CTVolume(hu, asymmetric_phantom.spacing_mm, asymmetric_phantom.origin_mm)
    kept = canonical_cube(ct, Grid(64, 6.0), 0, placement="x2ct").cube
    gone = canonical_cube(ct, Grid(64, 6.0), 0, placement="x2ct", background="air").cube
    assert kept.hu[32, 56, 32] == 300.0
    assert gone.hu[32, 56, 32] == WINDOW_HU[0]
    assert np.array_equal(kept.hu[20:44, 24:40, 20:44], gone.hu[20:44, 24:40, 20:44])
    assert np.allclose(body_centre_mm(ct), 0.0, atol=3.1)


def test_the_share_inside_the_scan_is_that_of_the_boxes():
    grid = Grid(10, 4.0)
    cube = CTVolume.on_grid(np.zeros((10, 10, 10)), grid)
    half = CTVolume(np.zeros((20, 40, 40), np.float32), (1.0, 1.0, 1.0), (-19.5, -19.5, 0.5))
    assert fov_fraction(half, cube) == pytest.approx(0.5)
    turned = CTVolume(half.hu, half.spacing_mm, (19.5, 19.5, 0.5), np.diag([-1.0, -1.0, 1.0]))
    assert fov_fraction(turned, cube) == pytest.approx(0.5)


def test_real_scans_are_prepared_as_announced(shared_data: Path, tmp_path: Path):
    chest = SourceConfig(kind="folder", root=shared_data / "ct" / "chest", split="auxiliary", limit=1)
    planned = SourceConfig(kind="folder", root=shared_data / "ct" / "openkbp", limit=1)
    report = prepare(PrepareConfig(sources=(planned, chest), out=tmp_path, workers=1))
    assert report.exit_code == 0
    stack = Store.open(tmp_path).stack()
    assert stack.shape == (2, 80, 80, 80)
    assert all(volume.min() < -900 and volume.max() > 300 for volume in stack)


def dicom_tree(root: Path, asymmetric_phantom: CTVolume, patients: int = 3) -> list[list[Path]]:
    """As many patients of one series each, told apart by their densities."""
    series = []
    for number in range(patients):
        hu = np.where(asymmetric_phantom.hu > -500, asymmetric_phantom.hu + 10.0 * number, -1000.0)[::4, ::4, ::4]
        ct = CTVolume(hu.astype(np.float32), (24.0, 24.0, 24.0), (-180.0, -180.0, -180.0))
        series.append(write_series(root / f"P{number}" / "1", ct, PatientID=f"P{number}"))
    return series


def dicom_config(root: Path, out: Path) -> PrepareConfig:
    source = SourceConfig(kind="dicom", root=root, public_ids=True, split="train")
    return PrepareConfig(sources=(source,), out=out, size=8, spacing_mm=48, margin=0, workers=1)


def test_damaged_files_and_scans_are_listed_and_the_others_prepared(tmp_path: Path, asymmetric_phantom: CTVolume):
    """A truncated slice, a file that ends in its header, and one that is only named like DICOM."""
    first, second, _ = dicom_tree(tmp_path / "in", asymmetric_phantom)
    first[3].write_bytes(first[3].read_bytes()[:-100])
    second[0].parent.joinpath("half.dcm").write_bytes(second[0].read_bytes()[:170])
    (tmp_path / "in" / "P2" / "readme.dcm").write_text("no DICOM at all")
    report = prepare(dicom_config(tmp_path / "in", tmp_path / "out"))
    assert [case.id for case in Store.open(tmp_path / "out").all_cases] == ["P1", "P2"]
    listed = {item["id"]: item["reason"] for item in json.loads((tmp_path / "out" / REJECTED).read_text())}
    assert report.exit_code == 2
    assert "2 volumes prepared, 0 kept from an earlier run; train 2 of 2 patients, 3 rejected" in report.summary()
    assert set(listed) == {"P0", "P1_1_half.dcm", "P2_readme.dcm"}
    assert listed["P0"].startswith("P0/1: PixelData is truncated")
    assert "truncated or damaged DICOM" in listed["P1_1_half.dcm"]


def test_whatever_a_reader_raises_rejects_one_scan_only(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = READERS["folder"].open

    def reader(scan: Scan) -> CTVolume:
        if scan.id == "a":
            raise ZeroDivisionError("deep inside")
        return real(scan)

    monkeypatch.setitem(READERS, "folder", replace(READERS["folder"], open=reader))
    report = prepare(config(scans, tmp_path / "out"))
    (rejected,) = report.rejected
    assert (rejected.id, report.made) == ("a", 1)
    assert rejected.reason == "a.nii.gz: truncated or damaged scan (ZeroDivisionError while reading)"


def test_a_scan_that_kills_its_process_is_rejected_and_the_others_go_on(
    scans: Path, tmp_path: Path, asymmetric_phantom: CTVolume, monkeypatch: pytest.MonkeyPatch
):
    """The system ends a process that takes too much memory; a pool of processes does not survive that."""
    write_ct(asymmetric_phantom, scans / "killer.nii.gz")
    (scans / "splits.json").write_text(json.dumps({"train": ["a", "killer"], "test": ["b"]}))

    def pool(work, jobs, workers):
        for job in jobs:
            if job.scan.id == "killer":
                raise BrokenProcessPool
            yield job, work(job)

    monkeypatch.setattr(parallel, "_in_pool", pool)
    report = prepare(config(scans, tmp_path / "out", workers=2))
    assert [case.id for case in Store.open(tmp_path / "out").all_cases] == ["a", "b"]
    assert [(item.id, "process reading it died" in item.reason) for item in report.rejected] == [("killer", True)]


def test_radiographs_beside_a_ct_are_listed_with_their_patient_and_view(tmp_path: Path, asymmetric_phantom: CTVolume):
    """As in LIDC-IDRI: chest films in a study of their own, some days before the scan."""
    root = tmp_path / "LIDC-IDRI"
    series = dicom_tree(root, asymmetric_phantom, patients=2)
    for path in series[0]:
        edit(path, StudyDate="20000101")
    for number, view in enumerate(("PA", "LL"), 1):
        (root / "P0" / "films").mkdir(exist_ok=True)
        film = write_dicom(root / "P0" / "films" / f"{number}.dcm", Modality="DX", ViewPosition=view, PatientID="P0")
        edit(film, SOPInstanceUID=f"1.2.{number}", StudyInstanceUID="1.2.9", StudyDate="19991225")
    (root / "P9").mkdir()
    other = write_dicom(root / "P9" / "film.dcm", PatientID="P9")  # nobody's CT
    edit(other, SOPInstanceUID="1.2.8")
    prepare(dicom_config(root, tmp_path / "out"))
    store = Store.open(tmp_path / "out")
    assert [(film.patient, film.source, film.view) for film in store.radiographs] == [
        ("P0", "P0/films/1.dcm", "PA"), ("P0", "P0/films/2.dcm", "LL"),
    ]  # fmt: skip
    assert {film.days_from_ct for film in store.radiographs} == {-7}
    assert len({film.study for film in store.radiographs}) == 1
    assert store.radiographs[0].sha256 == sha256_of(root / "P0" / "films" / "1.dcm")


def test_radiographs_of_own_patients_are_listed_under_their_alias(tmp_path: Path, asymmetric_phantom: CTVolume):
    dicom_tree(tmp_path / "in", asymmetric_phantom, patients=1)
    edit(write_dicom(tmp_path / "in" / "P0" / "DOE^JANE.dcm", PatientID="P0"), SOPInstanceUID="1.2.8")
    source = SourceConfig(kind="dicom", root=tmp_path / "in", salt_file=tmp_path / "salt", split="train")
    prepare(PrepareConfig(sources=(source,), out=tmp_path / "out", size=8, spacing_mm=48, margin=0, workers=1))
    (film,) = Store.open(tmp_path / "out").radiographs
    assert film.patient == Store.open(tmp_path / "out").all_cases[0].patient
    assert film.source == f"{film.patient}/radiograph1"
    assert "DOE" not in (tmp_path / "out" / MANIFEST).read_text()


def test_what_was_decided_while_reading_a_scan_is_kept_with_the_store(tmp_path: Path, asymmetric_phantom: CTVolume):
    """In this run and, for volumes that are kept, in the next one."""
    first, _ = dicom_tree(tmp_path / "in", asymmetric_phantom, patients=2)
    (tmp_path / "in" / "copy.dcm").write_bytes(first[0].read_bytes())
    for _ in range(2):
        report = prepare(dicom_config(tmp_path / "in", tmp_path / "out"))
        assert json.loads((tmp_path / "out" / NOTES).read_text()) == {"P0": ["1 images were there twice"]}
        assert (report.noted, "1 with notes" in report.summary()) == (1, True)
