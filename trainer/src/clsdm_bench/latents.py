"""Whether X-ray latents and CT latents of one patient agree, measured on patients that were never trained on.

``mean`` compares what the X-rays predict as latents (the encoded estimate) with the latents of the CT; ``contrast`` the two
projections into the space of the contrastive term, whose projections are random where that term was not trained: there
it is the level of chance. A figure of the vectors is made by t-SNE (van der Maaten and Hinton 2008), exact, for there are
few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.quality.picture import write_text
from clsdm.reconstruct import prepare
from clsdm.volume.hu import hu_to_unit
from clsdm_bench.evaluate import Patient
from clsdm_trainer.stages import AlignmentStage

POSITIONS = 256


@dataclass(frozen=True)
class Agreement:
    """How X-ray vectors (N, D) find the CT vectors of their patients.

    Attributes:
        cosine: mean over patients of the cosine between the two.
        cosine_others: the same between different patients.
        retrieval: share of X-rays whose nearest CT is their own.
        retrieval_back: share of CTs whose nearest X-ray is their own.
        voxel_retrieval: mean over patients of the share of voxels whose nearest CT voxel, among ``POSITIONS`` of that
            patient, is the one at their own place.
    """

    cosine: float
    cosine_others: float
    retrieval: float
    retrieval_back: float
    voxel_retrieval: float

    def as_table(self) -> dict[str, float]:
        """Plain numbers."""
        return asdict(self)


def agreement(xray: Tensor, ct: Tensor, seed: int = 0) -> Agreement:
    """Compare latents (N, C, m, m, m) of N >= 2 patients.

    Vectors of whole volumes are taken relative to the mean over all patients: what they share tells nobody apart.

    Raises:
        ValueError: fewer than two patients.
    """
    if len(xray) < 2:
        raise ValueError(f"agreement: needs at least 2 patients, got {len(xray)}")
    whole = vectors(xray) @ vectors(ct).T
    own = torch.arange(len(whole))
    others = whole[~torch.eye(len(whole), dtype=torch.bool)]
    return Agreement(
        cosine=float(whole.diagonal().mean()),
        cosine_others=float(others.mean()),
        retrieval=float((whole.argmax(1) == own).float().mean()),
        retrieval_back=float((whole.argmax(0) == own).float().mean()),
        voxel_retrieval=_voxel_retrieval(xray, ct, seed),
    )


def vectors(latents: Tensor) -> Tensor:
    """(N, C, m, m, m) -> (N, D) unit vectors relative to the mean."""
    flat = latents.float().flatten(1)
    return F.normalize(flat - flat.mean(0), dim=1)


def _voxel_retrieval(xray: Tensor, ct: Tensor, seed: int) -> float:
    count = xray[0, 0].numel()
    chosen = torch.from_numpy(np.random.default_rng(seed).permutation(count)[:POSITIONS])
    a, b = (F.normalize(x.float().flatten(2)[:, :, chosen], dim=1) for x in (xray, ct))
    nearest = torch.einsum("ncp,ncq->npq", a, b).argmax(2)
    return float((nearest == torch.arange(len(chosen))).float().mean())


def tsne(points: np.ndarray, perplexity: float = 8.0, iterations: int = 600, rate: float = 20.0) -> np.ndarray:
    """(N, D) -> (N, 2), started from the two principal components, so that the same points give the same figure."""
    target = _affinities(points, perplexity)
    centred = points - points.mean(0)
    principal = np.linalg.svd(centred, full_matrices=False)[0][:, :2]
    y, velocity = 1e-2 * principal / principal.std(), np.zeros((len(points), 2))
    for index in range(iterations):
        exaggerated = target * (4.0 if index < 100 else 1.0)
        difference = y[:, None] - y[None]
        heavy = 1.0 / (1.0 + np.square(difference).sum(-1))
        np.fill_diagonal(heavy, 0.0)
        pull = (exaggerated - heavy / heavy.sum()) * heavy  # eq. 5
        gradient = 4.0 * (pull[..., None] * difference).sum(1)
        velocity = (0.5 if index < 100 else 0.8) * velocity - rate * gradient
        y = y + velocity
    return y - y.mean(0)


def _affinities(points: np.ndarray, perplexity: float) -> np.ndarray:
    """Symmetric affinities; the width of each point's Gaussian is found by bisection on its entropy."""
    squared = np.square(points[:, None] - points[None]).sum(-1)
    np.fill_diagonal(squared, np.inf)
    rows = np.stack([_row(distances, np.log(perplexity)) for distances in squared])
    return np.maximum((rows + rows.T) / (2.0 * len(points)), 1e-12)


def _row(squared: np.ndarray, entropy: float) -> np.ndarray:
    low, high, precision = 0.0, np.inf, 1.0
    finite = np.isfinite(squared)
    p = np.zeros_like(squared)
    for _ in range(60):
        shifted = squared[finite] - squared[finite].min()
        weights = np.exp(-precision * shifted)
        share = weights / weights.sum()
        found = -(share * np.log(share.clip(1e-300))).sum()
        p[finite] = share
        if found > entropy:
            low, precision = precision, precision * 2.0 if np.isinf(high) else 0.5 * (precision + high)
        else:
            high, precision = precision, 0.5 * (low + precision)
    return p


def figure(xray: np.ndarray, ct: np.ndarray, title: str, size: int = 480) -> np.ndarray:
    """(size, size, 3) uint8: CT latents as filled squares, X-ray latents as rings, a line between those of one patient.

    Args:
        xray: (N, 2).
        ct: (N, 2).
        title: above it.
        size: pixels along an edge.
    """
    both = np.concatenate((xray, ct))
    low, high = both.min(0), both.max(0)
    scale = (size - 80) / max(float((high - low).max()), 1e-9)
    picture = np.full((size, size, 3), 255, np.uint8)
    place = [((points - low) * scale + (40, 50)).round().astype(int) for points in (xray, ct)]
    for a, b in zip(*place, strict=True):
        steps = np.linspace(a, b, 2 * size).round().astype(int).clip(0, size - 1)
        picture[steps[:, 1], steps[:, 0]] = (190, 190, 190)
    y, x = np.mgrid[-5:6, -5:6]
    ring = (np.hypot(x, y) <= 5) & (np.hypot(x, y) > 3)
    for points, mark, colour in zip(place, (ring, abs(x) + abs(y) < 6), ((200, 40, 40), (40, 80, 200)), strict=True):
        for column, row in points:
            inside = picture[row - 5 : row + 6, column - 5 : column + 6]
            inside[mark] = colour
    write_text(picture, title, 8, 8, colour=(20, 20, 20))
    return picture


@dataclass(frozen=True)
class Alignment:
    """Agreement of a model's latents, and the vectors it was measured on.

    Attributes:
        mean: of the encoded estimate with the CT's latents.
        contrast: in the space of the contrastive term.
        xray: (N, D) vectors of the X-rays in that space.
        ct: (N, D) of the CTs.
    """

    mean: Agreement
    contrast: Agreement
    xray: np.ndarray
    ct: np.ndarray


@torch.inference_mode()
def measure(stage: AlignmentStage, patients: Sequence[Patient], device: torch.device) -> Alignment:
    """Both agreements of a trained alignment on patients it has never seen."""
    model = stage.model
    means, latents, features = [], [], []
    for patient in patients:
        condition = model.align(*prepare(patient.xrays, model, device))
        unit = hu_to_unit(torch.from_numpy(patient.truth.hu))[None, None].to(device)
        means.append(condition.mean)
        features.append(stage.project_xray(condition.features))
        latents.append(model.encode(unit).float())
    mean, ct, xray = (torch.cat(parts).cpu() for parts in (means, latents, features))
    ct_projected = torch.cat([stage.project_ct(each) for each in latents]).cpu()
    return Alignment(
        agreement(mean, ct), agreement(xray, ct_projected), vectors(xray).numpy(), vectors(ct_projected).numpy()
    )


def drawn(alignment: Alignment, title: str) -> np.ndarray:
    """The t-SNE figure of an alignment."""
    both = np.concatenate((alignment.xray, alignment.ct)).astype(np.float64)
    plane = tsne(both, perplexity=min(8.0, (len(both) - 1) / 3.0))
    return figure(plane[: len(alignment.xray)], plane[len(alignment.xray) :], title)
