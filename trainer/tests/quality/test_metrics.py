"""Metrics against scikit-image and against figures that can be worked out by hand."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from clsdm.quality import metrics

skimage_metrics = pytest.importorskip("skimage.metrics")


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A water ball with a bone core in air, and the same with errors; not cubic, to catch axis errors."""
    rng = np.random.default_rng(3)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (18, 20, 23)), indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    truth = np.where(radius < 0.3, 700.0, np.where(radius < 0.8, 30.0, -1000.0))
    recon = truth + 200.0 * np.sin(3 * x + y) + rng.normal(0.0, 60.0, truth.shape)
    return recon, truth


def clamped(volume: np.ndarray) -> np.ndarray:
    return volume.clip(-1024.0, 1476.0)


def test_three_dimensional_ssim_equals_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    recon, truth = pair
    expected = skimage_metrics.structural_similarity(
        clamped(truth), clamped(recon), data_range=2500.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert metrics.honest(recon, truth)["ssim_3d"] == pytest.approx(expected, abs=1e-6)


def test_the_masked_ssim_is_the_mean_of_scikit_images_map_over_the_mask(pair: tuple[np.ndarray, np.ndarray]) -> None:
    recon, truth = pair
    body = truth > -400.0
    _, expected = skimage_metrics.structural_similarity(
        clamped(truth), clamped(recon), data_range=2500.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    assert metrics.honest(recon, truth, body)["ssim_body"] == pytest.approx(expected[body].mean(), abs=1e-6)


@pytest.mark.parametrize(("name", "axis"), metrics.SLICE_AXES.items())
def test_the_x2ct_figures_equal_scikit_image_slice_by_slice(pair, name, axis):
    recon, truth = (np.moveaxis((clamped(volume) + 1024.0), axis, 0) for volume in pair)
    similarity = [
        skimage_metrics.structural_similarity(a / 2500, b / 2500, data_range=1.0, win_size=7)
        for a, b in zip(recon, truth, strict=True)
    ]
    psnr = [skimage_metrics.peak_signal_noise_ratio(b, a, data_range=4095) for a, b in zip(recon, truth, strict=True)]
    result = metrics.x2ct(*pair)
    assert result[f"ssim_{name}"] == pytest.approx(np.mean(similarity), abs=1e-6)
    assert result[f"psnr_{name}_db"] == pytest.approx(np.mean(psnr), abs=1e-6)


def test_the_slice_figure_is_the_mean_of_the_three_axes(pair: tuple[np.ndarray, np.ndarray]) -> None:
    result = metrics.x2ct(*pair)
    for pattern in ("psnr_{}_db", "ssim_{}"):
        axes = [result[pattern.format(name)] for name in metrics.SLICE_AXES]
        assert result[pattern.format("slices")] == pytest.approx(np.mean(axes))


def test_a_constant_error_gives_the_figures_of_a_hand_calculation() -> None:
    truth = np.zeros((12, 12, 12))
    result = metrics.honest(truth + 25.0, truth, np.ones(truth.shape, bool))
    assert result["psnr_3d_db"] == pytest.approx(40.0)  # 20 log10(2500 / 25)
    assert result["psnr_body_db"] == pytest.approx(40.0)
    assert result["mae_hu"] == result["rmse_hu"] == pytest.approx(25.0)
    assert result["mae_body_hu"] == result["mae_soft_tissue_hu"] == pytest.approx(25.0)
    published = metrics.x2ct(truth + 25.0, truth)
    assert published["psnr_3d_db"] == pytest.approx(40.0 + 4.29, abs=0.01), "its peak is 4095"
    assert (result["peak_hu"], result["protocol"], published["protocol"]) == (2500.0, "honest", "x2ct")


def test_errors_outside_the_body_do_not_change_the_masked_figures(pair: tuple[np.ndarray, np.ndarray]) -> None:
    recon, truth = pair
    body = np.zeros(truth.shape, bool)
    body[:9] = True
    worse = recon.copy()
    worse[15:] += 400.0  # further away than the window of 11
    before, after = metrics.honest(recon, truth, body), metrics.honest(worse, truth, body)
    for key in ("psnr_body_db", "ssim_body", "mae_body_hu"):
        assert after[key] == pytest.approx(before[key], rel=1e-9)
    assert after["psnr_3d_db"] < before["psnr_3d_db"]


def test_regions_are_chosen_by_the_truth_and_counted_inside_the_body_only() -> None:
    truth = np.full((14, 14, 14), -700.0)
    truth[:, :, 7:] = 800.0
    recon = truth + np.where(truth > 0, 100.0, -10.0)
    body = np.ones(truth.shape, bool)
    body[:, :, :3] = False
    recon[:, :, :3] += 300.0
    result = metrics.honest(recon, truth, body)
    assert result["mae_lung_hu"] == pytest.approx(10.0)
    assert result["mae_bone_hu"] == pytest.approx(100.0)
    assert result["mae_soft_tissue_hu"] is None


def test_values_beyond_the_window_count_as_its_ends() -> None:
    truth = np.full((12, 12, 12), 3000.0)
    assert metrics.honest(np.full_like(truth, 1476.0), truth)["mae_hu"] == 0.0


def test_identical_volumes_have_no_psnr_and_the_result_is_plain_json(pair: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = pair
    honest, published = metrics.honest(truth, truth), metrics.x2ct(truth, truth)
    assert honest["psnr_3d_db"] is honest["psnr_body_db"] is published["psnr_slices_db"] is None
    assert published["psnr_3d_db"] is None
    assert honest["ssim_3d"] == pytest.approx(1.0)
    assert json.loads(json.dumps([honest, published], allow_nan=False)) == [honest, published]


def test_a_slice_without_error_counts_one_hundred_decibels_in_the_x2ct_protocol() -> None:
    truth = np.zeros((10, 10, 10))
    recon = truth.copy()
    recon[0] = 4.095  # 60 dB in this one slice
    assert metrics.x2ct(recon, truth)["psnr_axial_db"] == pytest.approx((60.0 + 9 * 100.0) / 10)


def test_ssim_treats_the_images_of_a_batch_independently() -> None:
    a, b = torch.rand(2, 3, 1, 12, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    batch = metrics.ssim(a, b, 1.0)
    assert batch.shape == (3, 1)
    assert batch[2, 0].item() == pytest.approx(metrics.ssim(a[2, 0], b[2, 0], 1.0).item())


def test_ssim_in_single_precision_agrees_with_double(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (torch.from_numpy(clamped(volume) / 1250.0) for volume in pair)
    assert metrics.ssim(a.float(), b.float(), 2.0).item() == pytest.approx(metrics.ssim(a, b, 2.0).item(), abs=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_ssim_on_the_gpu_agrees_with_the_cpu(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (torch.from_numpy(clamped(volume) / 1250.0) for volume in pair)
    assert metrics.ssim(a.cuda(), b.cuda(), 2.0).item() == pytest.approx(metrics.ssim(a, b, 2.0).item(), abs=1e-9)


def test_an_image_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="exceed 10 voxels"):
        metrics.ssim(torch.zeros(8, 8, 8), torch.zeros(8, 8, 8), 1.0)


@pytest.mark.parametrize("protocol", [metrics.honest, metrics.x2ct])
def test_nan_and_different_shapes_are_refused(protocol: Callable[..., metrics.Metrics]) -> None:
    truth = np.zeros((12, 12, 12))
    with pytest.raises(ValueError, match="reconstruction holds NaN"):
        protocol(np.full_like(truth, np.nan), truth)
    with pytest.raises(ValueError, match="one shape"):
        protocol(truth[:-1], truth)


def test_the_bootstrap_interval_of_many_normal_values_is_the_textbook_one() -> None:
    values = np.random.default_rng(5).normal(30.0, 2.0, 400)
    summary = metrics.summarise(values.tolist())
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert summary.mean == pytest.approx(values.mean())
    assert summary.std == pytest.approx(values.std(ddof=1))
    assert (summary.high - summary.low) / 2 == pytest.approx(half, rel=0.05)
    assert summary == metrics.summarise(values.tolist(), seed=0)
    assert summary != metrics.summarise(values.tolist(), seed=1)


def test_undefined_cases_are_left_out_of_a_summary_and_counted() -> None:
    assert metrics.summarise([1.0, None, 3.0]).mean == 2.0
    assert metrics.summarise([1.0, None, 3.0]).n == 2
    assert metrics.summarise([4.0]) == metrics.Summary(4.0, 0.0, 4.0, 4.0, 1)
    with pytest.raises(ValueError, match="0 of 1 defined"):
        metrics.summarise([None])
    with pytest.raises(ValueError, match="finite"):
        metrics.summarise([1.0, math.inf])
