"""Whether X-ray latents and CT latents of one patient agree, measured on patients that were never trained on.

``mean`` compares what the X-rays predict as latents (the encoded estimate) with the latents of the CT; ``contrast`` the two
projections into the space of the contrastive term, whose projections are random where that term was not trained: there
it is the level of chance.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from clsdm.files.atomic import write_atomically
from clsdm.volume.hu import hu_to_unit
from clsdm.xray.preprocess import prepare
from clsdm_bench.patients import Patient
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

    def spaces(self) -> dict[str, dict[str, float]]:
        """Both agreements as plain numbers."""
        return {"mean": asdict(self.mean), "contrast": asdict(self.contrast)}


@torch.inference_mode()
def measure(stage: AlignmentStage, patients: Sequence[Patient], device: torch.device) -> Alignment:
    """Both agreements of a trained alignment on patients it has never seen."""
    model = stage.model
    means, latents, features = [], [], []
    for patient in patients:
        condition = model.align(*prepare(patient.xrays, model.config.detector, device))
        unit = hu_to_unit(torch.from_numpy(patient.truth.hu))[None, None].to(device)
        means.append(model.encode(condition.estimate.clamp(-1.0, 1.0)).float())
        features.append(stage.project_xray(condition.features))
        latents.append(model.encode(unit).float())
    mean, ct, xray = (torch.cat(parts).cpu() for parts in (means, latents, features))
    ct_projected = torch.cat([stage.project_ct(each) for each in latents]).cpu()
    return Alignment(
        agreement(mean, ct), agreement(xray, ct_projected), vectors(xray).numpy(), vectors(ct_projected).numpy()
    )


def plane(alignment: Alignment) -> np.ndarray:
    """(2 N, 2) the X-ray and the CT vectors by t-SNE, started from their principal components."""
    from sklearn.manifold import TSNE

    both = np.concatenate((alignment.xray, alignment.ct)).astype(np.float64)
    return TSNE(perplexity=min(8.0, (len(both) - 1) / 3.0), init="pca", random_state=0).fit_transform(both)


def write_figure(alignment: Alignment, title: str, path: Path) -> None:
    """The plane of an alignment as PNG: X-rays as rings, CTs as squares, a line between those of one patient."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    xray, ct = np.split(plane(alignment), 2)
    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(*np.stack((xray, ct)).transpose(2, 0, 1), color="silver", zorder=0)
    axes.scatter(*xray.T, marker="o", facecolors="none", edgecolors="firebrick", label="X-rays")
    axes.scatter(*ct.T, marker="s", color="royalblue", label="CT")
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend()
    write_atomically(path, lambda name: FigureCanvasAgg(figure).print_png(str(name)))
