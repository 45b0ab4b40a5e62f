"""The geometry of a DICOM X-ray by its tags.

Angles: PositionerPrimaryAngle counts from RAO to LAO and so equals ``View.angle_deg``; PositionerSecondaryAngle is the
*detector's* cranial angle, so ``View.tilt_deg`` is its negative. ViewPosition gives PA 0, AP 180, LL 90, RL -90, and so
does ViewCodeSequence. PositionOfIsocenterProjection (row, column of the principal ray, from the first pixel's outer
corner) gives the offset.

DistanceSourceToPatient is the distance to the isocentre in XA; in DX it is the one to the table or bucky (PS3.3 C.8.11.5),
which says nothing of the patient's middle where it is next to the detector.
"""

import math
from typing import Any

from clsdm.errors import Remark
from clsdm.files.dicom_tags import Tags
from clsdm.xray.dicom_grey import FLUOROSCOPY
from clsdm.xray.orient import Known, Pair

VIEW_ANGLES_DEG = {"PA": 0.0, "AP": 180.0, "LL": 90.0, "RL": -90.0}
VIEW_CODES = {
    "399348003": "AP", "R-10206": "AP",
    "272479007": "PA", "R-40888": "PA", "R-10214": "PA",
    "399198007": "RL", "R-10232": "RL",
    "399173006": "LL", "R-10236": "LL",
}  # fmt: skip
"""Codes of CID 4010 (DX View), in SNOMED CT and in its older form, and the ViewPosition that says the same."""

NEAREST_MM = 100.0
"""From the detector to the middle of a patient; anything nearer is the bucky or the table."""

SPACING_TAGS = ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing")
AXIS_TAGS = ("DistanceSourceToIsocenter", "DistanceSourceToPatient")


def geometry(tags: Tags, shape: tuple[int, int], frame: int = 1) -> tuple[Known, tuple[str, ...]]:
    """The geometry by the tags, and what the user should know about it.

    Args:
        tags: of the file.
        shape: (rows, cols).
        frame: of a cine run, from 1.
    """
    facts: dict[str, Any] = {"tags": {}}
    notes = [*_spacing(tags, facts), *_distances(tags, facts), *_angles(tags, frame, facts)]
    facts["offset_mm"] = _offset(tags, shape, facts.get("pixel_mm"))
    isocentre = tags.numbers("IsocenterPosition")
    facts["isocentre_mm"] = (isocentre[0], isocentre[1], isocentre[2]) if len(isocentre) == 3 else None
    oblique = [tags.number(f"Detector{name}Angle") or 0.0 for name in ("Primary", "Secondary")]
    if max(map(abs, oblique)) > 1.0:
        notes.append(f"the beam meets the detector obliquely ({oblique[0]:g}, {oblique[1]:g} degrees); not modelled")
    return Known(**facts), tuple(notes)


def _spacing(tags: Tags, facts: dict[str, Any]) -> list[str]:
    """The first tag that holds a spacing; what those before it hold is said."""
    unusable: list[str] = []
    for keyword in SPACING_TAGS:
        if said := unusable_spacing(tags, keyword):
            unusable.append(said)
        elif found := tags.numbers(keyword):
            calibrated = keyword == "PixelSpacing" and tags.text("PixelSpacingCalibrationType")
            field = "pixel_at_patient_mm" if calibrated else "pixel_mm"
            facts[field] = (found[0], found[1])
            facts["tags"][field] = keyword
            break
    facts["unusable_spacing"] = ", ".join(unusable)
    notes = [f"{said}; not used" for said in unusable]
    if facts["tags"].get("pixel_mm") == "PixelSpacing":
        facts["spacing_doubt"] = Remark(
            f"only PixelSpacing given, {facts['pixel_mm'][0]:g} mm, without a calibration: taken as it is, on the detector; "
            "calibrated in the patient, it lacks the magnification",
            "give --spacing with the magnification applied",
        )
    return notes


def unusable_spacing(tags: Tags, keyword: str) -> str:
    """The content of a tag in place of two numbers above 0; "" where it holds these, or nothing."""
    found = tags.numbers(keyword)
    if not found or (len(found) == 2 and min(found) > 0.0):
        return ""
    return f"{keyword} is {' x '.join(f'{value:g}' for value in found)} mm"


def _distances(tags: Tags, facts: dict[str, Any]) -> list[str]:
    """Source-detector and source-axis distance; zero means unknown, and what is below is judged as any other number."""
    detector = tags.number("DistanceSourceToDetector") or 0.0
    if detector:
        facts["source_detector_mm"] = detector
        facts["tags"]["source_detector_mm"] = "DistanceSourceToDetector"
    ratio = tags.number("EstimatedRadiographicMagnificationFactor") or 0.0
    if ratio not in (0.0, 1.0):
        facts["magnification"] = ratio
        facts["tags"]["source_axis_mm"] = "EstimatedRadiographicMagnificationFactor"
    keyword, axis = next(((name, at) for name in AXIS_TAGS if (at := tags.number(name) or 0.0)), ("", 0.0))
    if not keyword:
        return []
    if detector > 0.0 and axis >= detector:
        return [f"{keyword} {axis:g} mm is not below DistanceSourceToDetector {detector:g} mm; not used"]
    if detector > 0.0 and ratio > 1.0 and axis > 0.0 and abs(axis * ratio / detector - 1.0) > 0.01:
        return [f"{keyword} {axis:g} mm contradicts the magnification {ratio:g}; the latter was used"]
    if detector > 400.0 and ratio <= 1.0 and detector - axis < NEAREST_MM and keyword == "DistanceSourceToPatient":
        return [
            f"{keyword} {axis:g} mm ends {detector - axis:g} mm before the detector, at the bucky and not in the "
            "patient's middle; not used"
        ]
    facts["source_axis_mm"] = axis
    facts["tags"]["source_axis_mm"] = keyword
    return []


def _angles(tags: Tags, frame: int, facts: dict[str, Any]) -> list[str]:
    position, notes = _view_position(tags)
    named = VIEW_ANGLES_DEG.get(position)
    primary, secondary = (_positioner(tags, name, frame) for name in ("Primary", "Secondary"))
    c_arm = tags.text("Modality") in FLUOROSCOPY or tags.text("PositionerType") == "CARM"
    facts["angle_deg"] = named
    if primary is not None and (c_arm or named is None):
        if named is None or math.cos(math.radians(primary - named)) > 0.7:
            facts["angle_deg"] = primary
            facts["tilt_deg"] = 0.0 - (secondary or 0.0)
            return notes
        return [*notes, f"PositionerPrimaryAngle {primary:g} contradicts the view {position}; the latter was used"]
    if position and named is None:
        notes.append(f"ViewPosition {position} has no angle of its own")
    return notes


def _view_position(tags: Tags) -> tuple[str, list[str]]:
    """PA, AP, LL, RL or what else the file says; the tag goes before the code, which has to agree."""
    position = tags.text("ViewPosition")
    codes = [VIEW_CODES.get(item.text("CodeValue")) or _by_meaning(item) for item in tags.items("ViewCodeSequence")]
    coded = next((code for code in codes if code), "")
    if not position or position not in VIEW_ANGLES_DEG:
        return coded or position, []
    if coded and coded != position:
        return position, [f"ViewCodeSequence says {coded}, but ViewPosition {position}; the latter was used"]
    return position, []


def _by_meaning(item: Tags) -> str:
    words = item.text("CodeMeaning").replace("-", " ").split()
    if "LATERAL" in words:
        return "LL" if "LEFT" in words else "RL" if "RIGHT" in words else ""
    return {"POSTEROANTERIOR": "PA", "ANTEROPOSTERIOR": "AP"}.get("".join(words), "")


def _positioner(tags: Tags, name: str, frame: int) -> float | None:
    """An angle of the positioner, at one frame of a run in which it moves."""
    start = tags.number(f"Positioner{name}Angle")
    moved = tags.numbers(f"Positioner{name}AngleIncrement")
    return start if start is None or frame > len(moved) else start + moved[frame - 1]


def _offset(tags: Tags, shape: tuple[int, int], pixel_mm: Pair | None) -> Pair | None:
    """(down, right) mm from the principal ray to the image centre, where the file says where that ray hits."""
    at = tags.numbers("PositionOfIsocenterProjection")
    if len(at) != 2 or pixel_mm is None or "FieldOfViewOrigin" in tags:
        return None
    return (shape[0] / 2 - at[0]) * pixel_mm[0], (shape[1] / 2 - at[1]) * pixel_mm[1]
