"""How many X-rays that are upside down, mirrored, inverted or exchanged are found: a table over scans and mistakes.

`python hanging.py --scans A.nii.gz B.nii.gz ...`: X-rays of a chest machine, as they are and with each mistake, as if of files
that say nothing of it (`--said`: that say otherwise). Patients whose X-rays the bundle's table holds are taken out of it before.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch

from clsdm.geometry.view import PRESETS
from clsdm.hanging import FLIPPED, INVERTED, MIRRORED, TURNED, Hang, Hanging, looked_for, rehung
from clsdm.model.bundle import Bundle
from clsdm.quality.usual import of_xray
from clsdm.reconstruction import Options, calibrated, reconstruct
from clsdm.simulate import simulate_xrays
from clsdm.volume.read import read_ct

RIGHT = Hang()
MISTAKES = {
    "none": (RIGHT, RIGHT),
    "frontal upside down": (TURNED, RIGHT),
    "frontal inverted": (INVERTED, RIGHT),
    "lateral mirrored": (RIGHT, MIRRORED),
    "lateral upside down": (RIGHT, TURNED),
    "lateral upside down and mirrored": (RIGHT, FLIPPED),
    "lateral inverted": (RIGHT, INVERTED),
    "both upside down": (TURNED, TURNED),
    "both inverted": (INVERTED, INVERTED),
    "exchanged": None,
}
SAME = 0.985
"""Likeness of an X-ray to itself, rounded and of another size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", nargs="+", required=True)
    parser.add_argument("--bundle", help="(default: the embedded one)")
    parser.add_argument("--said", action="store_true", help="the files say how they hang, and it is not so")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = Bundle.open(options.bundle)
    model, usual = bundle.model(torch.device("cpu")), calibrated(bundle)[1]
    views = [PRESETS["chest"].view(angle, 216) for angle in (0.0, 90.0)]
    origins = dict.fromkeys(("orientation", "invert", "angle_deg"), "tag" if options.said else "default")
    found: dict[str, dict[str, bool]] = {name: {} for name in MISTAKES}
    for path in options.scans:
        xrays = [replace(xray, origins=origins) for xray in simulate_xrays(read_ct(path), views)]
        others = usual and _without(usual, xrays, bundle.manifest.model.detector)
        for name, hangs in MISTAKES.items():
            how = Hanging((RIGHT, RIGHT), swapped=True) if hangs is None else Hanging(hangs)
            hung = rehung(xrays, how)
            made = reconstruct(hung, bundle, Options("mean", device="cpu", measure=False), model=model)
            seen = looked_for(hung, [each.agreement for each in made.residuals], bundle, model, others)
            found[name][path] = (seen and (seen.hangs, seen.swapped)) == (
                None if name == "none" else (how.hangs, how.swapped)
            )
    for name, cases in found.items():
        missed = [path.rpartition("/")[2].partition(".")[0] for path, right in cases.items() if not right]
        print(f"{name:34s} {sum(cases.values())} of {len(cases)}" + (f"; not: {', '.join(missed)}" if missed else ""))


def _without(usual, xrays, detector):
    """The table without the patient of these X-rays; the X-rays of a patient follow one another in it."""
    described = {kind: np.array(every) for kind, every in usual.films.items()}
    own = [
        described[kind] @ of_xray(xray, detector)[0] > SAME
        for kind, xray in zip(("frontal", "lateral"), xrays, strict=True)
    ]
    each = len(own[0]) // usual.patients
    others = ~np.repeat((own[0] & own[1]).reshape(-1, each).any(1), each)
    return replace(usual, films={kind: every[others].tolist() for kind, every in described.items()})


if __name__ == "__main__":
    main()
