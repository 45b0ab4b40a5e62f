"""Whether X-rays and volume are such as the model has been checked on: a leg, a phantom, a photograph or a wrong geometry is not.

What patients of the calibration show is kept in the bundle: films in 16 x 16 fields of ranked brightness (blind to exposure and
tone), how well volumes explained their films, how alike the heights of two films were, and how thick the patients were. What
goes beyond is said in words, before any number.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from clsdm.errors import InputError
from clsdm.files.strict_json import from_plain
from clsdm.geometry.view import Detector
from clsdm.quality.measure import Measures
from clsdm.quality.reprojection import Reprojection
from clsdm.xray.image import XRay
from clsdm.xray.pair import degrees_apart
from clsdm.xray.preprocess import preprocess

FIELDS = 16
SHADOW = -0.9
"""Of normalised intensities; air lies below."""
OBLIQUE_DEG = 25.0
"""Films farther from frontal and lateral are compared with none."""
NOT_COMPARED = -1.0
"""In place of a similarity of heights, where the films have too few rows in common."""


@dataclass(frozen=True)
class Usual:
    """Values that the patients of the calibration show.

    Attributes:
        patients: how many.
        films: by "frontal" and "lateral", a list of (256,) descriptions, see :func:`described`.
        alike: least similarity of a film to the most similar of them that is still usual, by the same names.
        better: how much more similar a film may be when it is changed as in :func:`variants`, by the same names.
        correlation: least that is still usual, of volume and film.
        heights: likewise, of two films' profiles along the patient.
        detail: likewise, fine structure of a film, see :func:`detail_of`.
        water_mm: least and greatest water-equivalent diameter that are still usual.
    """

    patients: int
    films: dict[str, Any]
    alike: dict[str, Any]
    better: dict[str, Any]
    correlation: float
    heights: float
    detail: float
    water_mm: tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """Values that one set of films and its volume show.

    Attributes:
        films: description of each film, by "frontal" and "lateral"; several films of a kind one after the other.
        correlation: the least of volume and film, -1 where one is constant.
        heights: similarity of the first frontal and the first lateral film's profiles, None without both.
        detail: fine structure of the film that shows least of it.
        water_mm: water-equivalent diameter, None where it is not measurable.
    """

    films: dict[str, list[np.ndarray]] = field(default_factory=dict)
    correlation: float | None = None
    heights: float | None = None
    detail: float | None = None
    water_mm: float | None = None


def usual_from(table: dict[str, Any], where: str) -> Usual | None:
    """The patients' values in a bundle's calibration; None where it has none.

    Raises:
        InputError: a field does not belong or fit.
    """
    if not table:
        return None
    found = from_plain(Usual, table, f"{where}: usual")
    try:
        shapes = {np.array(films, dtype=np.float64).shape[1:] for films in found.films.values()}
        limits = [(found.alike[kind], found.better[kind]) for kind in found.films]
        np.array(limits, dtype=np.float64).reshape(len(limits), 2)
    except (TypeError, ValueError, KeyError):
        shapes = {()}
    if shapes - {(FIELDS**2,)}:
        raise InputError(
            f"{where}: usual: expected films of {FIELDS**2} numbers, and two limits for each of their kinds"
        )
    return found


def shown_by(xrays: Sequence[XRay], residuals: Sequence[Reprojection], measures: Measures, detector: Detector) -> Shown:
    """Values that films and volume show."""
    films: dict[str, list[np.ndarray]] = {}
    profiles: dict[str, np.ndarray] = {}
    details: list[float] = []
    for xray in xrays:
        kind = kind_of(xray.view.angle_deg)
        image, mask = (each.numpy() for each in _facing_usual(preprocess(xray, detector)[0], xray.view.angle_deg))
        details.append(detail_of(image, mask))
        profiles.setdefault(kind or "oblique", _profile(image, mask))
        if kind is not None:
            films.setdefault(kind, []).append(described(image, mask))
    known = [-1.0 if each.correlation is None else each.correlation for each in residuals]
    return Shown(
        films, min(known, default=None), _heights(profiles), min(details), measures.values.get("water_diameter_mm")
    )


def kind_of(angle_deg: float) -> str | None:
    """ "frontal" or "lateral", None for a film from between."""
    for kind, angle in (("frontal", 0.0), ("lateral", 90.0)):
        if degrees_apart(angle_deg, angle) <= OBLIQUE_DEG:
            return kind
    return None


def _facing_usual(pair: torch.Tensor, angle_deg: float) -> torch.Tensor:
    """A film from behind, or from the right, mirrored: as if from the front, or from the left."""
    turned = (angle_deg + 45.0) % 360.0 >= 180.0
    return pair.flip(-1) if turned else pair


def described(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(256,) unit vector: ranks of the mean brightness of 16 x 16 fields, less their mean; 0 where nothing was measured."""
    pair = torch.from_numpy(np.stack((image * mask, mask)))[None]
    total, weight = F.adaptive_avg_pool2d(pair, FIELDS)[0].numpy().reshape(2, -1)
    known = weight > 0.25
    values = np.where(known, total / np.maximum(weight, 1e-6), -2.0).round(3)
    ranks = np.searchsorted(np.sort(values[known]), values) / max(1, known.sum())
    centred = np.where(known, ranks - ranks[known].mean() if known.any() else 0.0, 0.0)
    length = float(np.linalg.norm(centred))
    return centred / length if length else centred


def alikeness(film: np.ndarray, others: Sequence[Sequence[float]]) -> float:
    """To the most similar of other films, -1 to 1."""
    return float(max((np.dot(film, other) for other in others), default=-1.0))


def detail_of(image: np.ndarray, mask: np.ndarray) -> float:
    """Median difference of a film from its mean over 5 x 5 pixels around, in the patient's shadow; edges do not count."""
    around = F.avg_pool2d(torch.from_numpy(image)[None, None], 5, 1, 2, count_include_pad=False)[0, 0].numpy()
    shadow = (mask > 0.5) & (image > SHADOW)
    return float(np.median(np.abs(image - around)[shadow])) if shadow.any() else 0.0


def variants(film: np.ndarray, kind: str, films: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """How alike a film is to those of its kind when it is changed, and to those of the other kind, by the mistake it shows."""
    square = film.reshape(FIELDS, FIELDS)
    other = "lateral" if kind == "frontal" else "frontal"
    return {
        "mirrored": alikeness(square[:, ::-1].ravel(), films.get(kind, [])),
        "upside down": alikeness(square[::-1].ravel(), films.get(kind, [])),
        "inverted": alikeness(-film, films.get(kind, [])),
        f"a {other} one": alikeness(film, films[other]) if films.get(other) else -1.0,
    }


def _profile(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(rows,) mean rank of brightness along each row, whatever the film's tone; NaN where less than half of it was measured."""
    known = mask > 0.5
    ranks = np.searchsorted(np.sort(image[known]), image, side="right") / max(1, known.sum())
    count = known.sum(1)
    mean = np.where(known, ranks, 0.0).sum(1) / np.maximum(count, 1)
    return np.where(count > 0.5 * mask.shape[1], mean, np.nan)


def _heights(profiles: dict[str, np.ndarray]) -> float | None:
    pairs = [pair for pair in itertools.combinations(profiles.values(), 2)]
    if not pairs:
        return None
    one, other = pairs[0]
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < len(one) // 4 or min(one[both].std(), other[both].std()) < 1e-6:
        return NOT_COMPARED
    return float(np.corrcoef(one[both], other[both])[0, 1])


def doubts(shown: Shown, usual: Usual) -> list[str]:
    """Each value beyond those of the patients that the model was checked on, in words."""
    found = []
    whose = f"the {usual.patients} patients that this model was checked on"
    for kind, films in shown.films.items():
        for film in films if kind in usual.alike else ():
            found += _doubts_of(film, kind, usual, whose)
    if shown.correlation is not None and shown.correlation < usual.correlation:
        found.append(
            f"the volume explains its films worse than in any of {whose} (correlation {shown.correlation:.3f}, "
            f"usual from {usual.correlation:.3f} on): wrong geometry, or films of two patients?"
        )
    if shown.heights is not None and shown.heights < usual.heights:
        differ = f"do not show the same at the same heights (similarity {shown.heights:.2f}, usual of {whose} "
        differ += f"from {usual.heights:.2f} on): of two patients or moments, or one is shifted or scaled?"
        short = "show too little in common to be compared height by height: cut short, or a wrong scale?"
        found.append(f"the films {short if shown.heights == NOT_COMPARED else differ}")
    if shown.detail is not None and shown.detail < usual.detail:
        found.append(
            f"a film shows hardly any fine structure (less than half of what the least of {whose} shows): a phantom, a drawing, "
            "or a blurred picture?"
        )
    if shown.water_mm is not None and not usual.water_mm[0] <= shown.water_mm <= usual.water_mm[1]:
        found.append(
            f"the body is {shown.water_mm:.0f} mm of water thick; usual by {whose} are "
            f"{usual.water_mm[0]:.0f} to {usual.water_mm[1]:.0f} mm: another body part, or a wrong scale?"
        )
    return found


def _doubts_of(film: np.ndarray, kind: str, usual: Usual, whose: str) -> list[str]:
    """Of one film: that it is like theirs only when changed, or that it is like none."""
    alike = alikeness(film, usual.films[kind])
    mistake, best = max(variants(film, kind, usual.films).items(), key=lambda pair: pair[1])
    if best - alike > usual.better[kind] and best >= usual.alike[kind]:
        return [
            f"the {kind} film looks as if it were {mistake} (similarity to {whose} {best:.2f}, as handed in {alike:.2f})"
        ]
    if alike < usual.alike[kind]:
        return [
            f"the {kind} film looks like none of {whose} (similarity {alike:.2f}, usual from "
            f"{usual.alike[kind]:.2f} on): another body part, no patient, or a wrong scale?"
        ]
    return []
