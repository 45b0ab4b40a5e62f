"""Baselines small enough to train in a second, a projection without any randomness, and the table of a scoring."""

import csv
from pathlib import Path

from tiny import tiny_config

from clsdm_bench.systems.inrr import INRRConfig
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.x2ct import X2CTConfig

SMALL = X2CTConfig(stem=8, growth=4, layers=(1, 2, 1), link=4, decoder=(16, 12, 8), norm="voxel")
SMALL_INRR = INRRConfig(image_channels=(8, 12), features=8, width=24, omega=10.0, points=512, norm="voxel")
EXACT = {
    "rotation_deg": 0.0, "scale": 0.0, "shift_mm": 0.0, "flip_probability": 0.0, "exact_probability": 1.0,
    "presets": {"chest": 1.0}, "angle_jitter_deg": 0.0, "tilt_jitter_deg": 0.0, "distance_jitter": 0.0,
    "view_counts": {2: 1.0}, "opposite_probability": 0.0, "drop_probability": 0.0, "radiograph_probability": 0.0,
}  # fmt: skip


def benchmark_config() -> BenchmarkConfig:
    """The tiny recipe with room for baselines."""
    return BenchmarkConfig.model_validate(tiny_config().model_dump(mode="json"))


def rows_of(out: Path) -> list[dict[str, str]]:
    """The lines of the table of cases in a finished folder."""
    with (out / "cases.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
