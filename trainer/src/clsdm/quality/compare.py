"""Compare a reconstruction with the true CT, and with the X-rays it was made from.

Everything is scored on the reconstruction's own grid, because that is what was made: the truth is box-averaged onto it
(``volume.to_cube``, as in training) where the grid is a cube along LPS, and linearly interpolated onto any other grid.

What the truth's scan does not cover is not known. In the whole-cube figures it counts as air, the rule by which
training cubes are made, so that figures compare across programs; the body-masked figures and the regions leave out
every voxel that is not wholly inside the scan. (The SSIM of a voxel next to that border still sees across it.) The
covered fraction stands beside the figures, and less than all of it is a warning.

Without truth there is one check, the reprojection: the volume, projected as the X-rays were taken, must look like them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.geometry.view import Detector
from clsdm.quality import picture, report
from clsdm.quality.metrics import Metrics, honest, x2ct
from clsdm.volume.ct import CTVolume, Grid, body_mask, to_cube, write_atomically
from clsdm.volume.hu import WINDOW_HU, hu_to_attenuation
from clsdm.xray.preprocess import XRay, cameras_for, normalise, panel_mask, preprocess

SCHEMA, SCHEMA_VERSION = "clsdm-comparison", 1
REPROJECTION_PIXELS = 128
FIELD_PER_CUBE = 1.25
"""Width of the virtual detector, at the isocentre, over the edge of the cube."""

_SMALLEST_VOXELS = 12
_AIR_ADMIXTURE_HU = 1.0
_SHADOW = -0.9  # 5 % of the way from the 1st percentile (-1) to the 99th (1)


@dataclass(frozen=True)
class Scores:
    """A reconstruction against the truth.

    Attributes:
        truth: on the reconstruction's grid.
        seen: (z, y, x) bool, True where the truth's scan covers the whole voxel.
        body: (z, y, x) bool, the true body, where seen.
        honest: figures of that protocol.
        x2ct: figures of that protocol.
        overlap_fraction: of the reconstruction's voxels, how many are seen.
    """

    truth: CTVolume
    seen: np.ndarray
    body: np.ndarray
    honest: Metrics
    x2ct: Metrics
    overlap_fraction: float


@dataclass(frozen=True)
class Reprojection:
    """One X-ray against the reconstruction projected in the same geometry, both normalised over the same pixels.

    Attributes:
        source: where the X-ray came from.
        angle_deg: its angle.
        rmse: root mean square of ``difference`` in the patient's shadow; the 1st and 99th percentile of each image lie
            2 apart.
        correlation: Pearson's over the same pixels, or None where an image is constant.
        xray: (size, size) the X-ray on the virtual detector; NaN where it was not measured.
        reprojected: (size, size) the reconstruction's projection; NaN where it cannot be compared.
        difference: (size, size) projection minus X-ray; NaN where they cannot be compared.
    """

    source: str
    angle_deg: float
    rmse: float
    correlation: float | None
    xray: np.ndarray
    reprojected: np.ndarray
    difference: np.ndarray

    @property
    def residual_fraction(self) -> float:
        """The difference as a fraction of the X-ray's contrast (1st to 99th percentile)."""
        return self.rmse / 2.0


@dataclass(frozen=True)
class Comparison:
    """All that is known about how good a reconstruction is.

    Attributes:
        recon: the reconstruction, axes in the order of LPS.
        scores: against the truth, or None without it.
        reprojections: against the X-rays; empty without them.
        warnings: what the reader should know.
    """

    recon: CTVolume
    scores: Scores | None
    reprojections: tuple[Reprojection, ...]
    warnings: tuple[str, ...]


def compare(recon: CTVolume, truth: CTVolume | None = None, xrays: Sequence[XRay] = ()) -> Comparison:
    """Score a reconstruction against the truth, the X-rays, or both.

    Args:
        recon: the reconstruction.
        truth: the true CT on any grid, in the same patient coordinates.
        xrays: the X-rays the reconstruction was made from; its centre is their isocentre.

    Returns:
        The reconstruction turned to LPS, its scores, reprojections and warnings.

    Raises:
        InputError: the volumes do not overlap, the reconstruction is too small, or it cannot be projected.
    """
    if min(recon.hu.shape) < _SMALLEST_VOXELS:
        raise InputError(
            f"{recon.source}: expected at least {_SMALLEST_VOXELS} voxels along each axis, found {recon.hu.shape[::-1]}"
        )
    warnings = [f"{each.source}: {note}" for each in (recon, truth) if each is not None for note in each.notes]
    recon = _along_lps(recon)
    scores = None if truth is None else score(recon, truth)
    warnings += [] if scores is None else _warnings(scores)
    return Comparison(recon, scores, tuple(reprojection(recon, xrays)) if xrays else (), tuple(warnings))


def score(recon: CTVolume, truth: CTVolume) -> Scores:
    """Both protocols on the reconstruction's grid.

    Args:
        recon: the reconstruction, axes in the order of LPS.
        truth: the true CT on any grid, in the same patient coordinates.

    Returns:
        The figures and what they were taken over.

    Raises:
        InputError: the volumes do not overlap.
    """
    on_grid, seen = covered_truth(truth, recon)
    body = body_mask(on_grid.hu) & seen
    return Scores(
        on_grid, seen, body, honest(recon.hu, on_grid.hu, body), x2ct(recon.hu, on_grid.hu), float(seen.mean())
    )


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


def is_canonical(ct: CTVolume) -> bool:
    """Whether the grid is a cube of cubic voxels with its axes along LPS."""
    cubic = len(set(ct.hu.shape)) == 1 and np.allclose(ct.spacing_mm, ct.spacing_mm[0], rtol=1e-3)
    return bool(cubic and np.allclose(ct.direction, np.eye(3), atol=1e-3))


def default_detector(recon: CTVolume) -> Detector:
    """The virtual detector for a cube: 128² pixels over 1.25 times its edge."""
    return Detector(REPROJECTION_PIXELS, FIELD_PER_CUBE * recon.spacing_mm[0] * recon.hu.shape[0])


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
    detector = detector or default_detector(recon)
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
    )


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


def _warnings(scores: Scores) -> list[str]:
    found = []
    if scores.overlap_fraction < 1.0:
        found.append(
            f"The true scan covers {scores.overlap_fraction:.1%} of the reconstructed cube. The rest counts as air in "
            "the whole-cube figures and is left out of the body-masked ones."
        )
    if not scores.body.any():
        found.append("No body was found in the true scan: there are no body-masked figures.")
    return found


def as_json(comparison: Comparison, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The figures as plain JSON types, under a versioned schema."""
    recon, scores = comparison.recon, comparison.scores
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "notice": picture.NOTICE,
        "grid": {
            "voxels_xyz": list(recon.hu.shape[::-1]),
            "spacing_mm": list(recon.spacing_mm),
            "centre_lps_mm": list(recon.centre_mm),
        },
        "overlap_fraction": None if scores is None else scores.overlap_fraction,
        "protocols": {} if scores is None else {"honest": scores.honest, "x2ct": scores.x2ct},
        "reprojection": [
            {key: value for key, value in asdict(item).items() if key in ("source", "angle_deg", "rmse", "correlation")}
            | {"residual_fraction": item.residual_fraction, "pixels_compared": int(np.isfinite(item.difference).sum())}
            for item in comparison.reprojections
        ],
        "warnings": list(comparison.warnings),
        "provenance": dict(provenance or {}),
    }


def write_comparison(
    comparison: Comparison,
    out_dir: str | Path,
    provenance: Mapping[str, Any] | None = None,
    title: str = "CT reconstructed from X-rays",
) -> list[Path]:
    """Write ``metrics.json``, ``comparison.png`` and ``report.html``, each of them whole or not at all.

    Args:
        comparison: what to write.
        out_dir: made if it is not there.
        provenance: how the reconstruction was made (bundle id and hash, seed, product, steps ...), of JSON types.
        title: heading of the report.

    Returns:
        The three paths.

    Raises:
        InputError: a file cannot be written.
    """
    rows = report.rows_of(comparison)
    rgb = picture.sheet(rows, report.headline(comparison))
    text = json.dumps(as_json(comparison, provenance), indent=2, allow_nan=False, default=str) + "\n"
    html = report.html(comparison, rows, provenance or {}, title)
    paths = [Path(out_dir) / name for name in ("metrics.json", "comparison.png", "report.html")]
    write_atomically(paths[0], lambda path: _write(path, text))
    write_atomically(paths[1], lambda path: picture.write_png(rgb, path))
    write_atomically(paths[2], lambda path: _write(path, html))
    return paths


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
