"""Preprocessing of X-rays: nothing but the patient and the geometry may reach the network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS, Detector, View
from clsdm.simulate import simulate_xray
from clsdm.xray.preprocess import XRay, cameras_for, check_image, normalise, panel_mask, preprocess

DETECTOR = Detector(64, 384.0)


def panel(rows: int = 100, cols: int = 120, pixel_mm: tuple[float, float] = (3.0, 3.0), **more: object) -> View:
    return View(0.0, 1000.0, 1500.0, rows, cols, pixel_mm, **more)


def smooth_image(view: View) -> np.ndarray:
    """Two wide Gaussians in detector mm around the principal ray: a pattern that does not depend on the panel."""
    down = (np.arange(view.rows) - (view.rows - 1) / 2) * view.pixel_mm[0] + view.offset_mm[0]
    right = (np.arange(view.cols) - (view.cols - 1) / 2) * view.pixel_mm[1] + view.offset_mm[1]
    down, right = down[:, None], right[None, :]
    blob = np.exp(-((down + 60) ** 2 + (right - 40) ** 2) / 5000) + 0.5 * np.exp(-((down - 50) ** 2 + right**2) / 9000)
    return blob.astype(np.float32)


@pytest.mark.parametrize(("scale", "offset"), [(1000.0, 0.0), (0.01, 5.0), (37.0, -400.0)])
def test_a_change_of_scale_and_offset_reaches_no_network(scale, offset):
    image = smooth_image(panel())
    expected, _ = preprocess(XRay(image, panel()), DETECTOR)
    found, _ = preprocess(XRay(scale * image + offset, panel()), DETECTOR)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0.0)
    assert expected[0].max() > 0.9


def test_an_inverted_image_is_another_input():
    image = smooth_image(panel())
    assert not torch.allclose(*(preprocess(XRay(sign * image, panel()), DETECTOR)[0][0] for sign in (1, -1)), atol=0.5)


@pytest.mark.parametrize("pixel_mm", [(0.75, 0.75), (3.0, 3.0), (2.0, 5.0), (9.5, 9.5)])
def test_the_pitch_of_the_panel_does_not_matter(pixel_mm):
    rows, cols = (round(700.0 / pitch) for pitch in pixel_mm)
    view = panel(rows, cols, pixel_mm)
    whole = DETECTOR.view(view)
    expected, _ = preprocess(XRay(smooth_image(whole), whole), DETECTOR)
    found, _ = preprocess(XRay(smooth_image(view), view), DETECTOR)
    torch.testing.assert_close(found[0], expected[0], atol=0.03, rtol=0.0)
    assert bool((found[1] == 1).all())


def test_resampling_a_fine_panel_agrees_with_projecting_onto_the_virtual_detector(asymmetric_phantom):
    view = replace(PRESETS["c-arm"].view(20.0, 500), rows=800, cols=800)  # 640 mm of 0.8 mm pixels: the field of view
    direct = simulate_xray(asymmetric_phantom, DETECTOR.view(view), (0.0, 0.0, 0.0))
    fine = simulate_xray(asymmetric_phantom, view, (0.0, 0.0, 0.0))
    expected, _ = preprocess(direct, DETECTOR)
    found, _ = preprocess(fine, DETECTOR)
    assert float((found[0] - expected[0]).abs().mean()) < 0.02


@pytest.mark.parametrize("offset_mm", [(30.0, 0.0), (0.0, -45.0), (12.0, 18.0)])
def test_a_shifted_panel_shows_the_same_patient(offset_mm):
    view = panel(240, 240, offset_mm=offset_mm)
    centred = panel(240, 240)
    expected, seen = preprocess(XRay(smooth_image(centred), centred), DETECTOR)
    found, virtual = preprocess(XRay(smooth_image(view), view), DETECTOR)
    assert virtual == seen
    both = (expected[1] > 0) & (found[1] > 0)
    assert int(both.sum()) > 3000
    torch.testing.assert_close(found[0][both], expected[0][both], atol=0.03, rtol=0.0)


@pytest.mark.parametrize("offset_mm", [(0.0, 0.0), (40.0, -60.0)])
def test_the_mask_marks_the_panel_and_nothing_else(offset_mm):
    view = panel(70, 100, offset_mm=offset_mm)
    tensor, _ = preprocess(XRay(smooth_image(view), view), DETECTOR)
    pixel = DETECTOR.view(view).pixel_mm[0]
    where = (torch.arange(64) - 31.5) * pixel
    inside = ((where - offset_mm[0]).abs() <= 105.0)[:, None] & ((where - offset_mm[1]).abs() <= 150.0)[None, :]
    assert float((tensor[1] - inside.float()).abs().mean()) < 0.03  # at most a border of one pixel here and there
    assert bool((tensor[0][tensor[1] == 0] == -1.0).all())
    torch.testing.assert_close(panel_mask([[view]], DETECTOR)[0, 0], inside.float())


def test_what_lies_under_the_collimator_has_no_influence():
    view = panel()
    valid = np.ones((100, 120), dtype=bool)
    valid[:, :50] = False
    image = smooth_image(view)
    spoilt = np.where(valid, image, 1e4).astype(np.float32)
    expected, _ = preprocess(XRay(image, view, valid), DETECTOR)
    found, _ = preprocess(XRay(spoilt, view, valid), DETECTOR)
    torch.testing.assert_close(found, expected)
    assert 0.15 < float(found[1].mean()) < float(preprocess(XRay(image, view), DETECTOR)[0][1].mean())


@pytest.mark.parametrize("pixel_mm", [(0.75, 0.75), (2.0, 0.5)])
def test_an_x_ray_that_says_all_is_measured_gives_the_bits_of_one_that_says_nothing(pixel_mm):
    view = panel(601, 743, pixel_mm)  # no whole number of boxes
    plain, marked = (XRay(smooth_image(view), view, valid) for valid in (None, np.ones((601, 743), dtype=bool)))
    assert torch.equal(preprocess(plain, DETECTOR)[0], preprocess(marked, DETECTOR)[0])


def test_an_x_ray_is_resampled_once_for_each_detector_and_can_be_trained_on():
    xray = XRay(smooth_image(panel()), panel())
    with torch.inference_mode():
        first = preprocess(xray, DETECTOR)
    assert preprocess(xray, DETECTOR) is first
    assert not first[0].is_inference()
    assert preprocess(xray, Detector(32, 384.0))[0].shape == (2, 32, 32)
    assert replace(xray, image=-xray.image).seen == {}


def test_the_quantiles_of_the_measured_pixels_become_minus_one_and_one():
    image = torch.linspace(3.0, 8.0, 10_001).reshape(1, -1)
    valid = torch.ones_like(image)
    unit = normalise(image, valid)
    torch.testing.assert_close(torch.quantile(unit, torch.tensor([0.01, 0.99])), torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(normalise(image * 7 - 100, valid), unit, atol=1e-4, rtol=0.0)
    assert bool((normalise(image, torch.zeros_like(image)) == -1.0).all())


def test_the_virtual_detector_keeps_the_exposure_and_has_its_own_pixels():
    view = panel(offset_mm=(3.0, 4.0), tilt_deg=5.0)
    _, virtual = preprocess(XRay(smooth_image(view), view), DETECTOR)
    pitch = 384.0 / 64 * 1.5
    assert virtual == replace(view, rows=64, cols=64, pixel_mm=(pitch, pitch), offset_mm=(0.0, 0.0))
    assert cameras_for([[view]], DETECTOR).shape == (1, 1)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda image: image * 0 + 4, "constant"),
        (lambda image: np.where(image == image.max(), np.nan, image), "NaN"),
        (lambda image: np.where(image == image.max(), np.inf, image), "NaN or infinite"),
    ],
)
def test_an_image_without_content_is_refused(spoil, says):
    with pytest.raises(InputError, match=f"my film: .*{says}"):
        preprocess(XRay(spoil(smooth_image(panel())).astype(np.float32), panel(), source="my film"), DETECTOR)


@pytest.mark.parametrize(
    ("image", "view", "says"),
    [
        (smooth_image(panel(20, 20)), panel(20, 20), "64x64"),
        (smooth_image(panel()), panel(offset_mm=(1200.0, 0.0)), "none of the image"),  # off the field of view
        (smooth_image(panel(70, 70)), panel(70, 70, (0.01, 0.01)), "edge .70 pixels of 0.01 mm. is 0.7 mm"),
        (np.zeros((10, 10), np.float32), panel(), "its geometry says"),
    ],
)
def test_an_image_that_its_geometry_makes_useless_is_refused_and_not_a_crash(image, view, says):
    def used() -> None:
        xray = XRay(image, view)
        check_image(xray)
        preprocess(xray, DETECTOR)

    with pytest.raises(InputError, match=says):
        used()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"angle_deg": 1e30}, "angle_deg is 1e"),
        ({"source_axis_mm": 1.6, "source_detector_mm": 1800.0}, "source_axis_mm is 1.6 mm; expected 200 to 6000 mm"),
        ({"source_detector_mm": 1e300}, "source_detector_mm is 1e"),
        ({"pixel_mm": (1.0, 1e-300)}, "the image's edge .120 pixels of 1e-300 mm. is"),
        ({"pixel_mm": (1e300, 1e300)}, "the image's edge"),
        ({"offset_mm": (0.0, 1e308)}, "offset_mm is 1e"),
    ],
)
def test_a_geometry_that_no_machine_has_is_refused_of_an_array_too(change, says):
    """A client of a server, and who calls from Python, hands in no file whose header was looked at."""
    view = replace(panel(), **change)
    with pytest.raises(InputError, match=f"my film: {says}"):
        check_image(XRay(smooth_image(panel()), view, source="my film"))


def test_resampling_a_localizer_agrees_with_projecting_onto_the_virtual_detector(asymmetric_phantom):
    """Its pixels are magnified across and not along, and its image need not be centred on the isocentre."""
    view = View(180.0, 570.0, 1040.0, 500, 300, (1.0, 2.5), offset_mm=(20.0, -15.0), beam="fan")
    direct = simulate_xray(asymmetric_phantom, DETECTOR.view(view), (0.0, 0.0, 0.0))
    fine = simulate_xray(asymmetric_phantom, view, (0.0, 0.0, 0.0))
    expected, found = preprocess(direct, DETECTOR)[0], preprocess(fine, DETECTOR)[0]
    assert bool(found[1].all())
    torch.testing.assert_close(found[0], expected[0], atol=0.12, rtol=0.0)
    assert float((found[0] - expected[0]).abs().mean()) < 0.012
    narrow = replace(view, rows=200)
    mask = preprocess(simulate_xray(asymmetric_phantom, narrow, (0.0, 0.0, 0.0)), DETECTOR)[0][1]
    assert torch.equal(mask, panel_mask([[narrow]], DETECTOR)[0, 0])
    assert 30 < int(mask[:, 32].sum()) < 37  # 200 mm of 384 mm, in 64 pixels
