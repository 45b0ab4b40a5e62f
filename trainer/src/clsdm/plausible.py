"""The one table of plausible values: what physics and machines allow, for tags, options, requests, headers and bundles.

A number outside its range is a mistake, most often of the unit: a source at 180 (cm) or 1.8 (m), a spacing of 0.0002 (m).
Sizes that are refused to save memory stand in ``limits``.
"""

import math
from dataclasses import dataclass

from clsdm.errors import InputError


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both allowed; ``unit`` is "mm", "degrees", "HU" or "" for a ratio."""

    low: float
    high: float
    unit: str

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (f" {self.unit}" if self.unit else "")


PLAUSIBLE: dict[str, Range] = {
    "pixel_mm": Range(0.01, 12.0, "mm"),
    "panel_mm": Range(50.0, 2000.0, "mm"),
    "source_axis_mm": Range(200.0, 6000.0, "mm"),
    "source_detector_mm": Range(300.0, 6500.0, "mm"),
    "axis_detector_mm": Range(50.0, 3000.0, "mm"),
    "magnification": Range(1.0, 4.0, ""),
    "angle_deg": Range(-720.0, 720.0, "degrees"),
    "tilt_deg": Range(-40.0, 40.0, "degrees"),
    "offset_mm": Range(-1500.0, 1500.0, "mm"),
    "isocentre_mm": Range(-5000.0, 5000.0, "mm"),
    "voxel_mm": Range(0.05, 25.0, "mm"),
    "scan_mm": Range(20.0, 3000.0, "mm"),
    "position_mm": Range(-20000.0, 20000.0, "mm"),
    "cube_mm": Range(20.0, 2000.0, "mm"),
    "hu": Range(-32768.0, 65535.0, "HU"),
}
"""By the name of the field. ``pixel_mm``: on the detector, from dental X-rays to coarse simulations; ``panel_mm``: edge of
the whole image there; ``axis_detector_mm``: the patient's middle to the detector; ``voxel_mm``, ``scan_mm``: edge of a
CT's voxel and of a scan, ``position_mm``: of a scan in the patient's coordinates; ``cube_mm``: edge of a model's cube."""


def check_plausible(field: str, value: float, where: object, name: str = "") -> None:
    """Refuse a value outside its range.

    Args:
        field: of :data:`PLAUSIBLE`.
        value: what was found.
        where: file or option, begins the message.
        name: what the value is called there, for example the DICOM tag; the field's own name if empty.

    Raises:
        InputError: names the tag or field, the value, the range and its unit.
    """
    allowed = PLAUSIBLE[field]
    if value in allowed:
        return
    unit = f" {allowed.unit}" if allowed.unit else ""
    question = "; in mm?" if allowed.unit == "mm" else ""
    raise InputError(f"{where}: {name or field} is {value:g}{unit}; expected {allowed}{question}")
