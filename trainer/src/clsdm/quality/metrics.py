"""How well a volume matches the truth, under two named protocols that are never mixed (docs/method.md, 4).

``honest`` scores float HU with the peak equal to the range of the data. ``x2ct`` repeats what the published tables use,
a peak of 4095 on data of range 2500, which alone adds 20·log10(4095 / 2500) = 4.29 dB: its figures compare with those
tables only. Both clamp to ``intensity.WINDOW_HU`` first. An undefined figure (the PSNR of identical volumes, a region
without voxels) is None, so that a result can be written as JSON.

Structural similarity (Wang et al., IEEE TIP 13, 2004) follows scikit-image to rounding: separable windows, symmetric
borders, and a mean over the voxels whose window lies inside the image. Volumes are indexed (z, y, x), axes along LPS.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clsdm.volume.body import body_mask
from clsdm.volume.hu import WINDOW_HU, WINDOW_WIDTH_HU, hu_clamped

X2CT_PEAK_HU = 4095.0
X2CT_IDENTICAL_SLICE_DB = 100.0
"""PSNR that the published evaluation counts for a slice without any error, for example one of padding."""

REGIONS_HU: dict[str, tuple[float, float]] = {
    "lung": (-950.0, -500.0),
    "soft_tissue": (-200.0, 200.0),
    "bone": (300.0, math.inf),
}
"""HU of the truth, inside the body, from and to."""

SLICE_AXES: dict[str, int] = {"axial": 0, "coronal": 1, "sagittal": 2}

Metrics = dict[str, float | str | None]


@dataclass(frozen=True)
class Window:
    """The local window of structural similarity, the same along every axis.

    Attributes:
        weights: odd number of weights that sum to one.
        sample_covariance: divide by N - 1 instead of N.
    """

    weights: tuple[float, ...]
    sample_covariance: bool


def gaussian_window(sigma: float = 1.5, truncate: float = 3.5) -> Window:
    """Wang's window: Gaussian weights and the population covariance."""
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return Window(tuple((weights / weights.sum()).tolist()), sample_covariance=False)


def uniform_window(size: int = 7) -> Window:
    """scikit-image's default: equal weights and the sample covariance."""
    return Window((1.0 / size,) * size, sample_covariance=True)


GAUSSIAN, UNIFORM = gaussian_window(), uniform_window()


def ssim_map(a: Tensor, b: Tensor, data_range: float, *, dims: int = 3, window: Window = GAUSSIAN) -> Tensor:
    """Structural similarity around every voxel.

    Args:
        a: (..., spatial) images whose last ``dims`` axes are spatial; on any device, differentiable.
        b: same shape.
        data_range: span of the values an image could hold.
        dims: number of spatial axes.
        window: local window.

    Returns:
        Same shape. Near a border the window sees the image mirrored.
    """
    axes = range(a.ndim - dims, a.ndim)
    mean_a, mean_b = _filtered(a, window, axes), _filtered(b, window, axes)
    count = len(window.weights) ** dims
    unbiased = count / (count - 1) if window.sample_covariance else 1.0
    variances = unbiased * (_filtered(a * a + b * b, window, axes) - mean_a**2 - mean_b**2)
    covariance = unbiased * (_filtered(a * b, window, axes) - mean_a * mean_b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2.0 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * (2.0 * covariance + c2) / (variances + c2)


def ssim(a: Tensor, b: Tensor, data_range: float, *, dims: int = 3, window: Window = GAUSSIAN) -> Tensor:
    """(...) mean structural similarity of each image of a batch (..., spatial); see :func:`ssim_map`."""
    return _mean_inside(ssim_map(a, b, data_range, dims=dims, window=window), dims, window)


def _mean_inside(similarity: Tensor, dims: int, window: Window) -> Tensor:
    """Mean over the voxels whose window does not reach over the border."""
    margin = len(window.weights) // 2
    if min(similarity.shape[-dims:]) <= 2 * margin:
        raise ValueError(f"ssim: every axis must exceed {2 * margin} voxels, got {tuple(similarity.shape[-dims:])}")
    for axis in range(similarity.ndim - dims, similarity.ndim):
        similarity = similarity.narrow(axis, margin, similarity.shape[axis] - 2 * margin)
    return similarity.flatten(-dims).mean(-1)


def _filtered(image: Tensor, window: Window, axes: Sequence[int]) -> Tensor:
    """``image`` convolved with the window along each of ``axes``, mirrored at the borders (edge voxel repeated)."""
    radius = len(window.weights) // 2
    for axis in axes:
        length = image.shape[axis]
        index = torch.arange(-radius, length + radius, device=image.device) % (2 * length)
        padded = image.index_select(axis, torch.minimum(index, 2 * length - 1 - index))
        image = torch.zeros_like(image)
        for shift, weight in enumerate(window.weights):
            image = torch.add(image, padded.narrow(axis, shift, length), alpha=weight)
    return image


def psnr_db(mean_squared_error: float, peak: float) -> float | None:
    """Peak signal to noise ratio; None where there is no error at all."""
    return 10.0 * math.log10(peak**2 / mean_squared_error) if mean_squared_error > 0.0 else None


def honest(recon_hu: np.ndarray, truth_hu: np.ndarray, body: np.ndarray | None = None) -> Metrics:
    """The ``honest`` protocol: float HU, peak = data range = 2500 HU.

    Args:
        recon_hu: (z, y, x).
        truth_hu: (z, y, x).
        body: (z, y, x) bool, the voxels that the ``body`` figures and the regions are taken over; by default
            ``volume.body_mask`` of the truth.

    Returns:
        Whole-cube and body-masked figures; the masked SSIM is the mean of the SSIM map over the mask.

    Raises:
        ValueError: shapes differ, or a value is not finite.
    """
    recon, truth = _checked(recon_hu, truth_hu)
    body = body_mask(truth_hu) if body is None else body.astype(bool)
    if body.shape != truth.shape:
        raise ValueError(f"metrics: the body mask has shape {body.shape}, the volumes {truth.shape}")
    error = recon - truth
    similarity = ssim_map(torch.from_numpy(recon), torch.from_numpy(truth), WINDOW_WIDTH_HU)
    mean_square = float(np.mean(error**2))
    result: Metrics = {
        "protocol": "honest",
        "data_range_hu": WINDOW_WIDTH_HU,
        "peak_hu": WINDOW_WIDTH_HU,
        "psnr_3d_db": psnr_db(mean_square, WINDOW_WIDTH_HU),
        "ssim_3d": float(_mean_inside(similarity, 3, GAUSSIAN)),
        "mae_hu": float(np.mean(np.abs(error))),
        "rmse_hu": math.sqrt(mean_square),
        "psnr_body_db": psnr_db(float(np.mean(error[body] ** 2)), WINDOW_WIDTH_HU) if body.any() else None,
        "ssim_body": _mean(similarity.numpy()[body]),
        "mae_body_hu": _mean(np.abs(error[body])),
        "body_fraction": float(body.mean()),
    }
    for name, (low, high) in REGIONS_HU.items():
        region = body & (truth >= low) & (truth <= high)
        result[f"mae_{name}_hu"] = _mean(np.abs(error[region]))
    return result


def x2ct(recon_hu: np.ndarray, truth_hu: np.ndarray) -> Metrics:
    """The ``x2ct`` protocol of the published tables: HU + 1024 clamped to 0 ... 2500, peak 4095.

    PSNR is the mean over the slices across each axis (a slice without error counts 100 dB, as published) and the mean
    of the three axes, and once more over the volume. SSIM is taken on [0, 1], slice by slice, with
    a uniform window of 7.

    Args:
        recon_hu: (z, y, x).
        truth_hu: (z, y, x).

    Returns:
        Figures for each plane, over all slices, and over the volume.

    Raises:
        ValueError: shapes differ, or a value is not finite.
    """
    recon, truth = _checked(recon_hu, truth_hu)
    square = (recon - truth) ** 2
    unit = [torch.from_numpy((volume - WINDOW_HU[0]) / WINDOW_WIDTH_HU) for volume in (recon, truth)]
    result: Metrics = {
        "protocol": "x2ct",
        "data_range_hu": WINDOW_WIDTH_HU,
        "peak_hu": X2CT_PEAK_HU,
        "ssim_data_range": 1.0,
        "psnr_3d_db": psnr_db(float(square.mean()), X2CT_PEAK_HU),
    }
    psnr, similarity = {}, {}
    for name, axis in SLICE_AXES.items():
        others = tuple(other for other in range(3) if other != axis)
        slices_db = [psnr_db(float(value), X2CT_PEAK_HU) for value in square.mean(others)]
        psnr[name] = float(np.mean([X2CT_IDENTICAL_SLICE_DB if value is None else value for value in slices_db]))
        a, b = (volume.movedim(axis, 0) for volume in unit)
        similarity[name] = float(ssim(a, b, 1.0, dims=2, window=UNIFORM).mean())
    identical = not square.any()
    psnr["slices"], similarity["slices"] = float(np.mean(list(psnr.values()))), float(np.mean([*similarity.values()]))
    result |= {f"psnr_{name}_db": None if identical else value for name, value in psnr.items()}
    return result | {f"ssim_{name}": value for name, value in similarity.items()}


def _checked(recon_hu: np.ndarray, truth_hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both volumes as float64, clamped to the window."""
    if recon_hu.shape != truth_hu.shape or truth_hu.ndim != 3:
        raise ValueError(
            f"metrics: expected two (z, y, x) volumes of one shape, got {recon_hu.shape}, {truth_hu.shape}"
        )
    for name, volume in (("reconstruction", recon_hu), ("truth", truth_hu)):
        if not np.isfinite(volume).all():
            raise ValueError(f"metrics: the {name} holds NaN or infinite values")
    return hu_clamped(recon_hu.astype(np.float64)), hu_clamped(truth_hu.astype(np.float64))


def _mean(values: np.ndarray) -> float | None:
    """Mean, or None of nothing."""
    return float(values.mean()) if values.size else None


@dataclass(frozen=True)
class Summary:
    """One figure over many cases.

    Attributes:
        mean: over the cases where it is defined.
        std: sample standard deviation (0 for a single case).
        low: lower end of the 95 % interval of the mean.
        high: upper end.
        n: number of cases where it is defined.
    """

    mean: float
    std: float
    low: float
    high: float
    n: int


def summarise(values: Sequence[float | None], seed: int = 0, resamples: int = 10_000) -> Summary:
    """Mean and its 95 % interval by the percentile bootstrap over cases; undefined figures (None) are left out.

    Args:
        values: one figure for each case.
        seed: of the resampling.
        resamples: how often the cases are drawn anew.

    Returns:
        Mean, spread and interval.

    Raises:
        ValueError: nothing is left, or a value is not finite.
    """
    used = np.array([value for value in values if value is not None], dtype=np.float64)
    if not used.size or not np.isfinite(used).all():
        raise ValueError(f"summarise: expected finite values, got {used.size} of {len(values)} defined")
    rng = np.random.default_rng(seed)
    means = used[rng.integers(used.size, size=(resamples, used.size))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    std = float(used.std(ddof=1)) if used.size > 1 else 0.0
    return Summary(float(used.mean()), std, float(low), float(high), int(used.size))
