"""X-rays as 2-D NIfTI, NRRD or MetaImage, which know their pixel spacing."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.errors import InputError
from clsdm.limits import check_image_size
from clsdm.volume.containers import check_container, stored_voxels
from clsdm.volume.headers import describe
from clsdm.volume.nifti import NIFTI_SUFFIXES, read_header
from clsdm.xray.notes import EIGHT_BITS
from clsdm.xray.orient import Known, StoredXRay, blank, grey, header_quietly, read_quietly

IMAGES_WITH_SPACING = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def read_image(path: Path, frame: int | None, pixels: bool) -> StoredXRay:
    """Read one image that knows its spacing.

    Args:
        path: 2-D NIfTI, NRRD or MetaImage, or a volume of one slice.
        frame: must be 1 or None.
        pixels: False reads the header only.

    Raises:
        InputError: no image, a colour image or a volume, or one that its decoder cannot read to the end.
    """
    if frame not in (None, 1):
        raise InputError(f"{path}: image {frame} is asked for; the file holds one image")
    header = _header(path)
    if not pixels:
        return header
    plane, run_up = _nifti_plane(path) if _is_nifti(path) else _stored_plane(path, header.image.shape)
    values, valid, notes = grey(plane[::-1] if run_up else plane, str(path))
    return replace(header, image=values, valid=valid, warnings=(*notes, *header.warnings))


def _nifti_plane(path: Path) -> tuple[np.ndarray, bool]:
    """Pixels, and whether the first row stored is the lowest."""
    check_container(path)
    image = read_quietly(path)
    if image is None:
        raise _damaged(path)
    return _plane(image, path), read_header(path).rows_run_up


def _stored_plane(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """The same of NRRD and MetaImage, whose pixels are read here: ITK would follow a header to any file."""
    container, header = describe(path), header_quietly(path)
    if container is None or header is None:
        raise _damaged(path)
    stored = stored_voxels(path, container)
    channels = stored.size // math.prod(shape)
    wanted = (*shape, channels) if channels > 1 else shape
    if [count for count in stored.shape if count != 1] != [count for count in wanted if count != 1]:
        found = f"{stored.shape[::-1]} pixels, ITK finds {shape[::-1]}"
        raise InputError(f"{path}: its header names {found}; expected the same")
    return stored.reshape(wanted), _rows_run_up(header)


def _header(path: Path) -> StoredXRay:
    _check_header(path)
    header = header_quietly(path)
    if header is None:
        raise _damaged(path)
    size = header.GetSize()
    _refuse_volume(size, path)
    check_image_size(size[1], size[0], path, bits=64, samples=header.GetNumberOfComponents())
    spacing = header.GetSpacing()
    if _is_nifti(path) and not np.allclose(spacing[:2], _nifti_spacing(path), rtol=0.01):
        spacing = (0.0, 0.0)  # the header contradicts itself
    known = Known(pixel_mm=(spacing[1], spacing[0])) if min(spacing[:2]) > 0.0 else Known()
    notes: tuple[str, ...] = ()
    if header.GetPixelID() in (sitk.sitkUInt8, sitk.sitkVectorUInt8):
        notes += (EIGHT_BITS,)
    if tuple(spacing[:2]) == (1.0, 1.0):
        known = replace(
            known, spacing_doubt="the pixel spacing is exactly 1 mm, which often means that none was stored"
        )
    return StoredXRay(blank(size[1], size[0]), str(path), known=known, warnings=notes)


def _check_header(path: Path) -> None:
    """Look at the header before ITK does, over whose parsers some text ends the process."""
    try:
        describe(path)
    except InputError:
        raise
    except Exception:  # noqa: BLE001 - damaged in whatever way
        raise _damaged(path) from None


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _nifti_spacing(path: Path) -> tuple[float, ...]:
    """(column, row) spacing in mm by the header's affine; ITK goes by another field, and makes 1 mm of what cannot be."""
    lengths = np.linalg.norm(read_header(path).affine[:3, :2], axis=0)
    return tuple(float(each) for each in lengths)


def _damaged(path: Path) -> InputError:
    suffix = next(end for end in IMAGES_WITH_SPACING if path.name.lower().endswith(end))
    return InputError(f"{path}: not an image, or damaged; expected the content of a {suffix} file")


def _rows_run_up(header: sitk.ImageFileReader) -> bool:
    """Whether the first row stored is the lowest, by the direction of the second axis: anterior or superior."""
    count = header.GetDimension()
    down = np.array(header.GetDirection()).reshape(count, count)[:, 1]
    along = int(np.abs(down).argmax())
    return bool(down[along] < 0.0) if along == 1 else bool(down[along] > 0.0 and along == 2)


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
