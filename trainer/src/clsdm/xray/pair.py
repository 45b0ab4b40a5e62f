"""Which X-rays go together: of one patient, from directions far enough apart to see depth; and the best pair of many.

Angles are those of ``geometry.view.View``. A view from behind sees what one from the front does: what counts is the angle
between two lines of sight, 0 to 90 degrees. No torch.
"""

from __future__ import annotations

import filecmp
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
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
ALIKE_DEG = 5.0
"""Between angles that are as good as each other, of two pairs of which the last exposed is taken."""
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
    """The indices of a frontal and a lateral X-ray: of one study and patient, and the best of those.

    The best are of the trunk or the head before an unknown part of the body, and that before any other; of one part; nearest to
    90 degrees apart; and the last exposed, since the last of repeats is the one that was kept.

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
    listings = [header.listing for header in headers]

    def of_two(pair: tuple[int, int]) -> tuple[int, bool, int, tuple[str, int], tuple[str, int]]:
        one, other = (listings[number] for number in pair)
        apart = round(degrees_apart(known[pair[0]], known[pair[1]]) / ALIKE_DEG)
        return min(one.rank, other.rank), one.body_part == other.body_part, apart, one.place, other.place

    if pairs:
        return max(pairs, key=of_two)
    single = max(frontal or lateral, key=lambda number: (listings[number].rank, listings[number].place), default=None)
    return (single, None) if frontal else (None, single)


def chosen_among(headers: Sequence[XRayHeader], pair: tuple[int | None, int | None]) -> list[str]:
    """Notes where an X-ray was chosen among several of its kind in its study, as :func:`frontal_and_lateral` does.

    Args:
        headers: as there.
        pair: what it returned.
    """
    notes = []
    for chosen, kind in zip(pair, ("frontal", "lateral"), strict=True):
        others = [] if chosen is None else _others(headers, chosen)
        if chosen is None or not others:
            continue
        own = headers[chosen].listing
        again = [other.listing for other in others if other.listing.body_part == own.body_part]
        parts = sorted({other.listing.body_part or "an unnamed part of the body" for other in others} - {own.body_part})
        if again:
            last = all(each.place < own.place for each in again)
            notes.append(
                f"of {len(again) + 1} {kind} X-rays of the study {'the last exposed' if last else 'one'} is taken"
                + ("" if last else "; nothing in the files tells which is the better one")
            )
        if len(again) < len(others):
            notes.append(f"{kind}: {own.body_part or 'an unnamed part of the body'} is taken before {', '.join(parts)}")
    return notes


def _others(headers: Sequence[XRayHeader], chosen: int) -> list[XRayHeader]:
    """Those of the same study, patient and kind."""
    own = headers[chosen]
    if own.likely_angle_deg is None:
        return []
    lateral = not same_side(own.likely_angle_deg, 0.0)
    return [
        other
        for number, other in enumerate(headers)
        if number != chosen
        and (other.study_uid, other.patient_key) == (own.study_uid, own.patient_key)
        and other.likely_angle_deg is not None
        and lateral != same_side(other.likely_angle_deg, 0.0)
    ]


@dataclass(frozen=True)
class StudyPair:
    """The X-rays of a study.

    Attributes:
        frontal: index, or None.
        lateral: likewise.
        notes: on the choice among several, see :func:`chosen_among`.
    """

    frontal: int | None
    lateral: int | None
    notes: tuple[str, ...] = ()


def pairs_by_study(headers: Sequence[XRayHeader]) -> dict[tuple[str, str | None], StudyPair]:
    """The frontal and the lateral X-ray of each study, as :func:`frontal_and_lateral` finds them in it.

    Returns:
        Them by (StudyInstanceUID, patient key), in the order in which the studies appear.
    """
    members: dict[tuple[str, str | None], list[int]] = {}
    for number, header in enumerate(headers):
        members.setdefault((header.study_uid, header.patient_key), []).append(number)
    found = {}
    for owner, numbers in members.items():
        own = [headers[number] for number in numbers]
        pair = frontal_and_lateral(own)
        frontal, lateral = (None if each is None else numbers[each] for each in pair)
        found[owner] = StudyPair(frontal, lateral, tuple(chosen_among(own, pair)))
    return found


def study_name(owner: tuple[str, str | None]) -> str:
    """A name for the results of a study that does not say whose they are; ``owner`` is a key of :func:`pairs_by_study`."""
    return f"study-{hashlib.sha256(repr(owner).encode()).hexdigest()[:12]}"
