"""Geometry that nobody wrote down: where each view was really taken, found from the X-rays and the volume they give.

A lateral view is taken a minute after the frontal one, at another height, from a direction that is nearly but not quite 90
degrees away, and how far the patient stood from the detector stands nowhere. What is found is the move of each view from
what was stated or assumed (``geometry.move``):

1. height and scale: where both views have as much of the patient at each height (``xray.profiles``), unless the volume then
   explains the X-rays clearly worse;
2. angle: where the volume is symmetric (``quality.symmetry``) and explains the X-rays, both on one scale. Each alone is off by
   two degrees and more: for a small cone angle some volume explains any two views that agree height by height, and no patient
   is quite symmetric. An angle by which the X-rays are explained worse is not taken;
3. tilt, and height and scale where the profiles are of no use, by coordinate search over

       log residual² of the volume's projections against the X-rays  +  prior,

where the volume is the posterior mean for the moved views. The prior makes any move cost something: noise and the model's
own error would let the misfit fall a little anywhere.

Turning, shifting or magnifying all views together does so to the volume: the first view stays as it was stated. Nor does
any view say where the middle is along its own rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from clsdm.errors import InputError
from clsdm.geometry.move import USUAL, Move, moved, unlikely
from clsdm.model.bundle import Bundle
from clsdm.model.clsdm import CLSDM
from clsdm.progress import Report, silent
from clsdm.quality.reprojection import default_detector, reprojection
from clsdm.quality.symmetry import asymmetry
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import unit_to_hu
from clsdm.xray.image import XRay
from clsdm.xray.preprocess import prepare
from clsdm.xray.profiles import by_profile

BY_PROFILE, BY_RESIDUAL, STEPS = ("down_mm", "scale"), ("tilt_deg",), (0.5, 0.2)
"""The values that are searched, and by which parts of a usual mistake, in turn."""
CLEARLY = 1.01
"""By so much the residual may rise where profiles agree, for the model's own error."""
TRIED_DEG, LEAST_DEG, FAR_DEG, MOST_DEG = (-5.0, -2.0, 0.0, 2.0, 5.0), 0.5, 4.0, 6.0
"""Angles at which volumes are looked at; the least that is worth a word; where it is looked at again from there; and how far one
look goes."""
ANGLE_PRIOR = 0.002
"""Cost of an angle, squared in degrees, against logarithms; half of what symmetry and residual weigh in most patients."""

Misfit = Callable[[Sequence[Move]], float]


@dataclass(frozen=True)
class Refinement:
    """Result of a search.

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
        pairs = zip(self.xrays, self.moves, strict=True)
        lines = [f"{xray.source}: found {move}" for xray, move in pairs if move != Move()]
        if len(self.xrays) == 1:
            return ("geometry: one X-ray alone says nothing of how it was taken; nothing was looked for",)
        if not lines:
            return ("geometry: nothing better was found than what was stated",)
        before, after = f"{self.residual_before:.1%}", f"{self.residual_after:.1%}"
        return (*lines, f"geometry: a coarse estimate's residual went from {before} to {after} of the contrast")

    def to_plain(self) -> dict[str, Any]:
        """JSON types, for the record."""
        moves = [asdict(move) for move in self.moves]
        return {"moves": moves, "residual_before": self.residual_before, "residual_after": self.residual_after}


@torch.inference_mode()
def refine(xrays: Sequence[XRay], bundle: Bundle, model: CLSDM, report: Report = silent) -> Refinement:
    """Move each view to where it was taken.

    Args:
        xrays: of one patient; the first stays, and so does a CT localizer, whose pose is the CT's.
        bundle: the trained model.
        model: its networks, loaded.
        report: progress; may raise ``Cancelled``.

    Returns:
        The X-rays with moved views, and what was found. One X-ray alone tells nothing and stays.
    """
    explained = Explained(xrays, bundle, model)
    best = [Move() for _ in xrays]
    before = explained.residual(best)
    for number, xray in enumerate(xrays):
        if number and xray.view.beam == "cone":
            report("refine geometry", number, len(xrays))
            best = _found(explained, best, number, by_profile(xrays[0], xray))
    report("refine geometry", len(xrays), len(xrays))
    after = explained.residual(best)
    found = tuple(replace(xray, view=moved(xray.view, move)) for xray, move in zip(xrays, best, strict=True))
    return Refinement(found, tuple(best), before, after)


def _found(explained: Explained, moves: list[Move], number: int, seen: Move | None) -> list[Move]:
    """The moves with that of one view found; ``seen`` by profiles."""
    profiled = moves if seen is None else [seen if at == number else move for at, move in enumerate(moves)]
    best = _unless_worse(explained.residual, moves, profiled, CLEARLY)
    names = BY_RESIDUAL if seen is not None and best == profiled else (*BY_RESIDUAL, *BY_PROFILE)
    best = _unless_worse(explained.residual, best, _turned(explained.angle_cost, best, number), 1.0)
    return _search(explained.residual, best, number, names)


def _unless_worse(residual: Misfit, moves: list[Move], tried: list[Move], by: float) -> list[Move]:
    return moves if tried != moves and residual(tried) > by * residual(moves) else tried


class Explained:
    """The posterior mean of moved views: how well it explains them, and whether they stand at the right angle.

    Of a model that refines a coarse estimate it is the coarse one, which takes a fifth of the time.
    """

    def __init__(self, xrays: Sequence[XRay], bundle: Bundle, model: CLSDM) -> None:
        self._xrays, self._model, self._grid = xrays, model, bundle.manifest.model.grid

    def residual(self, moves: Sequence[Move]) -> float:
        """Root mean square over the views, as a fraction of contrast."""
        return self._residual(*self._mean(moves))

    def angle_cost(self, moves: Sequence[Move]) -> float:
        """Logarithm of the residual's square, and of the asymmetry (``quality.symmetry``)."""
        xrays, hu = self._mean(moves)
        return 2.0 * math.log(max(1e-6, self._residual(xrays, hu))) + asymmetry(hu)

    def _residual(self, xrays: list[XRay], hu: torch.Tensor) -> float:
        volume = CTVolume.on_grid(hu.cpu().numpy(), Grid(len(hu), self._grid.cube_mm / len(hu)))
        found = reprojection(volume, xrays, default_detector(self._grid))  # as the result will be judged
        return float(np.sqrt(np.mean([each.agreement.contrast_fraction**2 for each in found])))

    def _mean(self, moves: Sequence[Move]) -> tuple[list[XRay], torch.Tensor]:
        xrays = [replace(xray, view=moved(xray.view, move)) for xray, move in zip(self._xrays, moves, strict=True)]
        detector, device = self._model.config.detector, next(self._model.parameters()).device
        return xrays, unit_to_hu(self._model.condition.coarse(*prepare(xrays, detector, device)))[0, 0]


def _turned(angle_cost: Misfit, best: list[Move], number: int) -> list[Move]:
    """The moves with the angle of a view that costs least: the vertex of a parabola, twice where that is far off."""
    for _ in range(2):
        at = best[number].angle_deg
        tried = [_with(best, number, "angle_deg", at + turn) for turn in TRIED_DEG]
        costs = [angle_cost(moves) + ANGLE_PRIOR * moves[number].angle_deg ** 2 for moves in tried]
        curved, slope, _ = np.polyfit(TRIED_DEG, costs, 2)
        vertex = -slope / (2.0 * curved) if curved > 0.0 else TRIED_DEG[int(np.argmin(costs))]  # else far away
        turn = float(np.clip(vertex, -MOST_DEG, MOST_DEG))
        best = _with(best, number, "angle_deg", at + turn if abs(at + turn) >= LEAST_DEG else 0.0)
        if abs(turn) < FAR_DEG:
            break
    return best


def _search(residual: Misfit, best: list[Move], number: int, names: Sequence[str]) -> list[Move]:
    """Coordinate search: one value of a view at a time, by smaller and smaller steps, while the cost falls."""
    cost = _cost(residual, best)
    for step, name in itertools.product(STEPS, names):
        best, cost = _better(residual, best, cost, number, name, step * getattr(USUAL, name))
    return best


def _cost(residual: Misfit, moves: Sequence[Move]) -> float:
    return 2.0 * math.log(max(1e-6, residual(moves))) + sum(map(unlikely, moves))


def _better(
    residual: Misfit, best: list[Move], cost: float, number: int, name: str, step: float
) -> tuple[list[Move], float]:
    """The better of the moves with one value a step up or down; on in that direction while it goes on falling."""
    for direction in (step, -step):
        improved = False
        for _ in range(4):
            tried = _with(best, number, name, getattr(best[number], name) + direction)
            try:
                tried_cost = _cost(residual, tried)
            except InputError:  # beyond what a view can be
                break
            if tried_cost >= cost:
                break
            best, cost, improved = tried, tried_cost, True
        if improved:
            break
    return best, cost


def _with(moves: Sequence[Move], number: int, name: str, value: float) -> list[Move]:
    """The moves with one value of one of them changed."""
    return [replace(move, **{name: value}) if at == number else move for at, move in enumerate(moves)]
