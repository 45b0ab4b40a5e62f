"""Whether a damaged image says by itself that it was damaged: the rule by which an answer from one is right or wrong.

A file tells of damage by two things only. A checksum: gzip, zlib and PNG have one; JPEG, plain NIfTI, MetaImage, NRRD and
DICOM have none. And its own numbers: as many pixels must lie in it as its header says, of values that its header allows; for
a JPEG, libjpeg must come to the end of its codes with its last pixel, which is asked through ITK, whose copy prints what
it has to say. A file without either fault is well formed whatever was done to it (a byte of a JPEG that is missing, a NIfTI of
int16 that now says uint16), and a program that reads it as it stands is right.
"""

import ctypes
import gzip
import math
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import pydicom
import SimpleITK as sitk  # noqa: N813 - the usual name
from pydicom.encaps import generate_frames

NIFTI_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}


def well_formed(path: Path, base: Path) -> bool:
    """Whether nothing in a file, or in those of a folder that differ from their originals, tells that it was damaged."""
    if path.is_dir():
        files = [each for each in path.iterdir() if each.read_bytes() != (base / each.name).read_bytes()]
        return len(list(base.iterdir())) == len(list(path.iterdir())) and all(map(_well_formed, files))
    return _well_formed(path)


def _well_formed(path: Path) -> bool:
    name = path.name
    try:
        if name.endswith((".nii", ".nii.gz")):
            data = path.read_bytes()
            return _nifti(gzip.decompress(data) if name.endswith(".gz") else data)
        if name.endswith((".mha", ".nrrd")):
            return _with_text_header(path)
        if name.endswith(".dcm"):
            return _dicom(path)
        return name.endswith(".jpg") and _jpeg(path)
    except Exception:  # noqa: BLE001 - whatever it is, it tells
        return False


def _nifti(data: bytes) -> bool:
    count, *sizes = struct.unpack_from("<8h", data, 40)
    kind, bits, offset = struct.unpack_from("<hh", data, 70) + struct.unpack_from("<f", data, 108)
    voxels = math.prod(sizes[:count])
    return NIFTI_BITS[kind] == bits and min(sizes[:count]) > 0 and len(data) == int(offset) + voxels * bits // 8


def _with_text_header(path: Path) -> bool:
    data = path.read_bytes()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    width = sitk.Image(
        [1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents()
    ).GetSizeOfPixelComponent()
    voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    end = data.find(b"ElementDataFile")
    end = data.index(b"\n", end) + 1 if end >= 0 else data.index(b"\n\n") + 2
    stored = data[end:]
    if "_packed" in path.name:
        stored = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(stored)
    return len(stored) == voxels * width


def _dicom(path: Path) -> bool:
    dataset = pydicom.dcmread(path)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if str(dataset.file_meta.TransferSyntaxUID).endswith(".4.50"):
        with tempfile.TemporaryDirectory() as folder:
            stream = Path(folder) / "x.jpg"
            stream.write_bytes(next(generate_frames(dataset.PixelData, number_of_frames=frames)))
            if not _jpeg(stream):
                return False
    from pydicom.pixels import pixel_array

    pixels = pixel_array(dataset, raw=True, correct_unused_bits=False)
    return frames == 1 and pixels.shape == (dataset.Rows, dataset.Columns) and int(pixels.max()) < 2**dataset.BitsStored


def _jpeg(path: Path) -> bool:
    """Whether libjpeg reads it without a word."""
    libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    libc.fflush(None)
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as told:
        try:
            os.dup2(told.fileno(), 1)
            os.dup2(told.fileno(), 2)
            sitk.ReadImage(str(path))
        finally:
            libc.fflush(None)
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
        told.seek(0)
        return not told.read()
