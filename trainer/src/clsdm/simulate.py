"""X-rays from a CT: what a machine of a given geometry would have measured, as line integrals of attenuation.

The same projector makes the training images. HU are limited to the one window of ``intensity`` (the ground truth of a
reconstruction is), and beam hardening, scatter and the couch are left as they are: a projection is an ideal X-ray.
Volumes are (z, y, x), images (row, column), positions LPS in mm.
"""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name
import torch
from torch import Tensor

from clsdm.errors import InputError
from clsdm.files.atomic import written_together
from clsdm.files.names import given_path, refuse_overwriting, refuse_replacing, regular_files
from clsdm.geometry import cameras as geometry
from clsdm.geometry import projector
from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import View
from clsdm.limits import SERIES_FILES
from clsdm.plausible import check_plausible
from clsdm.volume.body import body_centre_mm
from clsdm.volume.containers import files_of
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import WINDOW_HU, hu_clamped, hu_to_attenuation
from clsdm.volume.read import read_ct
from clsdm.xray.dicom import is_simulated
from clsdm.xray.preprocess import XRay
from clsdm.xray.write_dx import write_dx, write_preview
from clsdm.xray.write_localizer import write_localizer

__all__ = ["add_noise", "project_to_folder", "simulate_xray", "simulate_xrays", "write_dx", "write_preview"]

FINEST_MM, COARSEST_MM = 1.0, 2.5
MAX_VOXELS = 32_000_000
MAX_PHOTONS = 1e12
NAMES = {0.0: "frontal", 90.0: "lateral"}

Point = tuple[float, float, float]


def simulate_xray(ct: CTVolume, view: View, isocentre_mm: Point | None = None) -> XRay:
    """The X-ray of a CT in one view; see :func:`simulate_xrays`."""
    return simulate_xrays(ct, [view], isocentre_mm)[0]


def simulate_xrays(
    ct: CTVolume,
    views: Sequence[View],
    isocentre_mm: Point | None = None,
    on_view: Callable[[int, int], None] | None = None,
) -> list[XRay]:
    """Line integrals of attenuation through a CT of any spacing and orientation.

    Args:
        ct: HU; outside of it is air.
        views: exposures.
        isocentre_mm: LPS position around which source and detector turn; the middle of the body where None.
        on_view: called with (views done, views in all).

    Returns:
        One X-ray per view, all with one patient key made from the voxels.

    Raises:
        InputError: the scan reaches as far as a source.
    """
    centre = body_centre_mm(ct) if isocentre_mm is None else isocentre_mm
    attenuation, spacing_mm = _attenuation_around(ct, centre)
    _check_clear_of_source(attenuation, spacing_mm, views, ct.source)
    key = hashlib.sha256(np.ascontiguousarray(ct.hu).tobytes()).hexdigest()[:32]
    xrays = []
    for done, view in enumerate(views, 1):
        with torch.no_grad():
            image = projector.project(attenuation, spacing_mm, Cameras.from_views([[view]]))[0, 0]
        origins = dict.fromkeys(("angle_deg", "tilt_deg", "source_axis_mm", "source_detector_mm", "pixel_mm"), "user")
        xrays.append(
            XRay(
                image.numpy(),
                view,
                source=f"projection of {ct.source}",
                patient_key=key,
                origins=origins,
                isocentre_mm=centre,
            )
        )
        if on_view is not None:
            on_view(done, len(views))
    return xrays


def add_noise(xray: XRay, photons: float, seed: int = 0) -> XRay:
    """Poisson noise of a beam that brings ``photons`` to each pixel where nothing is in the way.

    Args:
        xray: line integrals.
        photons: expected count per unattenuated pixel; about 1e4 is a good X-ray, 1e3 a poor one.
        seed: of the noise.

    Returns:
        Noisy line integrals, -log of the counted fraction; a pixel that counted nothing is given one photon.

    Raises:
        InputError: ``photons`` or ``seed`` is none.
    """
    _check_noise(photons, seed)
    counts = np.random.default_rng(seed).poisson(photons * np.exp(-xray.image.astype(np.float64)))
    return replace(xray, image=-np.log(np.maximum(counts, 1) / photons).astype(np.float32))


def _check_noise(photons: float, seed: int) -> None:
    if not 0.0 < photons <= MAX_PHOTONS:
        raise InputError(
            f"noise: expected a positive number of photons per pixel up to {MAX_PHOTONS:g}, got {photons:g}"
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"seed: expected a whole number from 0 to 2^63 - 1, got {seed}")


def project_to_folder(
    ct_path: str | os.PathLike[str],
    preset: str,
    out_dir: str | os.PathLike[str],
    angles: Sequence[float] = (0.0, 90.0),
    *,
    isocentre_mm: Point | None = None,
    photons: float | None = None,
    seed: int = 0,
    series: str | None = None,
    on_view: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[Path]:
    """X-rays of a CT file as DICOM DX with a PNG preview each; all of them or, on failure, none.

    Args:
        ct_path: volume file or DICOM folder.
        preset: machine, see ``geometry.PRESETS``.
        out_dir: folder for frontal.dcm (0 degrees), lateral.dcm (90), view_<angle>.dcm, and .png of each.
        angles: in degrees.
        isocentre_mm: LPS; the middle of the body where None.
        photons: adds noise, see :func:`add_noise`; none where None.
        seed: of the noise.
        series: of a DICOM folder with several, which to take.
        on_view: called with (views done, views in all).
        on_note: called with each note on how the CT was read.

    Returns:
        The DICOM files, in the order of ``angles``.

    Raises:
        InputError: unusable CT, preset or angles, or the files cannot be written.
    """
    machine, out_dir = geometry.preset(preset), given_path(os.fspath(out_dir), "out")
    names = [_name(angle) for angle in angles]
    if not names or len(set(names)) < len(names) or len(names) > geometry.MAX_VIEWS:
        raise InputError(f"angles: expected 1 to {geometry.MAX_VIEWS} different angles, got {list(angles)}")
    outputs = [out_dir / f"{name}{suffix}" for name in names for suffix in (".dcm", ".png")]
    source = given_path(os.fspath(ct_path), "ct")
    of_series = regular_files(source, SERIES_FILES) if source.is_dir() else []
    refuse_overwriting([out_dir, *outputs], [*files_of(source), *of_series])
    refuse_replacing(outputs, is_simulated)
    for value in isocentre_mm or ():
        check_plausible("position_mm", value, "isocentre")
    if photons is not None:
        _check_noise(photons, seed)
    ct = read_ct(ct_path, series)
    if on_note is not None:
        for note in ct.notes:
            on_note(note)
    xrays = simulate_xrays(ct, [machine.view(angle) for angle in angles], isocentre_mm, on_view)
    if photons is not None:
        xrays = [add_noise(xray, photons, seed + at) for at, xray in enumerate(xrays)]
    _write_together(out_dir, names, xrays)
    return [out_dir / f"{name}.dcm" for name in names]


def _name(angle_deg: float) -> str:
    check_plausible("angle_deg", angle_deg, "angles")
    return NAMES.get(math.remainder(angle_deg, 360.0), f"view_{angle_deg:g}")


def _write_together(out_dir: Path, names: Sequence[str], xrays: Sequence[XRay]) -> None:
    with written_together(out_dir) as scratch:
        for number, (name, xray) in enumerate(zip(names, xrays, strict=True), 1):
            write = write_localizer if xray.view.beam == "fan" else write_dx
            write(xray, scratch / f"{name}.dcm", instance_number=number)
            write_preview(xray, scratch / f"{name}.png")


def _attenuation_around(ct: CTVolume, centre_mm: Point) -> tuple[Tensor, float]:
    """(1, 1, z, y, x) attenuation in 1/mm on a box around ``centre_mm`` that holds the scan, and its voxel edge.

    Voxels are about as fine as the scan's finest axis, between 1 and 2.5 mm, and coarser where memory would not do.
    """
    size = np.array(ct.hu.shape[::-1])
    corners = np.array(
        [[x, y, z] for x in (-0.5, size[0] - 0.5) for y in (-0.5, size[1] - 0.5) for z in (-0.5, size[2] - 0.5)]
    )
    corners = np.array(ct.origin_mm) + (corners * np.array(ct.spacing_mm)) @ ct.direction.T
    half_mm = np.abs(corners - np.array(centre_mm)).max(0)
    fine = min(max(min(ct.spacing_mm), FINEST_MM), COARSEST_MM)
    spacing = max(fine, float((8.0 * half_mm.prod() / MAX_VOXELS) ** (1 / 3)))
    count = np.maximum(2, np.ceil(2.0 * half_mm / spacing)).astype(int)
    first = np.array(centre_mm) - (count - 1) / 2 * spacing
    box = sitk.Resample(
        ct.to_sitk(),
        count.tolist(),
        sitk.Transform(),
        sitk.sitkLinear,
        first.tolist(),
        [spacing] * 3,
        np.eye(3).ravel().tolist(),
        WINDOW_HU[0],
    )
    hu = torch.from_numpy(sitk.GetArrayFromImage(box))
    return hu_to_attenuation(hu_clamped(hu))[None, None], spacing


def _check_clear_of_source(attenuation: Tensor, spacing_mm: float, views: Sequence[View], source: str) -> None:
    """The projector takes every voxel to lie before the source."""
    reach_mm = math.hypot(*attenuation.shape[-2:]) / 2 * spacing_mm
    nearest_mm = min(view.source_axis_mm for view in views)
    if reach_mm >= nearest_mm:
        raise InputError(
            f"{source}: the scan reaches {reach_mm:.0f} mm from the isocentre, but the X-ray source stands at "
            f"{nearest_mm:g} mm"
        )
