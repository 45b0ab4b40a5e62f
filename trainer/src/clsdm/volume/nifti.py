"""What ITK's NIfTI reader does not say: that a file is cut off (the rest reads as 0, which is water) or holds NaN (as 0 too).

Only the header's size, type and offset are read here; everything else is ITK's work.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from clsdm.errors import InputError

FLOAT_TYPES = {16: "f4", 64: "f8"}
CHUNK_BYTES = 16 * 2**20  # a multiple of every voxel's size


def check_nifti(path: Path) -> None:
    """Refuse a NIfTI file that is cut off or holds voxels that are not finite; other files pass.

    Raises:
        InputError: names the file and what was found.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            bad = _not_finite(file, path)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged NIfTI ({type(error).__name__} while reading)") from None
    if bad:
        raise InputError(f"{path}: {bad} voxels are NaN or infinite; expected finite numbers")


def _not_finite(file: gzip.GzipFile | IO[bytes], path: Path) -> int:
    """How many voxels are not finite; reads all of them, so that a missing end shows."""
    header = file.read(540)
    order = "<" if header[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
    first = struct.unpack_from(order + "i", header)[0] == 348
    dim = struct.unpack_from(order + ("8h" if first else "8q"), header, 40 if first else 16)
    kind, bits = struct.unpack_from(order + "hh", header, 70 if first else 12)
    (start,) = struct.unpack_from(order + ("f" if first else "q"), header, 108 if first else 168)
    missing = math.prod(dim[1 : dim[0] + 1]) * bits // 8
    expected, bad = missing, 0
    file.seek(int(start))
    while missing > 0:
        data = file.read(min(CHUNK_BYTES, missing))
        if not data:
            found = expected - missing
            raise InputError(f"{path}: truncated NIfTI: found {found} bytes of voxels, expected {expected}")
        missing -= len(data)
        if kind in FLOAT_TYPES and len(data) % (bits // 8) == 0:
            bad += int((~np.isfinite(np.frombuffer(data, order + FLOAT_TYPES[kind]))).sum())
    return bad
