"""Which of two X-rays is the frontal one, where no tag says so: by their names, else by their images, else by their shapes.

A guess, to be shown and to be corrected with a click. A frontal chest is nearly its own mirror image, a lateral one is not,
and is narrower.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clsdm.xray.formats import Wanted, read_stored
from clsdm.xray.pair import frontal_and_lateral, same_side
from clsdm.xray.read import XRayHeader

_WORDS = {
    "frontal": re.compile(r"(?<![a-z])(pa|ap|front|frontal)(?![a-z])"),
    "lateral": re.compile(r"(?<![a-z])(lat|lateral|ll|rl|side|profile?)(?![a-z])"),
}
SIDE_PIXELS = 64
SHIFT = 0.1
"""Part of the width by which the patient's middle may lie beside the image's."""
CLEAR = 0.05
"""Between two correlations, to tell the images apart by them."""


def pair_of(headers: Sequence[XRayHeader], paths: Sequence[Path]) -> tuple[int | None, int | None]:
    """The indices of a frontal and a lateral X-ray, as ``pair.frontal_and_lateral`` finds them by angles, or by a guess.

    What does not say from where it was taken is guessed at where there is one such file, or one of two, or two of two, or
    where its name says so. A frontal and a lateral one that are all there is are the pair, also of two studies.

    Raises:
        InputError: an image that has to be looked at cannot be read.
    """
    frontal, lateral = frontal_and_lateral(headers)
    known = [header.likely_angle_deg for header in headers if header.likely_angle_deg is not None]
    if frontal is not None and len(known) == len(headers) == 2 and not same_side(known[0], known[1]):
        return frontal, 1 - frontal
    unknown = [number for number, header in enumerate(headers) if header.likely_angle_deg is None]
    if not unknown or None not in (frontal, lateral):
        return frontal, lateral
    if frontal is None and lateral is None:
        if len(unknown) == 2:
            first = frontal_of(*(paths[number] for number in unknown))
            return unknown[first], unknown[1 - first]
        return _named(unknown, paths)
    if len(headers) == 2:
        return (unknown[0], lateral) if frontal is None else (frontal, unknown[0])
    return frontal, lateral


def frontal_of(one: Path, other: Path) -> int:
    """0 or 1: which of two image files is the frontal view.

    Raises:
        InputError: one cannot be read.
    """
    names = [_kind_named(path) for path in (one, other)]
    if names[0] != names[1]:
        return int(names[0] == "lateral" or names[1] == "frontal")
    images = [read_stored(path, Wanted()).image for path in (one, other)]
    alike = [mirror_likeness(image) for image in images]
    if abs(alike[0] - alike[1]) >= CLEAR:
        return int(alike[1] > alike[0])
    widths = [image.shape[1] / image.shape[0] for image in images]
    return int(widths[1] > widths[0])


def mirror_likeness(image: np.ndarray) -> float:
    """Greatest correlation of a (row, column) image with its mirror image about a column near its middle."""
    small = _small(image)
    most = round(SHIFT * SIDE_PIXELS)
    best = -1.0
    for shift in range(-most, most + 1):
        part = small[:, max(0, shift) : SIDE_PIXELS + min(0, shift)]
        best = max(best, _correlation(part, part[:, ::-1]))
    return best


def _named(unknown: Sequence[int], paths: Sequence[Path]) -> tuple[int | None, int | None]:
    """By names; a single file without a telling name is taken for frontal."""
    kinds = {number: _kind_named(paths[number]) for number in unknown}
    if len(unknown) == 1 and not kinds[unknown[0]]:
        return unknown[0], None
    frontal, lateral = (
        next((number for number, kind in kinds.items() if kind == wanted), None) for wanted in ("frontal", "lateral")
    )
    return frontal, lateral


def _kind_named(path: Path) -> str:
    found = [kind for kind, words in _WORDS.items() if words.search(path.stem.lower())]
    return found[0] if len(found) == 1 else ""


def _small(image: np.ndarray) -> np.ndarray:
    """The image's means over a grid of 64 x 64 fields; NaN counts as the image's mean."""
    filled = np.nan_to_num(image.astype(np.float64), nan=float(np.nanmean(image)))
    for axis in (0, 1):
        edges = np.linspace(0, filled.shape[axis], SIDE_PIXELS + 1)
        summed = np.insert(np.cumsum(filled, axis), 0, 0.0, axis)
        whole = np.floor(edges).astype(int)
        upper = np.minimum(whole + 1, filled.shape[axis])
        share = np.expand_dims(edges - whole, 1 - axis)
        at_edges = (1 - share) * np.take(summed, whole, axis) + share * np.take(summed, upper, axis)
        filled = np.diff(at_edges, axis=axis) / np.expand_dims(np.diff(edges), 1 - axis)
    return filled


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    first, second = one - one.mean(), other - other.mean()
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size > 0.0 else 0.0
