"""How X-rays hang that were handed in otherwise: upside down, mirrored, inverted, or frontal and lateral exchanged.

Two things tell. One is how well the model's volume explains the X-rays when they are changed: the residual of an upside down or
inverted X-ray is at least half larger, that of most mirrored laterals too. The other is which way the X-rays lean, as they are or
changed, among those of the patients that the model was checked on (``quality.usual.leaning``): where the spine is, where the
shoulders are. One number is made of both, and a change must be worth more than :data:`CHANGE` of it. Changes are taken one at a
time, the best first: so the fewest that explain the X-rays are named.

A frontal X-ray and its mirror image, which is AP taken for PA, are explained equally well and lean hardly: between those nothing
here can decide, and nothing is said. ``benchmarks/hanging.py`` counts what is found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from clsdm.errors import Remark
from clsdm.geometry.move import Move
from clsdm.geometry.view import view_name
from clsdm.model.bundle import Bundle
from clsdm.model.clsdm import CLSDM
from clsdm.progress import Report, silent
from clsdm.quality.agreement import Agreement
from clsdm.quality.usual import FIELDS, Usual, alikeness, kind_of, leaning, of_xray
from clsdm.refine import Explained
from clsdm.xray.image import XRay
from clsdm.xray.pair import same_side

CHANGE = 0.2
"""Least worth of a change, in logarithms of the residual. What a file or the user says is only doubted where the X-rays look
otherwise."""
MOST_CHANGES = 3
UNLIKELY = -0.4
"""A leaning against which a change is not tried; the right one's was never below -0.3."""


@dataclass(frozen=True)
class Hang:
    """How an X-ray hangs, from how it was handed in.

    Attributes:
        turned: by 180 degrees.
        mirrored: left and right exchanged, after that.
        inverted: bone is dark where it was taken to be bright, or the other way round.
    """

    turned: bool = False
    mirrored: bool = False
    inverted: bool = False

    def words(self, role: str) -> Remark:
        """With the options that right it as the way out; empty where it hangs as it was handed in."""
        ways = (
            (self.turned, Remark("upside down", f"--turn {role}")),
            (self.mirrored, Remark("mirrored", f"--flip {role}")),
            (self.inverted, Remark("inverted", "--invert or --no-invert")),
        )
        said = [words for so, words in ways if so]
        return Remark(" and ".join(said), " and ".join(words.way_out for words in said))

    def and_then(self, other: Hang) -> Hang:
        """Both changes."""
        return Hang(*(one != two for one, two in zip(asdict(self).values(), asdict(other).values(), strict=True)))


TURNED, MIRRORED, FLIPPED, INVERTED = Hang(True), Hang(mirrored=True), Hang(True, True), Hang(inverted=True)


@dataclass(frozen=True)
class Hanging:
    """How a set of X-rays hangs.

    Attributes:
        hangs: of each X-ray.
        swapped: whether the first frontal and the first lateral one are each other.
        residual_before: as handed in, root mean square over the views as a fraction of their contrast.
        residual_after: likewise, once righted.
    """

    hangs: tuple[Hang, ...]
    swapped: bool = False
    residual_before: float = 0.0
    residual_after: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)

    def and_then(self, other: Hanging) -> Hanging:
        """Both changes, without residuals."""
        hangs = tuple(one.and_then(two) for one, two in zip(self.hangs, other.hangs, strict=True))
        return Hanging(hangs, self.swapped != other.swapped)

    def notes(self, xrays: Sequence[XRay]) -> tuple[str, ...]:
        """A line for each change; it names no file, since it goes into records."""
        before, after = f"{self.residual_before:.1%}", f"{self.residual_after:.1%}"
        went = f"a coarse estimate's residual would go from {before} to {after} of the contrast"
        if self.residual_after > self.residual_before:
            went = f"it looks so beside other patients' X-rays, although {went}"
        swapped = Remark(
            "the frontal and the lateral X-ray seem to be exchanged",
            "give --frontal the file of --lateral, and the other way round",
        )
        lines = [swapped] if self.swapped else []
        for xray, hang in zip(xrays, self.hangs, strict=True):
            if words := hang.words("frontal" if _frontal(xray) != self.swapped else "lateral"):
                line = f"the {view_name(xray.view.angle_deg)} X-ray seems to hang {words}"
                lines.append(Remark(line, f"right it with {words.way_out}"))
        return tuple(Remark(f"{line}; {went}", line.way_out) for line in lines)


def looked_for(
    xrays: Sequence[XRay],
    agreements: Sequence[Agreement],
    bundle: Bundle,
    model: CLSDM,
    usual: Usual | None,
    report: Report = silent,
) -> Hanging | None:
    """:func:`found`, where a volume explains its X-rays doubtfully or they lean the other way; None where all is well.

    Args:
        xrays: of one patient.
        agreements: of the volume with each of them.
        bundle: the trained model.
        model: its networks, loaded.
        usual: X-rays of the patients that it was checked on, if there are any.
        report: progress; may raise ``Cancelled``.
    """
    evidence = _Evidence(xrays, bundle, model, usual)
    lean = any(leans > 0.0 for _, leans in evidence.steps(Hanging((Hang(),) * len(xrays))))
    return _search(evidence, report) if lean or any(each.doubtful for each in agreements) else None


def found(
    xrays: Sequence[XRay], bundle: Bundle, model: CLSDM, usual: Usual | None = None, report: Report = silent
) -> Hanging | None:
    """The fewest changes by which the X-rays are explained clearly better, or None; arguments as of :func:`looked_for`."""
    return _search(_Evidence(xrays, bundle, model, usual), report)


class _Evidence:
    """The X-rays, and what speaks for a change of them."""

    def __init__(self, xrays: Sequence[XRay], bundle: Bundle, model: CLSDM, usual: Usual | None) -> None:
        self.xrays, self._bundle, self._model, self._usual = xrays, bundle, model, usual
        self._described = [of_xray(xray, bundle.manifest.model.detector)[0] for xray in xrays]
        self._residuals: dict[Hanging, float] = {}

    @torch.inference_mode()
    def residual(self, how: Hanging) -> float:
        """Of the X-rays righted so."""
        if how not in self._residuals:
            righted = rehung(self.xrays, how)
            self._residuals[how] = Explained(righted, self._bundle, self._model).residual([Move()] * len(righted))
        return self._residuals[how]

    def leaning(self, before: Hanging, after: Hanging) -> float:
        """How far the X-rays lean towards ``after`` from ``before``, -1 to 1; 0 where it cannot be told.

        Where one X-ray is unlike those of all patients, whichever way it hangs, they do not tell it.
        """
        kinds = [kind_of(xray.view.angle_deg) for xray in self.xrays]
        if self._usual is None or None in kinds or not all(self._usual.films.get(str(kind)) for kind in kinds):
            return 0.0
        own = np.stack(self._described)[None]
        patients = np.stack([np.array(self._usual.films[str(kind)]) for kind in kinds], axis=1)
        shown, righted = (self._swapped(_fields_hung(own, each), each) for each in (before, after))
        for number, kind in enumerate(kinds):
            likenesses = (alikeness(either[0, number], patients[:, number]) for either in (shown, righted))
            if max(likenesses) < self._usual.alike[str(kind)]:
                return 0.0
        undone = self._swapped(_fields_hung(self._swapped(patients, after), before.and_then(after)), before)
        return leaning(*(each.reshape(len(each), -1) for each in (shown, righted, patients, undone)))

    def _swapped(self, described: np.ndarray, how: Hanging) -> np.ndarray:
        """(patients, X-rays, 256) descriptions, that of the frontal X-ray for that of the lateral one, if so."""
        order = list(range(described.shape[1]))
        if how.swapped:
            one, other = _pair(self.xrays)
            order[one], order[other] = other, one
        return described[:, order]

    def steps(self, before: Hanging) -> Iterator[tuple[Hanging, float]]:
        """The single changes that are worth a try, and how far the X-rays lean towards each."""
        for step in _steps(self.xrays, swapped=before.swapped):
            leans = self.leaning(before, before.and_then(step))
            if leans > (0.0 if self.said(step) else UNLIKELY):
                yield step, leans

    def said(self, step: Hanging) -> bool:
        """Whether a file or the user says how it is what is to be changed."""
        return any(_said(xray, hang, step.swapped) for xray, hang in zip(self.xrays, step.hangs, strict=True))

    def gained(self, before: Hanging, after: Hanging) -> float:
        """Of the residual, in logarithms. One X-ray alone is explained whatever it is like."""
        return math.log(self.residual(before) / max(1e-6, self.residual(after))) if len(self.xrays) > 1 else 0.0


def _fields_hung(described: np.ndarray, how: Hanging) -> np.ndarray:
    """(patients, X-rays, 256) descriptions, as if each X-ray hung so."""
    hung = described.reshape(*described.shape[:2], FIELDS, FIELDS).copy()
    for number, hang in enumerate(how.hangs):
        fields = hung[:, number]
        fields = fields[:, ::-1, ::-1] if hang.turned else fields
        fields = fields[:, :, ::-1] if hang.mirrored else fields
        hung[:, number] = -fields if hang.inverted else fields
    return hung.reshape(described.shape)


def _said(xray: XRay, hang: Hang, swapped: bool) -> bool:
    """Whether file or user says how it is what is to be changed."""
    fields = (("orientation", hang.turned or hang.mirrored), ("invert", hang.inverted), ("angle_deg", swapped))
    return any(changed and xray.origins.get(field, "tag") != "default" for field, changed in fields)


def _search(evidence: _Evidence, report: Report) -> Hanging | None:
    best = as_it_is = Hanging((Hang(),) * len(evidence.xrays))
    for _ in range(MOST_CHANGES):
        worth: dict[Hanging, float] = {}
        steps = list(evidence.steps(best))
        for done, (step, leans) in enumerate(steps, 1):
            tried = best.and_then(step)
            worth[tried] = evidence.gained(best, tried) + leans - CHANGE
            report("try orientations", done, len(steps))
        better = max(worth, key=lambda how: worth[how], default=best)
        if worth.get(better, 0.0) <= 0.0 or better == as_it_is:
            break
        best = better
    if best == as_it_is:
        return None
    before, after = (evidence.residual(how) for how in (as_it_is, best))
    return replace(best, residual_before=before, residual_after=after)


def _steps(xrays: Sequence[XRay], *, swapped: bool = False) -> Iterator[Hanging]:
    """Single changes, after an exchange or without: of one X-ray, or the same of all, which come from one machine and hand.

    A frontal X-ray's mirror image is not among them, see above; a CT localizer hangs as it says.
    """
    as_it_is = (Hang(),) * len(xrays)
    turnable = [number for number, xray in enumerate(xrays) if xray.view.beam != "fan"]
    frontal = {number: _frontal(xrays[number]) for number in turnable}
    frontal |= {number: not frontal[number] for number in (_pair(xrays) if swapped else ())}
    for number in turnable:
        for hang in (TURNED, INVERTED) if frontal[number] else (TURNED, INVERTED, MIRRORED, FLIPPED):
            yield Hanging((*as_it_is[:number], hang, *as_it_is[number + 1 :]))
    for of_frontal, of_lateral in (
        ((TURNED, TURNED), (TURNED, FLIPPED), (INVERTED, INVERTED)) if len(turnable) > 1 else ()
    ):
        hangs = [of_frontal if frontal.get(number) else of_lateral for number in range(len(xrays))]
        yield Hanging(tuple(hang if number in frontal else Hang() for number, hang in enumerate(hangs)))
    if _pair(xrays):
        yield Hanging(as_it_is, swapped=True)


def _pair(xrays: Sequence[XRay]) -> tuple[int, ...]:
    """The first frontal and the first lateral X-ray, where there are both."""
    sides = [(number, _frontal(xray)) for number, xray in enumerate(xrays) if xray.view.beam != "fan"]
    firsts = [next((number for number, frontal in sides if frontal == wanted), None) for wanted in (True, False)]
    return tuple(number for number in firsts if number is not None) if None not in firsts else ()


def _frontal(xray: XRay) -> bool:
    return same_side(xray.view.angle_deg, 0.0)


def rehung(xrays: Sequence[XRay], how: Hanging) -> list[XRay]:
    """The X-rays as they would be if they hung so."""
    angles = [xray.view.angle_deg for xray in xrays]
    if how.swapped:
        one, other = _pair(xrays)
        angles[one], angles[other] = angles[other], angles[one]
    return [_hung(xray, hang, angle) for xray, hang, angle in zip(xrays, how.hangs, angles, strict=True)]


def _hung(xray: XRay, hang: Hang, angle_deg: float) -> XRay:
    image, valid, offset = xray.image, xray.valid, list(xray.view.offset_mm)
    for axis in (*((0, 1) if hang.turned else ()), *((1,) if hang.mirrored else ())):
        offset[axis] = -offset[axis]
        image = np.flip(image, axis)
        valid = None if valid is None else np.flip(valid, axis)
    image = np.ascontiguousarray(-image if hang.inverted else image)
    valid = None if valid is None else np.ascontiguousarray(valid)
    view = replace(xray.view, angle_deg=angle_deg, offset_mm=(offset[0], offset[1]))
    return replace(xray, image=image, valid=valid, view=view)
