"""An X-ray as a request names it: a file, and what overrules it. No torch."""

from dataclasses import dataclass, field

from clsdm.xray.image import XRay
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


def read_view(view: ViewRequest, preset: str) -> XRay:
    """One X-ray of a request.

    Raises:
        InputError: it cannot be used.
    """
    return read_xray(view.file, view.angle_deg, view.geometry, preset, default_angle_deg=view.default_angle_deg)
