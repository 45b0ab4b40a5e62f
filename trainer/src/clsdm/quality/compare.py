"""Compare a reconstruction with the true CT, and with the X-rays it was made from.

Everything is scored on the reconstruction's own grid, because that is what was made: the truth is box-averaged onto it
(``volume.cube``, as in training) where the grid is a cube along LPS, and linearly interpolated onto any other grid. The
check that needs no truth is in ``reprojection``.

What the truth's scan does not cover is not known. In the whole-cube figures it counts as air, the rule by which
training cubes are made, so that figures compare across programs; the body-masked figures and the regions leave out
every voxel that is not wholly inside the scan. (The SSIM of a voxel next to that border still sees across it.) The
covered fraction stands beside the figures, and less than all of it is a warning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from clsdm.errors import InputError
from clsdm.quality.comparison import Comparison, Scores
from clsdm.quality.measure import Measures, measure
from clsdm.quality.metrics import honest, x2ct
from clsdm.quality.numbers import numbers
from clsdm.quality.place import place_notes
from clsdm.quality.reprojection import reprojection
from clsdm.volume.body import body_mask
from clsdm.volume.ct import CTVolume, Grid, is_canonical
from clsdm.volume.cube import to_cube
from clsdm.volume.hu import WINDOW_HU
from clsdm.xray.preprocess import XRay

_SMALLEST_VOXELS = 12
_AIR_ADMIXTURE_HU = 1.0
LEAST_SHARED, FEW_SHARED = 0.1, 0.5
"""Of the smaller one of cube and scan, how much must lie in both; and below how much it is asked whether that is meant.

A scan of the abdomen shares a third of a chest's cube, and a thin one all of itself. Where no X-ray tells its place, the volume
lies around 0, and shares with a patient's CT what chance gives.
"""


def compare(
    recon: CTVolume,
    truth: CTVolume | None = None,
    xrays: Sequence[XRay] = (),
    measures: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Comparison:
    """Score a reconstruction against the truth, the X-rays, or both.

    Args:
        recon: the reconstruction.
        truth: the true CT on any grid, in the same patient coordinates.
        xrays: the X-rays the reconstruction was made from; its centre is their isocentre.
        measures: what was measured in it when it was made, with intervals; measured anew if None.
        provenance: as in ``Reconstruction.provenance``; says whether an X-ray told where the patient lay.

    Returns:
        The reconstruction turned to LPS, its scores, reprojections and warnings.

    Raises:
        InputError: the volumes do not overlap, the reconstruction is too small, or it cannot be projected.
    """
    if min(recon.hu.shape) < _SMALLEST_VOXELS:
        raise InputError(
            f"{recon.source}: expected at least {_SMALLEST_VOXELS} voxels along each axis, found {recon.hu.shape[::-1]}"
        )
    notes = [f"{each.source}: {note}" for each in (recon, truth) if each is not None for note in each.notes]
    recon = _along_lps(recon)
    scores = None if truth is None else score(recon, truth)
    warnings = [
        *([] if scores is None or truth is None else _warnings(scores, shared(recon, truth, scores.seen))),
        *([] if truth is None else place_notes(_placing(provenance, xrays), recon.centre_mm, recon.spacing_mm[0])),
        *notes,
    ]
    measures = numbers(recon, None) if measures is None else measures
    true = None if truth is None else measure(truth, Measures.from_plain(measures).over_mm)
    found = tuple(reprojection(recon, xrays)) if xrays else ()
    return Comparison(recon, scores, found, tuple(warnings), measures, true)


def score(recon: CTVolume, truth: CTVolume) -> Scores:
    """Both protocols on the reconstruction's grid.

    Args:
        recon: the reconstruction, axes in the order of LPS.
        truth: the true CT on any grid, in the same patient coordinates.

    Returns:
        The figures and what they were taken over.

    Raises:
        InputError: the volumes do not overlap, or hardly.
    """
    on_grid, seen = covered_truth(truth, recon)
    if (both := shared(recon, truth, seen)) < LEAST_SHARED:
        raise InputError(
            f"{truth.source}: does not lie where {recon.source} lies: of the smaller one {both:.1%} is in both (centres at "
            f"{_position(truth)} and {_position(recon)} mm LPS); expected the CT of the same patient in the same coordinates, "
            "which X-rays that tell no place do not share"
        )
    body = body_mask(on_grid.hu) & seen
    return Scores(
        on_grid, seen, body, honest(recon.hu, on_grid.hu, body), x2ct(recon.hu, on_grid.hu), float(seen.mean())
    )


def shared(recon: CTVolume, truth: CTVolume, seen: np.ndarray) -> float:
    """How much of the smaller one of reconstruction and scan lies in both.

    Args:
        recon: the reconstruction.
        truth: the scan on its own grid.
        seen: where on the reconstruction's grid the scan covers the voxel.
    """
    smaller = min(each.hu.size * float(np.prod(each.spacing_mm)) for each in (recon, truth))
    return min(1.0, float(seen.sum() * np.prod(recon.spacing_mm)) / smaller)


def covered_truth(truth: CTVolume, onto: CTVolume) -> tuple[CTVolume, np.ndarray]:
    """The truth on the grid of a reconstruction.

    Returns:
        Its HU, air where nothing was scanned, and (z, y, x) bool, True where the scan covers the whole voxel.

    Raises:
        InputError: the volumes do not overlap.
    """
    water = replace(truth, hu=np.zeros_like(truth.hu))  # air from outside the scan shows as a mixture
    covered = _resampled(water, onto).hu > -_AIR_ADMIXTURE_HU
    if not covered.any():
        raise InputError(
            f"{onto.source}: does not overlap {truth.source}; their centres are at {_position(onto)} and "
            f"{_position(truth)} mm (LPS), expected the same patient coordinates"
        )
    return _resampled(truth, onto), covered


def _placing(provenance: Mapping[str, Any] | None, xrays: Sequence[XRay]) -> Mapping[str, Any]:
    """The provenance, with the isocentre of the X-rays where there are any: older records say 0 where none told it."""
    isocentres = [xray.isocentre_mm for xray in xrays if xray.isocentre_mm is not None]
    return {**(provenance or {}), **({"isocentre_lps_mm": (*isocentres, None)[0]} if xrays else {})}


def _along_lps(ct: CTVolume) -> CTVolume:
    """The same voxels with their index axes in the order and sense of LPS."""
    return CTVolume.from_sitk(sitk.DICOMOrient(ct.to_sitk(), "LPS"), ct.source)


def _resampled(ct: CTVolume, onto: CTVolume) -> CTVolume:
    """``ct`` on the grid of ``onto``; air outside its field of view."""
    if is_canonical(onto):
        return replace(to_cube(ct, Grid(onto.hu.shape[0], onto.spacing_mm[0]), onto.centre_mm), source=ct.source)
    image = sitk.Resample(ct.to_sitk(), onto.to_sitk(), sitk.Transform(), sitk.sitkLinear, WINDOW_HU[0])
    return CTVolume.from_sitk(image, ct.source)


def _position(ct: CTVolume) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in ct.centre_mm) + ")"


def _warnings(scores: Scores, both: float) -> list[str]:
    found = []
    if both < FEW_SHARED:
        found.append(
            f"Only {both:.0%} of the smaller one of reconstruction and CT lies in both. If the CT is not meant to end there, it "
            "is another patient's or has other coordinates, and no figure below counts."
        )
    if scores.overlap_fraction < 1.0:
        found.append(
            f"The true scan covers {scores.overlap_fraction:.1%} of the reconstructed cube. The rest counts as air in "
            "the whole-cube figures and is left out of the body-masked ones."
        )
    if not scores.body.any():
        found.append("No body was found in the true scan: there are no body-masked figures.")
    return found
