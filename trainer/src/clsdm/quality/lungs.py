"""Lungs and windpipe of a chest in HU, by thresholds, connected components and distance maps.

Volumes are (z, y, x) of cubic voxels with axes along LPS: z towards the head, y to the back, x to the patient's left. What
cannot be found, or is cut off by the end of the volume, raises :class:`NotMeasurable` with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813

from clsdm.volume.body import BODY_HU, above_each_other, below_each_other

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
    depth = inside_mm(air, spacing_mm)
    for radius in (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0):
        seeds = _two_parts(depth > radius * spacing_mm, spacing_mm)
        if seeds is not None:
            break
    else:
        raise NotMeasurable(f"no two lungs of at least {SMALLEST_LUNG_ML:.0f} ml of air are found")
    wanted = sitk.GetImageFromArray(np.where(air, -depth, 1.0).astype(np.float32))
    owners = sitk.GetArrayFromImage(
        sitk.MorphologicalWatershedFromMarkers(wanted, sitk.GetImageFromArray(seeds), False)
    )
    left, right = (
        closed(_largest(air & (owners == label)), VESSEL_MM, spacing_mm) & body & ~windpipe for label in (1, 2)
    )
    return _checked(Lungs(left, right & ~left, spacing_mm), body)


def _two_parts(mask: np.ndarray, spacing_mm: float) -> np.ndarray | None:
    """(z, y, x) uint8, 1 on the left one of the two largest parts of a mask and 2 on the right one, if these are lungs."""
    labels = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8))))
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.ComputePerimeterOff()
    shapes.Execute(labels)
    if shapes.GetNumberOfLabels() < 2:
        return None
    sizes = [shapes.GetNumberOfPixels(label) for label in (1, 2)]
    middles = [shapes.GetCentroid(label)[0] * spacing_mm for label in (1, 2)]
    too_small = sizes[1] * spacing_mm**3 < 0.25e3 * SMALLEST_LUNG_ML or sizes[0] > LARGEST_OFFSET * sizes[1]
    if too_small or abs(middles[0] - middles[1]) < APART_MM:
        return None
    found = sitk.GetArrayFromImage(labels)
    left = 1 if middles[0] > middles[1] else 2
    return np.where(found == left, 1, np.where(found == 3 - left, 2, 0)).astype(np.uint8)


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
    labels, shapes = _parts(pieces)
    heights = {label: shapes.GetBoundingBox(label)[5] for label in shapes.GetLabels()}
    longest = max(heights, key=heights.__getitem__, default=0)
    if not longest or heights[longest] * spacing_mm < SHORTEST_WINDPIPE_MM:
        return np.zeros_like(body)
    return labels == longest


def _windpipe_pieces(air: np.ndarray, body: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(z, y, x) bool: the parts of each slice's air that may be a windpipe's."""
    labels, shapes = _parts(below_each_other(air))
    columns = np.asarray(body.any(1))  # (z, x)
    middle = [float(np.flatnonzero(row).mean()) if row.any() else 0.0 for row in columns]
    chosen = []
    for label in shapes.GetLabels():
        area = shapes.GetNumberOfPixels(label) * spacing_mm**2
        _, top, *sides = shapes.GetBoundingBox(label)
        off_mm = abs(shapes.GetCentroid(label)[0] - middle[top // (air.shape[1] + 1)]) * spacing_mm
        if WINDPIPE_MM2[0] <= area <= WINDPIPE_MM2[1] and off_mm <= WINDPIPE_OFF_MM and max(sides) <= 3 * min(sides):
            chosen.append(label)
    return above_each_other(np.isin(labels, chosen), air.shape)


def _parts(mask: np.ndarray) -> tuple[np.ndarray, sitk.LabelShapeStatisticsImageFilter]:
    """The connected parts of a mask as labels, and what is known of each."""
    labels = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.ComputePerimeterOff()
    shapes.Execute(labels)
    return sitk.GetArrayFromImage(labels), shapes


def inside_mm(mask: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(z, y, x) float32 distance in mm to the surface of a mask, positive inside."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=False)
    return np.asarray(sitk.GetArrayFromImage(distance), dtype=np.float32) * np.float32(spacing_mm)


def closed(mask: np.ndarray, radius_mm: float, spacing_mm: float) -> np.ndarray:
    """The mask with gaps narrower than twice the radius filled: dilated by a ball, and eroded by it again."""
    margin = int(np.ceil(radius_mm / spacing_mm)) + 1
    padded = np.pad(mask, margin)
    dilated = inside_mm(padded, spacing_mm) > -radius_mm - 1e-3
    filled = inside_mm(dilated, spacing_mm) > radius_mm - 1e-3
    inner = (slice(margin, -margin),) * 3
    return mask | filled[inner]


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask."""
    labels = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8))))
    return np.asarray(sitk.GetArrayFromImage(labels) == 1)
