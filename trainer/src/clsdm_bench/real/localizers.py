"""The localizers of CT studies against their own scans: real X-rays in the coordinates of the truth.

Of each patient of a DICOM tree: the scan, its frontal and its lateral localizer, the volume from them, and as a second row
the volume from projections of the scan in the same views. What lies between the two rows is what real localizers are and
projections are not: another beam, the couch, the vendor's processing, a patient who breathes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clsdm.errors import InputError, reading
from clsdm.model.bundle import Bundle, patient_mark
from clsdm.progress import Report, silent
from clsdm.quality.agreement import Reprojection
from clsdm.reconstruction import Options, Product, choose_device, reconstruct
from clsdm.simulate import simulate_xrays
from clsdm.volume.body import body_mask
from clsdm.volume.ct import CTVolume
from clsdm.xray.image import XRay
from clsdm.xray.scouts import localizers_among
from clsdm_bench.lines import Figures
from clsdm_bench.measures.covered import Pair, figures_of, paired
from clsdm_bench.real.tables import Row
from clsdm_trainer.data.dicom import find_series, read_series
from clsdm_trainer.data.scan import Scan

REAL, PROJECTED = "localizers", "projections of the scan in the same views"


@dataclass(frozen=True)
class Settings:
    """How to reconstruct and compare.

    Attributes:
        product: "mean", "sample" or "ensemble".
        spacing_mm: edge of the voxels on which volumes are compared.
        seed: of samples.
        device: "auto", "cpu" or "cuda".
        limit: only the first so many patients.
    """

    product: Product = "mean"
    spacing_mm: float = 3.0
    seed: int = 0
    device: str = "auto"
    limit: int | None = None


def score_localizers(bundle: Bundle, root: Path, settings: Settings, report: Report = silent) -> list[Row]:
    """Figures of every patient of a DICOM tree who has localizers; patients whom the model knows are refused.

    Raises:
        InputError: no such tree, or nobody in it has localizers.
    """
    if not root.is_dir():
        raise InputError(f"--data {root}: no such folder")
    scans = [scan for scan in find_series(root).scans if scan.localizers][: settings.limit]
    if not scans:
        raise InputError(f"--data {root}: no patient with CT localizers beside the scan found")
    reconstructor = Reconstructor(bundle, settings)
    rows: list[Row] = []
    for done, scan in enumerate(scans):
        report("localizers", done, len(scans))
        rows += _rows(scan, reconstructor)
    report("localizers", len(scans), len(scans))
    return rows


class Reconstructor:
    """A bundle with its networks loaded, and how to use it."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.bundle, self.settings = bundle, settings
        self.model = bundle.model(choose_device(settings.device))
        self.options = Options(settings.product, seed=settings.seed, device=settings.device)
        self.known = set(bundle.manifest.trained_patients)

    def knows(self, patient: str) -> bool:
        """Whether the model was trained or selected on this patient."""
        return patient_mark(patient) in self.known

    def __call__(self, xrays: Sequence[XRay], *, refine: bool = False) -> tuple[CTVolume, Figures]:
        """The volume, and how well it explains its X-rays; with ``refine`` also how far the last view was moved."""
        result = reconstruct(xrays, self.bundle, replace(self.options, refine=refine), model=self.model)
        figures = dict(residual_figures(result.residuals))
        if refine:
            found, stated = result.views[-1], xrays[-1].view
            figures["found_turned_deg"] = found.angle_deg - stated.angle_deg
            figures["found_down_mm"] = found.offset_mm[0] - stated.offset_mm[0]
            figures["found_scale"] = stated.source_axis_mm / found.source_axis_mm
        return result.volume, figures


def residual_figures(residuals: Sequence[Reprojection]) -> Figures:
    """Mean residual as a share of the contrast, and mean correlation."""
    agreements = [each.agreement for each in residuals]
    correlations = [each.correlation for each in agreements if each.correlation is not None]
    return {
        "residual": float(np.mean([each.contrast_fraction for each in agreements])),
        "correlation": float(np.mean(correlations)) if correlations else None,
    }


def compared(pair: Pair) -> Figures:
    """Figures against the scan, with the Dice of the bodies."""
    found = body_mask(pair.recon.hu) & pair.covered
    both = float((found & pair.body).sum())
    total = float(found.sum() + pair.body.sum())
    return {**figures_of(pair), "body_dice": 2.0 * both / total if total else None}


def _rows(scan: Scan, reconstructor: Reconstructor) -> Iterator[Row]:
    if reconstructor.knows(scan.patient):
        yield Row(scan.id, REAL, {}, refused="the model was trained or selected on this patient")
        return
    try:
        with reading(scan.source, "study"):
            ct = read_series(scan)
            xrays = localizers_among(scan.localizers, _heights(ct), scan.source)
            spacing = reconstructor.settings.spacing_mm
            recon, residual = reconstructor(xrays)
            yield Row(scan.id, REAL, {**compared(paired(recon, ct, spacing)), **residual})
            centre = xrays[0].isocentre_mm
            recon, residual = reconstructor(simulate_xrays(ct, [xray.view for xray in xrays], centre))
            yield Row(scan.id, PROJECTED, {**compared(paired(recon, ct, spacing)), **residual})
    except InputError as error:
        yield Row(scan.id, REAL, {}, refused=str(error))


def _heights(ct: CTVolume) -> tuple[float, float]:
    """z from and to which a scan reaches."""
    half = np.abs(ct.direction) @ (np.array(ct.hu.shape[::-1]) * np.array(ct.spacing_mm)) / 2
    return ct.centre_mm[2] - float(half[2]), ct.centre_mm[2] + float(half[2])
