"""Where the heart ends sideways and the diaphragm stands, as a frontal radiograph shows them, of a chest's two lungs.

The heart's silhouette is where it pushes a lung outwards, slice by slice. Downwards it ends at the cardiophrenic angle, where
the dome of the diaphragm takes over. Volumes are (z, y, x) of cubic voxels along LPS; results are indices along z and x.
"""

from dataclasses import dataclass

import numpy as np

from clsdm.quality.lungs import Lungs, NotMeasurable

DOME_PART = (0.4, 0.75)
"""Of a lung's width outwards: the columns in which the diaphragm is looked for, where the heart leaves them free."""
FREE_MM = 9.0
"""Outside the heart at least so wide a piece of the lung must show the diaphragm."""
HEART_PART = 1.0 / 3.0
"""Of the height from diaphragm to apex: above lie the hila."""
WIDEST = 95.0
"""Percentile of the border over the slices that counts as the heart's widest: a single slice decides nothing."""
TURN, CORNER, TURN_MM = 1.8, (1.5, 1.2), 9.0
"""So steeply outwards, over that height, runs a diaphragm and no heart; or less, where that is so much more than above."""
NEAR_MM = 48.0
"""Above the diaphragm; farther up a steep border is the heart's shoulder."""
SHORTEST_MM, ROWS_MM = 15.0, 40.0


@dataclass(frozen=True)
class Base:
    """The lower end of one lung.

    Attributes:
        dome: index of the diaphragm's height, between two slices.
        heart: index of the first column of lung outside the heart.
        heart_mm: over so much height the heart is seen.
    """

    dome: float
    heart: float
    heart_mm: float


def lung_base(lungs: Lungs, side: str) -> Base:
    """The diaphragm and the heart's border on one side, "left" or "right".

    Raises:
        NotMeasurable: the lung has no lower end, or the heart leaves no column of it free.
    """
    mine, other = (lungs.left, lungs.right) if side == "left" else (lungs.right[..., ::-1], lungs.left[..., ::-1])
    depth = mine.sum(1).astype(np.float64)  # (z, x), x outwards
    border = _silhouette(mine, other, lungs.spacing_mm)
    top = int(np.flatnonzero(depth.any(1))[-1])
    dome, heart = _dome(depth, -np.inf, lungs.spacing_mm), -np.inf
    seen: list[float] = []
    z = int(dome + HEART_PART * (top - dome))
    while z > dome and not (z < dome + NEAR_MM / lungs.spacing_mm and _turns(border, z, lungs.spacing_mm)):
        seen += [] if np.isnan(border[z]) else [float(border[z])]  # a slice that does not tell
        if border[z] > heart:
            heart = float(border[z])
            dome = _dome(depth, heart, lungs.spacing_mm)
        z -= 1
    heart = float(np.percentile(seen, WIDEST)) if seen else heart
    return Base(dome, heart if side == "left" else mine.shape[2] - 1 - heart, len(seen) * lungs.spacing_mm)


def _turns(border: np.ndarray, z: int, spacing_mm: float) -> bool:
    """Whether at a height the border turns from the heart's to the diaphragm's."""
    step = max(1, round(TURN_MM / spacing_mm))
    above, below = border[min(z + step, len(border) - 1)], border[max(z - step, 0)]
    steep, before = (below - border[z]) / step, (border[z] - above) / step
    return bool(steep > TURN or (steep > CORNER[0] and steep - before > CORNER[1]))


def heart_borders(right: Base, left: Base) -> tuple[float, float]:
    """Index along x of the last lung on the heart's right and the first on its left.

    Raises:
        NotMeasurable: too little of the heart is seen between the lungs.
    """
    if min(right.heart_mm, left.heart_mm) < SHORTEST_MM:
        raise NotMeasurable(f"less than {SHORTEST_MM:.0f} mm of the heart's height lie between two lungs")
    return right.heart, left.heart


def _dome(depth: np.ndarray, heart: float, spacing_mm: float) -> float:
    """Height of the diaphragm: where the lung's depth from front to back has fallen to half, median over the columns.

    Args:
        depth: (z, x) voxels of lung, x outwards.
        heart: column up to which the heart hides the diaphragm.
        spacing_mm: voxel edge.
    """
    columns = np.flatnonzero(depth.any(0))
    first, last = (columns[round(part * (len(columns) - 1))] for part in DOME_PART)
    first = int(np.ceil(min(max(heart, first), last)))  # farther out lies the costophrenic recess alone
    last = max(last, min(columns[-1], first + round(FREE_MM / spacing_mm)))
    levels = []
    for x in range(first, last + 1):
        line = depth[:, x]
        top = int(line.argmax())
        under = np.flatnonzero(line[: top + 1] <= line[top] / 2.0)
        if len(under):
            at = int(under[-1])
            levels.append(at + (line[top] / 2.0 - line[at]) / (line[at + 1] - line[at]))
    if not levels:
        raise NotMeasurable("the lung does not end downwards beside the heart")
    return float(np.median(levels))


def _silhouette(mine: np.ndarray, other: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(z,) column by which lung has begun in nine tenths of the rows that hold both, median of three slices; NaN if few."""
    border = np.full(len(mine) + 2, np.nan)
    for z in range(len(mine)):
        rows = np.flatnonzero(mine[z].any(1) & other[z].any(1))
        if len(rows) * spacing_mm >= ROWS_MM:
            border[z + 1] = np.quantile(mine[z, rows].argmax(1), 0.9)
    three = np.sort([border[:-2], border[1:-1], border[2:]], axis=0)  # slices that do not tell, NaN, come last
    count, each = np.isfinite(three).sum(0), np.arange(len(mine))
    return np.asarray((three[np.maximum(count - 1, 0) // 2, each] + three[count // 2, each]) / 2.0)
