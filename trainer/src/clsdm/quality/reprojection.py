"""The one check there is without a CT: the volume, projected as its X-rays were taken, must look like them."""

from collections.abc import Sequence

import numpy as np
import torch

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.geometry.view import Detector
from clsdm.quality.agreement import Reprojection
from clsdm.volume.ct import CTVolume, Grid, is_canonical
from clsdm.volume.hu import hu_to_attenuation
from clsdm.xray.preprocess import XRay, cameras_for, normalise, panel_mask, preprocess

LEAST_PIXELS = 128
FIELD_PER_CUBE = 1.25
"""Width of the virtual detector, at the isocentre, over the edge of the cube."""

_SHADOW = -0.9  # 5 % of the way from the 1st percentile (-1) to the 99th (1)


def default_detector(grid: Grid) -> Detector:
    """The virtual detector for a cube: 1.25 times its edge, with pixels as large as its voxels, but at least 128².

    It hangs on the volume alone, so that all residuals that a user meets are alike, whoever computes them.
    """
    return Detector(max(LEAST_PIXELS, round(FIELD_PER_CUBE * grid.size)), FIELD_PER_CUBE * grid.cube_mm)


@torch.no_grad()
def reprojection(recon: CTVolume, xrays: Sequence[XRay], detector: Detector | None = None) -> list[Reprojection]:
    """Project the reconstruction as each X-ray was taken and compare the two images.

    Compared are the measured pixels whose ray crosses the cube without leaving it through its top or bottom, beyond
    which the patient goes on unreconstructed. Exposure is unknown, so both images are normalised over these pixels; an
    error in overall density does not show. The figures are taken over the patient's shadow, the pixels above 5 % of the
    contrast in either image, because two images always agree on the air around the patient.

    Args:
        recon: a cube along LPS whose centre is the isocentre.
        xrays: the X-rays.
        detector: virtual detector, by default :func:`default_detector`.

    Returns:
        One for each X-ray, in their order.

    Raises:
        InputError: the reconstruction is not such a cube, or an X-ray cannot be used.
    """
    if not is_canonical(recon):
        raise InputError(
            f"{recon.source}: expected a cube of cubic voxels along LPS to project, found {recon.hu.shape[::-1]} "
            f"voxels of {tuple(round(step, 3) for step in recon.spacing_mm)} mm (x, y, z)"
        )
    detector = detector or default_detector(Grid(recon.hu.shape[0], recon.spacing_mm[0]))
    pairs = [preprocess(xray, detector)[0] for xray in xrays]
    views = [[xray.view for xray in xrays]]
    cameras = cameras_for(views, detector)
    hu = torch.from_numpy(np.ascontiguousarray(recon.hu, dtype=np.float32))[None, None]
    images = project(hu_to_attenuation(hu), recon.spacing_mm[0], cameras)[0]
    crossing = _crossing((hu.shape[-1] - 1) * recon.spacing_mm[0], cameras) & (panel_mask(views, detector)[0] > 0.5)
    return [
        _residual(xray, pair, image, mask)
        for xray, pair, image, mask in zip(xrays, pairs, images, crossing, strict=True)
    ]


def _crossing(edge_mm: float, cameras: Cameras) -> torch.Tensor:
    """(V, rows, cols) bool, True where a ray meets the cube around the isocentre and leaves it by its sides only.

    ``edge_mm`` is the distance of the outermost voxels' centres: beyond them the projector lets the volume fade.
    """
    source = cameras.sources()[0]
    direction = cameras.pixel_centres()[0] - source
    walls = torch.stack(((-edge_mm / 2 - source) / direction, (edge_mm / 2 - source) / direction))[..., :2]
    enter, leave = walls.amin(0).amax(-1), walls.amax(0).amin(-1)  # in lengths of ``direction``
    heights = source[..., 2] + torch.stack((enter, leave)) * direction[..., 2]
    return (enter < leave) & (heights.abs() <= edge_mm / 2).all(0)


def _residual(xray: XRay, pair: torch.Tensor, image: torch.Tensor, crossing: torch.Tensor) -> Reprojection:
    """Compare one X-ray ``pair`` (intensity, mask) with the projection ``image`` where rays are ``crossing``."""
    measured = pair[1] > 0.5
    compared = crossing & measured
    if not bool(compared.any()):
        raise InputError(f"{xray.source}: no measured ray crosses the reconstruction; check spacing and distances")
    a, b = (normalise(pixels, compared.float()).numpy().astype(np.float64) for pixels in (pair[0], image))
    shadow = compared.numpy() & (np.maximum(a, b) > _SHADOW)
    shadow = shadow if shadow.any() else compared.numpy()
    constant = min(a[shadow].std(), b[shadow].std()) < 1e-6
    return Reprojection(
        source=xray.source,
        angle_deg=xray.view.angle_deg,
        rmse=float(np.sqrt(np.mean((b - a)[shadow] ** 2))),
        correlation=None if constant else float(np.corrcoef(a[shadow], b[shadow])[0, 1]),
        xray=np.where(measured, pair[0], np.nan),
        reprojected=np.where(compared, b, np.nan),
        difference=np.where(compared, b - a, np.nan),
        sop_instance=xray.sop_instance,
    )
