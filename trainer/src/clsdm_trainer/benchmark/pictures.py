"""The same patients for every method, chosen before anything was looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clsdm.picture import HU_PAINTER, Row, Tile, centre_index, plane_tiles, sheet, write_png
from clsdm.volume import body_mask, write_atomically
from clsdm_trainer.benchmark.report import grouped
from clsdm_trainer.benchmark.rows import RowResult
from clsdm_trainer.benchmark.table import TableSpec
from clsdm_trainer.evaluate import Patient


def write_pictures(table: TableSpec, results: Mapping[str, RowResult], patients: Sequence[Patient], path: Path) -> None:
    """The same patients for every method: a coronal and an axial plane of each, the truth first."""
    chosen = spread(len(patients), table.pictures)
    places = {index: centre_index(body_mask(patients[index].truth.hu)) for index in chosen}
    spacing_mm = patients[0].truth.spacing_mm

    def row(title: str, volumes: Mapping[int, np.ndarray]) -> Row:
        tiles = []
        for index in chosen:
            axial, coronal, _ = plane_tiles(volumes[index].astype(np.float32), spacing_mm, places[index], HU_PAINTER)
            tiles += [Tile(f"{patients[index].case.id} {tile.caption}", tile.rgb) for tile in (coronal, axial)]
        return Row(title, tuple(tiles))

    rows = [row("CT", {index: patients[index].truth.hu for index in chosen})]
    for name in (name for _, names in grouped(table, results) for name in names):
        if table.rows[name].group != "ablation":
            volumes = results[name].volumes()
            rows.append(row(table.rows[name].label, {index: volumes[index] for index in chosen}))
    picture = sheet(rows)[::2, ::2]
    write_atomically(path, lambda name: write_png(picture, name))


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` positions evenly over ``count``, fixed before anything is looked at."""
    wanted = min(count, wanted)
    return [math.floor((index + 0.5) * count / wanted) for index in range(wanted)]
