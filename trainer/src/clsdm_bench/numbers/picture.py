"""A picture of what X-rays tell: the scan, a reconstruction, the part of it that the X-rays fix, the rest, and how sure it is."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from clsdm import NOTICE
from clsdm.app.fixed import fixed_part, from_others
from clsdm.app.record import companions, read_record, recorded_views
from clsdm.files.atomic import written_together
from clsdm.quality.compare import covered_truth
from clsdm.quality.intervals import Calibration
from clsdm.quality.measure import measure
from clsdm.quality.picture import DIFFERENCE_PAINTER, HU_PAINTER, Painter, centre_index, planes
from clsdm.quality.spread import half_width_hu
from clsdm.volume.body import body_mask
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct

WIDEST_HU = 600.0


def write_picture(path: Path, scan: CTVolume, volume: Path, ensemble: Path | None, calibration: Calibration) -> float:
    """Three planes of each, as a PNG file.

    Args:
        path: to write.
        scan: the true CT.
        volume: file of the ``mean``, with its record beside it.
        ensemble: file of the ``ensemble``, or None.
        calibration: of the model.

    Returns:
        The share of the contrast in the body that the X-rays fix.

    Raises:
        InputError: the volume has no record, or the file cannot be written.
    """
    recon = read_ct(volume)
    truth = covered_truth(scan, recon)[0]
    body = body_mask(recon.hu, 2)
    fixed, share = fixed_part(recon, recorded_views(read_record(volume) or {}, str(volume)))
    rest = from_others(recon, fixed).hu
    rows = [
        ("the scan", truth.hu, HU_PAINTER),
        ("the reconstruction (mean)", recon.hu, HU_PAINTER),
        (f"what the X-rays fix ({share:.0%} of the contrast in the body)", fixed.hu, HU_PAINTER),
        ("what came from other patients (blue less, red more)", rest, DIFFERENCE_PAINTER),
    ]
    if ensemble is not None:
        rows.append(_spread_row(ensemble, calibration))
    _write(path, rows, recon.spacing_mm[0], centre_index(body))
    return share


def _spread_row(ensemble: Path, calibration: Calibration) -> tuple[str, np.ndarray, Painter]:
    mean = read_ct(ensemble)
    spread = sitk.GetArrayFromImage(sitk.ReadImage(str(companions(ensemble)["spread"]))).astype(np.float32)
    factors = calibration.voxels.get(measure(mean).region, {})
    wide = np.where(body_mask(mean.hu, 2), half_width_hu(mean.hu, spread, factors), 0.0)
    return f"how far a voxel may be off at 80 % (black 0, white {WIDEST_HU:.0f} HU)", wide, Painter(0.0, WIDEST_HU)


def _write(
    path: Path, rows: list[tuple[str, np.ndarray, Painter]], spacing_mm: float, index: tuple[int, int, int]
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 2.6 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for line, (title, values, paint) in zip(axes, rows, strict=True):
        for place, plane in zip(line, planes(values, index).values(), strict=True):
            place.imshow(paint(plane), interpolation="nearest")
            place.axis("off")
        line[1].set_title(title, fontsize=9)
    figure.supxlabel(f"voxels of {spacing_mm:g} mm. {NOTICE}", fontsize=7)
    with written_together(path.parent) as scratch:
        figure.savefig(scratch / path.name, dpi=110)
