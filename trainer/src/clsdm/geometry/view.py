"""One X-ray exposure and the machine it came from, in numbers a radiographer would use; no tensors, no torch.

``geometry`` documents the coordinates and makes tensors of views. This half is apart so that a program can read an X-ray
and show its geometry before torch is loaded, or even installed.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from clsdm.errors import InputError

MAX_VIEWS = 8

Beam = Literal["cone", "fan"]
"""``cone``: all rays start at one point. ``fan``: a slot beam that travels along the patient's long axis with the rows of
the image, as in CT localizers (scouts, topograms) and EOS images: rays fan out across and are parallel along z, so that
rows are not magnified."""
BEAMS: tuple[Beam, ...] = ("cone", "fan")


_NAMES = {0.0: "PA", 180.0: "AP", 90.0: "left lateral", -90.0: "right lateral"}
NEARLY_DEG = 5.0


def view_name(angle_deg: float) -> str:
    """A radiographer's name of a view: PA, AP, left or right lateral where it is nearly that, else its angle."""
    for named, name in _NAMES.items():
        if abs(math.remainder(angle_deg - named, 360.0)) < NEARLY_DEG:
            return name
    return f"{angle_deg:g} degrees"


@dataclass(frozen=True)
class View:
    """One X-ray exposure.

    Attributes:
        angle_deg: rotation of source and detector around +z (towards superior); 0 is PA, 90 a left lateral.
        source_axis_mm: distance from the source to the isocentre.
        source_detector_mm: distance from the source to the detector plane.
        rows: image height in pixels.
        cols: image width in pixels.
        pixel_mm: (row spacing, column spacing) on the detector plane.
        tilt_deg: rotation of the source towards superior (cranial angulation); 0 with a fan beam.
        offset_mm: (down, right) shift of the image centre from the principal ray, on the detector plane.
        beam: how the rays run.
    """

    angle_deg: float
    source_axis_mm: float
    source_detector_mm: float
    rows: int
    cols: int
    pixel_mm: tuple[float, float]
    tilt_deg: float = 0.0
    offset_mm: tuple[float, float] = (0.0, 0.0)
    beam: Beam = "cone"

    def __post_init__(self) -> None:
        numbers = (self.angle_deg, self.source_axis_mm, self.source_detector_mm, self.tilt_deg)
        if not all(math.isfinite(value) for value in (*numbers, *self.pixel_mm, *self.offset_mm)):
            raise InputError(f"view geometry: every number must be finite, got {self}")
        if not 0.0 < self.source_axis_mm < self.source_detector_mm:
            raise InputError(
                "view geometry: expected 0 < source-axis < source-detector distance, got "
                f"{self.source_axis_mm:g} and {self.source_detector_mm:g} mm"
            )
        if min(self.pixel_mm) <= 0.0:
            raise InputError(f"view geometry: pixel spacing must be positive, got {self.pixel_mm} mm")
        if min(self.rows, self.cols) < 2:
            raise InputError(f"view geometry: image must have at least 2x2 pixels, got {self.rows}x{self.cols}")
        if abs(self.tilt_deg) > 40.0:
            raise InputError(f"view geometry: tilt must be within 40 degrees, got {self.tilt_deg:g}")
        if self.beam not in BEAMS:
            raise InputError(f"view geometry: expected a beam of {' or '.join(BEAMS)}, got {self.beam!r}")
        if self.beam == "fan" and self.tilt_deg != 0.0:
            raise InputError(f"view geometry: a fan beam has no tilt, got {self.tilt_deg:g} degrees")

    def to_plain(self) -> dict[str, Any]:
        """JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the isocentre, across the patient."""
        return self.source_detector_mm / self.source_axis_mm

    @property
    def magnifications(self) -> tuple[float, float]:
        """The same along (rows' direction, columns' direction): (down, right)."""
        return 1.0 if self.beam == "fan" else self.magnification, self.magnification


@dataclass(frozen=True)
class GeometryPreset:
    """Distances and square panel of a kind of machine; :meth:`view` makes an exposure of it."""

    name: str
    source_axis_mm: float
    source_detector_mm: float
    panel_mm: float
    pixels: int
    beam: Beam = "cone"

    def view(self, angle_deg: float, pixels: int | None = None) -> View:
        """An exposure at ``angle_deg``, optionally with another number of pixels on the same panel."""
        pixels = self.pixels if pixels is None else pixels
        across = self.panel_mm / pixels
        along = across * self.source_axis_mm / self.source_detector_mm if self.beam == "fan" else across
        return View(
            angle_deg, self.source_axis_mm, self.source_detector_mm, pixels, pixels, (along, across), beam=self.beam
        )


PRESETS: dict[str, GeometryPreset] = {
    preset.name: preset
    for preset in (
        GeometryPreset("x2ct", 541.0, 949.0, 500.0, 320),
        GeometryPreset("chest", 1600.0, 1800.0, 432.0, 432),
        GeometryPreset("c-arm", 700.0, 1100.0, 400.0, 400),
        GeometryPreset("linac-kv", 1000.0, 1536.0, 400.0, 400),
        GeometryPreset("localizer", 570.0, 1040.0, 934.0, 512, "fan"),
        GeometryPreset("eos", 987.0, 1300.0, 450.0, 512, "fan"),
    )
}
"""``x2ct``: the published protocol. ``chest``: 17 inch panel, patient's mid-plane 200 mm before it. ``localizer``: a CT
scanner's, square pixels of 1 mm at the isocentre. ``eos``: biplanar slot scanner, frontal tube."""


def preset(name: str) -> GeometryPreset:
    """The preset of that name.

    Raises:
        InputError: no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"geometry preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]


@dataclass(frozen=True)
class Detector:
    """The virtual detector on which every network sees every view: ``size``² pixels over ``field_mm`` at the isocentre.

    Resampling a view to it (``xray.preprocess``) makes the network independent of panel size and pixel pitch; what
    remains of the machine is the cone angle, which the geometry carries.
    """

    size: int
    field_mm: float

    def view(self, view: View) -> View:
        """``view`` with its panel replaced by this detector, centred on the principal ray."""
        down, right = (self.field_mm / self.size * magnification for magnification in view.magnifications)
        return replace(view, rows=self.size, cols=self.size, pixel_mm=(down, right), offset_mm=(0.0, 0.0))
