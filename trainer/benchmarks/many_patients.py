"""``clsdm reconstruct --table`` against the networks alone on the same X-rays, read and with the model loaded.

The ratios are the shares of the throughput that are left when X-rays are read, results and reports written, hashes taken and
the summary kept: of one reconstruction after the other, and of the networks and nothing else. Bar: 0.8.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from measuring import Comparison, main
from synthetic import phantom_hu

from clsdm.app import batch
from clsdm.app.cases import Case
from clsdm.app.maker import this_computer
from clsdm.app.request import Request, ViewRequest
from clsdm.app.warm import WARM
from clsdm.geometry.view import PRESETS
from clsdm.progress import silent
from clsdm.reconstruction import PRODUCTS, Options, networks_first, reconstruct
from clsdm.simulate import simulate_xrays, write_dx
from clsdm.volume.ct import CTVolume, Grid
from clsdm.xray.read import read_xray


def comparisons(arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    """One for each product."""
    count, pixels = (2, 64) if arguments.smoke else (arguments.patients, arguments.pixels)
    ct = CTVolume.on_grid(phantom_hu(np.random.default_rng(0), 64), Grid(64, 6.0))
    xrays = simulate_xrays(ct, [PRESETS["chest"].view(angle, pixels) for angle in (0.0, 90.0)])
    bundle = WARM.bundle(arguments.bundle)
    model = WARM.model(bundle, device, silent)
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / f"{at}.dcm" for at in range(len(xrays))]
        for xray, path in zip(xrays, files, strict=True):
            write_dx(xray, path)
        known, numbers = [read_xray(path) for path in files], itertools.count()
        views = tuple(ViewRequest(str(path)) for path in files)
        for product in arguments.products:
            options = Options(product, device=device.type)

            def alone(options: Options = options) -> None:
                for _ in range(count):
                    reconstruct(known, bundle, options, model=model)

            def networks(options: Options = options) -> None:
                for _ in range(count):
                    networks_first(known, bundle, options, model=model)

            def many(options: Options = options) -> None:
                out = Path(name) / str(next(numbers))
                cases = [
                    Case(f"{at}", Request(views, str(out / f"{at}" / batch.VOLUME), options=options))
                    for at in range(count)
                ]
                done = batch.run(cases, batch.Plan(out, this_computer(bundle)), silent, lambda *_: None)
                if done["done"] != count:
                    raise SystemExit(f"expected {count} patients done, found {done}")

            calls = {"networks alone": networks, "reconstructions alone": alone, "many patients": many}
            title = f"{count} patients, {len(files)} X-rays of {pixels}² pixels each, {product}, {bundle.manifest.id}"
            yield Comparison(title, calls, [(each, "many patients") for each in calls if each != "many patients"])


if __name__ == "__main__":
    main(
        __doc__,
        comparisons,
        {
            "patients": {"type": int, "default": 8},
            "pixels": {"type": int, "default": 2500, "help": "along an edge of an X-ray"},
            "products": {"nargs": "+", "choices": PRODUCTS, "default": ["mean", "sample"]},
            "bundle": {"help": "model (default: the embedded one)"},
        },
        rounds=3,
    )
