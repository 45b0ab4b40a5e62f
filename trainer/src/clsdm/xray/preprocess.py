"""The one X-ray preprocessing: the same for training projections, simulated X-rays and radiographs.

An X-ray is an image in which *more attenuation is brighter*, up to an unknown scale and offset (the exposure
is never known, so a projection's is thrown away too), with the geometry of its exposure. Networks see it on a virtual
detector (``geometry.Detector``) as two channels: intensity, and a mask of the pixels that were really measured.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.geometry.view import Detector, View
from clsdm.xray.image import XRay, check_image

__all__ = ["XRay", "cameras_for", "check_image", "expose", "normalise", "panel_mask", "prepare", "preprocess"]

LOW_QUANTILE, HIGH_QUANTILE = 0.01, 0.99


def normalise(image: Tensor, valid: Tensor) -> Tensor:
    """Remove scale and offset: quantiles 1 % and 99 % of the measured pixels become -1 and 1.

    Args:
        image: (..., rows, cols).
        valid: same shape, 1 where measured and 0 elsewhere.

    Returns:
        Same shape, limited to [-1.5, 1.5]; -1 where nothing was measured.
    """
    flat = torch.where(valid > 0.5, image, torch.nan).flatten(-2)
    low, high = torch.nanquantile(
        flat, torch.tensor([LOW_QUANTILE, HIGH_QUANTILE], device=image.device, dtype=image.dtype), dim=-1
    )[..., None, None]
    low, high = low.nan_to_num(), high.nan_to_num()
    unit = (image - low) / (high - low).clamp_min(1e-6) * 2.0 - 1.0
    return torch.where(valid > 0.5, unit.clamp(-1.5, 1.5), -1.0)


def preprocess(xray: XRay, detector: Detector) -> tuple[Tensor, View]:
    """Resample one X-ray to the virtual detector and normalise it; done once for each detector, see ``XRay.seen``.

    Returns:
        (2, size, size) intensity and mask, not to be written to, and the view on the virtual detector.

    Raises:
        InputError: the image is empty, constant or not finite, or none of it falls on the detector.
    """
    if detector not in xray.seen:
        with torch.inference_mode(mode=False), torch.no_grad():
            xray.seen[detector] = _preprocessed(xray, detector)
    return xray.seen[detector]


def _preprocessed(xray: XRay, detector: Detector) -> tuple[Tensor, View]:
    check_image(xray)
    view = detector.view(xray.view)
    shrink = [max(1, round(pixel / spacing)) for pixel, spacing in zip(view.pixel_mm, xray.view.pixel_mm, strict=True)]
    centred = torch.arange(detector.size, dtype=torch.float32) - (detector.size - 1) / 2
    position = [centred * pixel - offset for pixel, offset in zip(view.pixel_mm, xray.view.offset_mm, strict=True)]
    smooth = _box_averages(xray, shrink)
    scaled = [
        (where / spacing + (full - 1) / 2 - (factor - 1) / 2) / factor * 2 / (count - 1) - 1
        for where, spacing, full, factor, count in zip(
            position, xray.view.pixel_mm, xray.image.shape, shrink, smooth.shape[-2:], strict=True
        )
    ]
    grid = torch.stack(torch.meshgrid(scaled[1], scaled[0], indexing="xy"), -1)[None]
    sampled, weight = F.grid_sample(smooth, grid, align_corners=True, padding_mode="zeros")[0]
    mask = (weight > 0.5).float()
    if not bool(mask.any()):
        raise InputError(f"{xray.source}: none of the image falls on the field of view; check spacing and distances")
    return torch.stack((normalise(sampled / weight.clamp_min(1e-6), mask), mask)), view


def _box_averages(xray: XRay, shrink: list[int]) -> Tensor:
    """(1, 2, rows, cols) means of image and measured share over about one target pixel, so that fine panels do not alias."""

    def mean(pixels: np.ndarray) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None]
        return F.avg_pool2d(values, shrink, ceil_mode=True, divisor_override=shrink[0] * shrink[1])[0]

    if xray.valid is not None:
        return torch.stack((mean(np.where(xray.valid, xray.image, np.float32(0.0))), mean(xray.valid)))[None]
    rows, cols = (
        torch.arange(count, 0, -step).clamp_max(step).float()
        for count, step in zip(xray.image.shape, shrink, strict=True)
    )
    return torch.stack((mean(xray.image), rows[:, None] * cols / (shrink[0] * shrink[1])))[None]


def panel_mask(views: list[list[View]], detector: Detector, device: torch.device | str = "cpu") -> Tensor:
    """(B, V, size, size) mask of the virtual detector's pixels that lie on each view's own panel."""
    masks = []
    for sample in views:
        for view in sample:
            centred = torch.arange(detector.size, device=device) - (detector.size - 1) / 2
            panel = zip(
                (view.rows, view.cols), view.pixel_mm, view.offset_mm, detector.view(view).pixel_mm, strict=True
            )
            inside = [
                (centred * pixel - offset).abs() <= count * spacing / 2 for count, spacing, offset, pixel in panel
            ]
            masks.append(inside[0][:, None] & inside[1][None, :])
    return torch.stack(masks).view(len(views), len(views[0]), detector.size, detector.size).float()


def cameras_for(views: list[list[View]], detector: Detector, device: torch.device | str = "cpu") -> Cameras:
    """The views' cameras on the virtual detector."""
    return Cameras.from_views([[detector.view(view) for view in sample] for sample in views], device)


def prepare(xrays: Sequence[XRay], detector: Detector, device: torch.device | str = "cpu") -> tuple[Tensor, Cameras]:
    """(1, V, 2, size, size) X-rays on the virtual detector, and their cameras.

    Raises:
        InputError: see :func:`preprocess`.
    """
    images = torch.stack([preprocess(xray, detector)[0] for xray in xrays])[None].to(device)
    return images, cameras_for([[xray.view for xray in xrays]], detector, device)


def expose(
    attenuation: Tensor, spacing_mm: float, views: list[list[View]], detector: Detector
) -> tuple[Tensor, Cameras]:
    """Take X-rays of canonical cubes, as the networks see them.

    Args:
        attenuation: (B, 1, n, n, n) in 1/mm.
        spacing_mm: voxel edge.
        views: V views for each of the B samples; their panels become the masks.
        detector: the virtual detector.

    Returns:
        (B, V, 2, size, size) intensity in [-1.5, 1.5] and mask, and the cameras.
    """
    cameras = cameras_for(views, detector, attenuation.device)
    mask = panel_mask(views, detector, attenuation.device)
    images = project(attenuation, spacing_mm, cameras)
    return torch.stack((normalise(images, mask), mask), dim=2), cameras
