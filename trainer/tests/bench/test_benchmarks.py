"""Each benchmark runs, and what they share counts right."""

import importlib
import json
import math
import runpy
import sys
from importlib import metadata
from types import ModuleType

import pytest
import torch
from places import REPOSITORY

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import preset

BENCHMARKS = REPOSITORY / "trainer" / "benchmarks"


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """One of the scripts as a module; they import one another by file name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("script", "options", "ratio"),
    [
        ("reconstruction.py", ["--products", "mean", "--extrapolate"], "reference sample, 4 steps / body128 mean"),
        ("projector.py", [], "trilinear 160 / own Joseph"),
        ("many_patients.py", ["--products", "mean"], "networks alone / many patients"),
        ("training_step.py", ["--against", "openkbp64"], "openkbp64: alignment / alignment"),
        *[
            ("parts.py", ["--part", part], ratio)
            for part, ratio in {
                "layers": "GroupNorm (torch) / GroupNorm (ours)",
                "muon": "on the matrix, bfloat16 / ours",
                "reading": ".nii.gz / store",
                "writing": "ITK / in pieces, level 4",
            }.items()
        ],
    ],
)
def test_every_benchmark_runs_and_writes_its_ratios_and_its_machine(
    script, options, ratio, tmp_path, monkeypatch, capsys
):
    words = ["--smoke", "--device", "cpu", "--threads", "1", "--json", str(tmp_path / "result.json"), *options]
    monkeypatch.setattr(sys, "argv", [script, *words])
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    printed = capsys.readouterr().out
    assert "these figures mean nothing" in printed
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["environment"]["packages"]["torch"] == metadata.version("torch")
    assert result["environment"]["processor_threads"] == 1
    ratios = {each["name"]: each["median"] for comparison in result["comparisons"] for each in comparison["ratios"]}
    assert all(math.isfinite(value) and value > 0 for value in ratios.values())
    assert ratio in ratios
    assert ratio in printed


def test_ratios_are_taken_pair_by_pair(monkeypatch):
    ratio = benchmark("measuring", monkeypatch).ratio("a / b", [2.0, 30.0, 8.0], [1.0, 10.0, 2.0])
    assert ratio == {"name": "a / b", "median": 3.0, "low": 2.0, "high": 4.0}  # the medians' ratio would be 4


def test_alternatives_are_measured_in_turn(monkeypatch):
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = benchmark("measuring", monkeypatch).interleaved(calls, 2, torch.device("cpu"))
    assert order == list("AB" * 3)  # the first round warms up
    assert [len(seconds[name]) for name in "AB"] == [2, 2]


def test_the_benchmarks_ray_marching_agrees_with_the_integrals_of_gaussians(monkeypatch):
    projector = benchmark("projector", monkeypatch)
    cameras = Cameras.from_views([[preset("x2ct").view(angle, 24) for angle in projector.ANGLES_DEG]])
    exact = projector.gaussian_integrals(cameras)
    found = projector.march(projector.gaussian_volume(64, 5.0), 5.0, cameras, samples=100).double()
    assert float((found - exact).norm() / exact.norm()) < 6e-3
