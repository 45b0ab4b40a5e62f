"""A patient in a pose: the truth on the cube and the X-rays of the whole scan agree with geometry and with each other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import GRID, MARGIN, padded_anatomy, phantom_hu

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.geometry.view import Detector, preset
from clsdm.simulate import simulate_xrays
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import hu_to_unit, unit_to_attenuation
from clsdm.volume.write import write_ct
from clsdm.xray.preprocess import expose, preprocess
from clsdm_trainer.anatomy import (
    Anatomy,
    Pose,
    coarsened,
    extended,
    line_integrals,
    place,
    posed,
    spline_weights,
    warped,
)
from clsdm_trainer.augment import Exposure, _rotation, radiographs, virtual_cameras
from clsdm_trainer.data.cube import canonical_cube
from clsdm_trainer.data.prepare import PrepareConfig, prepare
from clsdm_trainer.data.source import SourceConfig
from clsdm_trainer.data.store import Store

CPU = torch.device("cpu")
DETECTOR = Detector(48, 480.0)
IDENTITY = Pose(np.eye(3), np.zeros(3))
MIRRORED = Pose(np.diag([-1.0, 1.0, 1.0]), np.zeros(3))
TURNED = Pose(_rotation(np.deg2rad([4.0, -3.0, 6.0])) @ np.diag([1.1, 0.93, 1.04]), np.array([11.0, -6.0, 17.0]))


@pytest.fixture
def stored() -> Anatomy:
    return padded_anatomy(torch.from_numpy(phantom_hu(np.random.default_rng(0))))


def smooth(size: int, spacing_mm: float) -> Anatomy:
    """A body of smooth blobs, so that interpolation costs next to nothing."""
    axis = (torch.arange(size) - (size - 1) / 2) * spacing_mm
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    hu = -1000.0 + 1000.0 * torch.exp(-(((x / 110) ** 2 + (y / 80) ** 2 + (z / 120) ** 2) ** 2))
    for bx, by, bz, height in ((50.0, -20.0, 40.0, 900.0), (-60.0, 30.0, -30.0, 600.0), (10.0, 50.0, -60.0, 400.0)):
        hu = hu + height * torch.exp(-((x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2) / (2 * 25.0**2))
    return Anatomy(hu, spacing_mm, np.full(3, float(axis[0])))


def cameras(*angles_deg: float) -> Cameras:
    return virtual_cameras([[Exposure(preset("chest").view(angle)) for angle in angles_deg]], DETECTOR, CPU)


def test_the_identity_pose_is_the_central_crop(stored):
    inner = slice(MARGIN, MARGIN + GRID.size)
    unit, known = place([stored], [IDENTITY], GRID)
    assert unit.shape == known.shape == (1, 1, *[GRID.size] * 3)
    torch.testing.assert_close(unit[0, 0], hu_to_unit(stored.hu.float())[inner, inner, inner], rtol=0, atol=2e-5)
    assert bool((known == 1.0).all())


@pytest.mark.parametrize(("axis", "name"), [(0, "x"), (1, "y"), (2, "z")])
def test_a_shift_of_one_voxel_moves_the_crop_by_one_voxel_along_that_axis(axis, name, stored):
    shift = np.zeros(3)
    shift[axis] = GRID.spacing_mm
    unit, _ = place([stored], [Pose(np.eye(3), shift)], GRID)
    crop = [slice(MARGIN, MARGIN + GRID.size)] * 3
    crop[2 - axis] = slice(MARGIN + 1, MARGIN + 1 + GRID.size)  # arrays are (z, y, x)
    torch.testing.assert_close(unit[0, 0], hu_to_unit(stored.hu.float())[tuple(crop)], rtol=0, atol=2e-5)


def test_what_lies_outside_the_scan_is_air_and_beyond_its_end_slices_unknown(stored):
    unit, known = place([stored], [Pose(np.eye(3), np.array([0.0, 0.0, 10 * GRID.spacing_mm]))], GRID)
    # The margin of 2 is left of a cube moved by 10.
    assert torch.equal(known[0, 0, :, 0, 0], (torch.arange(16) < 8).float())
    torch.testing.assert_close(unit[0, 0, 8:], torch.full_like(unit[0, 0, 8:], -1.0), rtol=0, atol=1e-4)
    aside, still_known = place([stored], [Pose(np.eye(3), np.array([30 * GRID.spacing_mm, 0.0, 0.0]))], GRID)
    assert torch.equal(aside, torch.full_like(aside, -1.0))
    assert bool((still_known == 1.0).all())  # beside the patient there is air


def test_a_mirrored_patient_has_a_mirrored_cube_and_a_mirrored_frontal_x_ray(stored):
    plain, mirrored = (place([stored], [pose], GRID)[0] for pose in (IDENTITY, MIRRORED))
    torch.testing.assert_close(mirrored, plain.flip(-1), rtol=0, atol=2e-5)
    images = [line_integrals([stored], [pose], cameras(0.0))[0, 0] for pose in (IDENTITY, MIRRORED)]
    torch.testing.assert_close(images[1], images[0].flip(-1), rtol=0, atol=1e-3)
    assert (images[0] - images[0].flip(-1)).abs().max() > 0.2


def test_turning_the_patient_is_turning_the_machine_the_other_way():
    """``matrix`` maps canonical to scan positions: turned by +10 degrees, the patient lies at -10."""
    patient = smooth(48, 8.0)
    turned = Pose(_rotation(np.deg2rad([0.0, 0.0, 10.0])), np.zeros(3))
    image = line_integrals([patient], [turned], cameras(0.0))
    same, opposite = (line_integrals([patient], [IDENTITY], cameras(angle)) for angle in (10.0, -10.0))
    errors = [float((image - other).abs().mean()) for other in (same, opposite)]
    assert errors[0] < 1e-4
    assert errors[1] > 100 * errors[0]


def test_rays_mapped_into_the_scan_are_rays_through_the_posed_patient():
    """An affine pose that turns, stretches and shifts: the one way resamples the patient, the other maps the rays."""
    patient, grid = smooth(96, 4.0), Grid(112, 4.0)
    unit, _ = place([patient], [TURNED], grid)
    resampled = project(unit_to_attenuation(unit), grid.spacing_mm, cameras(0.0, 90.0))
    mapped = line_integrals([patient], [TURNED], cameras(0.0, 90.0))
    assert float((resampled - mapped).abs().max()) < 0.01 * float(mapped.max())
    unposed = line_integrals([patient], [IDENTITY], cameras(0.0, 90.0))
    assert float((unposed - mapped).abs().max()) > 0.05 * float(mapped.max())


def test_a_coarsened_patient_is_the_same_in_its_cube_and_in_its_x_rays():
    """Of an odd number of voxels, so that the last ones are halves."""
    patient, grid = smooth(95, 4.0), Grid(48, 8.0)
    patient = replace(patient, hu=patient.hu.round().short())
    coarse = coarsened(patient, 2)
    assert (coarse.spacing_mm, tuple(coarse.size), coarse.hu.dtype) == (8.0, (48, 48, 48), torch.int16)
    (fine_unit, _), (unit, _) = place([patient], [TURNED], grid), place([coarse], [TURNED], grid)
    assert float((fine_unit - unit).abs().mean()) < 0.005
    fine, images = (line_integrals([each], [TURNED], cameras(0.0, 90.0)) for each in (patient, coarse))
    assert float((fine - images).abs().max()) < 0.02 * float(fine.max())


def test_x_rays_hold_what_lies_outside_the_cube(stored):
    collar = replace(stored, hu=stored.hu.clone())
    collar.hu[:, :2] = 200  # in the margin: before everything that the cube holds
    assert torch.equal(*(place([each], [IDENTITY], Grid(12, GRID.spacing_mm))[0] for each in (stored, collar)))
    plain, more = (line_integrals([each], [IDENTITY], cameras(0.0)) for each in (stored, collar))
    assert float((more - plain)[0, 0, 24, 24]) > 0.5


def test_an_extended_patient_goes_on_and_the_repeated_slices_are_not_known(stored):
    longer = extended(stored, 300.0)
    assert longer.repeated == (2, 2)  # 240 mm were scanned on either side, a slice has 24 mm
    assert torch.equal(longer.hu[2:-2], stored.hu)
    assert torch.equal(longer.hu[-1], stored.hu[-1])
    np.testing.assert_allclose(longer.centre_mm, stored.centre_mm)
    pose = Pose(np.eye(3), np.array([0.0, 0.0, 10 * GRID.spacing_mm]), extended=True)
    grown, known = place([posed(stored, pose, GRID)], [pose], GRID)
    plain, plain_known = place([stored], [pose], GRID)
    assert torch.equal(known, plain_known)
    inside = known.clone()
    inside[0, 0, 7] = 0.0  # interpolated with what follows
    torch.testing.assert_close(grown[inside > 0.5], plain[inside > 0.5], rtol=0, atol=1e-4)


def test_spline_weights_are_a_partition_of_unity_and_move_everything_alike():
    weights = spline_weights(50, 7)
    torch.testing.assert_close(weights.sum(1), torch.ones(50, dtype=torch.float64))
    assert bool((weights >= 0).all())
    patient = smooth(48, 8.0)
    eight, four = (np.array([x, 0.0, 0.0])[:, None, None, None] * np.ones((3, 6, 6, 6)) for x in (8.0, 4.0))
    for moved in (warped(patient, eight), warped(patient, four, four[:, :5, :5, :5])):  # they add up
        torch.testing.assert_close(moved.hu[:, :, :-1], patient.hu[:, :, 1:], rtol=0, atol=0.5)


def test_a_warp_changes_truth_and_x_rays_together():
    patient, grid = smooth(48, 8.0), Grid(48, 8.0)
    pose = Pose(np.eye(3), np.zeros(3), (np.random.default_rng(0).standard_normal((3, 6, 6, 6)) * 8.0,))
    bent = posed(patient, pose, grid)
    unit, _ = place([bent], [pose], grid)
    assert float((unit[0, 0] - hu_to_unit(patient.hu)).abs().max()) > 0.1
    resampled = project(unit_to_attenuation(unit), 8.0, cameras(0.0))
    torch.testing.assert_close(line_integrals([bent], [pose], cameras(0.0)), resampled, rtol=0, atol=1e-3)


def test_the_trainers_x_rays_are_those_of_clsdm_project(tmp_path: Path, asymmetric_phantom: CTVolume):
    """From one scan: what the networks are trained on, and what they get from the files that a user makes."""
    write_ct(asymmetric_phantom, tmp_path / "scans" / "a.nii.gz")
    source = SourceConfig(kind="folder", root=tmp_path / "scans", split="train")
    prepare(PrepareConfig(sources=(source,), out=tmp_path / "store", size=32, spacing_mm=8.0, margin=0, workers=1))
    store = Store.open(tmp_path / "store")
    (case,) = store.all_cases
    anatomy = Anatomy(torch.from_numpy(np.array(store.scan(case))), 2.0, np.array(case.scan_origin_mm))
    detector = Detector(160, 480.0)  # 3 mm pixels, of which a user's finer ones are averages
    views = [preset("chest").view(0.0), preset("c-arm").view(90.0)]
    exposures = [[Exposure(view) for view in views]]
    integrals = line_integrals([anatomy], [IDENTITY], virtual_cameras(exposures, detector, CPU))
    trained = radiographs(integrals, exposures, detector, torch.zeros_like(integrals))[0]
    users = torch.stack([preprocess(xray, detector)[0] for xray in simulate_xrays(asymmetric_phantom, views)])
    assert torch.equal(trained[:, 1], users[:, 1])
    same, mirrored = ((trained[:, 0] - image).square().mean().sqrt() for image in (users[:, 0], users[:, 0].flip(-1)))
    assert float(same) < 0.01  # of a range of 2
    assert float(mirrored) > 3 * float(same)


def test_x_rays_of_a_scan_that_is_its_cube_are_the_exposure_of_the_cube(stored):
    views = [preset("chest").view(angle) for angle in (0.0, 90.0)]
    exposures = [[Exposure(view) for view in views]]
    integrals = line_integrals([stored], [IDENTITY], virtual_cameras(exposures, DETECTOR, CPU))
    images = radiographs(integrals, exposures, DETECTOR, torch.zeros_like(integrals))
    attenuation = unit_to_attenuation(hu_to_unit(stored.hu.float()))[None, None]
    torch.testing.assert_close(images, expose(attenuation, GRID.spacing_mm, [views], DETECTOR)[0], rtol=0, atol=1e-4)


def test_the_kept_scan_is_the_whole_scan_on_cubic_voxels(asymmetric_phantom: CTVolume):
    prepared = canonical_cube(asymmetric_phantom, Grid(8, 6.0), 0)
    extent = np.array(asymmetric_phantom.hu.shape[::-1]) * np.array(asymmetric_phantom.spacing_mm)
    np.testing.assert_allclose(np.array(prepared.scan.hu.shape[::-1]) * 2.0, extent, atol=2.0)
    np.testing.assert_allclose(prepared.scan.centre_mm, asymmetric_phantom.centre_mm, atol=1e-6)
