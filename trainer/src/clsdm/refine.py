"""Geometry that nobody wrote down: each view's pose found from how well the volume explains the X-rays.

A lateral film is taken a minute after the frontal one, at another height, from a direction that is nearly but not quite 90
degrees away, and how far the patient stood from the detector stands nowhere. Two views that do not fit cannot both be
explained by one volume, so the residual tells. What is found is the move of each view from what was stated or assumed
(:class:`Move`), by coordinate search over

    residual² of the volume's projections against the X-rays  +  prior, (move / its usual size)² times a small weight,

where the volume is the posterior mean for the moved views. The search begins where the views agree on how much of the
patient lies at each height: rows of two views at the same height cross the same slice, so that the profiles of their row
sums have the same shape (epipolar consistency, for a small cone angle), whatever the exposure.

Not everything can be found. Turning, shifting or magnifying all views together does so to the volume: the first view stays
as it was stated. Nor does any view say where the middle is along its own rows. Height and scale are found well; the angle
between two views is weakly determined, because for a small cone angle any two views that agree height by height are
explained by some volume, and only the model's prior tells one from another.
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
        fell = f"the residual fell from {self.residual_before:.1%} to {self.residual_after:.1%} of the contrast"
        return (*(line for line, move in zip(lines, self.moves, strict=True) if move != Move()), f"geometry: {fell}")

    def to_plain(self) -> dict[str, Any]:
        """JSON types, for the record."""
        moves = [{field.name: getattr(move, field.name) for field in fields(Move)} for move in self.moves]
        return {"moves": moves, "residual_before": self.residual_before, "residual_after": self.residual_after}


def _in_words(move: Move) -> str:
    parts = []
    if move.angle_deg:
        parts.append(f"the angle {move.angle_deg:+.1f} degrees off")
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
    residual = _Residual(xrays, bundle, model)
    start = [Move() for _ in xrays]
    before = residual(start)
    movable = [number for number, xray in enumerate(xrays) if number and xray.view.beam == "cone"]
    if not movable:
        return Refinement(tuple(xrays), tuple(start), before, before)
    best = _by_height(xrays, start, movable)
    best = best if _cost(residual(best), best) < _cost(before, start) else start
    best = _search(residual, best, movable, report)
    after = residual(best)
    found = tuple(replace(xray, view=moved(xray.view, move)) for xray, move in zip(xrays, best, strict=True))
    return Refinement(found, tuple(best), before, after)


class _Residual:
    """Root mean square over the views of the residual of the posterior mean, as a fraction of contrast."""

    def __init__(self, xrays: Sequence[XRay], bundle: Bundle, model: CLSDM) -> None:
        self._xrays, self._model, self._grid = xrays, model, bundle.manifest.model.grid

    def __call__(self, moves: Sequence[Move]) -> float:
        xrays = [replace(xray, view=moved(xray.view, move)) for xray, move in zip(self._xrays, moves, strict=True)]
        detector, device = self._model.config.detector, next(self._model.parameters()).device
        images = torch.stack([preprocess(xray, detector)[0] for xray in xrays])[None].to(device)
        cameras = cameras_for([[xray.view for xray in xrays]], detector, device)
        hu = unit_to_hu(self._model.condition(images, cameras)[0])[0, 0].cpu().numpy()
        found = reprojection(CTVolume.on_grid(hu, self._grid), xrays, detector)
        return float(np.sqrt(np.mean([each.agreement.contrast_fraction**2 for each in found])))


def _cost(residual: float, moves: Sequence[Move]) -> float:
    return 4.0 * residual**2 + PRIOR_WEIGHT * sum(
        ((value - rest) / usual) ** 2
        for move in moves
        for value, rest, usual in zip(astuple(move), astuple(Move()), astuple(USUAL), strict=True)
    )


def _search(
    residual: Callable[[Sequence[Move]], float], start: list[Move], movable: Sequence[int], report: Report
) -> list[Move]:
    """Coordinate search: one value of one view at a time, by smaller and smaller steps, while the cost falls."""
    best, cost = start, _cost(residual(start), start)
    free = [(number, field.name) for number in movable for field in fields(Move)]
    for done, (step, (number, name)) in enumerate(itertools.product(STEPS, free), 1):
        best, cost = _better(residual, best, cost, number, name, step * getattr(USUAL, name))
        report("refine geometry", done, len(STEPS) * len(free))
    return best


def _better(
    residual: Callable[[Sequence[Move]], float], best: list[Move], cost: float, number: int, name: str, step: float
) -> tuple[list[Move], float]:
    """The better of the moves with one value a step up or down; on in that direction while it goes on falling."""
    for direction in (step, -step):
        improved = False
        for _ in range(4):
            tried = list(best)
            tried[number] = replace(best[number], **{name: getattr(best[number], name) + direction})
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
