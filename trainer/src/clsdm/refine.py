"""Geometry that nobody wrote down: where each view was really taken, found from the X-rays and the volume they give.

A lateral film is taken a minute after the frontal one, at another height, from a direction that is nearly but not quite 90
degrees away, and how far the patient stood from the detector stands nowhere. What is found is the move of each view from
what was stated or assumed (:class:`Move`):

1. height: rows of two views at the same height cross the same slice, so the profiles of their row sums have the same shape
   (epipolar consistency, for a small cone angle), whatever the exposure;
2. angle: where the volume is most symmetric (``quality.symmetry``). Neither profiles nor residual tell it, since for a small
   cone angle some volume explains any two views that agree height by height;
3. height, scale and tilt by coordinate search over

       residual² of the volume's projections against the X-rays  +  prior, (move / its usual size)² times a small weight,

where the volume is the posterior mean for the moved views. A move stays only where the residual clearly falls by it: noise and
the model's own error let it fall a little anywhere.

Turning, shifting or magnifying all views together does so to the volume: the first view stays as it was stated. Nor does
any view say where the middle is along its own rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from clsdm.errors import InputError
from clsdm.geometry.view import View
from clsdm.model.bundle import Bundle
from clsdm.model.clsdm import CLSDM
from clsdm.progress import Report, silent
from clsdm.quality.reprojection import reprojection
from clsdm.quality.symmetry import asymmetry
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import unit_to_hu
from clsdm.xray.image import XRay
from clsdm.xray.preprocess import cameras_for, preprocess

PROFILE_HEIGHTS = 96


@dataclass(frozen=True)
class Move:
    """How far a view is from what was stated.

    Attributes:
        angle_deg: more around the patient's long axis.
        tilt_deg: more towards superior.
        down_mm: of the image on the detector, its offset's first part.
        scale: of the magnification; the patient stands nearer to the source by it, and the detector stays.
    """

    angle_deg: float = 0.0
    tilt_deg: float = 0.0
    down_mm: float = 0.0
    scale: float = 1.0


USUAL = Move(4.0, 2.0, 20.0, 0.05)
"""Size of a usual mistake, the prior's deviation (of ``scale``: from 1)."""
PRIOR_WEIGHT = 2e-4
"""Of the squared sum of moves, against squared residuals whose images are 2 wide."""
STEPS = (0.6, 0.3, 0.12)
"""Of a usual mistake, in turn."""
BY_RESIDUAL = ("down_mm", "scale", "tilt_deg")
CLEARLY = 0.2
"""Of the cost: by less no move has to lower it to stay."""
TRIED_DEG, LEAST_DEG, FAR_DEG, ANGLE_WEIGHT = (-5.0, -2.0, 0.0, 2.0, 5.0), 1.0, 4.0, 0.01
"""Angles at which symmetry is looked at; the least that is told from noise; where it is looked at again from there; and
what a usual mistake of the angle costs, against relative differences of asymmetry."""


@dataclass(frozen=True)
class Refinement:
    """The result of a refinement.

    Attributes:
        xrays: with their moved views.
        moves: of each.
        residual_before: root mean square over the views, as a fraction of their contrast.
        residual_after: likewise.
    """

    xrays: tuple[XRay, ...]
    moves: tuple[Move, ...]
    residual_before: float
    residual_after: float

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each view that moved, and one on the residual."""
        if self.moves == (Move(),) * len(self.moves):
            return ("geometry: nothing better was found than what was stated",)
        lines = [f"{xray.source}: found {_in_words(move)}" for xray, move in zip(self.xrays, self.moves, strict=True)]
        change = f"the residual went from {self.residual_before:.1%} to {self.residual_after:.1%} of the contrast"
        return (*(line for line, move in zip(lines, self.moves, strict=True) if move != Move()), f"geometry: {change}")

    def to_plain(self) -> dict[str, Any]:
        """JSON types, for the record."""
        moves = [{field.name: getattr(move, field.name) for field in fields(Move)} for move in self.moves]
        return {"moves": moves, "residual_before": self.residual_before, "residual_after": self.residual_after}


def _in_words(move: Move) -> str:
    parts = []
    if move.angle_deg:
        parts.append(f"the angle {move.angle_deg:+.1f} degrees off, by the body's symmetry")
    if move.tilt_deg:
        parts.append(f"the tilt {move.tilt_deg:+.1f} degrees off")
    if move.down_mm:
        parts.append(f"the patient {abs(move.down_mm):.0f} mm {'lower' if move.down_mm < 0 else 'higher'} on the film")
    if move.scale != 1.0:
        parts.append(f"the magnification {move.scale - 1.0:+.1%} off")
    return ", ".join(parts) or "nothing"


def moved(view: View, move: Move) -> View:
    """The view after a move."""
    return replace(
        view,
        angle_deg=view.angle_deg + move.angle_deg,
        tilt_deg=view.tilt_deg + move.tilt_deg,
        offset_mm=(view.offset_mm[0] + move.down_mm, view.offset_mm[1]),
        source_axis_mm=view.source_axis_mm / move.scale,
    )


@torch.inference_mode()
def refine(xrays: Sequence[XRay], bundle: Bundle, model: CLSDM, report: Report = silent) -> Refinement:
    """Move each view to where the volume explains the X-rays best.

    Args:
        xrays: of one patient; the first stays, and so does a CT localizer, whose pose is the CT's.
        bundle: the trained model.
        model: its networks, loaded.
        report: progress; may raise ``Cancelled``.

    Returns:
        The X-rays with moved views, and what was found. One X-ray alone tells nothing and stays.
    """
    explained = Explained(xrays, bundle, model)
    start = [Move() for _ in xrays]
    before = explained.residual(start)
    movable = [number for number, xray in enumerate(xrays) if number and xray.view.beam == "cone"]
    if not movable:
        return Refinement(tuple(xrays), tuple(start), before, before)
    best = _by_height(xrays, start, movable)
    best = best if _cost(explained.residual(best), best) < _cost(before, start) else start
    best = _search(explained.residual, best, movable, STEPS[:1], report)
    for number in movable:
        best = _most_symmetric(explained.asymmetry, best, number)
    best = _search(explained.residual, best, movable, STEPS[1:], report)
    best = _only_clear(explained.residual, best)
    after = explained.residual(best)
    found = tuple(replace(xray, view=moved(xray.view, move)) for xray, move in zip(xrays, best, strict=True))
    return Refinement(found, tuple(best), before, after)


class Explained:
    """The posterior mean of moved views: how well it explains them, and how symmetric it is."""

    def __init__(self, xrays: Sequence[XRay], bundle: Bundle, model: CLSDM) -> None:
        self._xrays, self._model, self._grid = xrays, model, bundle.manifest.model.grid

    def residual(self, moves: Sequence[Move]) -> float:
        """Root mean square over the views, as a fraction of contrast."""
        xrays, hu = self._mean(moves)
        found = reprojection(CTVolume.on_grid(hu.cpu().numpy(), self._grid), xrays, self._model.config.detector)
        return float(np.sqrt(np.mean([each.agreement.contrast_fraction**2 for each in found])))

    def asymmetry(self, moves: Sequence[Move]) -> float:
        """See ``quality.symmetry``."""
        return asymmetry(self._mean(moves)[1])

    def _mean(self, moves: Sequence[Move]) -> tuple[list[XRay], torch.Tensor]:
        xrays = [replace(xray, view=moved(xray.view, move)) for xray, move in zip(self._xrays, moves, strict=True)]
        detector, device = self._model.config.detector, next(self._model.parameters()).device
        images = torch.stack([preprocess(xray, detector)[0] for xray in xrays])[None].to(device)
        cameras = cameras_for([[xray.view for xray in xrays]], detector, device)
        return xrays, unit_to_hu(self._model.condition(images, cameras)[0])[0, 0]


def _cost(residual: float, moves: Sequence[Move]) -> float:
    return 4.0 * residual**2 + PRIOR_WEIGHT * sum(
        ((value - rest) / usual) ** 2
        for move in moves
        for value, rest, usual in zip(astuple(move), astuple(Move()), astuple(USUAL), strict=True)
    )


def _search(
    residual: Callable[[Sequence[Move]], float],
    start: list[Move],
    movable: Sequence[int],
    steps: Sequence[float],
    report: Report,
) -> list[Move]:
    """Coordinate search: one value of one view at a time, by smaller and smaller steps, while the cost falls."""
    best, cost = start, _cost(residual(start), start)
    each_step = list(itertools.product(steps, movable, BY_RESIDUAL))
    for done, (step, number, name) in enumerate(each_step, 1):
        best, cost = _better(residual, best, cost, number, name, step * getattr(USUAL, name))
        report("refine geometry", done, len(each_step))
    return best


def _most_symmetric(asymmetry: Callable[[Sequence[Move]], float], best: list[Move], number: int) -> list[Move]:
    """The angle of a view at which the volume is most symmetric: the vertex of a parabola, twice where that is far off."""
    for _ in range(2):
        at = best[number].angle_deg
        tried = [_with(best, number, "angle_deg", at + turn) for turn in TRIED_DEG]
        prior = [ANGLE_WEIGHT * ((at + turn) / USUAL.angle_deg) ** 2 for turn in TRIED_DEG]
        costs = [asymmetry(moves) + weight for moves, weight in zip(tried, prior, strict=True)]
        curved, slope, _ = np.polyfit(TRIED_DEG, costs, 2)
        turn = float(np.clip(-slope / (2.0 * curved), -6.0, 6.0)) if curved > 0.0 else 0.0
        if abs(at + turn) < LEAST_DEG:
            return _with(best, number, "angle_deg", 0.0)
        best = _with(best, number, "angle_deg", at + turn)
        if abs(turn) < FAR_DEG:
            break
    return best


def _only_clear(residual: Callable[[Sequence[Move]], float], best: list[Move]) -> list[Move]:
    """Without the moves that do not clearly lower the cost."""
    cost = _cost(residual(best), best)
    for number, name in itertools.product(range(len(best)), BY_RESIDUAL):
        rest = _with(best, number, name, getattr(Move(), name))
        if rest != best and (without := _cost(residual(rest), rest)) < (1.0 + CLEARLY) * cost:
            best, cost = rest, without
    return best


def _with(moves: Sequence[Move], number: int, name: str, value: float) -> list[Move]:
    """The moves with one value of one of them changed."""
    return [replace(move, **{name: value}) if at == number else move for at, move in enumerate(moves)]


def _better(
    residual: Callable[[Sequence[Move]], float], best: list[Move], cost: float, number: int, name: str, step: float
) -> tuple[list[Move], float]:
    """The better of the moves with one value a step up or down; on in that direction while it goes on falling."""
    for direction in (step, -step):
        improved = False
        for _ in range(4):
            tried = _with(best, number, name, getattr(best[number], name) + direction)
            try:
                tried_cost = _cost(residual(tried), tried)
            except InputError:  # beyond what a view can be
                break
            if tried_cost >= cost:
                break
            best, cost, improved = tried, tried_cost, True
        if improved:
            break
    return best, cost


def _by_height(xrays: Sequence[XRay], start: list[Move], movable: Sequence[int]) -> list[Move]:
    """Heights at which the profiles of the row sums agree with those of the first view."""
    first = _profile(xrays[0], Move())
    moves = list(start)
    for number in movable:
        xray = xrays[number]
        tried = [Move(down_mm=float(down)) for down in np.arange(-48.0, 49.0, 4.0)]
        moves[number] = max(tried, key=lambda move, film=xray: _alike(first, _profile(film, move)))  # type: ignore[misc]
    return moves


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < PROFILE_HEIGHTS // 4 or min(one[both].std(), other[both].std()) < 1e-6:
        return -1.0
    return float(np.corrcoef(one[both], other[both])[0, 1])


def _profile(xray: XRay, move: Move) -> np.ndarray:
    """(96,) means along the rows of an X-ray, at heights 300 mm up and down in the patient; NaN off the image."""
    view = moved(xray.view, move)
    valid = np.ones(xray.image.shape, dtype=bool) if xray.valid is None else xray.valid
    counts = valid.sum(1)
    means = np.where(
        counts > 0.5 * valid.shape[1], np.where(valid, xray.image, 0.0).sum(1) / np.maximum(counts, 1), np.nan
    )
    rows_mm = (np.arange(view.rows) - (view.rows - 1) / 2) * view.pixel_mm[0] + view.offset_mm[0]
    return np.interp(np.linspace(-300.0, 300.0, PROFILE_HEIGHTS), rows_mm / view.magnification, means, np.nan, np.nan)
