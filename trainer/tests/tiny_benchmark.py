"""The smallest benchmark: a recipe, a table of two latent runs, a baseline and rows without training, and its records."""

from pathlib import Path

import yaml
from tiny import STAGE, tiny_config
from tiny_systems import EXACT, SMALL

from clsdm_bench.records import Records, RowResult
from clsdm_bench.resolve import Budget, budget_of
from clsdm_bench.rows import Benchmark
from clsdm_bench.table import load_table
from clsdm_trainer.data.store import Store
from clsdm_trainer.recipe import save_config

SPLIT = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "test", "f": "test", "g": "test"}
STAGES_STEPS = 3


def written_table(folder: Path) -> Path:
    """The tiny recipe, and a table of two latent runs, a baseline and rows without training."""
    save_config(tiny_config(steps=STAGES_STEPS), folder / "recipe.yaml")
    stage = {**STAGE, "steps": STAGES_STEPS}
    table = {
        "preset": str(folder / "recipe.yaml"),
        "pictures": 2,
        "seeds": [0, 1],
        "runs": {
            "ours": {},
            "ldm": {
                "stages": ["autoencoder", "joint"],
                "share": {"autoencoder": "ours"},
                "changes": {"joint": stage, "model": {"process": {"kind": "ddpm", "steps": 2}}},
            },
            "cnn": {
                "stages": ["baseline"],
                "reduced": "very much",
                "changes": {"augment": EXACT, "baseline": {**stage, "network": SMALL.model_dump(mode="json")}},
            },
        },
        "rows": {
            "mean": {"label": "the mean", "group": "ours", "run": "ours"},
            "sample": {"label": "a sample", "group": "ours", "run": "ours", "product": "sample"},
            "one": {"label": "one view", "group": "ablation", "run": "ours", "angles_deg": [90.0]},
            "ldm": {"label": "an LDM", "group": "baseline", "run": "ldm", "product": "sample", "steps": 3},
            "cnn": {"label": "a CNN", "group": "baseline", "run": "cnn", "product": "voxels"},
            "fdk": {"label": "FDK", "group": "classical", "method": "fdk"},
            "ceiling": {"label": "round trip", "group": "sanity", "run": "ours", "method": "round-trip"},
            "shuffled": {"label": "shuffled", "group": "sanity", "run": "ours", "method": "shuffled"},
            "population": {"label": "population mean", "group": "sanity", "method": "population-mean"},
            "nearest": {"label": "nearest", "group": "sanity", "method": "nearest-patient"},
        },
        "claims": [{"row": "mean", "than": "best-baseline", "figure": "honest.psnr_3d_db", "text": "ours wins"}],
        "about": "A table for a test.",
        "remarks": ["One more thing."],
        "published": [{"label": "elsewhere", "psnr": 26.75, "ssim": 0.647, "source": "a paper"}],
    }
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(table, sort_keys=False), encoding="utf-8")
    return path


def command(folder: Path, *more: str) -> list[str]:
    base = ["benchmark", "--table", str(folder / "table.yaml"), "--store", str(folder / "store")]
    return [*base, "--out", str(folder / "out"), "--device", "cpu", *more]


def rows(folder: Path) -> dict[str, RowResult]:
    """The rows that are kept."""
    return dict(Records.open(folder / "out" / "records").rows)


def opened(folder: Path, records: Path, budget: Budget | None = None) -> Benchmark:
    """The benchmark on other records."""
    table = load_table(str(folder / "table.yaml"))
    budget = budget or budget_of(table, None)
    return Benchmark(table, Store.open(folder / "store"), folder / "out", "cpu", budget, Records.open(records))
