"""Writing a volume as NIfTI, NRRD or MetaImage: in one call by ITK, or a piece at a time for callers that must not wait.

ITK's one call stops 3D Slicer's window for seconds, and does not say so when a NIfTI file did not fit on the disk. Axes:
(z, y, x) arrays; geometry in LPS mm.
"""

import errno
import gzip
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.geometry.directions import LPS_TO_RAS
from clsdm.volume.ct import CTVolume

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Formats that keep a volume in one file; .mhd and .nhdr keep the voxels in a second one, which a rename would lose."""
SUFFIXES_IN_STEPS = (".nii.gz", ".nrrd")
PIECE_VOXELS = 1 << 17
LEVEL = 4
"""Of compression. 6, which is usual, takes much longer for a noisy CT and gains next to nothing (``benchmarks/parts.py``)."""

_SIGNED_SHORT, _MILLIMETRES, _SCANNER = 4, 2, 1  # codes of NIfTI-1
_HEADER_BYTES = 352  # with the four that say that nothing comes between header and voxels


NOTE = "ITK_FileNotes"
"""What ITK calls the remark in a header, of each of these formats."""


def write_ct(ct: CTVolume, path: str | os.PathLike[str], *, decimals: bool = False, note: str = "") -> None:
    """Write to NIfTI, NRRD or MetaImage; HU rounded to int16 unless ``decimals``.

    Args:
        ct: to write.
        path: of the file, which is replaced; who calls looks whose it is.
        decimals: whether to keep them, in float32.
        note: ASCII, at most 79 characters, kept in the header (:func:`note_of`).

    Raises:
        InputError: the format keeps a volume in two files or is unknown, or the file cannot be written.
    """
    if not Path(path).name.lower().endswith(SUFFIXES):
        raise InputError(f"{path}: a volume can be written as {', '.join(SUFFIXES)}; expected such a file name")
    image = ct.to_sitk() if decimals else rounded(ct)
    if note:
        image.SetMetaData(NOTE, note)
    size = image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()
    write_atomically(path, lambda name: _write_and_check(image, name), size)


def note_of(path: Path) -> str:
    """The note in a volume's header; "" where there is none, or the file is no volume."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # ITK's only one
        return ""
    return reader.GetMetaData(NOTE).strip() if reader.HasMetaDataKey(NOTE) else ""


def rounded(ct: CTVolume) -> sitk.Image:
    """The volume in whole numbers, int16."""
    return sitk.Cast(sitk.Round(ct.to_sitk()), sitk.sitkInt16)


def _write_and_check(image: sitk.Image, path: Path) -> None:
    """Write and read back: ITK's NIfTI writer does not notice a full disk, and knows no capital letters in a suffix.

    Raises:
        OSError: the file does not hold what was written.
    """
    part = path.with_name(f"part{next(each for each in SUFFIXES if path.name.lower().endswith(each))}")
    sitk.WriteImage(image, str(part), useCompression=True)
    written, wanted = (sitk.GetArrayFromImage(each) for each in (sitk.ReadImage(str(part)), image))
    part.replace(path)
    if not np.array_equal(written, wanted):
        raise OSError(errno.ENOSPC, "the file is incomplete; is the disk full?")


@dataclass(frozen=True)
class Placed:
    """Where the voxels lie, in LPS mm.

    Attributes:
        spacing_mm: along x, y, z.
        origin_mm: the first voxel's centre.
        direction: (3, 3), its columns are the axes.
    """

    spacing_mm: Sequence[float]
    origin_mm: Sequence[float]
    direction: Sequence[Sequence[float]]

    @property
    def steps(self) -> np.ndarray:
        """(3, 3) whose columns lead from a voxel to the next."""
        return np.array(self.direction, dtype=float) @ np.diag(self.spacing_mm)


def volume_in_steps(path: Path, hu: np.ndarray, placed: Placed, note: str = "") -> Iterator[float]:
    """Write a volume. Where this is closed or fails, half a file stays: see ``clsdm.files.atomic``.

    Args:
        path: ends in one of ``SUFFIXES_IN_STEPS``.
        hu: (z, y, x), rounded to whole numbers.
        placed: where it lies.
        note: ASCII, kept in the header (of NIfTI the first 79 characters).

    Yields:
        The fraction done.

    Raises:
        OSError: it cannot be written, or not all of it.
    """
    nifti = path.name.lower().endswith(SUFFIXES_IN_STEPS[0])
    with path.open("wb") as file:
        if not nifti:
            file.write(_nrrd_header(hu.shape, placed, note))
        with gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=file, mtime=0) as packed:
            if nifti:
                packed.write(_nifti_header(hu.shape, placed, note))
            line = hu.reshape(-1)
            for first in range(0, len(line), PIECE_VOXELS):
                packed.write(_whole(line[first : first + PIECE_VOXELS]))
                yield min(1.0, (first + PIECE_VOXELS) / len(line))


def _whole(hu: np.ndarray) -> bytes:
    return np.clip(np.rint(hu), -32768, 32767).astype("<i2").tobytes()


def _nrrd_header(shape: tuple[int, ...], placed: Placed, note: str) -> bytes:
    def vector(values: Sequence[float]) -> str:
        return "(" + ",".join(repr(float(value)) for value in values) + ")"

    lines = [
        "NRRD0005",
        "type: short",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(count) for count in reversed(shape)),
        "space directions: " + " ".join(vector(step) for step in placed.steps.T),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        "space origin: " + vector(placed.origin_mm),
        *([f"ITK_FileNotes:={note}"] if note else []),
    ]
    return ("\n".join(lines) + "\n\n").encode("ascii", "replace")


def _nifti_header(shape: tuple[int, ...], placed: Placed, note: str) -> bytes:
    header = bytearray(_HEADER_BYTES)
    steps = LPS_TO_RAS @ placed.steps
    origin = LPS_TO_RAS @ np.array(placed.origin_mm, dtype=float)
    quaternion, handed = _rotation(steps / np.array(placed.spacing_mm))
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *reversed(shape), 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _SIGNED_SHORT, 16)
    struct.pack_into("<4f", header, 76, handed, *placed.spacing_mm)
    struct.pack_into("<3f", header, 108, _HEADER_BYTES, 1.0, 0.0)
    header[123] = _MILLIMETRES
    header[148:228] = note.encode("ascii", "replace")[:79].ljust(80, b"\0")
    struct.pack_into("<2h", header, 252, _SCANNER, _SCANNER)
    struct.pack_into("<6f", header, 256, *quaternion, *origin)
    struct.pack_into("<12f", header, 280, *np.c_[steps, origin].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header)


def _rotation(axes: np.ndarray) -> tuple[np.ndarray, float]:
    """(b, c, d) of the unit quaternion nearest to these axes, and -1 where the third had to be turned round, else 1.

    Bar-Itzhack (2000), the eigenvector of the largest eigenvalue; as NIfTI wants it, with a >= 0.
    """
    handed = 1.0 if np.linalg.det(axes) > 0 else -1.0
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = axes * np.array([1.0, 1.0, handed])
    matrix = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    b, c, d, a = np.linalg.eigh(matrix)[1][:, -1]
    return np.array([b, c, d]) * (1.0 if a >= 0 else -1.0), handed
