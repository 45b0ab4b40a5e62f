"""Data consistency: what the X-rays can correct, and what they must leave alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_bundle import small_bundle, small_phantom, small_xrays

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.geometry.view import Detector, preset
from clsdm.model.clsdm import CLSDM, ERROR_BLOCKS, UNKNOWN_ERROR_HU
from clsdm.model.consistency import (
    Correction,
    conjugate_gradients,
    consistent,
    cosines,
    fixed_by_views,
    gain,
    without_exposure,
)
from clsdm.reconstruction import Options, reconstruct
from clsdm.volume.hu import hu_to_attenuation
from clsdm.xray.preprocess import cameras_for, expose, normalise

SIZE, SPACING_MM = 32, 12.0
DETECTOR = Detector(48, 480.0)
VIEWS = [[preset("chest").view(angle) for angle in (0.0, 90.0)]]


def body() -> torch.Tensor:
    """(1, 1, n, n, n) HU: a trunk with two different lungs."""
    axis = (torch.arange(SIZE) - (SIZE - 1) / 2) * SPACING_MM
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    hu = torch.where((x / 150) ** 2 + (y / 100) ** 2 < 1, 40.0, -1000.0)
    hu[((x - 70) / 50) ** 2 + (y / 60) ** 2 + (z / 120) ** 2 < 1] = -850.0
    hu[((x + 70) / 45) ** 2 + (y / 60) ** 2 + ((z - 30) / 90) ** 2 < 1] = -800.0
    return hu[None, None]


def images_of(hu: torch.Tensor) -> tuple[torch.Tensor, Cameras]:
    return expose(hu_to_attenuation(hu), SPACING_MM, VIEWS, DETECTOR)


def wrong_lung(hu: torch.Tensor) -> torch.Tensor:
    """An estimate with a denser region in the left lung."""
    estimate = hu.clone()
    estimate[..., 12:20, 14:18, 20:24] += 300.0
    return estimate


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def test_an_error_that_the_x_rays_see_is_corrected_and_the_truth_stays():
    truth = body()
    images, cameras = images_of(truth)
    estimate, error = wrong_lung(truth), torch.full_like(truth, 150.0)
    corrected = consistent(estimate, error, images, cameras, SPACING_MM, Correction(background=2))
    assert rms(corrected - truth) < 0.97 * rms(estimate - truth)  # two views cannot say where along their rays
    missing = [
        project(hu_to_attenuation(each) - hu_to_attenuation(truth), SPACING_MM, cameras)
        for each in (estimate, corrected)
    ]
    assert rms(missing[1]) < 0.75 * rms(missing[0])
    assert rms(consistent(truth, error, images, cameras, SPACING_MM) - truth) < 0.02 * rms(estimate - truth)


def test_what_is_certain_does_not_move():
    truth = body()
    images, cameras = images_of(truth)
    error = torch.full_like(truth, 150.0)
    error[..., :16] = 0.0
    estimate = wrong_lung(truth)
    corrected = consistent(estimate, error, images, cameras, SPACING_MM)
    torch.testing.assert_close(corrected[..., :16], estimate[..., :16], rtol=0, atol=1e-2)
    assert float((corrected - estimate)[..., 16:].abs().max()) > 20.0


def test_exposure_and_a_smooth_background_teach_nothing():
    """Scatter, and matter outside the cube that is spread over the image, must not be painted into the patient."""
    truth = body()
    images, cameras = images_of(truth)
    background = cosines(DETECTOR.size, DETECTOR.size, 4)[7].view(DETECTOR.size, DETECTOR.size)
    hazy = images.clone()
    hazy[:, :, 0] = 0.8 * hazy[:, :, 0] + 0.15 * background
    error = torch.full_like(truth, 150.0)
    kept = rms(consistent(truth, error, hazy, cameras, SPACING_MM) - truth)
    believed = rms(consistent(truth, error, hazy, cameras, SPACING_MM, Correction(background=0)) - truth)
    assert kept < 0.2 * believed


def test_saturated_and_unmeasured_pixels_teach_nothing():
    truth = body()
    images, cameras = images_of(truth)
    spoiled, error = images.clone(), torch.full_like(truth, 150.0)
    spoiled[0, 0, 0, 20:26, 10:16] = 1.5  # a lead letter
    spoiled[0, 1, :, :, :12] = torch.tensor([5.0, 0.0])[:, None, None]
    blank = spoiled.clone()
    blank[0, 0, 1, 20:26, 10:16] = 0.0
    results = [consistent(wrong_lung(truth), error, each, cameras, SPACING_MM) for each in (spoiled, blank)]
    torch.testing.assert_close(*results)


def test_without_exposure_is_an_orthogonal_projection():
    generator = torch.Generator().manual_seed(0)
    image, first, second = (torch.randn(1, 2, 12, 12, generator=generator) for _ in range(3))
    mask = (torch.rand(1, 2, 12, 12, generator=generator) > 0.2).float()
    free = without_exposure(image, mask, 3)
    torch.testing.assert_close(free(free(first)), free(first), rtol=0, atol=1e-5)
    torch.testing.assert_close((free(first) * second).sum(), (first * free(second)).sum(), rtol=1e-4, atol=1e-4)
    assert rms(free(image)) < 1e-5
    smooth = cosines(12, 12, 3).sum(0).view(1, 1, 12, 12).expand(1, 2, -1, -1)
    assert rms(free(smooth * mask)) < 1e-5


def test_conjugate_gradients_solve_a_small_system_in_as_many_steps_as_it_has_unknowns():
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix, wanted = root @ root.T + torch.eye(6), torch.arange(1.0, 7.0, dtype=torch.float64)
    found = conjugate_gradients(lambda v: matrix @ v, wanted, 6)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, wanted))


def test_the_gain_of_a_normalised_image_is_found():
    truth = body()
    cameras = cameras_for(VIEWS, DETECTOR)
    projected, mask = project(hu_to_attenuation(truth), SPACING_MM, cameras), torch.ones(1, 2, 48, 48)
    image = normalise(projected, mask)
    inside = (image.abs() < 1.49).float()
    low, high = (torch.quantile(projected.flatten(2), q, dim=2) for q in (0.01, 0.99))
    torch.testing.assert_close(gain(image, projected, inside)[..., 0, 0], (high - low) / 2, rtol=1e-3, atol=1e-3)


def test_reconstruct_corrects_only_when_asked_and_says_so(tmp_path):
    bundle, xrays = small_bundle(tmp_path / "bundle"), small_xrays(small_phantom())
    plain, followed = (reconstruct(xrays, bundle, Options(consistency=asked)) for asked in (False, True))
    assert not np.array_equal(plain.volume.hu, followed.volume.hu)
    assert (plain.provenance["consistency"], followed.provenance["consistency"]) == (False, True)
    again = reconstruct(xrays, bundle, Options(consistency=True))
    assert np.array_equal(again.volume.hu, followed.volume.hu)


def test_weights_of_before_there_was_an_error_map_take_the_same_error_everywhere(tmp_path):
    config = small_bundle(tmp_path / "bundle").manifest.model
    model = CLSDM(config)
    model.error_hu.fill_(3.0)
    old = {name: value for name, value in CLSDM(config).state_dict().items() if name != "error_hu"}
    model.load_state_dict(old)
    assert torch.equal(model.error_hu, torch.full((ERROR_BLOCKS,) * 3, UNKNOWN_ERROR_HU))
    assert model.error_map_hu().shape == (1, 1, *[config.grid.size] * 3)


@pytest.mark.parametrize("count", [1, 4])
def test_any_number_of_views_will_do(count):
    truth = body()
    views = [[replace(VIEWS[0][0], angle_deg=180.0 * index / count) for index in range(count)]]
    images, cameras = expose(hu_to_attenuation(truth), SPACING_MM, views, DETECTOR)
    error = torch.full_like(truth, 150.0)
    corrected = consistent(wrong_lung(truth), error, images, cameras, SPACING_MM)
    assert rms(corrected - truth) < rms(wrong_lung(truth) - truth)


def test_what_x_rays_fix_of_a_volume_is_its_projection_on_what_they_can_see():
    hu = body() + 1000.0
    cameras = cameras_for(VIEWS, DETECTOR)
    seen = torch.ones(1, 2, DETECTOR.size, DETECTOR.size)
    fixed = fixed_by_views(hu, seen, cameras, SPACING_MM)
    rest = hu - fixed
    films, of_rest = (project(each, SPACING_MM, cameras) for each in (hu, rest))
    assert of_rest.norm() < 0.03 * films.norm(), "the rest leaves no trace in the X-rays"
    assert abs(float((fixed * rest).sum())) < 0.03 * float(hu.square().sum())
    again = fixed_by_views(fixed, seen, cameras, SPACING_MM)
    assert (again - fixed).norm() < 0.05 * fixed.norm()
    assert 0.2 < float(fixed.square().sum() / hu.square().sum()) < 0.95
    assert fixed_by_views(hu, 0.0 * seen, cameras, SPACING_MM).norm() == 0.0
