"""A volume file against its scan, on voxels of one size where the scan covers: figures of any two bundles compare.

The truth is averaged over each voxel, the volume interpolated linearly between its own. Volumes are (z, y, x), axes along
LPS.
"""

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813

from clsdm.quality.compare import covered_truth
from clsdm.quality.metrics import psnr_db
from clsdm.volume.body import body_mask
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import WINDOW_HU, WINDOW_WIDTH_HU, hu_clamped

LUNG_HU = -500.0
"""Below it, inside the body, is lung (and what other air there is)."""
SMALLEST_LUNG_ML = 100.0
"""With less of it in view there is no figure of lungs."""


@dataclass(frozen=True)
class Pair:
    """A reconstruction and the truth on the voxels on which they are compared.

    Attributes:
        recon: HU.
        truth: HU, air where nothing was scanned.
        covered: (z, y, x) bool, the voxels that the scan covers.
        body: (z, y, x) bool, the patient, where covered.
    """

    recon: CTVolume
    truth: CTVolume
    covered: np.ndarray
    body: np.ndarray


def paired(recon: CTVolume, scan: CTVolume, spacing_mm: float) -> Pair:
    """Both on voxels of ``spacing_mm`` that fill the reconstruction's cube.

    Raises:
        InputError: the two do not overlap.
    """
    size = round(recon.hu.shape[0] * recon.spacing_mm[0] / spacing_mm)
    centre_mm = recon.centre_mm
    onto = CTVolume.on_grid(np.zeros((size,) * 3, np.float32), Grid(size, spacing_mm), centre_mm)
    truth, covered = covered_truth(scan, replace(onto, source=recon.source))
    return Pair(resampled(recon, onto), truth, covered, body_mask(truth.hu) & covered)


def resampled(recon: CTVolume, onto: CTVolume) -> CTVolume:
    """A reconstruction on other voxels, linearly; beyond the middles of its outermost voxels it goes on as it ends."""
    image = sitk.Resample(
        recon.to_sitk(), onto.to_sitk(), sitk.Transform(), sitk.sitkLinear, WINDOW_HU[0], sitk.sitkFloat32, True
    )
    return CTVolume.from_sitk(image, recon.source)


def figures_of(pair: Pair) -> dict[str, float | None]:
    """PSNR in dB (data range 2500 HU), mean absolute error in HU, lungs; None where there is nothing to measure."""
    recon, truth = (hu_clamped(volume.hu.astype(np.float64)) for volume in (pair.recon, pair.truth))
    error = recon - truth
    figures = {
        "psnr_db": psnr_db(float(np.square(error[pair.covered]).mean()), WINDOW_WIDTH_HU),
        "psnr_body_db": psnr_db(float(np.square(error[pair.body]).mean()), WINDOW_WIDTH_HU)
        if pair.body.any()
        else None,
        "mae_hu": float(np.abs(error[pair.covered]).mean()),
        "mae_body_hu": float(np.abs(error[pair.body]).mean()) if pair.body.any() else None,
        "covered_fraction": float(pair.covered.mean()),
    }
    return figures | lung_figures(recon, truth, pair.body, pair.truth.spacing_mm[0])


def lung_figures(recon: np.ndarray, truth: np.ndarray, body: np.ndarray, spacing_mm: float) -> dict[str, float | None]:
    """Dice of the two lungs within the body, the lungs' volumes, and the relative error of it with and without its sign."""
    lungs = [body & (volume < LUNG_HU) for volume in (recon, truth)]
    found_ml, true_ml = (float(lung.sum()) * spacing_mm**3 / 1000.0 for lung in lungs)
    if true_ml < SMALLEST_LUNG_ML:
        return dict.fromkeys(("lung_dice", "lung_ml", "lung_true_ml", "lung_error", "lung_absolute_error"))
    relative = found_ml / true_ml - 1.0
    return {
        "lung_dice": 2.0 * float((lungs[0] & lungs[1]).sum()) / float(lungs[0].sum() + lungs[1].sum()),
        "lung_ml": found_ml,
        "lung_true_ml": true_ml,
        "lung_error": relative,
        "lung_absolute_error": abs(relative),
    }
