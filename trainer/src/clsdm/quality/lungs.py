"""Lungs and windpipe of a chest in HU, by thresholds, connected components and distance maps.

Volumes are (z, y, x) of cubic voxels with axes along LPS: z towards the head, y to the back, x to the patient's left. What
cannot be found, or is cut off by the end of the volume, raises :class:`NotMeasurable` with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813

from clsdm.volume.body import BODY_HU, above_each_other, below_each_other
from clsdm.volume.masks import box_of, grown, parts_of, shrunk

LUNG_HU = BODY_HU
"""Below it, inside the body, is lung and other air: halfway, so that a blurred border stays where it is."""
SMALLEST_LUNG_ML = 250.0
LARGEST_OFFSET = 5.0
"""One lung may be so many times smaller than the other; with less it is taken for bowel gas, or for a collapsed lung."""
APART_MM = 60.0
"""At least between the middles of two lungs."""
BEYOND_MM = (3.0, 9.0)
"""So far above and below the lungs the body must go on."""
RECESS = 0.3
"""Of a lung's greatest cross-section: with no more of it in the lowest slice only the recess is cut off, not the diaphragm."""
RADII = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
"""In voxels: so far inwards two lungs that touch are looked for."""
VESSEL_MM = 7.0
"""Vessels and airways up to about twice this wide count as lung."""
WINDPIPE_HU = -300.0
WINDPIPE_MM2 = (30.0, 900.0)
SHORTEST_WINDPIPE_MM = 30.0
WINDPIPE_OFF_MM = 40.0
"""Farthest from the middle of the body."""


class NotMeasurable(Exception):  # noqa: N818 - it is no error: it is the answer
    """Why a quantity cannot be had from a volume."""


@dataclass(frozen=True)
class Lungs:
    """Both lungs, with the vessels in them.

    Attributes:
        left: (z, y, x) bool, the patient's left lung.
        right: (z, y, x) bool.
        spacing_mm: voxel edge.
        cut: which of "upper end", "lower end" and "diaphragm" lie outside what the volume shows, and of which lung.
    """

    left: np.ndarray
    right: np.ndarray
    spacing_mm: float
    cut: dict[str, str] = field(default_factory=dict)

    @property
    def both(self) -> np.ndarray:
        """(z, y, x) bool."""
        return self.left | self.right

    def ending(self, *ends: str) -> Lungs:
        """These lungs, if the volume shows these ends (keys of ``cut``) of them.

        Raises:
            NotMeasurable: it does not.
        """
        for end in ends:
            if end in self.cut:
                raise NotMeasurable(f"the {end} of the {self.cut[end]} lung lies outside what the volume shows")
        return self


def find_lungs(hu: np.ndarray, body: np.ndarray, spacing_mm: float, windpipe: np.ndarray) -> Lungs:
    """The two lungs: the two largest parts of air in the body, told apart where they are thinnest.

    Args:
        hu: (z, y, x).
        body: (z, y, x) bool, the patient with all cavities.
        spacing_mm: voxel edge.
        windpipe: (z, y, x) bool, left out.

    Raises:
        NotMeasurable: there are no two lungs, or they reach the side of the volume.
    """
    air = body & (hu < LUNG_HU) & ~windpipe
    box = box_of(air, 1)
    air = air[box]
    seeds = _seeds(air, spacing_mm)
    left, right = np.zeros_like(body), np.zeros_like(body)
    left[box], right[box] = (closed(lung, VESSEL_MM, spacing_mm) for lung in _owned(air, *seeds, spacing_mm))
    kept = body & ~windpipe
    left, right = left & kept, right & kept
    return _checked(Lungs(left, right & ~left, spacing_mm), body)


def _seeds(air: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the left lung and of the right one, where the air between them is thinned until they part."""
    for radius in RADII:
        seeds = _two_parts(
            _inner(air) if radius == 0.0 else inside_mm(air, spacing_mm) > radius * spacing_mm, spacing_mm
        )
        if seeds is not None:
            return seeds
    raise NotMeasurable(f"no two lungs of at least {SMALLEST_LUNG_ML:.0f} ml of air are found")


def _owned(air: np.ndarray, left: np.ndarray, right: np.ndarray, spacing_mm: float) -> list[np.ndarray]:
    """All air of each of two lungs, told apart where it is thinnest if they hang together."""
    labels, _ = parts_of(air)
    names = [labels[tuple(np.argwhere(seeds)[0])] for seeds in (left, right)]
    if names[0] != names[1]:
        return [labels == name for name in names]
    together = labels == names[0]
    wanted = sitk.GetImageFromArray(np.where(together, -inside_mm(air, spacing_mm), 1.0).astype(np.float32))
    seeds = sitk.GetImageFromArray(left + np.uint8(2) * right)
    owners = sitk.GetArrayFromImage(sitk.MorphologicalWatershedFromMarkers(wanted, seeds, False))
    return [together & (owners == label) for label in (1, 2)]


def _two_parts(mask: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, np.ndarray] | None:
    """The left one of the two largest parts of a mask and the right one, if these are lungs."""
    labels, sizes = parts_of(mask)
    if len(sizes) < 3:
        return None
    names = 1 + np.argsort(-sizes[1:], kind="stable")[:2]
    one, other = (labels == name for name in names)
    apart_mm = (_middle(one) - _middle(other)) * spacing_mm
    small, large = sizes[names[1]], sizes[names[0]]
    if small * spacing_mm**3 < 0.25e3 * SMALLEST_LUNG_ML or large > LARGEST_OFFSET * small or abs(apart_mm) < APART_MM:
        return None
    return (one, other) if apart_mm > 0 else (other, one)


def _middle(mask: np.ndarray) -> float:
    """The mean x of a mask."""
    columns = mask.sum((0, 1))
    return float(columns @ np.arange(len(columns)) / columns.sum())


def _checked(lungs: Lungs, body: np.ndarray) -> Lungs:
    """The lungs with what is cut off of them; they end in tissue, within the body that the volume shows."""
    area, above, below = body.sum((1, 2)), *(round(beyond / lungs.spacing_mm) for beyond in BEYOND_MM)
    cut = {}
    for name, lung in (("left", lungs.left), ("right", lungs.right)):
        millilitres = lung.sum() * lungs.spacing_mm**3 / 1000.0
        if millilitres < SMALLEST_LUNG_ML:
            raise NotMeasurable(f"the {name} lung holds {millilitres:.0f} ml of air only")
        if lung[:, :, [0, -1]].any() or lung[:, [0, -1]].any():
            raise NotMeasurable(f"the {name} lung reaches the side of the volume")
        heights = np.flatnonzero(lung.any((1, 2)))
        middle = area[round(heights.mean())]
        for end, z, least in (("upper end", heights[-1] + above, 0.15), ("lower end", heights[0] - below, 0.6)):
            if not 0 <= z < len(area) or area[z] < least * middle:
                cut[end] = name
        if cut.get("lower end") == name:
            slices = lung.sum((1, 2))
            lowest = next(z for z in heights if area[z] >= 0.6 * middle)  # below, the body fades away
            if slices[: lowest + 1].max() > RECESS * slices.max():
                cut["diaphragm"] = name
    return replace(lungs, cut=cut)


def find_windpipe(hu: np.ndarray, body: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(z, y, x) bool: the longest column of air with a windpipe's cross-section in the middle of the body, if any."""
    pieces = _windpipe_pieces(body & (hu < WINDPIPE_HU), body, spacing_mm)
    labels, _ = parts_of(pieces)
    heights = _extents(labels[pieces].astype(int) - 1, np.nonzero(pieces)[0])
    if not len(heights) or heights.max() * spacing_mm < SHORTEST_WINDPIPE_MM:
        return np.zeros_like(body)
    return np.asarray(labels == 1 + heights.argmax())


def _windpipe_pieces(air: np.ndarray, body: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(z, y, x) bool: the parts of each slice's air that may be a windpipe's."""
    labels, sizes = parts_of(below_each_other(air))
    fits = (sizes * spacing_mm**2 >= WINDPIPE_MM2[0]) & (sizes * spacing_mm**2 <= WINDPIPE_MM2[1])
    row, col = np.nonzero(fits[labels])
    names, part = np.unique(labels[row, col], return_inverse=True)
    levels = np.zeros(len(names), dtype=int)
    levels[part] = row // (air.shape[1] + 1)
    columns = np.asarray(body.any(1))  # (z, x)
    middle = columns @ np.arange(air.shape[2]) / np.maximum(columns.sum(1), 1)
    off_mm = np.abs(np.bincount(part, col) / np.bincount(part) - middle[levels]) * spacing_mm
    sides = np.array([_extents(part, row), _extents(part, col)]).reshape(2, -1)
    fits[names] = (off_mm <= WINDPIPE_OFF_MM) & (sides.max(0) <= 3 * sides.min(0))
    return above_each_other(fits[labels], air.shape)


def _extents(part: np.ndarray, index: np.ndarray) -> np.ndarray:
    """How many voxels each part reaches along an axis, from which of them each voxel is of and its index there."""
    lowest = np.full(int(part.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    highest = np.full(len(lowest), -1)
    np.minimum.at(lowest, part, index)
    np.maximum.at(highest, part, index)
    return highest - lowest + 1


def inside_mm(mask: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(z, y, x) float32 distance in mm to the surface of a mask, positive inside."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=False)
    return np.asarray(sitk.GetArrayFromImage(distance), dtype=np.float32) * np.float32(spacing_mm)


def closed(mask: np.ndarray, radius_mm: float, spacing_mm: float) -> np.ndarray:
    """The mask with gaps narrower than twice the radius filled: dilated by a ball, and eroded by it again."""
    margin = int(np.ceil(radius_mm / spacing_mm)) + 1
    dilated = grown(np.pad(mask, margin), ((radius_mm + 1e-3) / spacing_mm,) * 3)
    filled = dilated & ~grown(dilated & ~_inner(dilated), ((radius_mm - 1e-3) / spacing_mm,) * 3)
    inner = (slice(margin, -margin),) * 3
    return np.asarray(mask | filled[inner])


def _inner(mask: np.ndarray) -> np.ndarray:
    """A mask without its outermost voxels, from which :func:`inside_mm` measures."""
    return shrunk(mask, (1.75, 1.75, 1.75))  # in which all 27 voxels lie
