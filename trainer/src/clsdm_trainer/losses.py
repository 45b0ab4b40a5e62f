"""Losses that are more than one line; all computed in float32 whatever the precision around them."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.volume.hu import unit_to_attenuation
from clsdm.xray.preprocess import normalise


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; CLIP) between paired vectors.

    The vectors are normalised, so that the logits are cosines / temperature and cannot saturate (docs/method.md, 2.6).

    Args:
        a: (N, D), row i belongs to row i of ``b``.
        b: (N, D).
        temperature: of the softmax.

    Raises:
        ValueError: fewer than two pairs: there would be no negative and the loss always zero.
    """
    if len(a) < 2:
        raise ValueError(f"contrastive alignment needs at least 2 pairs, got {len(a)}")
    with torch.autocast(a.device.type, enabled=False):
        logits = F.normalize(a.float(), dim=1) @ F.normalize(b.float(), dim=1).T / temperature
        target = torch.arange(len(a), device=a.device)
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def local_and_global_contrast(xray: Tensor, ct: Tensor, positions: Tensor, temperature: float) -> Tensor:
    """Contrast of latent voxels inside and across volumes, plus contrast of whole volumes.

    Args:
        xray: (B, D, m, m, m) projected condition features, B >= 2.
        ct: (B, D, m, m, m) projected CT latents.
        positions: (P,) flat indices of the latent voxels that take part.
        temperature: of the softmax.
    """
    xray, ct = xray.flatten(2), ct.flatten(2)
    xray_voxels, ct_voxels = (x[:, :, positions].transpose(1, 2).flatten(0, 1) for x in (xray, ct))
    return info_nce(xray_voxels, ct_voxels, temperature) + info_nce(xray.mean(2), ct.mean(2), temperature)


def published_contrast(xray: Tensor, ct: Tensor, temperature: float) -> Tensor:
    """The contrast of the published code, for comparison only: its logits saturate (docs/method.md, 2.6).

    Channels are normalised at each voxel, then the cosines are *summed* over all voxels, so that at 4096 voxels a mean
    cosine of 0.03 already makes the cross entropy exactly zero; what is left is half the squared difference.

    Args:
        xray: (B, D, m, m, m) projected condition features, B >= 2.
        ct: (B, D, m, m, m) projected CT latents.
        temperature: of the softmax.
    """
    with torch.autocast(xray.device.type, enabled=False):
        a, b = (F.normalize(x.float(), dim=1).flatten(1) for x in (xray, ct))
        logits, target = a @ b.T / temperature, torch.arange(len(a), device=a.device)
        entropy = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        return entropy + 0.5 * F.mse_loss(a, b)


def projection_consistency(unit: Tensor, truth: Tensor, mask: Tensor, cameras: Cameras, spacing_mm: float) -> Tensor:
    """Mean squared difference between the projections of the estimate and of the truth, where measured.

    The X-rays themselves also hold what lies outside the cube, which the estimate cannot have.

    Args:
        unit: (B, 1, n, n, n) estimate in the unit range.
        truth: (B, 1, n, n, n).
        mask: (B, V, size, size) 1 where measured.
        cameras: of the X-rays.
        spacing_mm: voxel edge.
    """
    with torch.autocast(unit.device.type, enabled=False):
        projected, wanted = (
            normalise(project(unit_to_attenuation(each.float()), spacing_mm, cameras), mask) for each in (unit, truth)
        )
        return ((projected - wanted).square() * mask).sum() / mask.sum().clamp_min(1.0)


def known_mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean over the voxels whose truth is known; both (B, 1, n, n, n)."""
    return (values * known).sum() / known.sum().clamp_min(1.0)


def psnr_db(estimate: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """(B,) PSNR over the known voxels of cubes in the unit range, whose data range is 2 (= 2500 HU)."""
    error = (estimate.clamp(-1.0, 1.0) - truth).square() * known
    return 10.0 * torch.log10(4.0 * known.flatten(1).sum(1) / error.flatten(1).sum(1))
