"""Radiographs without DICOM: PNG, JPEG, TIFF, BMP, and 2-D NIfTI, NRRD or MetaImage, which know their pixel spacing.

Pillow reads the pictures, since it minds what decides how they are meant: EXIF and TIFF orientation, MinIsWhite, a missing
end. SimpleITK reads what Pillow cuts down to eight bits (colours of 16 bits) or does not know (decimals of 64 bits), and
the images with a spacing.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.errors import InputError, reading
from clsdm.limits import check_image_size
from clsdm.volume.nifti import check_nifti
from clsdm.xray.orient import Film, Known, Pair, blank, grey, header_quietly, read_quietly

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
IMAGES_WITH_SPACING = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")

_GREY = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGBA", "PA": "RGBA", "I;16": "I;16", "I;16B": "I;16B",
         "I;16L": "I;16L", "I": "I", "F": "F", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB"}  # fmt: skip
"""Modes of Pillow and what they are converted to; any other is a colour image."""
_DEEP = ("I;16", "I;16B", "I;16L", "I", "F")
_ORIENTATION, _PHOTOMETRIC, _BITS = 274, 262, 258  # tags of EXIF and TIFF
_TURNS = {2: (1, 0), 3: (0, 2), 4: (1, 2), 5: (1, 1), 6: (0, 3), 7: (1, 3), 8: (0, 1)}
"""EXIF orientation: mirrored left to right or not, then turned counter-clockwise by so many quarters."""


def read_picture(
    path: Path, invert: bool = False, window: Pair | None = None, frame: int | None = None, *, pixels: bool = True
) -> Film:
    """Read one image file.

    Args:
        path: file.
        invert: whether bone is dark in the image.
        window: (low, high) in the file's values, beyond which nothing is told apart; None: all of them count.
        frame: page of a TIFF with several, from 1.
        pixels: False reads the header only, which takes milliseconds; the image is ``orient.blank`` then.

    Raises:
        InputError: no image, a colour image or a volume, or one that its decoder cannot read to the end.
    """
    suffix = _suffix(path)
    with reading(path, f"{suffix} file"):
        if suffix in PICTURES:
            film = _read_with_pillow(path, suffix, frame, pixels)
        elif frame not in (None, 1):
            raise InputError(f"{path}: --frame is {frame}; the file holds one image")
        else:
            film = _read_with_itk(path, suffix) if pixels else _header(path, suffix)
    return _shown(film, invert, window) if pixels else film


def _suffix(path: Path) -> str:
    name = path.name.lower()
    suffix = next((end for end in (*PICTURES, *IMAGES_WITH_SPACING) if name.endswith(end)), None)
    if suffix is None:
        raise InputError(f"{path}: not a DICOM file, and not one of {' '.join((*PICTURES, *IMAGES_WITH_SPACING))}")
    return suffix


def _shown(film: Film, invert: bool, window: Pair | None) -> Film:
    from dataclasses import replace

    image = film.image if window is None else np.clip(film.image, *window)
    return replace(film, image=-image if invert else image)
