"""The formats of X-ray files: what tells one from the others, and what reads it. A new format is one entry of ``FORMATS``."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clsdm.errors import InputError, reading
from clsdm.files.names import regular_file
from clsdm.xray.dicom import is_dicom, read_dicom
from clsdm.xray.orient import Pair, StoredXRay
from clsdm.xray.picture import IMAGES_WITH_SPACING, read_image
from clsdm.xray.picture_pillow import PICTURES, read_with_pillow


@dataclass(frozen=True)
class Wanted:
    """The wishes to a reader.

    Attributes:
        invert: True where the image as shown has bone dark, False where bright; None: by the file, where it says so.
        window: (low, high) in the file's values, beyond which nothing is told apart; None: all of them count.
        frame: image of a cine run or page of a TIFF, from 1; None: the file holds one.
        pixels: False for the header only, which takes milliseconds; the image is ``orient.blank`` then.
    """

    invert: bool | None = None
    window: Pair | None = None
    frame: int | None = None
    pixels: bool = True


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: in messages.
        read: gives the image as stored, brighter where more is in the way, with what the file says of its geometry.
        suffixes: of its files, in small letters.
        recognised: tells it by its content, whatever its name; None: the suffix does.
    """

    name: str
    read: Callable[[Path, Wanted], StoredXRay]
    suffixes: tuple[str, ...] = ()
    recognised: Callable[[Path], bool] | None = None

    def takes(self, path: Path) -> bool:
        """Whether a file is one."""
        return path.name.lower().endswith(self.suffixes) if self.recognised is None else self.recognised(path)


def _dicom(path: Path, wanted: Wanted) -> StoredXRay:
    return read_dicom(path, wanted.invert, wanted.window, wanted.frame, pixels=wanted.pixels)


def _without_tags(read: Callable[[Path, int | None, bool], StoredXRay]) -> Callable[[Path, Wanted], StoredXRay]:
    """A reader of files that say nothing of polarity and window: the user's word alone counts."""

    def reader(path: Path, wanted: Wanted) -> StoredXRay:
        stored = read(path, wanted.frame, wanted.pixels)
        if not wanted.pixels:
            return stored
        image = stored.image if wanted.window is None else np.clip(stored.image, *wanted.window)
        return replace(stored, image=-image if wanted.invert else image)

    return reader


FORMATS = (
    Format("DICOM", _dicom, recognised=is_dicom),
    Format("picture", _without_tags(read_with_pillow), PICTURES),
    Format("image", _without_tags(read_image), IMAGES_WITH_SPACING),
)
"""In the order in which they are tried."""


def read_stored(path: Path, wanted: Wanted) -> StoredXRay:
    """Read one image file of any format.

    Raises:
        InputError: no such file or no such format, no grey 2-D image, or one that its decoder cannot read to the end.
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder, expected one X-ray image file")
    regular_file(path, "X-ray image file")
    with reading(path, "file"):
        found = next((each for each in FORMATS if each.takes(path)), None)
    if found is None:
        known = " ".join(suffix for each in FORMATS for suffix in each.suffixes)
        raise InputError(f"{path}: not a DICOM file, and not one of {known}")
    kind = next((suffix for suffix in found.suffixes if path.name.lower().endswith(suffix)), found.name)
    with reading(path, kind if kind == found.name else f"{kind} file"):
        return found.read(path, wanted)
