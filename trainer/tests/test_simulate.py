"""From a CT to films and back: geometry, chirality, files, and what is left behind on failure."""

import math
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
from scipy import ndimage

from clsdm import simulate
from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS, View
from clsdm.simulate import add_noise, project_to_folder, simulate_xray, write_dx, write_preview
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import MU_WATER_PER_MM
from clsdm.volume.write import write_ct
from clsdm.xray.preprocess import XRay
from clsdm.xray.read import GeometryOverrides, read_xray

BALL_MM = (40.0, -30.0, 50.0)  # LPS: the patient's left, anterior, superior


def ball_ct(
    size: int = 40, spacing_mm: float = 5.0, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> CTVolume:
    """A ball of 18 mm radius and 1000 HU at ``BALL_MM`` in air, in a cube around ``centre_mm``."""
    axis = (np.arange(size) - (size - 1) / 2) * spacing_mm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    x, y, z = (part + middle for part, middle in zip((x, y, z), centre_mm, strict=True))
    distance = np.sqrt((x - BALL_MM[0]) ** 2 + (y - BALL_MM[1]) ** 2 + (z - BALL_MM[2]) ** 2)
    return CTVolume.on_grid(np.where(distance < 18.0, 1000.0, -1000.0), Grid(size, spacing_mm), centre_mm)


def spot_mm(xray: XRay) -> tuple[float, float]:
    """(down, right) of the image's centre of mass from the image's middle, on the detector."""
    found = ndimage.center_of_mass(xray.image)
    return tuple(
        (at - (count - 1) / 2) * pitch
        for at, count, pitch in zip(found, xray.image.shape, xray.view.pixel_mm, strict=True)
    )


def expected_mm(view: View) -> tuple[float, float]:
    """(down, right) of the ball's centre by trigonometry: rotate the patient instead of the machine, then magnify."""
    angle = math.radians(view.angle_deg)
    across = BALL_MM[0] * math.cos(angle) + BALL_MM[1] * math.sin(angle)
    towards_source = -BALL_MM[0] * math.sin(angle) + BALL_MM[1] * math.cos(angle)
    scale = view.source_detector_mm / (view.source_axis_mm - towards_source)
    return -BALL_MM[2] * scale - view.offset_mm[0], across * scale - view.offset_mm[1]


@pytest.mark.parametrize("angle_deg", [0.0, 90.0, 180.0, -90.0, 35.0])
def test_a_ball_falls_where_trigonometry_puts_it(angle_deg):
    view = replace(PRESETS["c-arm"].view(angle_deg, 100), offset_mm=(10.0, -20.0))
    assert spot_mm(simulate_xray(ball_ct(), view, (0.0, 0.0, 0.0))) == pytest.approx(expected_mm(view), abs=1.0)


def test_line_integrals_through_water_have_the_length_of_the_path():
    hu = np.full((40, 40, 40), -1000.0)
    hu[10:30, 10:30, 10:30] = 0.0  # a cube of 100 mm
    image = simulate_xray(CTVolume.on_grid(hu, Grid(40, 5.0)), PRESETS["chest"].view(0.0, 101), (0.0, 0.0, 0.0)).image
    assert image[50, 50] == pytest.approx(100.0 * MU_WATER_PER_MM, rel=0.01)
    assert image[2, 2] == pytest.approx(0.0, abs=1e-6)


def test_chirality_survives_project_file_and_read(tmp_path):
    write_ct(ball_ct(), tmp_path / "ct.nii.gz")
    files = project_to_folder(tmp_path / "ct.nii.gz", "chest", tmp_path / "out", (0.0, 90.0), isocentre_mm=(0, 0, 0))
    frontal, lateral = (spot_mm(read_xray(file)) for file in files)
    assert frontal == pytest.approx(expected_mm(PRESETS["chest"].view(0.0)), abs=1.0)
    assert frontal[0] < -30.0, "superior must be at the top"
    assert frontal[1] > 30.0, "the patient's left must be at image right"
    assert lateral[0] < -30.0, "superior must be at the top"
    assert lateral[1] < -20.0, "anterior must be at image left"


def test_spacing_and_orientation_of_the_ct_do_not_change_its_x_ray():
    ct = ball_ct()
    turned = sitk.PermuteAxes(sitk.Flip(ct.to_sitk(), (True, False, True)), (2, 0, 1))
    other = CTVolume.from_sitk(turned)
    assert not np.allclose(other.direction, np.eye(3))
    view = PRESETS["x2ct"].view(20.0, 64)
    expected, found = (simulate_xray(each, view, (1.0, 2.0, 3.0)).image for each in (ct, other))
    np.testing.assert_allclose(found, expected, atol=0.02 * expected.max())


def test_the_isocentre_is_a_point_of_the_patient_and_by_default_the_bodys_middle():
    far = ball_ct(centre_mm=BALL_MM)
    moved = replace(far, origin_mm=tuple(value + 500.0 for value in far.origin_mm))
    view = PRESETS["chest"].view(0.0, 64)
    assert spot_mm(simulate_xray(moved, view)) == pytest.approx((0.0, 0.0), abs=1.5)
    at_ball = simulate_xray(ball_ct(), view, BALL_MM)
    assert spot_mm(at_ball) == pytest.approx((0.0, 0.0), abs=1.0)


def test_a_scan_that_reaches_the_source_is_refused():
    with pytest.raises(InputError, match="reaches"):
        simulate_xray(ball_ct(8, 150.0), PRESETS["x2ct"].view(0.0, 16), (0.0, 0.0, 0.0))


def test_a_fine_scan_is_resampled_to_bounded_memory():
    hu = np.full((4, 4, 4), -1000.0, np.float32)
    ct = CTVolume(hu, (300.0, 300.0, 0.5), (0.0, 0.0, 0.0))
    box, spacing_mm = simulate._attenuation_around(ct, (600.0, 600.0, 0.0))
    assert box.numel() <= 1.1 * simulate.MAX_VOXELS
    assert spacing_mm <= 2.5


def test_noise_has_the_stated_count_statistics_and_follows_the_seed():
    flat = XRay(np.full((128, 128), 2.0, np.float32), PRESETS["chest"].view(0.0, 128))
    noisy = add_noise(flat, 1e4, seed=1)
    assert noisy.image.mean() == pytest.approx(2.0, abs=2e-3)
    assert noisy.image.std() == pytest.approx(1.0 / math.sqrt(1e4 * math.exp(-2.0)), rel=0.05)
    np.testing.assert_array_equal(noisy.image, add_noise(flat, 1e4, seed=1).image)
    assert not np.array_equal(noisy.image, add_noise(flat, 1e4, seed=2).image)
    assert np.isfinite(add_noise(replace(flat, image=flat.image + 50.0), 10.0).image).all()
    with pytest.raises(InputError, match="photons"):
        add_noise(flat, 0.0)


@pytest.mark.parametrize("name", ["frontal.dcm", "lateral.png", "view_180.dcm"])
def test_a_film_of_the_users_is_not_replaced_and_our_own_are(name, tmp_path, films):
    angles = (0.0, 90.0, 180.0)
    write_ct(ball_ct(), tmp_path / "ct.nii.gz")
    film = pydicom.dcmread(films / "frontal.dcm")
    film.PatientID, film.IssuerOfPatientID = "Anna", ""
    film.save_as(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(InputError, match=f"{name}: is there and was not written by this program"):
        project_to_folder(tmp_path / "ct.nii.gz", "c-arm", tmp_path, angles)
    assert (tmp_path / name).read_bytes() == before
    (tmp_path / name).unlink()
    for machine in ("c-arm", "localizer"):
        files = project_to_folder(tmp_path / "ct.nii.gz", machine, tmp_path, angles)
    assert [read_xray(file).view.beam for file in files] == ["fan"] * 3


def test_a_folder_gets_dx_files_of_one_patient_and_previews(tmp_path):
    write_ct(ball_ct(), tmp_path / "ct.nii.gz")
    seen: list[tuple[int, int]] = []
    out = tmp_path / "new" / "out"
    files = project_to_folder(
        tmp_path / "ct.nii.gz", "c-arm", out, (0, 90, 30), on_view=lambda done, total: seen.append((done, total))
    )
    assert [file.name for file in files] == ["frontal.dcm", "lateral.dcm", "view_30.dcm"]
    assert sorted(file.name for file in out.iterdir()) == sorted(
        f"{name}.{kind}" for name in ("frontal", "lateral", "view_30") for kind in ("dcm", "png")
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    tags = [pydicom.dcmread(file) for file in files]
    assert len({tag.PatientID for tag in tags}) == len({tag.StudyInstanceUID for tag in tags}) == 1
    assert len({tag.SOPInstanceUID for tag in tags}) == 3
    assert [tag.ViewPosition for tag in tags] == ["PA", "LL", ""]
    assert [list(tag.PatientOrientation) for tag in tags] == [["L", "F"], ["P", "F"], ["LP", "F"]]
    assert tags[0].ImageType == ["DERIVED", "PRIMARY"]
    assert (tags[0].ContentQualification, str(tags[0].PatientName)) == ("RESEARCH", "CLS-DM^Simulated")
    assert read_xray(files[1]).isocentre_mm == pytest.approx(BALL_MM, abs=3.0)
    assert [file.view for file in map(read_xray, files)] == [
        PRESETS["c-arm"].view(float(angle)) for angle in (0, 90, 30)
    ]


def test_the_same_ct_gives_the_same_bytes(tmp_path):
    xray = simulate_xray(ball_ct(), PRESETS["chest"].view(0.0, 64))
    for name in ("a.dcm", "b.dcm"):
        write_dx(xray, tmp_path / name)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


@pytest.mark.parametrize("angle_deg", [0.0, 90.0, 180.0, -90.0])
def test_a_preview_is_read_back_as_the_same_view(tmp_path, angle_deg):
    xray = simulate_xray(ball_ct(), PRESETS["chest"].view(angle_deg, 96), (0.0, 0.0, 0.0))
    write_preview(xray, tmp_path / "x.png")
    back = read_xray(tmp_path / "x.png", angle_deg, GeometryOverrides(pixel_mm=xray.view.pixel_mm))
    assert np.corrcoef(back.image.ravel(), xray.image.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("angles", "says"),
    [
        ((), "1 to 8"),
        ((0, 360), "different"),
        (tuple(range(9)), "1 to 8"),
        ((math.nan,), "degrees"),
        ((1e300,), "-720 to 720 degrees"),
    ],
)
def test_unusable_angles_are_refused(tmp_path, angles, says):
    with pytest.raises(InputError, match=says):
        project_to_folder(tmp_path / "ct.nii.gz", "chest", tmp_path / "out", angles)


def test_a_real_ct_shows_the_heart_on_the_patients_left(shared_data, tmp_path):
    files = project_to_folder(shared_data / "ct" / "chest" / "lungdx_a0001.nii.gz", "chest", tmp_path / "out", (0.0,))
    image = read_xray(files[0]).image
    low = image[200:280]
    left_lung, right_lung = low[:, 250:310].mean(), low[:, 120:180].mean()
    assert left_lung > right_lung
