"""Full biplanar reconstruction with one preset against another: seconds and peak memory, in one interleaved run.

The path is the library's own, ``clsdm.reconstruction``: two X-rays -> virtual detector -> align -> draw -> decode -> HU, with
ray coverage and reprojection residual. Weights are random (they do not change the arithmetic), are loaded before the
clock starts, and both sides run at the same precision.

Issue 2 asks of ``x2ct128`` against ``reference`` at its 50 steps: ``sample`` at least 20 times and ``mean`` at least 40
times faster than the reference's reconstruction (its sample), with peak memory under half.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from measuring import MIB, Ratio, finish, in_child, interleaved, parser, peak_resident_bytes, start, synchronise
from models import biplanar_xrays, nameless_bundle, random_model, tiny

from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.reconstruction import Options, Product, reconstruct
from clsdm_trainer.precision import has_fast_bfloat16
from clsdm_trainer.recipe import load_config

BARS = {"sample": 20.0, "mean": 40.0}
MEMORY_BAR = 0.5
GPU_SAMPLE_BAR_S = 0.5


@dataclass
class Stopwatch:
    """Seconds at which each stage of ``reconstruct`` was reported done, the device's work included."""

    device: torch.device
    began: float = field(default_factory=time.perf_counter)
    at: dict[str, float] = field(default_factory=dict)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done == total:
            synchronise(self.device)
            self.at[stage] = time.perf_counter() - self.began


@dataclass
class Side:
    """One way to reconstruct.

    Attributes:
        name: preset and product.
        model: its networks.
        options: of ``reconstruct``.
        precision: torch's name of the autocast type; float32 for none.
        device: where.
        watches: one stopwatch per call, the warm-up left out.
    """

    name: str
    model: CLSDM
    options: Options
    precision: str
    device: torch.device
    watches: list[Stopwatch] = field(default_factory=list)

    def __call__(self) -> None:
        watch = Stopwatch(self.device)
        self._reconstruct(self.options, watch)
        self.watches.append(watch)

    def warm_up(self) -> None:
        """The same with one step, off the record: everything after the first step repeats it."""
        self._reconstruct(replace(self.options, steps=1), Stopwatch(self.device))

    def _reconstruct(self, options: Options, watch: Stopwatch) -> None:
        reduced = self.precision != "float32"
        with torch.autocast(self.device.type, getattr(torch, self.precision) if reduced else None, enabled=reduced):
            reconstruct(biplanar_xrays(), nameless_bundle(self.model.config), options, watch, self.model)

    def drawing_s(self) -> list[float]:
        """Seconds of each call spent in the sampler."""
        return [watch.at.get("sample", watch.at["align X-rays"]) - watch.at["align X-rays"] for watch in self.watches]


def extrapolated(seconds: float, drawing_s: float, steps: int, full_steps: int) -> float:
    """Time of ``full_steps`` from a run of ``steps``: every step costs the same, all else is paid once."""
    return seconds + drawing_s * (full_steps / steps - 1.0)


def model_config(name: str, smoke: bool) -> ModelConfig:
    """A preset's networks."""
    config = load_config(name).model
    return tiny(config) if smoke else config


def make_side(preset: str, product: Product, precision: str, arguments: argparse.Namespace, model: CLSDM) -> Side:
    """A preset's reconstruction; ``--reference-steps`` concerns the reference's sampler."""
    steps = arguments.reference_steps if preset == arguments.reference else None
    device = model.latent_mean.device
    options = Options(product, None if product == "mean" else steps, device=device.type)
    return Side(f"{preset} {product}", model, options, precision, device)


def measure(
    models: dict[str, CLSDM], precision: str, arguments: argparse.Namespace, device: torch.device
) -> tuple[list[dict[str, Any]], list[Ratio]]:
    """Rows and ratios of time at one precision."""
    ours, theirs = arguments.preset, arguments.reference
    products: list[Product] = arguments.products
    wanted = {(theirs, "sample"): None} | {(preset, product): None for preset in (theirs, ours) for product in products}
    sides = [make_side(preset, product, precision, arguments, models[preset]) for preset, product in wanted]
    calls: dict[str, Callable[[], object]] = {side.name: side for side in sides}
    for side in sides:
        side.warm_up()
    seconds = interleaved(calls, arguments.rounds, device, warm_up=False)
    note = ""
    full = models[theirs].config.process.steps
    if arguments.reference_steps not in (None, full):
        name, steps = f"{theirs} sample", arguments.reference_steps
        pairs = zip(seconds[name], sides[0].drawing_s(), strict=True)
        seconds[name] = [extrapolated(total, drawing, steps, full) for total, drawing in pairs]
        note = f"EXTRAPOLATED from {steps} to {full} steps of {theirs}"
    rows = [_row(side, precision, seconds[side.name], note if side is sides[0] else "") for side in sides]
    ratios = [
        Ratio.of(
            f"{precision}: time of {theirs} sample / {ours} {product}",
            seconds[f"{theirs} sample"],
            seconds[f"{ours} {product}"],
            BARS[product],
            note=note,
        )
        for product in products
    ]
    if "mean" in products:
        name = f"{precision}: time of {theirs} mean / {ours} mean"
        ratios.append(Ratio.of(name, seconds[f"{theirs} mean"], seconds[f"{ours} mean"]))
    return rows, ratios


def _row(side: Side, precision: str, seconds: list[float], note: str) -> dict[str, Any]:
    align, drawn, decoded = (statistics.median(values) for values in zip(*map(_stages, side.watches), strict=True))
    return {
        "side": side.name,
        "precision": precision,
        "steps": side.options.steps or (side.model.config.process.steps if side.options.product != "mean" else 0),
        "seconds": statistics.median(seconds),
        "preprocess + align s": align,
        "draw s": drawn,
        "decode s": decoded,
        "note": note or "measured",
    }


def _stages(watch: Stopwatch) -> tuple[float, float, float]:
    align = watch.at["align X-rays"]
    drawn = watch.at.get("sample", align)
    return align, drawn - align, watch.at.get("decode", drawn) - drawn  # the mean is not decoded


def peak_memory(preset: str, product: Product, precision: str, arguments: argparse.Namespace) -> dict[str, int]:
    """Peak memory of one reconstruction, in this process; what the sampler keeps does not depend on its steps.

    Returns:
        Bytes: on a GPU the allocator's peak; on a CPU the process's peak in RAM, and how far that lies above the peak
        before the networks were built.
    """
    device = start(arguments)
    before = peak_resident_bytes()
    model = random_model(model_config(preset, arguments.smoke), device)
    steps = None if product == "mean" else 2
    side = Side("", model, Options(product, steps, device=device.type), precision, device)
    if device.type == "cuda":
        side()
        torch.cuda.reset_peak_memory_stats(device)
        side()
        peak = torch.cuda.max_memory_allocated(device)
        return {"peak": peak, "above_imports": peak}
    side()
    peak = peak_resident_bytes()
    return {"peak": peak, "above_imports": peak - before}


def memory(
    precision: str, arguments: argparse.Namespace, device: torch.device
) -> tuple[list[dict[str, Any]], list[Ratio]]:
    """Rows and ratios of peak memory, each side in a process of its own."""
    words = ["--device", device.type, "--threads", str(torch.get_num_threads())] + ["--smoke"] * arguments.smoke
    found = {}
    wanted = [(arguments.reference, "sample"), *((arguments.preset, product) for product in arguments.products)]
    for preset, product in wanted:
        found[preset, product] = in_child(__file__, *words, "--peak-of", preset, product, precision)
    rows = [
        {
            "side": f"{preset} {product}",
            "precision": precision,
            "peak MiB": peak["peak"] / MIB,
            "above imports MiB": peak["above_imports"] / MIB,
        }
        for (preset, product), peak in found.items()
    ]
    what = "GPU allocator" if device.type == "cuda" else "process in RAM"
    theirs = found[arguments.reference, "sample"]
    ratios = [
        Ratio.of(
            f"{precision}: peak {kind} of {arguments.preset} {product} / {arguments.reference}",
            [found[arguments.preset, product][key]],
            [theirs[key]],
            MEMORY_BAR,
            "at most",
        )
        for key, kind in {"peak": what, "above_imports": "above imports"}.items()
        for product in arguments.products
        if device.type == "cpu" or key == "peak"
    ]
    return rows, ratios


def precisions_of(arguments: argparse.Namespace, device: torch.device) -> list[str]:
    """What was asked for; else float32, and bfloat16 where the hardware computes it."""
    return arguments.precisions or ["float32"] + ["bfloat16"] * (has_fast_bfloat16(device) and not arguments.smoke)


def command_line() -> argparse.Namespace:
    """The options."""
    options = parser(__doc__)
    options.add_argument("--preset", default="x2ct128", help="ours")
    options.add_argument(
        "--reference", default="reference", help="what it is compared with, at its own number of steps"
    )
    options.add_argument(
        "--reference-steps",
        type=int,
        metavar="N",
        help="run N steps of the reference's sampler and extrapolate, labelled as such (all of them if left out)",
    )
    options.add_argument("--precisions", nargs="+", choices=("float32", "bfloat16"))
    options.add_argument("--products", nargs="+", choices=tuple(BARS), default=list(BARS))
    options.add_argument("--no-memory", action="store_true", help="time only")
    options.add_argument("--peak-of", nargs=3, metavar=("PRESET", "PRODUCT", "PRECISION"), help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.reference_steps is not None and arguments.reference_steps < 1:
        options.error("--reference-steps: expected at least 1")
    if arguments.preset == arguments.reference:
        options.error("--preset and --reference name the same")
    return arguments


def main() -> None:
    """Measure and print."""
    arguments = command_line()
    if arguments.peak_of:
        print(json.dumps(peak_memory(*arguments.peak_of, arguments)))
        return
    device = start(arguments)
    arguments.rounds = arguments.rounds or (1 if arguments.smoke else 10 if device.type == "cuda" else 3)
    rows, ratios, peaks = [], [], []
    for precision in precisions_of(arguments, device):
        if not arguments.no_memory:  # before this process holds the networks, for the sake of small machines
            more_rows, more_ratios = memory(precision, arguments, device)
            peaks, ratios = peaks + more_rows, ratios + more_ratios
    models = {
        name: random_model(model_config(name, arguments.smoke), device)
        for name in (arguments.reference, arguments.preset)
    }
    for precision in precisions_of(arguments, device):
        more_rows, more_ratios = measure(models, precision, arguments, device)
        rows, ratios = rows + more_rows, ratios + more_ratios
    notes = [
        f"parameters: {name} {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M" for name, model in models.items()
    ]
    if device.type == "cuda":
        notes.append(f"bar on a GPU: {arguments.preset} sample under {GPU_SAMPLE_BAR_S} s")
    tables = {"time, median of the rounds": rows} | ({"peak memory": peaks} if peaks else {})
    finish("reconstruction", arguments, device, tables, ratios, notes)


if __name__ == "__main__":
    main()
