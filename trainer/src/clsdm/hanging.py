"""How films hang that do not say so: a lateral that was mirrored, a film that stands upside down, found from the images.

Each way in which a film may hang is tried, and judged by how well the model's volume explains the X-rays then. A film that
is upside down does not fit another one at all; a mirrored lateral puts the breastbone where no patient of the model's has
it, and the residual doubles. A frontal film and its mirror image, which is AP taken for PA, are explained equally well:
between those nothing here can decide, and nothing is said.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from clsdm.geometry.move import Move
from clsdm.model.bundle import Bundle
from clsdm.model.clsdm import CLSDM
from clsdm.progress import Report, silent
from clsdm.refine import Explained
from clsdm.xray.image import XRay
from clsdm.xray.pair import same_side

CLEARLY = 0.75
"""Part of the residual as it hangs, below which another way counts as found. On simulated pairs of head, neck and chest the
right way has 0.3 to 0.6 of a mirrored lateral's residual."""


@dataclass(frozen=True)
class Hang:
    """One way for a film to hang, from how it is taken to hang.

    Attributes:
        turned: by 180 degrees.
        mirrored: left and right exchanged, after that.
    """

    turned: bool = False
    mirrored: bool = False

    def __str__(self) -> str:
        """In words, with the option that rights it; empty where it hangs as it is taken to."""
        ways = (("upside down", self.turned), ("mirrored (--flip)", self.mirrored))
        return " and ".join(words for words, so in ways if so)


@dataclass(frozen=True)
class Hanging:
    """The result of a search.

    Attributes:
        hangs: of each X-ray; all ``Hang()`` where nothing was clearly better.
        residual_before: root mean square over the views, as a fraction of their contrast.
        residual_after: likewise.
    """

    hangs: tuple[Hang, ...]
    residual_before: float
    residual_after: float

    def to_plain(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "hangs": [{"turned": hang.turned, "mirrored": hang.mirrored} for hang in self.hangs],
            "residual_before": self.residual_before,
            "residual_after": self.residual_after,
        }


@torch.inference_mode()
def found(xrays: Sequence[XRay], bundle: Bundle, model: CLSDM, report: Report = silent) -> Hanging:
    """Try the ways in which the films may hang, and take the one that the volume explains clearly best.

    Args:
        xrays: of one patient. One alone tells nothing.
        bundle: the trained model.
        model: its networks, loaded.
        report: progress; may raise ``Cancelled``.
    """
    return _best(xrays, [_ways_of(xray) for xray in xrays], bundle, model, report)


def notes(xrays: Sequence[XRay], bundle: Bundle, model: CLSDM) -> tuple[str, ...]:
    """A note for each film that seems to hang otherwise than was assumed; what a file or the user says is not doubted."""
    assumed = [xray.origins.get("orientation") == "default" for xray in xrays]
    if not any(assumed):
        return ()
    ways = [_ways_of(xray) if unsure else (Hang(),) for xray, unsure in zip(xrays, assumed, strict=True)]
    better = _best(xrays, ways, bundle, model, silent)
    fell = f"the residual would fall from {better.residual_before:.1%} to {better.residual_after:.1%} of the contrast"
    return tuple(
        f"{xray.source}: seems to hang {hang}; {fell}"
        for xray, hang in zip(xrays, better.hangs, strict=True)
        if str(hang)
    )


def _best(
    xrays: Sequence[XRay], ways: Sequence[Sequence[Hang]], bundle: Bundle, model: CLSDM, report: Report
) -> Hanging:
    tried = [()] if len(xrays) < 2 else list(itertools.product(*ways))
    as_it_is = (Hang(),) * len(xrays)
    residuals: dict[tuple[Hang, ...], float] = {}
    for done, hangs in enumerate(tried, 1):
        hung = [rehung(xray, hang) for xray, hang in zip(xrays, hangs or as_it_is, strict=True)]
        residuals[hangs or as_it_is] = Explained(hung, bundle, model).residual([Move()] * len(hung))
        report("try orientations", done, len(tried))
    best = min(residuals, key=lambda hangs: residuals[hangs])
    if residuals[best] > CLEARLY * residuals[as_it_is]:
        best = as_it_is
    return Hanging(best, residuals[as_it_is], residuals[best])


def _ways_of(xray: XRay) -> tuple[Hang, ...]:
    """Of a frontal film its mirror image is not among them, see above; a CT localizer hangs as it says."""
    if xray.view.beam == "fan":
        return (Hang(),)
    mirrored = (False,) if same_side(xray.view.angle_deg, 0.0) else (False, True)
    return tuple(Hang(turned, mirror) for turned in (False, True) for mirror in mirrored)


def rehung(xray: XRay, hang: Hang) -> XRay:
    """The X-ray as it would lie if its film hung so."""
    axes = (*((0, 1) if hang.turned else ()), *((1,) if hang.mirrored else ()))
    for axis in axes:
        offset = list(xray.view.offset_mm)
        offset[axis] = -offset[axis]
        valid = None if xray.valid is None else np.ascontiguousarray(np.flip(xray.valid, axis))
        image = np.ascontiguousarray(np.flip(xray.image, axis))
        xray = replace(xray, image=image, valid=valid, view=replace(xray.view, offset_mm=(offset[0], offset[1])))
    return xray
