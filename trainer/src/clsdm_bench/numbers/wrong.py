"""Forty inputs that are no X-rays of a patient as the model knows them, or are handed in wrongly, and forty right ones.

Of the wrong ones: a leg and a box of water as projected by the same machine, photographs, noise; and X-rays of patients that are
turned upside down, inverted, mirrored, swapped, of a wrong scale, from another angle than stated, or of two patients.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsdm.errors import InputError
from clsdm.geometry.view import preset
from clsdm.progress import Report, silent
from clsdm.quality.measure import measure
from clsdm.quality.usual import Usual, doubts, shown_by
from clsdm.reconstruction import Options, reconstruct
from clsdm.simulate import add_noise, simulate_xrays
from clsdm.volume.ct import CTVolume, Grid
from clsdm.xray.image import XRay
from clsdm.xray.read import read_xray
from clsdm_bench.score.cases import ScanFile
from clsdm_bench.score.run import Scoring

EACH, RIGHT = 4, 40
XRays = tuple[XRay, ...]


@dataclass(frozen=True)
class Handed:
    """A pair that was handed in, and the answer to it."""

    wrong: bool
    kind: str
    doubts: list[str]


def hand_in(scoring: Scoring, scans: Sequence[ScanFile], usual: Usual, report: Report = silent) -> list[Handed]:
    """Reconstruct all of them (``mean``) and say what is flagged; a refusal counts as flagged."""
    model = scoring.bundle.model("cpu")
    detector = scoring.bundle.manifest.model.detector
    inputs = [*_wrong(scoring, scans), *_right(scoring, scans)]
    found = []
    for done, (wrong, kind, xrays) in enumerate(inputs, 1):
        try:
            made = reconstruct(xrays, scoring.bundle, Options("mean", device="cpu", measure=False), model=model)
            said = doubts(shown_by(xrays, made.residuals, measure(made.volume), detector), usual)
            said += () if made.hanging is None else made.hanging.notes(xrays)
            said += [f"{each.agreement}" for each in made.residuals if each.agreement.disagrees]
        except InputError as error:
            said = [str(error)]
        found.append(Handed(wrong, kind, said))
        report("hand in", done, len(inputs))
    return found


def xrays_of(scoring: Scoring, scan: ScanFile, kind: str = "plain") -> XRays:
    """The frontal and the lateral X-ray of a scan, made by the scoring before."""
    folder = scoring.xrays(scan) / kind
    return tuple(read_xray(folder / f"{name}.dcm") for name in ("frontal", "lateral"))


def _right(scoring: Scoring, scans: Sequence[ScanFile]) -> Iterator[tuple[bool, str, XRays]]:
    """Each scan's X-rays as they are, then all with noise, with another tone, and with little noise, until there are enough."""
    kinds: dict[str, Callable[[XRay], XRay]] = {
        "as projected": lambda xray: xray,
        "2,000 photons a pixel": lambda xray: add_noise(xray, 2000.0, 1),
        "another tone": lambda xray: replace(xray, image=np.sqrt(np.maximum(xray.image, 0.0))),
        "10,000 photons a pixel": lambda xray: add_noise(xray, 10000.0, 2),
    }
    chosen = itertools.product(kinds.items(), scans)
    for (kind, change), scan in itertools.islice(chosen, RIGHT):
        yield False, kind, tuple(change(xray) for xray in xrays_of(scoring, scan))


def _wrong(scoring: Scoring, scans: Sequence[ScanFile]) -> Iterator[tuple[bool, str, XRays]]:
    step = max(1, len(scans) // EACH)
    chosen = [xrays_of(scoring, scan) for scan in scans[::step]][:EACH]
    machine = preset(scoring.settings.preset)
    views = [machine.view(angle) for angle in (0.0, 90.0)]
    for size in np.linspace(0.8, 1.4, EACH):
        yield True, "leg", tuple(simulate_xrays(_leg(float(size)), views, (0.0, 0.0, 0.0)))
        yield True, "box of water", tuple(simulate_xrays(_box(float(size)), views, (0.0, 0.0, 0.0)))
    for number, xrays in enumerate(chosen):
        photos = zip(xrays, _photos(number, xrays), strict=True)
        yield True, "photograph", tuple(replace(xray, image=photo) for xray, photo in photos)
        for kind, change in _CHANGES.items():
            yield True, kind, change(xrays)
        yield True, "X-rays of two patients", (xrays[0], replace(chosen[(number + 1) % len(chosen)][1], patient_key=None,
                                              isocentre_mm=xrays[0].isocentre_mm))  # fmt: skip


def _turned(xrays: XRays, change: Callable[[np.ndarray], np.ndarray]) -> XRays:
    return tuple(
        replace(xray, image=np.ascontiguousarray(change(xray.image)), valid=None if xray.valid is None else
                np.ascontiguousarray(change(xray.valid)))
        for xray in xrays
    )  # fmt: skip


def _scaled(xrays: XRays, by: float) -> XRays:
    """Handed in with pixels of a wrong size."""
    return tuple(
        replace(xray, view=replace(xray.view, pixel_mm=(xray.view.pixel_mm[0] * by, xray.view.pixel_mm[1] * by)))
        for xray in xrays
    )


_CHANGES: dict[str, Callable[[XRays], XRays]] = {
    "upside down": lambda xrays: _turned(xrays, lambda image: image[::-1]),
    "bone dark": lambda xrays: _turned(
        xrays, lambda image: -image.astype(np.float32) if image.dtype != bool else image
    ),
    "frontal and lateral swapped": lambda xrays: (
        replace(xrays[0], image=xrays[1].image, valid=xrays[1].valid, view=replace(xrays[1].view, angle_deg=0.0)),
        replace(xrays[1], image=xrays[0].image, valid=xrays[0].valid, view=replace(xrays[0].view, angle_deg=90.0)),
    ),
    "lateral faces the other way": lambda xrays: (xrays[0], *_turned(xrays[1:], lambda image: image[:, ::-1])),
    "pixels said to be 0.6 times": lambda xrays: _scaled(xrays, 0.6),
    "pixels said to be 1.7 times": lambda xrays: _scaled(xrays, 1.7),
}


def _photos(number: int, xrays: XRays) -> list[np.ndarray]:
    """Pictures that skimage ships, in the X-rays' sizes."""
    from skimage import data, transform

    names = ("astronaut", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "brick")
    found = []
    for at, xray in enumerate(xrays):
        picture = np.asarray(getattr(data, names[(2 * number + at) % len(names)])(), dtype=np.float32)
        grey = picture.mean(-1) if picture.ndim == 3 else picture
        found.append(transform.resize(grey, xray.image.shape, anti_aliasing=True).astype(np.float32))
    return found


def _leg(size: float) -> CTVolume:
    """Two legs beside each other, bone in soft tissue."""
    z, y, x = _axes()
    hu = np.full(np.broadcast_shapes(z.shape, y.shape, x.shape), -1000.0, dtype=np.float32)
    for middle in (-85.0, 85.0):
        off = (x - middle) ** 2 + y**2
        hu = np.where(off < (70.0 * size) ** 2, 40.0, hu)
        hu = np.where(off < (16.0 * size) ** 2, 900.0, hu)
    return CTVolume.on_grid(hu + 0.0 * z, Grid(96, 4.0))


def _box(size: float) -> CTVolume:
    z, y, x = _axes()
    inside = (np.abs(x) < 130.0 * size) & (np.abs(y) < 100.0 * size) & (np.abs(z) < 100.0 * size)
    return CTVolume.on_grid(np.where(inside, 0.0, -1000.0).astype(np.float32), Grid(96, 4.0))


def _axes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axis = (np.arange(96) - 47.5) * 4.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    return z, y, x
