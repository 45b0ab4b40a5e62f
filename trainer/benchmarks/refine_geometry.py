"""How much of what a wrong geometry costs `clsdm reconstruct --refine` brings back: a table over scans and mistakes.

X-rays are simulated as a machine took them whose lateral view is turned, lifted or magnified by what nobody wrote down; the
reconstruction is given that of a perfect one. `python refine_geometry.py --scans A.nii.gz B.nii.gz ...`; PSNR over the whole
cube against the CT. "recovered" is the part of the loss, over all scans, that the refinement makes up for.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from clsdm.geometry.move import Move, moved
from clsdm.geometry.view import PRESETS
from clsdm.model.bundle import Bundle
from clsdm.quality.metrics import honest
from clsdm.refine import refine
from clsdm.simulate import simulate_xrays
from clsdm.volume.body import body_centre_mm
from clsdm.volume.cube import to_cube
from clsdm.volume.hu import unit_to_hu
from clsdm.volume.read import read_ct
from clsdm.xray.preprocess import prepare

MISTAKES = {
    "none": Move(),
    "2 degrees": Move(angle_deg=2.0),
    "5 degrees": Move(angle_deg=5.0),
    "20 mm": Move(down_mm=20.0),
    "5 % scale": Move(scale=1.05),
    "3 degrees, 15 mm, 4 %": Move(3.0, 0.0, 15.0, 1.04),
}
PIXELS = 144


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", nargs="+", required=True)
    parser.add_argument("--bundle", help="(default: the embedded one)")
    parser.add_argument("--mistakes", nargs="+", choices=MISTAKES, default=list(MISTAKES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = Bundle.open(options.bundle)
    model = bundle.model(torch.device("cpu"))
    stated = [PRESETS["chest"].view(angle, PIXELS) for angle in (0.0, 90.0)]
    for name in options.mistakes:
        rows = np.array([_row(path, MISTAKES[name], stated, bundle, model) for path in options.scans])
        right, wrong, refined, before, after, seconds = rows.mean(0)
        recovered = (refined - wrong) / (right - wrong) if right - wrong > 0.05 else float("nan")
        print(
            f"{name:22s} PSNR right {right:.2f} wrong {wrong:.2f} refined {refined:.2f} dB, recovered {recovered:5.0%}; "
            f"residual {before:.1%} -> {after:.1%}; {seconds:.0f} s; {len(rows)} scans",
            flush=True,
        )


def _row(path, mistake, stated, bundle, model) -> tuple[float, ...]:
    ct, grid = read_ct(path), bundle.manifest.model.grid
    centre = body_centre_mm(ct)
    truth = to_cube(ct, grid, centre).hu

    def psnr(xrays) -> float:
        with torch.inference_mode():
            images, cameras = prepare(xrays, model.config.detector, torch.device("cpu"))
            return honest(unit_to_hu(model.condition(images, cameras)[0])[0, 0].numpy(), truth)["psnr_3d_db"]

    taken = simulate_xrays(ct, [stated[0], moved(stated[1], mistake)], centre)
    given = [replace(xray, view=view) for xray, view in zip(taken, stated, strict=True)]
    began = time.perf_counter()
    found = refine(given, bundle, model)
    seconds = time.perf_counter() - began
    return psnr(taken), psnr(given), psnr(found.xrays), found.residual_before, found.residual_after, seconds


if __name__ == "__main__":
    main()
