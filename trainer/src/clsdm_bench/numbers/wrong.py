"""Forty inputs that are no X-rays of a patient as the model knows them, or are handed in wrongly, and forty right ones.

Of the wrong ones: a leg and a box of water as projected by the same machine, photographs, noise; and films of patients that are
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
Films = tuple[XRay, ...]


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
    for done, (wrong, kind, films) in enumerate(inputs, 1):
        try:
            made = reconstruct(films, scoring.bundle, Options("mean", device="cpu", measure=False), model=model)
            said = doubts(shown_by(films, made.residuals, measure(made.volume), detector), usual)
            said += () if made.hanging is None else made.hanging.notes(films)
            said += [f"{each.agreement}" for each in made.residuals if each.agreement.disagrees]
        except InputError as error:
            said = [str(error)]
        found.append(Handed(wrong, kind, said))
        report("hand in", done, len(inputs))
    return found


def films_of(scoring: Scoring, scan: ScanFile, kind: str = "plain") -> Films:
    """The frontal and the lateral film of a scan, made by the scoring before."""
    folder = scoring.xrays(scan) / kind
    return tuple(read_xray(folder / f"{name}.dcm") for name in ("frontal", "lateral"))


def _right(scoring: Scoring, scans: Sequence[ScanFile]) -> Iterator[tuple[bool, str, Films]]:
    """Each scan's films as they are, then all with noise, with another tone, and with little noise, until there are enough."""
    kinds: dict[str, Callable[[XRay], XRay]] = {
        "as projected": lambda film: film,
        "2,000 photons a pixel": lambda film: add_noise(film, 2000.0, 1),
        "another tone": lambda film: replace(film, image=np.sqrt(np.maximum(film.image, 0.0))),
        "10,000 photons a pixel": lambda film: add_noise(film, 10000.0, 2),
    }
    chosen = itertools.product(kinds.items(), scans)
    for (kind, change), scan in itertools.islice(chosen, RIGHT):
        yield False, kind, tuple(change(film) for film in films_of(scoring, scan))


def _wrong(scoring: Scoring, scans: Sequence[ScanFile]) -> Iterator[tuple[bool, str, Films]]:
    step = max(1, len(scans) // EACH)
    chosen = [films_of(scoring, scan) for scan in scans[::step]][:EACH]
    machine = preset(scoring.settings.preset)
    views = [machine.view(angle) for angle in (0.0, 90.0)]
    for size in np.linspace(0.8, 1.4, EACH):
        yield True, "leg", tuple(simulate_xrays(_leg(float(size)), views, (0.0, 0.0, 0.0)))
        yield True, "box of water", tuple(simulate_xrays(_box(float(size)), views, (0.0, 0.0, 0.0)))
    for number, films in enumerate(chosen):
        photos = zip(films, _photos(number, films), strict=True)
        yield True, "photograph", tuple(replace(film, image=photo) for film, photo in photos)
        for kind, change in _CHANGES.items():
            yield True, kind, change(films)
        yield True, "films of two patients", (films[0], replace(chosen[(number + 1) % len(chosen)][1], patient_key=None,
                                              isocentre_mm=films[0].isocentre_mm))  # fmt: skip


def _turned(films: Films, change: Callable[[np.ndarray], np.ndarray]) -> Films:
    return tuple(
        replace(film, image=np.ascontiguousarray(change(film.image)), valid=None if film.valid is None else
                np.ascontiguousarray(change(film.valid)))
        for film in films
    )  # fmt: skip


def _scaled(films: Films, by: float) -> Films:
    """Handed in with pixels of a wrong size."""
    return tuple(
        replace(film, view=replace(film.view, pixel_mm=(film.view.pixel_mm[0] * by, film.view.pixel_mm[1] * by)))
        for film in films
    )


_CHANGES: dict[str, Callable[[Films], Films]] = {
    "upside down": lambda films: _turned(films, lambda image: image[::-1]),
    "bone dark": lambda films: _turned(
        films, lambda image: -image.astype(np.float32) if image.dtype != bool else image
    ),
    "frontal and lateral swapped": lambda films: (
        replace(films[0], image=films[1].image, valid=films[1].valid, view=replace(films[1].view, angle_deg=0.0)),
        replace(films[1], image=films[0].image, valid=films[0].valid, view=replace(films[0].view, angle_deg=90.0)),
    ),
    "lateral faces the other way": lambda films: (films[0], *_turned(films[1:], lambda image: image[:, ::-1])),
    "pixels said to be 0.6 times": lambda films: _scaled(films, 0.6),
    "pixels said to be 1.7 times": lambda films: _scaled(films, 1.7),
}


def _photos(number: int, films: Films) -> list[np.ndarray]:
    """Pictures that skimage ships, in the films' sizes."""
    from skimage import data, transform

    names = ("astronaut", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "brick")
    found = []
    for at, film in enumerate(films):
        picture = np.asarray(getattr(data, names[(2 * number + at) % len(names)])(), dtype=np.float32)
        grey = picture.mean(-1) if picture.ndim == 3 else picture
        found.append(transform.resize(grey, film.image.shape, anti_aliasing=True).astype(np.float32))
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
