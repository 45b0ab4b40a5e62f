"""Opening a DICOM file: with or without the preamble of part 10, and unpacked only as far as an image may be large."""

import io
import os
import zlib
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from clsdm.errors import InputError
from clsdm.limits import IMAGE_BYTES, VOLUME_BYTES, check_bytes

_HEAD_BYTES = 132
_META_START = 144


class _ToItsEnd(io.BufferedReader):
    """A file that is never asked for more than it holds: Python makes room for all that is asked for before it reads, and
    a damaged element may claim 4 GB."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def open_dicom(path: Path, *, pixels: bool = True, tags: list[str] | None = None) -> Dataset:
    """Read a DICOM file.

    Args:
        path: file.
        pixels: False stops before them.
        tags: only these; all where None.

    Returns:
        The dataset, whose transfer syntax is known.

    Raises:
        InputError: not DICOM, larger than any scan, or deflated data that do not end or unpack to more than any image.
    """
    try:
        deflated = _is_deflated(path)
        if pixels or deflated:  # which are read to the end of the file
            check_bytes(path.stat().st_size, VOLUME_BYTES, path, "a DICOM file")
        if deflated:
            dataset = _inflated(path)
        else:
            with _ToItsEnd(path.open("rb", buffering=0)) as stream:
                dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, specific_tags=tags, force=True)
    except InvalidDicomError:
        raise InputError(f"{path}: not a DICOM file") from None
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0] if hasattr(dataset, "original_encoding") else dataset.is_implicit_VR
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _is_deflated(path: Path) -> bool:
    """Whether the file's meta information, which is never deflated itself, says that the rest is."""
    with _ToItsEnd(path.open("rb", buffering=0)) as stream:
        if stream.read(_HEAD_BYTES)[128:] != b"DICM":
            return False
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        return meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian


def _inflated(path: Path) -> Dataset:
    """A file in the deflated transfer syntax; pydicom would unpack it without a limit, and without a look at its end.

    Raises:
        InputError: it unpacks to more than any image, or its stream is damaged or does not end where the file does.
    """
    raw = path.read_bytes()
    start = _META_START + int.from_bytes(raw[_META_START - 4 : _META_START], "little")  # (0002,0000) holds the length
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    data = unpacker.decompress(raw[start:], IMAGE_BYTES + 1)
    check_bytes(len(data), IMAGE_BYTES, path, "unpacked data")
    if not unpacker.eof or len(unpacker.unused_data) > 1:  # one byte makes the length even
        raise InputError(f"{path}: truncated or damaged DICOM (the deflated data do not end where the file does)")
    return pydicom.dcmread(io.BytesIO(data), force=True)
