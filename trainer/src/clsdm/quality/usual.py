"""Whether X-rays and volume are such as the model has been checked on: a leg, a phantom, a photograph or a wrong geometry is not.

What patients of the calibration show is kept in the bundle: X-rays in 16 x 16 fields of ranked brightness (blind to exposure and
tone), how well volumes explained their X-rays, how alike the heights of two X-rays were, and how thick the patients were. What
goes beyond is said in words, before any number.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from clsdm.errors import InputError
from clsdm.files.strict_json import from_plain
from clsdm.geometry.view import Detector
from clsdm.quality.agreement import Reprojection
from clsdm.quality.measure import Measures
from clsdm.xray.image import XRay
from clsdm.xray.pair import degrees_apart
from clsdm.xray.preprocess import preprocess

FIELDS = 16
SHADOW = -0.9
"""Of normalised intensities; air lies below."""
OBLIQUE_DEG = 25.0
"""X-rays farther from frontal and lateral are compared with none."""
PEAK = 10.0
"""How much more a patient counts by whose X-rays lie near; from 3 to 20 the benchmark's figures are alike."""
NOT_COMPARED = -1.0
"""In place of a similarity of heights, where the X-rays have too few rows in common."""


@dataclass(frozen=True)
class Usual:
    """Values that the patients of the calibration show.

    Attributes:
        patients: how many.
        films: by "frontal" and "lateral", a list of (256,) descriptions of X-rays, see :func:`described`.
        alike: least similarity of an X-ray to the most similar of them that is still usual, by the same names.
        correlation: least that is still usual, of volume and X-ray.
        heights: likewise, of two X-rays' profiles along the patient.
        detail: likewise, fine structure of an X-ray, see :func:`detail_of`.
        water_mm: least and greatest water-equivalent diameter that are still usual.
    """

    patients: int
    films: dict[str, Any]
    alike: dict[str, Any]
    correlation: float
    heights: float
    detail: float
    water_mm: tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """Values that one set of X-rays and its volume show.

    Attributes:
        descriptions: of each X-ray, by "frontal" and "lateral"; several X-rays of a kind one after the other.
        correlation: the least of volume and X-ray, -1 where one is constant.
        heights: similarity of the first frontal and the first lateral X-ray's profiles, None without both.
        detail: fine structure of the X-ray that shows least of it.
        water_mm: water-equivalent diameter, None where it is not measurable.
    """

    descriptions: dict[str, list[np.ndarray]] = field(default_factory=dict)
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
    table = {name: value for name, value in table.items() if name != "better"}  # earlier versions had that limit
    found = from_plain(Usual, table, f"{where}: usual")
    try:
        shapes = {np.array(every, dtype=np.float64).shape[1:] for every in found.films.values()}
        np.array([found.alike[kind] for kind in found.films], dtype=np.float64).reshape(len(found.films))
    except (TypeError, ValueError, KeyError):
        shapes = {()}
    if shapes - {(FIELDS**2,)} or len({len(every) for every in found.films.values()}) > 1:
        raise InputError(
            f"{where}: usual: expected as many X-rays of each kind, of {FIELDS**2} numbers, and a limit for it"
        )
    return found


def shown_by(xrays: Sequence[XRay], residuals: Sequence[Reprojection], measures: Measures, detector: Detector) -> Shown:
    """Values that X-rays and volume show."""
    descriptions: dict[str, list[np.ndarray]] = {}
    profiles: dict[str, np.ndarray] = {}
    details: list[float] = []
    for xray in xrays:
        kind = kind_of(xray.view.angle_deg)
        description, image, mask = of_xray(xray, detector)
        details.append(detail_of(image, mask))
        profiles.setdefault(kind or "oblique", _profile(image, mask))
        if kind is not None:
            descriptions.setdefault(kind, []).append(description)
    known = [-1.0 if each.correlation is None else each.correlation for each in residuals]
    return Shown(
        descriptions,
        min(known, default=None),
        _heights(profiles),
        min(details),
        measures.values.get("water_diameter_mm"),
    )


def of_xray(xray: XRay, detector: Detector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Its description, and image and mask on the virtual detector, as if from the front, or from the left."""
    turned = (xray.view.angle_deg + 45.0) % 360.0 >= 180.0
    pair = preprocess(xray, detector)[0]
    image, mask = (pair.flip(-1) if turned else pair).numpy()
    return described(image, mask), image, mask


def kind_of(angle_deg: float) -> str | None:
    """ "frontal" or "lateral", None for an X-ray from between."""
    for kind, angle in (("frontal", 0.0), ("lateral", 90.0)):
        if degrees_apart(angle_deg, angle) <= OBLIQUE_DEG:
            return kind
    return None


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


def alikeness(description: np.ndarray, others: Iterable[Sequence[float] | np.ndarray]) -> float:
    """To the most similar of others, -1 to 1."""
    return float(max((np.dot(description, other) for other in others), default=-1.0))


def detail_of(image: np.ndarray, mask: np.ndarray) -> float:
    """Median difference of an X-ray from its mean over 5 x 5 pixels around, in the patient's shadow; edges do not count."""
    around = F.avg_pool2d(torch.from_numpy(image)[None, None], 5, 1, 2, count_include_pad=False)[0, 0].numpy()
    shadow = (mask > 0.5) & (image > SHADOW)
    return float(np.median(np.abs(image - around)[shadow])) if shadow.any() else 0.0


def leaning(shown: np.ndarray, changed: np.ndarray, usual: np.ndarray, usual_changed: np.ndarray) -> float:
    """Whether X-rays are more like the patients' as they are, or after a change.

    It is the cosine of what the change does to them and of what undoing it does to the patients', those counting most who are
    most like them whichever it is.

    Args:
        shown: (1, n) descriptions of a set of X-rays one after the other.
        changed: (1, n) after the change.
        usual: (patients, n) those of the patients.
        usual_changed: (patients, n) after the change.

    Returns:
        -1 as they are, to 1 after the change.
    """
    alike = _cosine(shown + changed, usual + usual_changed)
    weights = np.exp(PEAK * (alike - alike.max()))
    return float(_cosine(changed - shown, weights @ (usual - usual_changed))[0])


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return (one * other).sum(-1) / np.maximum(lengths, 1e-9)


def _profile(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(rows,) mean rank of brightness along each row, whatever the X-ray's tone; NaN where less than half of it was measured."""
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
    """Each value beyond those of the patients that the model knows, in words."""
    found = []
    whose = f"the {usual.patients} patients that this model knows"
    for kind, descriptions in shown.descriptions.items():
        for alike in (alikeness(each, usual.films[kind]) for each in descriptions if kind in usual.alike):
            if alike < usual.alike[kind]:
                found.append(
                    f"the {kind} X-ray looks like none of {whose} (similarity {alike:.2f}, usual from "
                    f"{usual.alike[kind]:.2f} on): another body part, no patient, or a wrong scale?"
                )
    if shown.correlation is not None and shown.correlation < usual.correlation:
        found.append(
            f"the volume explains its X-rays worse than in any of {whose} (correlation {shown.correlation:.3f}, "
            f"usual from {usual.correlation:.3f} on): wrong geometry, or X-rays of two patients?"
        )
    if shown.heights is not None and shown.heights < usual.heights:
        differ = f"do not show the same at the same heights (similarity {shown.heights:.2f}, usual of {whose} "
        differ += f"from {usual.heights:.2f} on): of two patients or moments, or one is shifted or scaled?"
        short = "show too little in common to be compared height by height: cut short, or a wrong scale?"
        found.append(f"the X-rays {short if shown.heights == NOT_COMPARED else differ}")
    if shown.detail is not None and shown.detail < usual.detail:
        found.append(
            f"an X-ray shows hardly any fine structure (less than half of what the least of {whose} shows): a phantom, "
            "a drawing, or a blurred picture?"
        )
    if shown.water_mm is not None and not usual.water_mm[0] <= shown.water_mm <= usual.water_mm[1]:
        found.append(
            f"the body is {shown.water_mm:.0f} mm of water thick; usual by {whose} are "
            f"{usual.water_mm[0]:.0f} to {usual.water_mm[1]:.0f} mm: another body part, or a wrong scale?"
        )
    return found
