"""How an X-ray was exposed: what its file states, completed by the user and by a preset, and checked.

Each value comes from the user, from the file, or from the preset, in that order, and ``origins`` says from which. Only
the pixel spacing has no default: a wrong one would scale the patient.
"""

import math
from dataclasses import dataclass, replace

from clsdm.errors import InputError
from clsdm.geometry import view as machines
from clsdm.geometry.view import Beam, GeometryPreset, view_name
from clsdm.plausible import check_plausible
from clsdm.xray.image import check_pixels
from clsdm.xray.orient import Pair, StoredXRay, angle_by_orientation
from clsdm.xray.pair import same_side

NEEDED_TAGS = {
    "DistanceSourceToDetector": "source_detector_mm",
    "DistanceSourceToPatient": "source_axis_mm",
    "DistanceSourceToIsocenter": "source_axis_mm",
    "ImagerPixelSpacing": "pixel_mm",
    "RTImageSID": "source_detector_mm",
    "RadiationMachineSAD": "source_axis_mm",
    "ImagePlanePixelSpacing": "pixel_mm",
}
"""Tags that must be readable, unless the user gives the value, and its field."""
_NAMES = {
    "pixel_mm": ("spacing", "spacing"),
    "source_axis_mm": ("source-axis", "source-axis distance"),
    "source_detector_mm": ("source-detector", "source-detector distance"),
}
"""Of the fields that a user gives: the option at the command line, and what everybody calls it."""


TRUNK_MM = (180.0, 700.0)
"""Least length of the longer side and greatest of the shorter one, of an X-ray of a child's or an adult's trunk."""


@dataclass(frozen=True)
class GeometryOverrides:
    """The values that the user knows better than the file.

    Attributes:
        pixel_mm: pixel spacing on the detector plane, one number or (row, column) of the stored image.
        source_axis_mm: source to isocentre.
        source_detector_mm: source to detector plane.
        invert: True where the image as shown has bone dark, False where bright; None: by the tags.
        flip_horizontal: mirror left and right, after everything the tags ask for.
        rotate_quarters: turn counter-clockwise by this many quarters, before ``flip_horizontal``.
        offset_mm: (down, right) of the final image's centre from the principal ray.
        window: (low, high) in the file's values, beyond which nothing is told apart (a marker, a burnt-in label).
        isocentre_mm: LPS position of the isocentre in the patient.
        tilt_deg: of the source towards superior.
        upright: whether the image is known to lie as ``geometry.View`` says, so that nothing about it is assumed.
        frame: which one of a cine run or of a TIFF with several pages, from 1.
    """

    pixel_mm: float | tuple[float, float] | None = None
    source_axis_mm: float | None = None
    source_detector_mm: float | None = None
    invert: bool | None = None
    flip_horizontal: bool = False
    rotate_quarters: int = 0
    offset_mm: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    isocentre_mm: tuple[float, float, float] | None = None
    tilt_deg: float | None = None
    upright: bool = False
    frame: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and not self.window[0] < self.window[1]:
            raise InputError(f"window: expected the lower value first, got {self.window[0]:g} and {self.window[1]:g}")


def described(
    stored: StoredXRay,
    angle_deg: float | None,
    default_angle_deg: float | None,
    overrides: GeometryOverrides,
    preset: str,
) -> tuple[StoredXRay, float | None, Pair, dict[str, str]]:
    """Complete what a file states with what the user knows and what the preset assumes, in that order.

    Args:
        stored: as its file has it.
        angle_deg: the user's.
        default_angle_deg: where neither user nor file says one.
        overrides: the user's.
        preset: name of a machine.

    Returns:
        The image with its spacing, its angle or None, (source-axis, source-detector) in mm, and from where each is known.

    Raises:
        InputError: a needed tag is unreadable, or a value implausible.
    """
    known, machine = stored.known, machine_of(stored, preset)
    stored = _without_unreadable(stored, overrides)
    by_tag = known.angle_deg if known.angle_deg is not None else _angle_of_orientation(stored, default_angle_deg)
    angle, angle_from = _first(("user", angle_deg), ("tag", by_tag), ("default", default_angle_deg))
    tilt, tilt_from = _first(("user", overrides.tilt_deg), ("tag", known.tilt_deg))
    stored = replace(stored, known=replace(known, tilt_deg=tilt))
    _, invert_from = _first(("user", overrides.invert), ("tag", known.invert))
    origins = {"angle_deg": angle_from, "tilt_deg": tilt_from, "invert": invert_from}
    stored = stored.warned(*_angle_notes(by_tag, angle_deg, default_angle_deg))
    stored, distances = _with_distances(stored, overrides, machine, origins)
    stored = _with_spacing(stored, overrides, distances, origins, stored.known.beam or machine.beam)
    _check_plausible(stored, distances, overrides, origins)
    stored = stored.warned(*_size_notes(stored, distances))
    return stored, angle, distances, origins


def machine_of(stored: StoredXRay, preset: str) -> GeometryPreset:
    """The preset, unless the file says that its rays run in another way: a localizer is one of a CT scanner."""
    machine = machines.preset(preset)
    other = stored.known.beam is not None and stored.known.beam != machine.beam
    return machines.preset("localizer") if other and stored.known.beam == "fan" else machine


def _angle_of_orientation(stored: StoredXRay, default_angle_deg: float | None) -> float | None:
    """PatientOrientation tells a frontal view from a lateral one, where it contradicts the default; else it says less."""
    angle = angle_by_orientation(stored)
    if angle is None or default_angle_deg is None:
        return None
    return None if same_side(angle, default_angle_deg) else angle


def _without_unreadable(stored: StoredXRay, overrides: GeometryOverrides) -> StoredXRay:
    """The image with a note of each unreadable tag.

    Raises:
        InputError: one is needed, since the user did not give the value.
    """
    for tag in stored.unreadable:
        field = NEEDED_TAGS.get(tag, "")
        if field and getattr(overrides, field) is None:
            raise InputError(f"{stored.source}: {tag} is not a number", f"correct it or give --{_NAMES[field][0]}")
    return stored.warned(*(f"{tag} is unreadable; not used" for tag in stored.unreadable))


def _size_notes(stored: StoredXRay, distances: Pair) -> tuple[str, ...]:
    """Whether a trunk fits on the image."""
    if stored.known.pixel_mm is None:
        return ()
    shrink = distances[0] / distances[1]
    height, width = (
        spacing * count * shrink for spacing, count in zip(stored.known.pixel_mm, stored.image.shape, strict=True)
    )
    if max(height, width) >= TRUNK_MM[0] and min(height, width) <= TRUNK_MM[1]:
        return ()
    return (
        f"the image covers {width:.0f} x {height:.0f} mm of the patient, which is no trunk's size; check the spacing",
    )


def _check_plausible(
    stored: StoredXRay, distances: Pair, overrides: GeometryOverrides, origins: dict[str, str]
) -> None:
    """Every number of the geometry against the one table, under the name it has in the file or in the call."""

    def check(field: str, value: float) -> None:
        name = (
            _NAMES.get(field, ("", field))[1] if origins.get(field) == "user" else stored.known.tags.get(field, field)
        )
        check_plausible(field, value, stored.source, name)

    check_pixels(math.prod(stored.image.shape), stored.source)
    check("source_detector_mm", distances[1])
    if (ratio := stored.known.magnification) is not None and origins["source_axis_mm"] == "tag":
        check_plausible("magnification", ratio, stored.source, "EstimatedRadiographicMagnificationFactor")
    check("source_axis_mm", distances[0])
    if distances[1] > distances[0]:
        check("axis_detector_mm", distances[1] - distances[0])
    for spacing, count in zip(stored.known.pixel_mm or (), stored.image.shape, strict=False):
        check("pixel_mm", spacing)
        edge = f"the image's edge ({count} pixels of {spacing:g} mm)"
        check_plausible("panel_mm", spacing * count, stored.source, edge)
    for value in (*(overrides.isocentre_mm or ()), *(stored.known.isocentre_mm or ())):
        check("isocentre_mm", value)
    for value in (*(overrides.offset_mm or ()), *(stored.known.offset_mm or ())):
        check("offset_mm", value)


def _first(*choices: tuple[str, float | None]) -> tuple[float | None, str]:
    """The first value that is known, and its origin."""
    return next(((value, origin) for origin, value in choices if value is not None), (None, "default"))


def _angle_notes(tag: float | None, user: float | None, default: float | None) -> tuple[str, ...]:
    """A warning where the file names quite another view than the caller; AP for PA is none."""
    asked = user if user is not None else default
    if tag is None or asked is None or same_side(tag, asked):
        return ()
    used = "as asked" if user is not None else "the file was followed"
    return (f"given as {view_name(asked)}, but the file says {view_name(tag)} ({used})",)


def _with_distances(
    stored: StoredXRay, overrides: GeometryOverrides, machine: GeometryPreset, origins: dict[str, str]
) -> tuple[StoredXRay, Pair]:
    """(source-axis, source-detector) in mm; a missing axis keeps the preset's distance from patient to detector."""
    known = stored.known
    found, origins["source_detector_mm"] = _first(
        ("user", overrides.source_detector_mm), ("tag", known.source_detector_mm)
    )
    detector = machine.source_detector_mm if found is None else found
    found, origins["source_axis_mm"] = _first(
        ("user", overrides.source_axis_mm),
        ("tag", known.source_axis_mm),
        ("tag", detector / known.magnification if known.magnification else None),
    )
    gap = machine.source_detector_mm - machine.source_axis_mm
    by_preset = (
        detector - gap if detector > 2.0 * gap else detector * machine.source_axis_mm / machine.source_detector_mm
    )
    axis = by_preset if found is None else found
    for field, to, value in (
        ("source_detector_mm", "detector", detector),
        ("source_axis_mm", "patient's middle", axis),
    ):
        if origins[field] == "default":
            stored = stored.warned(f"assumed: source to {to} {value:g} mm")
    return stored, (axis, detector)


def _with_spacing(
    stored: StoredXRay, overrides: GeometryOverrides, distances: Pair, origins: dict[str, str], beam: Beam
) -> StoredXRay:
    """The image with the user's spacing, or one that was calibrated at the patient brought to the detector plane.

    A fan does not magnify along the patient's long axis. What speaks against a stored spacing is said where it is taken.
    """
    if overrides.pixel_mm is None and stored.known.spacing_doubt:
        stored = stored.warned(stored.known.spacing_doubt)
    origins["pixel_mm"] = "tag" if overrides.pixel_mm is None else "user"
    pixel_mm, at_patient = stored.known.pixel_mm, stored.known.pixel_at_patient_mm
    if overrides.pixel_mm is not None:
        given = overrides.pixel_mm
        pixel_mm = (float(given[0]), float(given[1])) if isinstance(given, tuple) else (float(given), float(given))
    elif pixel_mm is None and at_patient is not None:
        magnification = distances[1] / distances[0]
        along = -1 if beam == "cone" else int(stored.orientation is not None and stored.orientation[0][0] in "HF")
        pixel_mm = (
            at_patient[0] * (1.0 if along == 0 else magnification),
            at_patient[1] * (1.0 if along == 1 else magnification),
        )
    return replace(stored, known=replace(stored.known, pixel_mm=pixel_mm))
