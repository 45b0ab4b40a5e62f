"""An X-ray as a request names it: a file, and what overrules it. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clsdm.errors import InputError
from clsdm.xray.image import XRay
from clsdm.xray.pair import one_twice
from clsdm.xray.read import GeometryOverrides, read_xray


@dataclass(frozen=True)
class ViewRequest:
    """One X-ray file.

    Attributes:
        file: its path.
        angle_deg: overrules the file (0 PA, 90 left lateral).
        default_angle_deg: used where the file names no angle.
        geometry: what overrules the file's geometry.
    """

    file: str
    angle_deg: float | None = None
    default_angle_deg: float | None = None
    geometry: GeometryOverrides = field(default_factory=GeometryOverrides)


def refuse_twice(views: Sequence[ViewRequest]) -> None:
    """Refuse a file, or a copy of it, that is named for two X-rays: one is a slip. Two frames of a cine run are two X-rays.

    Raises:
        InputError: names it.
    """
    twice = one_twice([(Path(view.file), view.geometry.frame) for view in views])
    if twice is not None:
        first, second = twice
        raise InputError(
            f"{views[second].file}: given twice, as exposures {first + 1} and {second + 1}; expected a file for each exposure"
        )


def read_view(view: ViewRequest, preset: str) -> XRay:
    """One X-ray of a request.

    Raises:
        InputError: it cannot be used.
    """
    return read_xray(view.file, view.angle_deg, view.geometry, preset, default_angle_deg=view.default_angle_deg)
