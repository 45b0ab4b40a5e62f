"""CT localizers: read in the layouts of four vendors, and the same rays when they are described from the patient's middle."""

import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from ct_series import edit, write_series
from small_bundle import run, small_phantom

from clsdm.errors import InputError
from clsdm.geometry.view import Detector, View, preset
from clsdm.simulate import simulate_xray
from clsdm.volume.ct import CTVolume
from clsdm.xray.image import XRay
from clsdm.xray.localizer import angle_of_tube
from clsdm.xray.preprocess import preprocess
from clsdm.xray.read import read_xray
from clsdm.xray.scouts import centred, read_localizers
from clsdm.xray.slot import around, middle_of_body
from clsdm.xray.write_localizer import write_localizer

ISOCENTRE = (0.0, -35.0, 60.0)
BODY = (12.0, -30.0, 75.0)


@pytest.fixture(scope="module")
def body() -> CTVolume:
    """A patient who does not lie in the middle of the gantry."""
    return small_phantom(BODY)


def scout(body: CTVolume, angle_deg: float, **changes: object) -> XRay:
    view = replace(View(angle_deg, 570.0, 1040.0, 200, 256, (2.0, 3.6), beam="fan"), **changes)
    return simulate_xray(body, view, ISOCENTRE)


VENDORS = {
    # Facts of published headers: distances, how the tube's side is said, and how the image lies.
    "GE": {"source": (541.0, 949.075), "azimuth": True, "ScanOptions": "SCOUT MODE", "Manufacturer": "GE MEDICAL SYSTEMS"},
    "Siemens": {"source": (595.0, 1085.6), "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"],
                "Manufacturer": "SIEMENS"},
    "Philips": {"source": (570.0, 1040.0), "ImageType": ["ORIGINAL", "SECONDARY", "AXIAL"], "ScanOptions": "SURVIEW",
                "Manufacturer": "Philips"},
    "Canon": {"source": (600.0, 1072.0), "ScanOptions": "SCANOSCOPE", "turned": True, "Manufacturer": "TOSHIBA"},
}  # fmt: skip


def as_vendor(path: Path, vendor: str, angle_deg: float) -> None:
    """A localizer we wrote, as that vendor would have written it."""
    facts = dict(VENDORS[vendor])
    item = pydicom.dcmread(path)
    del item.TubeAngle, item.DataCollectionCenterPatient
    facts.pop("source")
    item.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    if facts.pop("azimuth", False):
        block = item.private_block(0x0019, "GEMS_ACQU_01", create=True)
        block.add_new(0x26, "SL", round(angle_deg - 180.0) % 360)
    pixels, turn = item.pixel_array, np.array(item.ImageOrientationPatient, dtype=float)
    position, spacing = np.array(item.ImagePositionPatient, dtype=float), np.array(item.PixelSpacing, dtype=float)
    mirrored = turn[:3].sum() < 0  # vendors store the patient's left at image right, wherever the tube is
    if mirrored:
        position = position + turn[:3] * spacing[1] * (pixels.shape[1] - 1)
        pixels, turn = pixels[:, ::-1], np.concatenate((-turn[:3], turn[3:]))
    if facts.pop("turned", False):  # z along the rows
        pixels, turn, spacing = pixels.T, np.concatenate((turn[3:], turn[:3])), spacing[::-1]
    item.Rows, item.Columns = pixels.shape
    item.ImagePositionPatient, item.ImageOrientationPatient = position.round(4).tolist(), turn.tolist()
    item.PixelSpacing, item.PixelData = spacing.tolist(), np.ascontiguousarray(pixels).tobytes()
    for tag, value in facts.items():
        setattr(item, tag, value)
    item.save_as(path)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("angle_deg", [180.0, -90.0])
def test_a_localizer_of_every_vendor_gives_back_its_view(vendor: str, angle_deg: float, body: CTVolume, tmp_path: Path):
    axis, detector = VENDORS[vendor]["source"]
    made = scout(body, angle_deg, source_axis_mm=axis, source_detector_mm=detector)
    write_localizer(made, tmp_path / "scout.dcm")
    as_vendor(tmp_path / "scout.dcm", vendor, angle_deg)
    back = read_xray(tmp_path / "scout.dcm")
    assert (back.view.beam, back.view.angle_deg) == ("fan", pytest.approx(angle_deg))
    assert (back.view.source_axis_mm, back.view.source_detector_mm) == pytest.approx((axis, detector))
    assert back.view.pixel_mm == pytest.approx(made.view.pixel_mm, rel=1e-4)
    assert back.isocentre_mm == pytest.approx(ISOCENTRE, abs=0.01)
    assert np.corrcoef(back.image.ravel(), made.image.ravel())[0, 1] > 0.9999
    assert any("middle of the image's columns" in note for note in back.warnings)
    assert any("side of the tube is not stored" in note for note in back.warnings) == (vendor != "GE")


@pytest.mark.parametrize("angle_deg", [0.0, 180.0, 90.0, -90.0, 30.0])
def test_what_we_write_is_read_with_its_side_and_its_isocentre(angle_deg: float, body: CTVolume, tmp_path: Path):
    made = scout(body, angle_deg, offset_mm=(25.0, -40.0))
    write_localizer(made, tmp_path / "scout.dcm")
    back = read_xray(tmp_path / "scout.dcm")
    assert math.remainder(back.view.angle_deg - angle_deg, 360.0) == pytest.approx(0.0, abs=1e-6)
    assert np.corrcoef(back.image.ravel(), made.image.ravel())[0, 1] > 0.9999
    assert back.warnings == ()
    seen, expected = (preprocess(each, Detector(64, 480.0))[0] for each in (around(back, BODY), around(made, BODY)))
    torch.testing.assert_close(seen, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("clock", "position", "angle"),
    [(0, "HFS", 180), (90, "HFS", -90), (180, "HFS", 0), (0, "HFP", 0), (90, "FFS", 90), (90, "FFP", -90), (0, "FFS", 180)],
)  # fmt: skip
def test_the_tube_is_where_the_clock_says_however_the_patient_lies(clock, position, angle):
    assert math.remainder(angle_of_tube(clock, position) - angle, 360.0) == pytest.approx(0.0)
    assert angle_of_tube(clock, "HFDR") is None  # on a side there is no such angle


@pytest.mark.parametrize("angle_deg", [180.0, -90.0, 47.0])
def test_rays_told_from_another_centre_are_the_same_rays(angle_deg: float, body: CTVolume):
    """Against projecting the body anew, in the geometry around its own middle."""
    moved = around(scout(body, angle_deg, cols=400), BODY)
    anew = simulate_xray(body, moved.view, BODY)
    inside = np.s_[:, 3:-3] if moved.valid is None else moved.valid
    assert np.abs(moved.image - anew.image)[inside].max() < 0.05 * anew.image.max()
    assert np.abs(moved.image - anew.image)[inside].mean() < 0.002 * anew.image.max()
    assert abs(math.remainder(moved.view.angle_deg - angle_deg, 360.0)) < 3.0


def test_the_middle_of_the_body_is_found_where_it_is(body: CTVolume):
    pair = [scout(body, angle) for angle in (180.0, -90.0)]
    found = middle_of_body(pair, (-35.0, 185.0))
    assert found == pytest.approx(BODY, abs=6.0)
    alone = middle_of_body(pair[:1], (-35.0, 185.0))
    assert alone[0] == pytest.approx(BODY[0], abs=6.0)


def test_a_centre_beside_the_fan_is_refused(body: CTVolume):
    with pytest.raises(InputError, match="outside the fan"):
        around(scout(body, 180.0), (900.0, 0.0, 0.0))


def write_study(folder: Path, body: CTVolume) -> Path:
    """A CT with its two localizers and an older one that covers less, at another depth of the tree."""
    write_series(folder / "2", body, PatientID="P1", SeriesNumber=2)
    (folder / "1").mkdir()
    for number, angle in enumerate((180.0, -90.0), 1):
        write_localizer(scout(body, angle), folder / "1" / f"{number}.dcm", instance_number=number)
    short = scout(body, 180.0, rows=64)
    write_localizer(short, folder / "1" / "3.dcm", instance_number=9)
    for path in (folder / "1").iterdir():
        item = pydicom.dcmread(path)
        item.PatientID, item.IssuerOfPatientID = "P1", ""
        item.save_as(path)
    return folder


def test_the_localizers_of_a_study_are_found_and_centred_on_the_scan(body: CTVolume, tmp_path: Path):
    frontal, lateral = read_localizers(write_study(tmp_path / "study", body))
    assert frontal.source.endswith("1.dcm")
    assert lateral.source.endswith("2.dcm")
    assert frontal.isocentre_mm == lateral.isocentre_mm
    assert frontal.isocentre_mm[:2] == pytest.approx(BODY[:2], abs=6.0)
    assert frontal.isocentre_mm[2] == pytest.approx(BODY[2], abs=0.1)
    assert len({xray.patient_key for xray in (frontal, lateral)}) == 1


def test_two_localizer_files_given_one_by_one_are_brought_together(body: CTVolume, tmp_path: Path):
    for angle in (180.0, -90.0):
        write_localizer(scout(body, angle), tmp_path / f"{angle:g}.dcm")
    pair = centred([read_xray(tmp_path / f"{angle:g}.dcm") for angle in (180.0, -90.0)])
    assert pair[0].isocentre_mm == pair[1].isocentre_mm


def of_study(folder: Path, uid: str, date: str = "") -> None:
    """Say of every file below that it is of a study."""
    for path in folder.rglob("*.dcm"):
        edit(path, StudyInstanceUID=uid, StudyDate=date)


@pytest.mark.parametrize("scans", ["the older study's", "the newer study's", "none"])
def test_of_two_studies_no_pair_is_made_of_one_localizer_each(scans, body: CTVolume, tmp_path: Path):
    """Each alone has the longer localizer of one view: the best of both together would be a patient who lies in two ways."""
    moved = replace(body, origin_mm=tuple(value + 700.0 for value in body.origin_mm))
    for name, ct, rows in (("older", body, (200, 100)), ("newer", moved, (100, 200))):
        write_series(tmp_path / name / "ct", ct, PatientID="P1", SeriesNumber=2)
        centre = tuple(value + (700.0 if ct is moved else 0.0) for value in ISOCENTRE)
        for angle, count in zip((180.0, -90.0), rows, strict=True):
            view = View(angle, 570.0, 1040.0, count, 256, (2.0, 3.6), beam="fan")
            write_localizer(simulate_xray(ct, view, centre), tmp_path / name / f"{angle:g}.dcm")
        of_study(tmp_path / name, {"older": "1.2.1", "newer": "1.2.2"}[name], "20200101")
        if scans != f"the {name} study's":
            shutil.rmtree(tmp_path / name / "ct")
    found = {Path(xray.source).parent.name for xray in read_localizers(tmp_path)}
    assert found == ({"older"} if "older" in scans else {"newer"} if "newer" in scans else found)
    assert len(found) == 1


def test_a_scan_of_another_study_does_not_say_where_the_volume_is_to_be(body: CTVolume, tmp_path: Path):
    study = write_study(tmp_path / "study", body)
    of_study(study / "1", "1.2.1")
    alone = read_localizers(study / "1")
    of_study(study / "2", "1.2.1")
    assert read_localizers(study)[0].isocentre_mm[2] == pytest.approx(BODY[2], abs=0.1)
    for path in (study / "2").iterdir():
        place = pydicom.dcmread(path).ImagePositionPatient
        edit(path, StudyInstanceUID="1.2.2", ImagePositionPatient=[place[0], place[1], float(place[2]) + 90.0])
    assert [xray.isocentre_mm for xray in read_localizers(study)] == [xray.isocentre_mm for xray in alone]


def test_a_folder_without_localizers_is_refused(body: CTVolume, tmp_path: Path):
    write_series(tmp_path / "ct", body)
    with pytest.raises(InputError, match="no CT localizer"):
        read_localizers(tmp_path / "ct")
    with pytest.raises(InputError, match="expected a folder"):
        read_localizers(tmp_path / "nowhere")


def test_a_localizer_without_a_place_or_across_the_patient_is_refused(body: CTVolume, tmp_path: Path):
    path = tmp_path / "scout.dcm"
    write_localizer(scout(body, 180.0), path)
    item = pydicom.dcmread(path)
    item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    item.save_as(path)
    with pytest.raises(InputError, match="across the patient's long axis"):
        read_xray(path)
    del item.ImagePositionPatient
    item.save_as(path)
    with pytest.raises(InputError, match="without ImagePositionPatient"):
        read_xray(path)


@pytest.mark.parametrize("tag", ["DistanceSourceToPatient", "DistanceSourceToDetector"])
def test_a_negative_distance_is_refused_and_zero_is_nobodys_statement(tag, body: CTVolume, tmp_path: Path):
    path = tmp_path / "scout.dcm"
    write_localizer(scout(body, 180.0), path)
    edit(path, **{tag: -570.0})
    with pytest.raises(InputError, match=f"{tag} is -570 mm; expected"):
        read_xray(path)
    edit(path, **{tag: 0.0})
    assert any(text.startswith("assumed: source to") for text in read_xray(path).warnings)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_study_of_links_and_one_that_is_a_link_are_read_like_the_study(body: CTVolume, tmp_path: Path):
    study, links = write_study(tmp_path / "study", body), tmp_path / "links"
    links.mkdir()
    (links / "scouts").symlink_to(study / "1")
    (links / "scan").symlink_to(study / "2")
    (study / "1" / "round").symlink_to(study)
    (tmp_path / "link").symlink_to(study)
    expected = [(xray.isocentre_mm, xray.image.sum()) for xray in read_localizers(study)]
    for folder in (links, tmp_path / "link"):
        assert [(xray.isocentre_mm, xray.image.sum()) for xray in read_localizers(folder)] == expected


def test_no_file_of_the_study_is_written_over_however_deep_it_lies(body: CTVolume, small_model, tmp_path: Path, capfd):
    study = write_study(tmp_path / "study", body)
    out = (study / "1" / "1.dcm").rename(study / "1" / "r.nii.gz")
    before = out.read_bytes()
    given = ("--bundle", small_model.path, "--out", out, "--quiet")
    code, _, said = run(capfd, "reconstruct", "--localizers", study, *given)
    assert (code, "which is an input" in said) == (2, True), said
    assert out.read_bytes() == before


def test_from_a_ct_folder_to_a_volume_and_its_comparison_with_the_same_folder(body, small_model, tmp_path, capfd):
    study = write_study(tmp_path / "study", body)
    out = tmp_path / "r.nii.gz"
    given = ("--bundle", small_model.path, "--product", "mean", "--out", out, "--quiet")
    code, _, said = run(capfd, "reconstruct", "--localizers", study, *given)
    assert code == 0, said
    code, _, said = run(capfd, "compare", out, study, "--out", tmp_path / "report", "--quiet")
    assert code == 0, said
    figures = (tmp_path / "report" / "metrics.json").read_text()
    assert '"overlap_fraction": 1.0' in figures or '"overlap_fraction": 0.9' in figures
    assert figures.count('"angle_deg"') >= 2


def test_project_makes_localizers_that_reconstruct_reads(body: CTVolume, tmp_path: Path, capfd):
    write_series(tmp_path / "ct", body)
    machine = ("--preset", "localizer", "--angles", "180", "-90")
    code, _, said = run(capfd, "project", tmp_path / "ct", *machine, "--out", tmp_path / "s", "--quiet")
    assert code == 0, said
    back = read_xray(tmp_path / "s" / "view_180.dcm")
    assert back.view.beam == "fan"
    assert back.view.pixel_mm == pytest.approx(preset("localizer").view(180.0).pixel_mm, rel=1e-4)
    assert [xray.isocentre_mm for xray in read_localizers(tmp_path / "s")]
