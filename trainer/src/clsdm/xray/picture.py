"""Radiographs without DICOM: PNG, JPEG, TIFF, BMP, and 2-D NIfTI, NRRD or MetaImage, which know their pixel spacing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.errors import InputError
from clsdm.volume.containers import check_container
from clsdm.volume.nifti import NIFTI_SUFFIXES, read_header
from clsdm.xray.orient import Film, Known, Pair, blank, grey, header_quietly, read_quietly

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
IMAGES_WITH_SPACING = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def read_picture(path: Path, invert: bool = False, window: Pair | None = None, *, pixels: bool = True) -> Film:
    """Read one image file.

    Args:
        path: file.
        invert: whether bone is dark in the image.
        window: (low, high) in the file's values, beyond which nothing is told apart; None: all of them count.
        pixels: False reads the header only, which takes milliseconds; the image is ``film.blank`` then.

    Raises:
        InputError: no image, a colour image or a volume.
    """
    suffix = _suffix(path)
    return _read(path, suffix, invert, window) if pixels else _header(path, suffix)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    suffix = next((end for end in (*PICTURES, *IMAGES_WITH_SPACING) if name.endswith(end)), None)
    if suffix is None:
        raise InputError(f"{path}: not a DICOM file, and not one of {' '.join((*PICTURES, *IMAGES_WITH_SPACING))}")
    return suffix


def _read(path: Path, suffix: str, invert: bool, window: Pair | None) -> Film:
    image = read_quietly(path)
    if image is None:
        raise InputError(f"{path}: not an image, or damaged; expected the content of a {suffix} file")
    pixels = _plane(image, path)
    check_container(path)
    if suffix in NIFTI_SUFFIXES and read_header(path).rows_run_up:
        pixels = pixels[::-1]
    values, valid, notes = grey(pixels, str(path))
    if window is not None:
        values = np.clip(values, *window)
    known, more = _facts(image.GetSpacing(), suffix, pixels.dtype == np.uint8)
    return Film(-values if invert else values, str(path), valid, known, warnings=(*notes, *more))


def _header(path: Path, suffix: str) -> Film:
    header = header_quietly(path)
    if header is None:
        raise InputError(f"{path}: not an image, or damaged; expected the content of a {suffix} file")
    size = header.GetSize()
    _refuse_volume(size, path)
    eight_bits = header.GetPixelID() in (sitk.sitkUInt8, sitk.sitkVectorUInt8)
    known, notes = _facts(header.GetSpacing(), suffix, eight_bits)
    return Film(blank(size[1], size[0]), str(path), known=known, warnings=notes)


def _facts(spacing: tuple[float, ...], suffix: str, eight_bits: bool) -> tuple[Known, tuple[str, ...]]:
    known = Known(pixel_mm=(spacing[1], spacing[0])) if suffix in IMAGES_WITH_SPACING else Known()
    notes: tuple[str, ...] = ("8-bit image: fine contrast is lost",) if eight_bits else ()
    if suffix in (".jpg", ".jpeg"):
        notes += ("lossy compression",)
    if known.pixel_mm == (1.0, 1.0):
        notes += ("the pixel spacing is exactly 1 mm, which often means that none was stored",)
    return known, notes


def _plane(image: sitk.Image, path: Path) -> np.ndarray:
    """(rows, cols) or (rows, cols, channels) of a 2-D image, or of a volume of one slice."""
    size = image.GetSize()
    _refuse_volume(size, path)
    pixels = sitk.GetArrayFromImage(image)
    return (
        pixels.reshape(size[1], size[0], -1)
        if image.GetNumberOfComponentsPerPixel() > 1
        else pixels.reshape(size[1::-1])
    )


def _refuse_volume(size: tuple[int, ...], path: Path) -> None:
    if any(count > 1 for count in size[2:]):
        found = "x".join(map(str, size))
        raise InputError(f"{path}: a volume of {found} voxels, a CT in place of an X-ray; expected a 2-D image")
