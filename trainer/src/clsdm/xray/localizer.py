"""CT localizers (scouts, topograms, surviews, scanograms): X-rays in the CT's own coordinates.

The tube stands still while the table moves: rays fan out across the patient and are parallel along z (``Beam`` "fan").
What vendors have in common, and what is used here:

- ImagePositionPatient and ImageOrientationPatient place the image in a plane through the isocentre; PixelSpacing is
  calibrated there.
- DistanceSourceToPatient is the distance to the isocentre, DistanceSourceToDetector that to the detector.
- The isocentre is DataCollectionCenterPatient; without it, the middle of the image's columns, in the image's plane.
- The side of the tube is TubeAngle, or GE's azimuth: 0 is above the table, counted clockwise as seen from the front of
  the gantry. Without either, the tube is taken to be above the table, or at 3 o'clock; the orientation of the image says
  only that it is frontal or lateral.
- PatientPosition turns that into an angle around the patient.
"""

import math
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from clsdm.errors import InputError, Remark
from clsdm.files.dicom_tags import Tags
from clsdm.geometry.directions import letters_of
from clsdm.geometry.view import PRESETS
from clsdm.xray.orient import Known

GE_ACQUISITION, GE_AZIMUTH = "GEMS_ACQU_01", 0x26
ABOVE_DEG, THREE_O_CLOCK_DEG = 0.0, 90.0
UPRIGHT_COSINE = 0.9
"""Of the image's long edge with the patient's long axis."""


def angle_of_tube(clock_deg: float, patient_position: str) -> float | None:
    """``View.angle_deg`` of a tube at ``clock_deg``; None where the patient lies on a side, or nobody says how.

    Seen from the front of the gantry, the tube is at (sin, cos) of its angle to the (right, up); at ``View.angle_deg`` a
    it is at (-sin a, cos a) of the patient's (left, posterior).
    """
    angles = {"HFS": clock_deg + 180.0, "HFP": clock_deg, "FFS": 180.0 - clock_deg, "FFP": -clock_deg}
    angle = angles.get(patient_position)
    return None if angle is None else math.remainder(angle, 360.0)


def localizer_geometry(tags: Tags, shape: tuple[int, int]) -> tuple[Known, tuple[str, str], tuple[str, ...]]:
    """A localizer as its tags state it.

    Args:
        tags: of the file.
        shape: (rows, cols).

    Returns:
        The geometry, the letters of the directions in which columns and rows increase, and notes.

    Raises:
        InputError: its place or spacing is missing, or it runs along neither edge of the patient's long axis.
    """
    position, turn, spacing = (
        np.array(tags.numbers(name)) for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    if (position.size, turn.size, spacing.size) != (3, 6, 2):
        raise InputError(
            f"{tags.path}: a CT localizer without ImagePositionPatient, ImageOrientationPatient or PixelSpacing; expected "
            "to know where it lies"
        )
    along_cols, along_rows = turn[:3] / np.linalg.norm(turn[:3]), turn[3:] / np.linalg.norm(turn[3:])
    upright = abs(along_rows[2]) > UPRIGHT_COSINE
    if not upright and abs(along_cols[2]) <= UPRIGHT_COSINE:
        raise InputError(f"{tags.path}: a CT localizer across the patient's long axis (orientation {turn.round(2)})")
    across = along_cols if upright else along_rows
    steps = np.array([along_cols * spacing[1] * (shape[1] - 1) / 2, along_rows * spacing[0] * (shape[0] - 1) / 2])
    middle = position + steps.sum(0)
    isocentre, offset, notes = _isocentre(tags, middle, across)
    angle, side = _angle(tags, frontal=abs(across[0]) > abs(across[1]))
    facts: dict[str, Any] = {
        "beam": "fan",
        "angle_deg": angle,
        "pixel_at_patient_mm": (float(spacing[0]), float(spacing[1])),
        "isocentre_mm": isocentre,
        "source_axis_mm": tags.number("DistanceSourceToPatient") or None,
        "source_detector_mm": tags.number("DistanceSourceToDetector") or None,
        "tags": {"pixel_at_patient_mm": "PixelSpacing", "source_axis_mm": "DistanceSourceToPatient",
                 "source_detector_mm": "DistanceSourceToDetector"},
    }  # fmt: skip
    machine = PRESETS["localizer"]
    magnification = (facts["source_detector_mm"] or machine.source_detector_mm) / (
        facts["source_axis_mm"] or machine.source_axis_mm
    )
    facts["offset_mm"] = (0.0, offset * magnification) if upright else (offset * magnification, 0.0)
    return Known(**facts), (letters_of(along_cols), letters_of(along_rows)), (*notes, *side)


def _isocentre(
    tags: Tags, middle: np.ndarray, across: np.ndarray
) -> tuple[tuple[float, float, float], float, tuple[str, ...]]:
    """(x, y, z) LPS of the isocentre at the height of the image's middle; how far the image's middle is from it, in mm
    along ``across``; notes."""
    stated = tags.numbers("DataCollectionCenterPatient")
    if len(stated) == 3:
        offset = float((middle - np.array(stated)) @ across)
        return (stated[0], stated[1], float(middle[2])), offset, ()
    x, y, z = (float(value) for value in middle)
    return (
        (x, y, z),
        0.0,
        ("no DataCollectionCenterPatient: the isocentre is taken in the middle of the image's columns",),
    )


def _angle(tags: Tags, *, frontal: bool) -> tuple[float, tuple[str, ...]]:
    """``View.angle_deg``, and what was assumed for it."""
    position = tags.text("PatientPosition")
    clock = tags.number("TubeAngle")
    clock = _azimuth(tags.dataset) if clock is None else clock
    if clock is not None:
        angle = angle_of_tube(clock, position)
        if angle is not None and (abs(math.cos(math.radians(angle))) > 0.7) == frontal:
            return angle, ()
    angle = angle_of_tube(ABOVE_DEG if frontal else THREE_O_CLOCK_DEG, position)
    angle = (180.0 if frontal else -90.0) if angle is None else angle
    where = "above the table" if frontal else "at 3 o'clock of the gantry"
    return angle, (
        Remark(f"the side of the tube is not stored: taken to be {where}", "give --view FILE:ANGLE otherwise"),
    )


def _azimuth(dataset: Dataset) -> float | None:
    """GE's private "degrees of azimuth"."""
    try:
        return float(dataset.private_block(0x0019, GE_ACQUISITION)[GE_AZIMUTH].value)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
