"""Whether a NIfTI, NRRD or MetaImage file holds what its header says: length, checksum, and finite numbers.

ITK reads such files but does not notice that one is cut off (the rest reads as 0, which is water), that a compressed one
fails its checksum, or that the header asks for more memory than the file has bytes. So every file is read to its end
here, in small pieces, against a buffer of the size that the header says. Geometry is still ITK's work, and NIfTI's affine
that of ``nifti``.
"""

import bz2
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from clsdm import limits
from clsdm.errors import InputError, reading
from clsdm.volume.headers import Container, describe

CHUNK_BYTES = 16 * 2**20  # a multiple of every voxel's size


def check_container(path: Path) -> None:
    """Read a NIfTI, NRRD or MetaImage file to its end; other files pass.

    Raises:
        InputError: truncated, damaged (checksum), longer than its header says, not finite, larger than any scan, or its
            voxels lie in another folder.
    """
    with reading(path, "volume file"):
        container = describe(path)
        if container is not None:
            stored_voxels(path, container)


def stored_voxels(path: Path, container: Container) -> np.ndarray:
    """The voxels as they are stored, (..., z, y, x); bytes where their type is no number.

    Args:
        path: the file, begins messages.
        container: from :func:`~clsdm.volume.headers.describe`.

    Raises:
        InputError: as :func:`check_container`.
        EOFError, OSError, zlib.error: truncated or damaged.
    """
    limits.check_volume_size(container.shape, path, bits=container.bits)
    if container.packed:
        limits.check_expansion(container.data.stat().st_size, container.bytes, path)
    data, found = bytearray(container.bytes), 0
    for chunk in _voxels(container):
        if found + len(chunk) > container.bytes:
            raise InputError(f"{path}: more voxels than its header says; expected {container.bytes} bytes of voxels")
        data[found : found + len(chunk)] = chunk
        found += len(chunk)
    if found < container.bytes:
        raise InputError(f"{path}: truncated: found {found} bytes of voxels, expected {container.bytes}")
    if container.dtype is None:
        return np.frombuffer(data, np.uint8)
    voxels = np.frombuffer(data, container.dtype).reshape(container.shape[::-1])
    bad = 0 if voxels.dtype.kind != "f" else int((~np.isfinite(voxels)).sum())
    if bad:
        raise InputError(f"{path}: {bad} voxels are NaN or infinite; expected finite numbers")
    return voxels


def files_of(path: Path) -> list[Path]:
    """The file itself, and the one beside it that its header says holds the voxels."""
    try:
        container = describe(path) if path.is_file() else None
    except Exception:  # noqa: BLE001 - damaged in whatever way; its reader says so
        container = None
    return [path] if container is None or container.data == path else [path, container.data]


def _voxels(container: Container) -> Iterator[bytes]:
    """The voxels in pieces; the stream's checksum is verified at its end.

    Raises:
        EOFError, OSError, zlib.error: truncated or damaged.
    """
    with container.data.open("rb") as file:
        size = container.data.stat().st_size
        file.seek(max(0, size - container.bytes) if container.start is None else container.start)
        if container.packed == "zlib":
            yield from _inflated(file)
            return
        stream: IO[bytes] | gzip.GzipFile | bz2.BZ2File = file
        if container.packed:
            stream = gzip.GzipFile(fileobj=file) if container.packed == "gzip" else bz2.BZ2File(file)
        left = container.skip
        while left > 0 and (skipped := stream.read(min(left, CHUNK_BYTES))):
            left -= len(skipped)
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    """A zlib stream (MetaImage), which must end where the file ends."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    piece = b""
    while not decoder.eof:
        packed = decoder.unconsumed_tail or file.read(1 << 20)
        if not packed:
            raise EOFError("the compressed stream has no end")
        piece += decoder.decompress(packed, CHUNK_BYTES - len(piece))
        if len(piece) == CHUNK_BYTES:
            yield piece
            piece = b""
    yield piece
    if decoder.unused_data or file.read(1):
        raise EOFError("bytes after the end of the compressed stream")
