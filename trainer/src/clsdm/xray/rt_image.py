"""Geometry of a DICOM RT Image: the kV imager of a treatment machine, in the coordinates of IEC 61217.

The gantry at 0 degrees holds the source before a supine patient (AP), at 90 at the patient's left. Rows and columns of
an RT Image are seen from the source. RTImageSID and ImagePlanePixelSpacing belong to the plane of the image.
"""

import math
from dataclasses import replace

import numpy as np

from clsdm.files.dicom_tags import Tags
from clsdm.geometry.directions import letters_of
from clsdm.xray.dicom_geometry import unusable_spacing
from clsdm.xray.orient import Known

RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"


def rt_geometry(
    tags: Tags, known: Known, orientation: tuple[str, str] | None, notes: tuple[str, ...]
) -> tuple[Known, tuple[str, str] | None, tuple[str, ...]]:
    """The statements of the RT Image module, beside those of ordinary tags.

    Args:
        tags: of the file.
        known: of the ordinary tags; stays where the module is silent.
        orientation: PatientOrientation, or None.
        notes: so far.

    Returns:
        The same three, completed.
    """
    spacing, named = tags.numbers("ImagePlanePixelSpacing"), dict(known.tags)
    if said := unusable_spacing(tags, "ImagePlanePixelSpacing"):
        known, notes = replace(known, unusable_spacing=said), (*notes, f"{said}; not used")
    elif spacing:
        known = replace(known, pixel_mm=(spacing[0], spacing[1]))
        named["pixel_mm"] = "ImagePlanePixelSpacing"
    for field, keyword in (("source_detector_mm", "RTImageSID"), ("source_axis_mm", "RadiationMachineSAD")):
        if value := tags.number(keyword):
            known = replace(known, **{field: value})  # type: ignore[arg-type]
            named[field] = keyword
    known = replace(known, tags=named)
    gantry, position = tags.number("GantryAngle"), tags.text("PatientPosition")
    if gantry is None:
        return known, orientation, notes
    if position not in ("", "HFS"):
        return (
            known,
            orientation,
            (*notes, f"PatientPosition is {position}, GantryAngle understood for HFS only; not used"),
        )
    angle = math.remainder(180.0 + gantry, 360.0)
    turn = math.radians(gantry)
    across = np.array([math.cos(turn), math.sin(turn), 0.0])  # columns, towards the patient's left at gantry 0
    letters = (letters_of(across), "F")
    moved = [abs(each) for each in tags.numbers("XRayImageReceptorTranslation")[:2]]
    if max(moved, default=0.0) > 1.0:
        notes = (*notes, f"the receptor is moved by {moved} mm; not modelled, give the offset")
    return replace(known, angle_deg=angle), orientation or letters, notes
