"""Reading X-rays: DICOM (CR, DX, XA, RF), PNG, JPEG, TIFF, BMP, and 2-D NIfTI, NRRD or MetaImage.

Whatever the file, :func:`read_xray` returns an image that is brighter where more was attenuated and lies as
``geometry.View`` says, with a complete geometry. Each geometry field comes from the user, from the file, or from a
preset, in that order; ``XRay.origins`` says from which. Only the pixel spacing has no default: a wrong one would scale
the patient.

Files without orientation are taken as they are hung: patient upright; at 0 and at 180 degrees the patient's left at
image right; at 90 degrees (left lateral) anterior at image left; at -90 degrees anterior at image right.
"""

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from clsdm.errors import InputError
from clsdm.geometry.view import Beam, View
from clsdm.xray.exposed import check_content, right_way_up, without_border_and_marks
from clsdm.xray.exposure import GeometryOverrides, described, machine_of
from clsdm.xray.formats import Wanted, read_stored
from clsdm.xray.image import XRay, check_image
from clsdm.xray.listing import Listing
from clsdm.xray.orient import Pair, StoredXRay, angle_by_orientation, blank, oriented

__all__ = ["GeometryOverrides", "XRayHeader", "inspect_xray", "picture_of", "read_xray"]

PICTURE_PIXELS = 512


@dataclass(frozen=True)
class XRayHeader:
    """An X-ray before its pixels are read; None where a value must be given.

    Attributes:
        rows: of the image, turned as ``geometry.View`` says where the angle is known.
        cols: likewise.
        angle_deg: as ``read_xray`` will take it.
        source_axis_mm: likewise.
        source_detector_mm: likewise.
        pixel_mm: likewise.
        invert: whether the image as shown has bone dark; where nobody says, what is assumed until the pixels are seen.
        window: (low, high) in the file's values.
        origins: for each of these where it came from, as in ``XRay.origins``.
        likely_angle_deg: what PatientOrientation says of the angle; to suggest, not to rely on.
        patient_key: one-way hash.
        study_uid: StudyInstanceUID, or "".
        warnings: what the user should know.
        listing: its place among others of its study.
    """

    rows: int
    cols: int
    angle_deg: float | None
    source_axis_mm: float
    source_detector_mm: float
    pixel_mm: Pair | None
    invert: bool
    window: Pair | None
    origins: dict[str, str]
    likely_angle_deg: float | None
    patient_key: str | None
    study_uid: str
    warnings: tuple[str, ...]
    listing: Listing = field(default_factory=Listing)


def inspect_xray(
    path: str | os.PathLike[str],
    angle_deg: float | None = None,
    overrides: GeometryOverrides | None = None,
    preset: str = "chest",
    *,
    default_angle_deg: float | None = None,
) -> XRayHeader:
    """The geometry that :func:`read_xray` would give a file, from its header alone, in milliseconds and without torch.

    Args:
        path: image file.
        angle_deg: as for :func:`read_xray`, and so all others.
        overrides: likewise.
        preset: likewise.
        default_angle_deg: likewise.

    Raises:
        InputError: the file is no readable grey X-ray.
    """
    overrides = overrides or GeometryOverrides()
    stored = _read_stored(Path(path), overrides, pixels=False)
    stored, angle, distances, origins = described(stored, angle_deg, default_angle_deg, overrides, preset)
    if angle is not None:
        stored = _as_viewed(stored, angle, overrides, origins)
    known = stored.known
    origins["window"] = "user" if overrides.window is not None else "default" if known.window is None else "tag"
    rows, cols = stored.image.shape
    stated = known.invert if overrides.invert is None else overrides.invert
    return XRayHeader(
        rows,
        cols,
        angle_deg=angle,
        source_axis_mm=distances[0],
        source_detector_mm=distances[1],
        pixel_mm=known.pixel_mm,
        invert=bool(stored.bone_dark_assumed if stated is None else stated),
        window=known.window if overrides.window is None else overrides.window,
        origins=origins,
        likely_angle_deg=angle_by_orientation(stored) if known.angle_deg is None else known.angle_deg,
        patient_key=stored.patient_key,
        study_uid=stored.study_uid,
        warnings=stored.warnings,
        listing=stored.listing,
    )


def read_xray(
    path: str | os.PathLike[str],
    angle_deg: float | None = None,
    overrides: GeometryOverrides | None = None,
    preset: str = "chest",
    *,
    default_angle_deg: float | None = None,
) -> XRay:
    """Read one X-ray with its geometry.

    Args:
        path: image file.
        angle_deg: the view's angle (0 PA, 180 AP, 90 left lateral, -90 right lateral); overrules the file.
        overrides: further geometry that overrules the file.
        preset: where distances come from when neither user nor file gives them.
        default_angle_deg: the angle where the file names none.

    Returns:
        The X-ray, oriented as ``geometry.View`` documents, with ``origins`` and ``warnings`` filled in.

    Raises:
        InputError: the file is no readable grey X-ray, or spacing or angle is unknown.
    """
    overrides = overrides or GeometryOverrides()
    stored = _read_stored(Path(path), overrides)
    if np.isinf(stored.image).any():
        raise InputError(f"{path}: the image holds infinite pixels")
    stored, angle, distances, origins = described(stored, angle_deg, default_angle_deg, overrides, preset)
    if angle is None:
        raise InputError(f"{path}: the file does not say from where the X-ray was taken; give its angle")
    beam = stored.known.beam or machine_of(stored, preset).beam
    view = _view(stored, angle, distances, overrides, origins, beam)
    if stored.known.beam != "fan":  # a localizer says its polarity, and nothing of it was collimated or marked
        stored = without_border_and_marks(right_way_up(stored, overrides.invert))
    stored = check_content(stored)
    stored = _as_viewed(stored, angle, overrides, origins)
    image = np.ascontiguousarray(stored.image, dtype=np.float32)
    valid = None if stored.valid is None else np.ascontiguousarray(stored.valid)
    isocentre_mm = stored.known.isocentre_mm if overrides.isocentre_mm is None else overrides.isocentre_mm
    whose = (stored.source, stored.patient_key)
    xray = XRay(image, view, valid, *whose, origins, stored.warnings, isocentre_mm, stored.sop_instance)
    check_image(xray)
    return xray


def _read_stored(path: Path, overrides: GeometryOverrides, *, pixels: bool = True) -> StoredXRay:
    return read_stored(path, Wanted(overrides.invert, overrides.window, overrides.frame, pixels))


def _view(
    stored: StoredXRay,
    angle_deg: float,
    distances: Pair,
    overrides: GeometryOverrides,
    origins: dict[str, str],
    beam: Beam,
) -> View:
    """The geometry of the image as it will lie; made before anything is done with its pixels."""
    stored = _as_viewed(
        replace(stored, image=blank(*stored.image.shape), valid=None), angle_deg, overrides, dict(origins)
    )
    pixel_mm, (rows, cols) = stored.pixel_mm, stored.image.shape
    offset, tilt = stored.known.offset_mm or (0.0, 0.0), stored.known.tilt_deg or 0.0
    try:
        return View(angle_deg, *distances, rows, cols, pixel_mm=pixel_mm, tilt_deg=tilt, offset_mm=offset, beam=beam)
    except InputError as error:
        raise InputError(f"{stored.source}: {error}") from None


def _as_viewed(
    stored: StoredXRay, angle_deg: float, overrides: GeometryOverrides, origins: dict[str, str]
) -> StoredXRay:
    """The image turned into the convention of ``geometry.View``, with the user's corrections on top."""
    stored, by_tag = oriented(stored, angle_deg, stored.known.tilt_deg or 0.0)
    corrected = overrides.flip_horizontal or overrides.rotate_quarters % 4 != 0 or overrides.upright
    origins["orientation"] = "user" if corrected else "tag" if by_tag else "default"
    if origins["orientation"] == "default":
        stored = stored.warned(_assumed_orientation(angle_deg))
    stored = stored.rotated(overrides.rotate_quarters)
    stored = stored.flipped(1) if overrides.flip_horizontal else stored
    origins["offset_mm"] = "default" if stored.known.offset_mm is None else "tag"
    if overrides.offset_mm is not None:
        origins["offset_mm"] = "user"
        stored = replace(stored, known=replace(stored.known, offset_mm=overrides.offset_mm))
    return stored


def _assumed_orientation(angle_deg: float) -> str:
    across = math.sin(math.radians(angle_deg))
    if abs(across) < 0.7:
        return "assumed: the patient's left at image right, flip it otherwise"
    side = "left" if across > 0 else "right"
    return f"assumed: the patient faces image {side}, flip it otherwise"


def picture_of(path: Path, frame: int | None = None) -> tuple[tuple[int, int], np.ndarray]:
    """(rows, columns) of an image file as it is stored, and a grey picture of it, uint8 and at most 512 long.

    Args:
        path: of the file.
        frame: which of its images, from 1; None where it holds one.

    Raises:
        InputError: it cannot be read.
    """
    image = read_stored(path, Wanted(frame=frame)).image
    step = -(-max(image.shape) // PICTURE_PIXELS)
    low, high = np.nanquantile(image, (0.01, 0.99))
    small = np.nan_to_num((image[::step, ::step] - low) / max(float(high - low), 1e-6))
    return (image.shape[0], image.shape[1]), (small.clip(0.0, 1.0) * 255.0).astype(np.uint8)
