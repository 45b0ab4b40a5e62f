"""Full biplanar reconstruction with one preset against another: time and peak memory, in one interleaved run.

The path is the library's own, ``clsdm.reconstruct``: two X-rays -> virtual detector -> align -> draw -> decode -> HU, with
ray coverage and reprojection residual. Weights are random (they do not change the arithmetic) and are loaded before the
clock starts; both sides run at the same precision.

Bars of ``body128`` on two cores of a CPU: a ``mean`` in 2.5 s and a ``sample`` in 6 s; and against ``reference`` at its 50
steps: ``sample`` at least 20 times and ``mean`` at least 40 times faster than the reference's sample, with less than half
its peak memory.
"""

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from measuring import Comparison, main
from models import biplanar_xrays, nameless_bundle, random_model, tiny

from clsdm.model.clsdm import CLSDM
from clsdm.reconstruction import Options, Product, reconstruct
from clsdm_bench.measures.memory import peak_memory
from clsdm_trainer.precision import has_fast_bfloat16
from clsdm_trainer.recipe import load_config

FEW = 2
"""Steps of the short run of the reference that ``--extrapolate`` measures beside one of twice as many."""


def reconstructed(model: CLSDM, options: Options, precision: torch.dtype) -> None:
    """One reconstruction."""
    with torch.autocast(options.device, precision, enabled=precision != torch.float32):
        reconstruct(biplanar_xrays(), nameless_bundle(model.config), options, model=model)


def comparisons(arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    """One for each precision that the device computes."""
    ours, theirs = arguments.preset, arguments.reference
    configs = {name: load_config(name).model for name in (theirs, ours)}
    models = {n: random_model(tiny(c) if arguments.smoke else c, device) for n, c in configs.items()}
    wanted: list[tuple[str, Product, int | None]] = [(ours, product, None) for product in arguments.products]
    full = models[theirs].config.process.steps
    wanted += [(theirs, "sample", steps) for steps in ((FEW, 2 * FEW) if arguments.extrapolate else (full,))]
    whole = f"{theirs} sample, {full} steps"
    for precision in [torch.float32] + [torch.bfloat16] * (has_fast_bfloat16(device) and not arguments.smoke):
        calls = {
            f"{preset} {product}" + (f", {steps} steps" if steps else ""): partial(
                reconstructed, models[preset], Options(product, steps, device=device.type, measure=False), precision
            )
            for preset, product, steps in wanted
        }
        names = list(calls)
        mine, slow = names[: len(arguments.products)], names[len(arguments.products) :]

        def extrapolated(seconds: Mapping[str, list[float]], slow: list[str] = slow) -> dict[str, list[float]]:
            pairs = zip(seconds[slow[0]], seconds[slow[-1]], strict=True)
            return {whole: [few + (full - FEW) * (more - few) / FEW for few, more in pairs]} if len(slow) > 1 else {}

        def memory(calls: dict[str, Any] = calls, slowest: str = slow[-1]) -> dict[str, dict[str, object]]:
            peaks = {}
            for name, call in calls.items():
                with peak_memory(device) as peak:
                    call()
                peaks[name] = peak.mib
            return {name: {"peak MiB": mib, "of the reference's": mib / peaks[slowest]} for name, mib in peaks.items()}

        title = (
            f"{precision}; bars: mean 2.5 s and {whole} / mean 40, sample 6 s and 20, peak under 0.5 of the reference's"
        )
        yield Comparison(title, calls, [(whole, name) for name in mine], extrapolated, memory)


if __name__ == "__main__":
    options: dict[str, dict[str, Any]] = {
        "preset": {"default": "body128", "help": "ours"},
        "reference": {"default": "reference", "help": "what it is compared with"},
        "products": {"nargs": "+", "choices": ("sample", "mean"), "default": ["sample", "mean"]},
        "extrapolate": {
            "action": "store_true",
            "help": f"run {FEW} and {2 * FEW} steps of the reference, whose difference tells what its others take",
        },
    }
    main(__doc__, comparisons, options, rounds=3)
