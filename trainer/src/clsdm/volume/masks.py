"""Masks grown and shrunk by ellipsoids, and their connected parts, in one to three dimensions.

To the voxel what ITK's morphology gives, in a tenth of its time: a mask is moved against itself as one line of bytes. As there,
nothing lies outside the array when a mask grows, and everything when it shrinks.
"""

import math
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name


def ball(*radii: int) -> tuple[float, ...]:
    """Half axes, in voxels, of the ellipsoid that ITK makes of these radii."""
    return tuple(radius + 0.5 for radius in radii)


def grown(mask: np.ndarray, half_axes: Sequence[float]) -> np.ndarray:
    """All voxels at which an ellipsoid, put in their middle, meets a mask.

    Args:
        mask: bool, of any shape.
        half_axes: of the ellipsoid along each axis, in voxels, its surface included.
    """
    reach = [int(half) for half in half_axes]
    padded = np.pad(mask, [(each, each) for each in reach]).view(np.uint8)
    jumps = [stride // padded.itemsize for stride in padded.strides]
    rows = _rows(half_axes)
    most = max(abs(_jump(offsets, jumps)) for offsets, _ in rows) + reach[-1]
    line = np.pad(padded.reshape(-1), most)
    wide, end = [line], len(line) - most
    for width in range(1, reach[-1] + 1):
        more = wide[-1].copy()
        more[width:] |= line[:-width]
        more[:-width] |= line[width:]
        wide.append(more)
    met = np.zeros(padded.size, np.uint8)
    for offsets, width in rows:
        jump = _jump(offsets, jumps)
        met |= wide[width][most + jump : end + jump]
    inner = tuple(slice(each, each + count) for each, count in zip(reach, mask.shape, strict=True))
    return met.reshape(padded.shape)[inner].view(bool)


def _rows(half_axes: Sequence[float]) -> list[tuple[tuple[int, ...], int]]:
    """The rows of an ellipsoid: where each lies along the axes before the last, and how far it reaches along that."""
    *across, along = half_axes
    steps = np.indices([2 * int(half) + 1 for half in across]).reshape(len(across), -1).T - [
        int(half) for half in across
    ]
    rows = []
    for offsets in steps.tolist():
        left = 1.0 - sum((step / half) ** 2 for step, half in zip(offsets, across, strict=True))
        if left >= -1e-9:
            rows.append((tuple(offsets), int(along * math.sqrt(max(left, 0.0)) + 1e-9)))
    return rows


def _jump(offsets: Sequence[int], jumps: Sequence[int]) -> int:
    return sum(step * jump for step, jump in zip(offsets, jumps, strict=False))


def shrunk(mask: np.ndarray, half_axes: Sequence[float]) -> np.ndarray:
    """All voxels at which the ellipsoid of :func:`grown` lies in the mask."""
    return ~grown(~mask, half_axes)


def opened(mask: np.ndarray, half_axes: Sequence[float]) -> np.ndarray:
    """The mask without what is thinner than the ellipsoid."""
    return grown(shrunk(mask, half_axes), half_axes)


def closed(mask: np.ndarray, half_axes: Sequence[float]) -> np.ndarray:
    """The mask with gaps filled that are narrower than the ellipsoid."""
    reach = [int(half) for half in half_axes]
    filled = shrunk(grown(np.pad(mask, [(each, each) for each in reach]), half_axes), half_axes)
    return filled[tuple(slice(each, each + count) for each, count in zip(reach, mask.shape, strict=True))]


def parts_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts of a mask that are connected over faces.

    Returns:
        Their labels from 1 on, 0 outside, and how many voxels have each label, 0 for the outside.
    """
    labels = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.view(np.uint8))))
    sizes = np.bincount(labels[mask], minlength=1)
    return labels, sizes


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask; all False where it is empty."""
    labels, sizes = parts_of(mask)
    return labels == max(1, int(sizes.argmax()))


def touching_the_edge(mask: np.ndarray) -> np.ndarray:
    """The connected parts of a mask (rows, cols) that reach the edge of the image."""
    labels, sizes = parts_of(mask)
    touching = np.zeros(len(sizes), dtype=bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[edge] = True
    touching[0] = False
    return touching[labels]


def box_of(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """The least box around a mask and ``margin`` voxels, as far as there are any; all of it where it is empty."""
    box = []
    for axis, count in enumerate(mask.shape):
        hit = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        first, last = (int(hit[0]), int(hit[-1])) if len(hit) else (0, count - 1)
        box.append(slice(max(0, first - margin), min(count, last + 1 + margin)))
    return tuple(box)
