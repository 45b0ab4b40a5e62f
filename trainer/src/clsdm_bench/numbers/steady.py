"""How far the measures themselves scatter: of one scan, on other voxels and through the autoencoder, with no reconstruction.

What a number of a reconstruction is off beyond that is the reconstruction's error, not the measure's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from clsdm.model.bundle import Bundle
from clsdm.progress import Report, silent
from clsdm.quality.measure import MEASURE_MM, measure, measuring
from clsdm.quality.numbers import spine_distances_mm
from clsdm.volume.body import body_centre_mm
from clsdm.volume.ct import CTVolume
from clsdm.volume.cube import scan_box, to_box, to_cube
from clsdm.volume.read import read_ct
from clsdm_bench.score.cases import ScanFile
from clsdm_bench.systems.sanity import round_trip

SPINE = ("spine_front", "spine_side")
Scatter = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By what was done to the scan, by patient, by quantity or spine: the absolute difference from the scan's."""


def scatter_of(bundle: Bundle, scans: Sequence[ScanFile], report: Report = silent) -> Scatter:
    """Measure each scan, and what is made of it."""
    model, grid = bundle.model("cpu"), bundle.manifest.model.grid
    found: dict[str, dict[str, dict[str, float]]] = {}
    for done, scan in enumerate(scans, 1):
        ct = read_ct(scan.path)
        truth_over = measuring(ct)
        cube = to_cube(ct, grid, body_centre_mm(ct))
        decoded = replace(round_trip(model, cube), origin_mm=cube.origin_mm)
        made = {
            f"{MEASURE_MM:g} mm, moved by half a voxel": _moved(ct),
            f"the model's {grid.spacing_mm:g} mm": cube,
            "and its autoencoder": decoded,
        }
        for name, volume in made.items():
            mine = measure(volume)
            truth = truth_over(mine.over_mm)
            off = {key: abs(value - truth.values[key]) for key, value in mine.values.items() if key in truth.values}
            off |= dict(zip(SPINE, spine_distances_mm(mine, truth) or (), strict=False))
            found.setdefault(name, {})[scan.name] = off
        report("scatter", done, len(scans))
    return found


def _moved(ct: CTVolume) -> CTVolume:
    """On the voxels of measuring, moved by half of one along each axis."""
    box = scan_box(ct, MEASURE_MM)
    size = tuple(edge + 1 for edge in box.hu.shape[::-1])
    return to_box(ct, size, MEASURE_MM, np.array(box.origin_mm) - MEASURE_MM)
