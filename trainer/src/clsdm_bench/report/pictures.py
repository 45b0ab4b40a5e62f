"""The same patients for every method, chosen before anything was looked at."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clsdm.files.atomic import write_atomically
from clsdm.files.png import write_png
from clsdm.quality.picture import HU_PAINTER, Row, Tile, centre_index, plane_tiles, sheet
from clsdm.volume.body import body_mask
from clsdm_bench.patients import Patient


def write_picture(path: Path, label: str, volumes: np.ndarray, patients: Sequence[Patient], wanted: int) -> None:
    """A coronal and an axial plane of some patients, through the middle of their bodies in the truth, as PNG.

    Args:
        path: file to write.
        label: of the method.
        volumes: (cases, z, y, x) in HU, axes along LPS.
        patients: as many.
        wanted: how many are shown.
    """
    tiles = []
    for index in spread(len(patients), wanted):
        truth = patients[index].truth
        place = centre_index(body_mask(truth.hu))
        axial, coronal, _ = plane_tiles(volumes[index].astype(np.float32), truth.spacing_mm, place, HU_PAINTER)
        tiles += [Tile(f"{patients[index].case.id} {tile.caption}", tile.rgb) for tile in (coronal, axial)]
    picture = sheet([Row(label, tuple(tiles))])[::2, ::2]
    write_atomically(path, lambda name: write_png(picture, name))


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` positions evenly over ``count``, fixed before anything is looked at."""
    wanted = min(count, wanted)
    return [math.floor((index + 0.5) * count / wanted) for index in range(wanted)]
