"""Which X-rays go together: of one patient, from directions far enough apart to see depth; and the best pair of many.

Angles are those of ``geometry.view.View``. A view from behind sees what one from the front does: what counts is the angle
between two lines of sight, 0 to 90 degrees. No torch.
"""

from __future__ import annotations

import filecmp
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clsdm.errors import InputError
from clsdm.geometry.view import view_name

if TYPE_CHECKING:
    from clsdm.xray.image import XRay
    from clsdm.xray.read import XRayHeader

ENOUGH_DEG = 60.0
"""Between the two views that are furthest apart; with less, depth is hardly seen."""
Exposure = tuple[Path | str, int | None]
"""An image's file, or what else nothing but this image is called, and its frame."""
MIRRORED = 0.005
"""Of an image's range: mean difference from its mirror image that rounding and half a pixel make."""


def degrees_apart(one_deg: float, other_deg: float) -> float:
    """Between two lines of sight, 0 to 90."""
    apart = (one_deg - other_deg) % 180.0
    return min(apart, 180.0 - apart)


def same_side(one_deg: float, other_deg: float) -> bool:
    """Whether two views are of one kind: both frontal, or both lateral."""
    return degrees_apart(one_deg, other_deg) <= 45.0


def depth_warning(angles_deg: Sequence[float]) -> str:
    """A warning where the angles of two views or more say little about depth, else ""."""
    between = [degrees_apart(*pair) for pair in itertools.combinations(angles_deg, 2)]
    if not between or max(between) >= ENOUGH_DEG:
        return ""
    return f"the views are at most {max(between):.0f} degrees apart; about 90 are needed to see depth"


def two_patients(patient_keys: Sequence[str | None]) -> tuple[int, int] | None:
    """The indices of the first two X-rays whose patients differ, or None; an unknown patient (None) differs from nobody."""
    known = [(number, key) for number, key in enumerate(patient_keys) if key is not None]
    return next(((known[0][0], number) for number, key in known if key != known[0][1]), None)


def refuse_two_patients(xrays: Sequence[XRay]) -> None:
    """Refuse X-rays of two patients.

    Raises:
        InputError: two patient keys differ.
    """
    two = two_patients([xray.patient_key for xray in xrays])
    if two is not None:
        first, second = (xrays[number].source for number in two)
        raise InputError(f"{first} and {second}: two patients (the PatientIDs differ), expected one")


def one_twice(exposures: Sequence[Exposure]) -> tuple[int, int] | None:
    """The indices of the first two that are one image, by two names or copied; None where there are none.

    Files of one size are read as far as they are alike, and remembered; those of two exposures soon differ.
    """
    two = itertools.combinations(range(len(exposures)), 2)
    return next(((one, other) for one, other in two if _is_same(exposures[one], exposures[other])), None)


def _is_same(one: Exposure, other: Exposure) -> bool:
    if (one[1] or 1) != (other[1] or 1):
        return False
    if not (isinstance(one[0], Path) and isinstance(other[0], Path)):
        return one[0] == other[0]
    try:
        return one[0].samefile(other[0]) or filecmp.cmp(one[0], other[0], shallow=False)
    except (OSError, ValueError):  # which their reader says
        return False


def check_together(xrays: Sequence[XRay]) -> tuple[str, ...]:
    """Refuse X-rays of two patients or isocentres, or one twice, and say where their angles tell little about depth.

    A phantom that is round about the long axis looks the same from every side, and each of its images is its own mirror image;
    no patient's is. Of such, the same image twice is only remarked on.

    Returns:
        Warnings; empty where all is well.

    Raises:
        InputError: two patient keys or isocentres differ, or two views are one image.
    """
    refuse_two_patients(xrays)
    known = [(xray.source, xray.isocentre_mm) for xray in xrays if xray.isocentre_mm is not None]
    for source, isocentre_mm in known[1:]:
        if not np.allclose(isocentre_mm, known[0][1], atol=1.0):
            raise InputError(
                f"{known[0][0]} and {source}: their isocentres differ ({known[0][1]} and {isocentre_mm} mm LPS); "
                "expected exposures around one isocentre"
            )
    warnings = [depth_warning([xray.view.angle_deg for xray in xrays])]
    for one, other in itertools.combinations(xrays, 2):
        if _one_image(one, other):
            names = dict.fromkeys(f"as {view_name(each.view.angle_deg)}" for each in (one, other))
            what = (
                f"{one.source} and {other.source}: the same image, {' and '.join(names) if len(names) > 1 else 'twice'}"
            )
            if not _own_mirror_image(one.image):
                raise InputError(f"{what}; expected two, or leave one out")
            warnings.append(f"{what}; only of a round phantom are they")
    return tuple(filter(None, warnings))


def _one_image(one: XRay, other: XRay) -> bool:
    """Pixel by pixel, mirrored or not."""
    if one.image.shape != other.image.shape or np.ptp(one.image) == 0.0:
        return False
    return any(np.array_equal(one.image, image) for image in (other.image, other.image[:, ::-1]))


def _own_mirror_image(image: np.ndarray) -> bool:
    return bool(np.abs(image - image[:, ::-1]).mean() < MIRRORED * np.ptp(image))


def frontal_and_lateral(headers: Sequence[XRayHeader]) -> tuple[int | None, int | None]:
    """The indices of a frontal and a lateral X-ray: of one study and patient, their angles nearest to 90 degrees apart.

    Args:
        headers: those that do not say from where they were taken are passed over.

    Returns:
        Both, or the one of them that there is where no two fit; (None, None) where there is neither.
    """
    angles = {number: header.likely_angle_deg for number, header in enumerate(headers)}
    known = {number: angle for number, angle in angles.items() if angle is not None}
    frontal = [number for number, angle in known.items() if same_side(angle, 0.0)]
    lateral = [number for number in known if number not in frontal]
    owners = [(header.study_uid, header.patient_key) for header in headers]
    pairs = [(one, other) for one, other in itertools.product(frontal, lateral) if owners[one] == owners[other]]
    if pairs:
        return max(pairs, key=lambda pair: degrees_apart(known[pair[0]], known[pair[1]]))
    return (frontal[0], None) if frontal else (None, lateral[0] if lateral else None)


def pairs_by_study(headers: Sequence[XRayHeader]) -> dict[tuple[str, str | None], tuple[int | None, int | None]]:
    """The frontal and the lateral X-ray of each study, as :func:`frontal_and_lateral` finds them in it.

    Returns:
        Their indices by (StudyInstanceUID, patient key), in the order in which the studies appear.
    """
    owners = [(header.study_uid, header.patient_key) for header in headers]
    found = {}
    for owner in dict.fromkeys(owners):
        numbers = [number for number, each in enumerate(owners) if each == owner]
        frontal, lateral = frontal_and_lateral([headers[number] for number in numbers])
        found[owner] = (None if frontal is None else numbers[frontal], None if lateral is None else numbers[lateral])
    return found


def study_name(owner: tuple[str, str | None]) -> str:
    """A name for the results of a study that does not say whose they are; ``owner`` is a key of :func:`pairs_by_study`."""
    return f"study-{hashlib.sha256(repr(owner).encode()).hexdigest()[:12]}"
