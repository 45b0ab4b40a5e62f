"""NIfTI headers: size and type of the voxels, and the affine by one rule.

**Which affine.** The sform where its code is above 0, as nibabel, FSL and SPM do; else the qform where its code is above
0; else the spacing alone, with x taken towards the patient's left and y towards posterior, as ITK does. Where both are
there and disagree, a note says by how much. Coordinates leave this module in LPS (NIfTI is RAS), always in mm.
"""

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clsdm.errors import InputError
from clsdm.geometry.directions import LPS_TO_RAS

NIFTI_SUFFIXES = (".nii", ".nii.gz")
DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
COLOURS = {128: "3 components", 2304: "4 components", 32: "complex numbers", 1792: "complex numbers"}
MM_PER_UNIT = {1: 1000.0, 3: 0.001}
DISAGREEMENT_MM = 1.0
_TO_LPS = np.diag([*LPS_TO_RAS.diagonal(), 1.0])


@dataclass(frozen=True)
class NiftiHeader:
    """The header of a NIfTI file.

    Attributes:
        shape: voxels along each axis, x first; trailing axes of one voxel are left out, but at least three are there.
        bits: of one voxel as it is stored.
        dtype: numpy's name of the voxels' type, or None for colours and complex numbers.
        start: offset of the first voxel in the (unpacked) file.
        slope: stored values are multiplied by this, ...
        intercept: ... and this is added.
        affine: (4, 4) index (i, j, k) -> LPS in mm.
        colours: what a voxel holds where it is no single number.
        notes: what the user should know of the affine.
    """

    shape: tuple[int, ...]
    bits: int
    dtype: str | None
    start: int
    slope: float
    intercept: float
    affine: np.ndarray
    colours: str = ""
    notes: tuple[str, ...] = ()

    @property
    def rows_run_up(self) -> bool:
        """Of a 2-D image: the second axis runs to NIfTI's +y, so that the first row stored is the lowest one."""
        return bool(self.affine[1, 1] < 0.0)


def read_header(path: Path) -> NiftiHeader:
    """The header of a NIfTI-1 or NIfTI-2 file, packed or not.

    Raises:
        InputError: not NIfTI, or no image in it.
        EOFError, OSError, struct.error, zlib.error: truncated or damaged.
    """
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        data = file.read(540)
    for order in "<>":
        for size, layout in ((348, _Layout1), (540, _Layout2)):
            if len(data) >= size and struct.unpack_from(f"{order}i", data)[0] == size:
                return _header(data, order, layout, path)
    raise InputError(f"{path}: not a NIfTI file; expected a header of 348 or 540 bytes")


class _Layout1:
    """Offsets and types of NIfTI-1."""

    dim, kind, start, pixdim, scale = (40, "8h"), 70, (108, "f"), (76, "8f"), (112, "2f")
    units, codes, quaternion, rows = (123, "b"), (252, "2h"), (256, "6f"), (280, "12f")


class _Layout2:
    """Offsets and types of NIfTI-2."""

    dim, kind, start, pixdim, scale = (16, "8q"), 12, (168, "q"), (104, "8d"), (176, "2d")
    units, codes, quaternion, rows = (500, "i"), (344, "2i"), (352, "6d"), (400, "12d")


_Layout = type[_Layout1] | type[_Layout2]
_Get = Callable[[tuple[int, str]], tuple[Any, ...]]


def _header(data: bytes, order: str, layout: _Layout, path: Path) -> NiftiHeader:
    def get(field: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(order + field[1], data, field[0])

    dim = [int(value) for value in get(layout.dim)]
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise InputError(f"{path}: NIfTI dimensions {dim}; expected a volume")
    shape = dim[1 : dim[0] + 1]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    shape += [1] * (3 - len(shape))
    kind, bits = (int(value) for value in get((layout.kind, "2h")))
    dtype = DTYPES.get(kind)
    if dtype is not None and bits != 8 * int(dtype[1:]):
        raise InputError(f"{path}: NIfTI datatype {kind} of {bits} bits; expected {8 * int(dtype[1:])}")
    if dtype is None and kind not in COLOURS:
        raise InputError(f"{path}: NIfTI datatype {kind} is unknown")
    slope, intercept = get(layout.scale)
    scaled = np.isfinite([slope, intercept]).all() and slope != 0.0
    steps = get(layout.pixdim)[1 : 1 + min(3, len(shape))]
    if not np.isfinite(steps).all():
        raise InputError(f"{path}: pixdim of the NIfTI file is {steps}; expected lengths")
    affine, notes = _affine(get, layout, shape)
    return NiftiHeader(
        tuple(shape),
        bits,
        None if dtype is None else order + dtype,
        int(get(layout.start)[0]),
        slope if scaled else 1.0,
        intercept if scaled else 0.0,
        affine,
        COLOURS.get(kind, ""),
        notes,
    )


def _affine(get: _Get, layout: _Layout, shape: list[int]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(4, 4) index -> LPS mm by the rule of the module, and notes."""
    qcode, scode = get(layout.codes)
    pixdim = get(layout.pixdim)
    qform, sform = (
        _qform(get(layout.quaternion), pixdim),
        np.vstack((np.reshape(get(layout.rows), (3, 4)), (0, 0, 0, 1))),
    )
    unit = np.diag([MM_PER_UNIT.get(int(get(layout.units)[0]) & 7, 1.0)] * 3 + [1.0])
    if scode > 0:
        return _TO_LPS @ unit @ sform, _conflict(unit @ sform, unit @ qform, shape) if qcode > 0 else ()
    if qcode > 0:
        return _TO_LPS @ unit @ qform, ()
    if np.linalg.matrix_rank(sform[:3, :3]) == 3:  # dcm2niix fills it without a code for images without a position
        return _TO_LPS @ unit @ sform, (_UNKNOWN.format("its uncoded sform was used"),)
    return unit @ np.diag([*np.abs(pixdim[1:4]), 1.0]), (
        _UNKNOWN.format("x is taken to the patient's left, y to the back"),
    )


_UNKNOWN = "the NIfTI file says no orientation (qform and sform codes are 0): {}"


def _qform(values: tuple[float, ...], pixdim: tuple[float, ...]) -> np.ndarray:
    """The affine of the quaternion (b, c, d), offset and pixdim, in RAS."""
    b, c, d, *offset = values
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    steps = np.array(pixdim[1:4]) * (1.0, 1.0, -1.0 if pixdim[0] < 0.0 else 1.0)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * steps, offset
    return affine


def _conflict(sform: np.ndarray, qform: np.ndarray, shape: list[int]) -> tuple[str, ...]:
    """A note where the two put a corner of the volume at places more than a millimetre apart."""
    last = np.array(shape[:3]) - 1
    corners = np.array([[i, j, k, 1] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    apart = float(np.linalg.norm(((sform - qform) @ corners.T)[:3], axis=0).max())
    if apart <= DISAGREEMENT_MM:
        return ()
    return (f"sform and qform of the NIfTI file place the patient up to {apart:.0f} mm apart; the sform was used",)
