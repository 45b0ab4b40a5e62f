"""Whether a NIfTI, NRRD or MetaImage file holds what its header says: length, checksum, and finite numbers.

ITK reads such files but does not notice that one is cut off (the rest reads as 0, which is water), that a compressed one
fails its checksum, or that the header asks for more memory than the file has bytes. So every file is read to its end
here, in small pieces, before ITK may allocate anything; voxels and geometry are still ITK's work, and NIfTI's affine that
of ``nifti``.
"""

from __future__ import annotations

import bz2
import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from clsdm import limits
from clsdm.errors import InputError, reading
from clsdm.volume.nifti import NIFTI_SUFFIXES, NiftiHeader, read_header

CHUNK_BYTES = 16 * 2**20  # a multiple of every voxel's size

META_BITS = {"CHAR": 8, "SHORT": 16, "INT": 32, "LONG": 32, "LONG_LONG": 64, "FLOAT": 32, "DOUBLE": 64}
NRRD_BITS = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 8),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 16),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 16),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 32
    ),
    **dict.fromkeys(("long long", "long long int", "signed long long", "int64", "int64_t", "double"), 64),
    **dict.fromkeys(("ulonglong", "longlong", "unsigned long long", "uint64", "uint64_t"), 64),
}
NRRD_PACKED = {"raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}


@dataclass(frozen=True)
class Container:
    """Where the voxels of a file are.

    Attributes:
        data: the file that holds them; often the header's own.
        start: where they, or the compressed stream with them, begin in it; None: they are its last bytes.
        shape: voxels along each axis, x first, colours included.
        bits: of one voxel.
        packed: "", "gzip", "zlib" or "bzip2".
        skip: bytes between the start of the stream and the first voxel.
        floats: numpy's name of the voxels' type where it is a floating-point one.
    """

    data: Path
    start: int | None
    shape: tuple[int, ...]
    bits: int
    packed: str = ""
    skip: int = 0
    floats: str | None = None

    @property
    def bytes(self) -> int:
        """Of all voxels, unpacked."""
        return math.prod(self.shape) * self.bits // 8


def check_container(path: Path) -> None:
    """Read a NIfTI, NRRD or MetaImage file to its end; other files pass.

    Raises:
        InputError: truncated, damaged (checksum), longer than its header says, not finite, larger than any scan, or its
            voxels lie in another folder.
    """
    with reading(path, "volume file"):
        container = describe(path)
        if container is None:
            return
        limits.check_volume_size(container.shape, path, bits=container.bits)
        if container.packed:
            limits.check_expansion(container.data.stat().st_size, container.bytes, path)
        _check_voxels(path, container)


def describe(path: Path) -> Container | None:
    """Where the voxels of a file are, from its header; None where it is of another format."""
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return _nifti(path, read_header(path))
    if name.endswith((".mha", ".mhd")):
        return _meta_image(path)
    return _nrrd(path) if name.endswith((".nrrd", ".nhdr")) else None


def _check_voxels(path: Path, container: Container) -> None:
    """Count the bytes and the voxels that are not finite."""
    found, bad = 0, 0
    for chunk in _voxels(container):
        found += len(chunk)
        if found > container.bytes:
            raise InputError(f"{path}: more voxels than its header says; expected {container.bytes} bytes of voxels")
        if container.floats:
            bad += int((~np.isfinite(np.frombuffer(chunk, container.floats))).sum())
    if found < container.bytes:
        raise InputError(f"{path}: truncated: found {found} bytes of voxels, expected {container.bytes}")
    if bad:
        raise InputError(f"{path}: {bad} voxels are NaN or infinite; expected finite numbers")


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


def _nifti(path: Path, header: NiftiHeader) -> Container:
    packed = path.name.lower().endswith(".gz")
    return Container(
        path,
        0 if packed else header.start,
        header.shape,
        header.bits,
        packed="gzip" if packed else "",
        skip=header.start if packed else 0,
        floats=header.dtype if header.dtype is not None and header.dtype[1] == "f" else None,
    )


def _meta_image(path: Path) -> Container:
    text, end = _text_header(path, re.compile(rb"^ElementDataFile\s*=.*\n?", re.MULTILINE))
    fields = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
    kind = fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY")
    bits = META_BITS[kind.removeprefix("U") if kind.removeprefix("U") in META_BITS else kind]
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    shape = (*(int(count) for count in fields["DimSize"].split()), *([channels] if channels > 1 else []))
    packed = "zlib" if fields.get("CompressedData", "False").lower().startswith("t") else ""
    local = fields["ElementDataFile"].upper() == "LOCAL"
    data = path if local else _beside(path, fields["ElementDataFile"])
    skip = int(fields.get("HeaderSize", "0"))
    start = end if local else None if skip < 0 else skip
    big = "true" in (fields.get(f"{key}ByteOrderMSB", "").lower() for key in ("BinaryData", "Element"))
    return Container(data, start, shape, bits, packed, floats=_floats(kind in ("FLOAT", "DOUBLE"), bits, big=big))


def _nrrd(path: Path) -> Container:
    text, end = _text_header(path, re.compile(rb"\r?\n\r?\n"), needed=False)
    if not text.startswith("NRRD"):
        raise InputError(f"{path}: not an NRRD file; expected its first line to be NRRD000N")
    fields = {
        key.lower().strip(): value.strip() for key, value in re.findall(r"^([^#:\n]+):[ ]?([^=\n].*?)\r?$", text, re.M)
    }
    kind, encoding = fields["type"], fields["encoding"].lower()
    if encoding not in NRRD_PACKED:
        raise InputError(f"{path}: NRRD encoding {encoding!r}; expected one of {', '.join(NRRD_PACKED)}")
    named = fields.get("data file", fields.get("datafile"))
    bits, skip = NRRD_BITS[kind], int(fields.get("byte skip", fields.get("byteskip", "0")))
    if int(fields.get("line skip", fields.get("lineskip", "0"))):
        raise InputError(f"{path}: NRRD with 'line skip'; expected voxels that begin at a byte")
    return Container(
        path if named is None else _beside(path, named),
        None if skip < 0 else (end if named is None else 0) + (0 if NRRD_PACKED[encoding] else skip),
        tuple(int(count) for count in fields["sizes"].split()),
        bits,
        NRRD_PACKED[encoding],
        skip=skip if NRRD_PACKED[encoding] and skip > 0 else 0,
        floats=_floats(kind in ("float", "double"), bits, big=fields.get("endian", "little").lower() == "big"),
    )


def _floats(is_float: bool, bits: int, *, big: bool) -> str | None:
    return f"{'>' if big else '<'}f{bits // 8}" if is_float else None


def _text_header(path: Path, end: re.Pattern[bytes], *, needed: bool = True) -> tuple[str, int]:
    """The text up to and with ``end``, and where the bytes after it begin."""
    with path.open("rb") as file:
        head = file.read(limits.HEADER_BYTES)
    found = end.search(head)
    if found is None and (needed or len(head) == limits.HEADER_BYTES):
        raise InputError(f"{path}: not a volume file, or its header has no end")
    at = len(head) if found is None else found.end()
    return head[:at].decode("latin-1").replace("\r\n", "\n"), at


def _beside(path: Path, name: str) -> Path:
    """The file with the voxels, which lies in the folder of its header.

    Raises:
        InputError: several files, another folder, or no regular file.
    """
    data = path.parent / name
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(f"{path}: its voxels are spread over several files ({name!r}); expected one")
    if data.resolve().parent != path.resolve().parent or not data.is_file():
        raise InputError(f"{path}: its voxels are in {name!r}; expected a file in the folder of the header")
    return data
