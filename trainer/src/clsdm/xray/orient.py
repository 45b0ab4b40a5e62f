"""An X-ray as its file stores it: pixels, with whatever the file says about the exposure; the step before an ``XRay``.

Reading an X-ray has two halves: getting pixels and facts out of a format (``dicom``, ``picture``), and making
of them what ``geometry.View`` promises. This module owns the half that formats share: turning, mirroring, grey values.

Axis order: images are (row, column); positions are (down, right) in mm on the detector plane.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.errors import InputError
from clsdm.files.itk import itk_header, quiet_itk
from clsdm.geometry.directions import direction_of, image_axes
from clsdm.geometry.view import Beam, view_name
from clsdm.xray.listing import Listing
from clsdm.xray.notes import left_out

MAX_COLOURED_FRACTION = 0.05
COLOUR_LEVELS = 8.0 / 255.0  # chroma that JPEG leaves on a grey picture stays below this part of the range


Pair = tuple[float, float]
"""(row or down, column or right)."""


@dataclass(frozen=True)
class Known:
    """The exposure as a file states it, named as in ``geometry.View``; None where it is silent.

    Attributes:
        angle_deg: around the patient's long axis.
        tilt_deg: of the source towards superior.
        source_axis_mm: source to isocentre.
        source_detector_mm: source to detector plane.
        magnification: of the patient's middle on the detector.
        pixel_mm: on the detector plane.
        pixel_at_patient_mm: calibrated in the patient.
        unusable_spacing: what the file says in place of a spacing, like "ImagerPixelSpacing is 0 x 0 mm"; "" where nothing.
        spacing_doubt: what speaks against the stored spacing, a note unless the user gives another; "" where nothing.
        offset_mm: of the image centre from the principal ray.
        isocentre_mm: LPS position of the isocentre in the patient.
        invert: whether the image as shown has bone dark.
        window: (low, high) in the file's values, between which a reader looks.
        beam: how the rays run.
        tags: what the file calls a field, like "ImagerPixelSpacing".
    """

    angle_deg: float | None = None
    tilt_deg: float | None = None
    source_axis_mm: float | None = None
    source_detector_mm: float | None = None
    magnification: float | None = None
    pixel_mm: Pair | None = None
    pixel_at_patient_mm: Pair | None = None
    unusable_spacing: str = ""
    spacing_doubt: str = ""
    offset_mm: Pair | None = None
    isocentre_mm: tuple[float, float, float] | None = None
    invert: bool | None = None
    window: Pair | None = None
    beam: Beam | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredXRay:
    """One image and what its file says about it.

    Attributes:
        image: (rows, cols) float32, brighter where more was attenuated; zeros that take no memory (:func:`blank`) where
            only the header was read.
        source: file name for messages.
        valid: (rows, cols) bool, False where nothing was measured, or None.
        known: the geometry the file states.
        orientation: patient directions of increasing column and row as in PatientOrientation, like ("L", "F"), or None.
        shown_like_pa: without ``orientation``, an AP view is stored as it is hung: the patient's left at image right.
        bone_dark_assumed: whether bone was taken to be dark in the image as shown, where nobody said; None: somebody did.
        marked: letters may be burnt in.
        patient_key: one-way hash of the patient's identifiers.
        study_uid: StudyInstanceUID, or "".
        sop_instance: SOP Instance UID, or "".
        listing: its place among others of its study.
        unreadable: tags that do not hold what they should.
        warnings: what the user should know.
    """

    image: np.ndarray
    source: str
    valid: np.ndarray | None = None
    known: Known = field(default_factory=Known)
    orientation: tuple[str, str] | None = None
    shown_like_pa: bool = True
    bone_dark_assumed: bool | None = None
    marked: bool = True
    patient_key: str | None = None
    study_uid: str = ""
    sop_instance: str = ""
    listing: Listing = field(default_factory=Listing)
    unreadable: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def pixel_mm(self) -> Pair:
        """(row, column) spacing on the detector plane.

        Raises:
            InputError: nobody knows it.
        """
        if self.known.pixel_mm is None:
            found = self.known.unusable_spacing
            why = f" ({found}; expected two numbers above 0)" if found else ""
            raise InputError(
                f"{self.source}: the pixel spacing is unknown{why}", "give it with --spacing (mm on the detector)"
            )
        return self.known.pixel_mm

    def warned(self, *messages: str) -> StoredXRay:
        """The same image with further warnings."""
        return replace(self, warnings=(*self.warnings, *messages))

    def transposed(self) -> StoredXRay:
        """Rows and columns exchanged."""
        known = replace(
            self.known,
            pixel_mm=_swapped(self.known.pixel_mm),
            pixel_at_patient_mm=_swapped(self.known.pixel_at_patient_mm),
            offset_mm=_swapped(self.known.offset_mm),
        )
        return replace(self, image=self.image.T, valid=None if self.valid is None else self.valid.T, known=known)

    def flipped(self, axis: int) -> StoredXRay:
        """Mirrored: ``axis`` 0 turns it upside down, 1 exchanges left and right."""
        valid = None if self.valid is None else np.flip(self.valid, axis)
        known = self.known
        if known.offset_mm is not None:
            down, right = known.offset_mm
            known = replace(known, offset_mm=(-down, right) if axis == 0 else (down, -right))
        return replace(self, image=np.flip(self.image, axis), valid=valid, known=known)

    def rotated(self, quarters: int) -> StoredXRay:
        """Turned counter-clockwise by ``quarters`` times 90 degrees."""
        stored = self
        for _ in range(quarters % 4):
            stored = stored.transposed().flipped(0)
        return stored


def _swapped(pair: Pair | None) -> Pair | None:
    return None if pair is None else (pair[1], pair[0])


def blank(rows: int, cols: int) -> np.ndarray:
    """(rows, cols) zeros that take no memory: the image of an X-ray of which only the header was read."""
    return np.broadcast_to(np.float32(0.0), (rows, cols))


def angle_by_orientation(stored: StoredXRay) -> float | None:
    """0, 180, 90 or -90: from where an X-ray was taken if PatientOrientation says how it lies, upright and unmirrored."""
    along_cols = direction_of(stored.orientation[0].upper()) if stored.orientation else None
    if along_cols is None or max(abs(along_cols[:2])) < 0.5:
        return None
    return 90.0 * round(math.degrees(math.atan2(along_cols[1], along_cols[0])) / 90.0)


def oriented(stored: StoredXRay, angle_deg: float, tilt_deg: float) -> tuple[StoredXRay, bool]:
    """Turn and mirror an image into the convention of ``geometry.View``, and whether the file itself said how.

    Where PatientOrientation is there it decides. Without it an image is taken as it is hung: at 180 degrees (AP) that is
    the patient's left at image right like in a PA, so it is mirrored into the view from the source.
    """
    if stored.orientation is not None:
        turned = _turned_by_tag(stored, stored.orientation, *image_axes(angle_deg, tilt_deg))
        if turned is not None:
            return turned, True
        named = "\\".join(stored.orientation)
        stored = stored.warned(f"PatientOrientation {named} does not fit the view {view_name(angle_deg)}; not used")
    if stored.shown_like_pa and math.cos(math.radians(angle_deg)) < -0.7:
        stored = stored.flipped(1)
    return stored, False


def _turned_by_tag(
    stored: StoredXRay, orientation: tuple[str, str], right: np.ndarray, down: np.ndarray
) -> StoredXRay | None:
    """The one of the eight turns whose axes agree with the view's, or None where none does."""
    along_cols, along_rows = (direction_of(letters.upper()) for letters in orientation)
    if along_cols is None or along_rows is None:
        return None
    for swap, flip_rows, flip_cols in itertools.product((False, True), repeat=3):
        col_axis, row_axis = (along_rows, along_cols) if swap else (along_cols, along_rows)
        if (-1) ** flip_cols * float(col_axis @ right) > 0.5 and (-1) ** flip_rows * float(row_axis @ down) > 0.5:
            turned = stored.transposed() if swap else stored
            turned = turned.flipped(0) if flip_rows else turned
            return turned.flipped(1) if flip_cols else turned
    return None


def grey(pixels: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """One grey channel of an image with 1 to 4 channels.

    Args:
        pixels: (rows, cols) or (rows, cols, channels): grey, grey + alpha, RGB or RGBA.
        source: file name for messages.

    Returns:
        (rows, cols) float32; a mask that leaves out coloured marks and empty transparent pixels, or None; warnings.

    Raises:
        InputError: a colour image.
    """
    if pixels.ndim == 2:
        return pixels.astype(np.float32), None, ()
    channels = pixels.shape[-1]
    colour = pixels[..., :3] if channels >= 3 else pixels[..., :1]
    span = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "ui" else float(np.ptp(colour)) or 1.0
    planes = [colour[..., channel] for channel in range(colour.shape[-1])]
    spread = np.maximum.reduce(planes).astype(np.float32) - np.minimum.reduce(planes)
    coloured = spread > COLOUR_LEVELS * span
    if coloured.mean() > MAX_COLOURED_FRACTION:
        raise InputError(f"{source}: a colour image ({channels} channels that differ), expected one grey channel")
    warnings: tuple[str, ...] = (f"image: {channels} channels that hold one grey image",)
    valid = ~coloured
    image = np.ascontiguousarray(colour[..., 0 if channels < 3 else 1], dtype=np.float32)
    warnings += left_out(float(coloured.mean()), "coloured marks")
    if channels in (2, 4):
        seen = pixels[..., -1] >= 0.5 * float(pixels[..., -1].max())
        if not seen.all() and float(np.ptp(image[~seen])) == 0.0:  # else the image goes on under what hides it
            valid &= seen
    return image, None if valid.all() else valid, warnings


def header_quietly(path: Path) -> sitk.ImageFileReader | None:
    """A reader that knows size, spacing and type of an image, or None where ITK cannot read it."""
    try:
        return itk_header(path)
    except RuntimeError:
        return None


def read_quietly(path: Path) -> sitk.Image | None:
    """The image ITK reads, or None where it cannot; ITK's own warnings on the console are held back."""
    try:
        with quiet_itk():
            return sitk.ReadImage(str(path))
    except RuntimeError:
        return None
