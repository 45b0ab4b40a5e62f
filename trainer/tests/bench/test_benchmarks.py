"""Each benchmark runs, and what they share counts right."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from places import REPOSITORY

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import preset

BENCHMARKS = REPOSITORY / "trainer" / "benchmarks"
MIB = 2**20


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """One of the scripts as a module; they import one another by file name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("script", "options", "ratio"),
    [
        (
            "reconstruction.py",
            ["--products", "mean", "--reference-steps", "2"],
            "float32: time of reference sample / x2",
        ),
        ("projector.py", [], "16²: trilinear 160 / own Joseph"),
        ("training_step.py", ["--against", "openkbp64"], "diffusion: batch / whole step"),
        ("loader.py", [], "NIfTI .nii.gz (SimpleITK) / store"),
        ("layers.py", [], "GroupNorm (torch) / GroupNorm (ours)"),
        ("muon.py", [], "4 channels: on the matrix, bfloat16 / ours"),
        ("writing.py", [], "ITK / ours"),
    ],
)
def test_every_benchmark_runs_and_writes_its_ratios_and_its_machine(
    script,
    options,
    ratio,
    tmp_path,
    monkeypatch,
    capsys,
):
    words = [script, "--smoke", "--device", "cpu", "--threads", "1", "--json", str(tmp_path / "result.json"), *options]
    monkeypatch.setattr(sys, "argv", words)
    benchmark(script.removesuffix(".py"), monkeypatch).main()
    printed = capsys.readouterr().out
    assert "these figures mean nothing" in printed
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["environment"]["torch"] == torch.__version__
    assert result["environment"]["threads"] == 1
    assert all(math.isfinite(each["median"]) and each["median"] > 0 for each in result["ratios"])
    assert any(each["name"].startswith(ratio) for each in result["ratios"])
    assert ("EXTRAPOLATED from 2 to 4 steps" in printed) == (script == "reconstruction.py")


def test_ratios_are_taken_pair_by_pair(monkeypatch):
    measuring = benchmark("measuring", monkeypatch)
    ratio = measuring.Ratio.of("a / b", [2.0, 30.0, 8.0], [1.0, 10.0, 2.0], 2.5)
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (3.0, 2.0, 4.0, 3)  # the medians' ratio would be 4
    assert "bar: at least 2.5" in ratio.line()


def test_alternatives_are_measured_in_turn(monkeypatch):
    measuring = benchmark("measuring", monkeypatch)
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = measuring.interleaved(calls, 2, torch.device("cpu"))
    assert order == list("AB" * 3)  # the first round warms up
    assert [len(seconds[name]) for name in "AB"] == [2, 2]


def test_extrapolation_multiplies_the_steps_and_nothing_else(monkeypatch):
    reconstruction = benchmark("reconstruction", monkeypatch)
    assert reconstruction.extrapolated(10.0, 4.0, steps=2, full_steps=50) == pytest.approx(6.0 + 50 * 2.0)


def test_peak_memory_sees_what_was_freed_again_and_nothing_of_the_parent(monkeypatch):
    measuring = benchmark("measuring", monkeypatch)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from measuring import peak_resident_bytes as peak; before = peak();"
        "block = bytearray(b'x') * (200 << 20); del block; print(before, peak())"
    )
    ballast = bytearray(b"x") * (600 * MIB)
    done = subprocess.run([sys.executable, "-c", code, str(BENCHMARKS)], capture_output=True, text=True, check=True)
    before, after = (int(word) for word in done.stdout.split())
    assert measuring.peak_resident_bytes() > len(ballast)
    assert before < 600 * MIB  # importing torch alone
    assert after - before == pytest.approx(200 * MIB, rel=0.05)


def test_the_benchmarks_ray_marching_agrees_with_the_integrals_of_gaussians(monkeypatch):
    projector = benchmark("projector", monkeypatch)
    cameras = Cameras.from_views([[preset("x2ct").view(angle, 24) for angle in projector.ANGLES_DEG]])
    exact = projector.gaussian_integrals(cameras)
    found = projector.march(projector.gaussian_volume(64, 5.0), 5.0, cameras, samples=100).double()
    assert float((found - exact).norm() / exact.norm()) < 6e-3
