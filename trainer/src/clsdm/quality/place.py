"""Whether a reconstruction lies where the patient lay. Radiographs do not say it; projections and localizers do. No torch."""

from collections.abc import Mapping, Sequence
from typing import Any

NO_PLACE = (
    "No X-ray of this volume tells where the patient lay: it lies around 0, wherever the CT does. Unless they were "
    "registered with each other, no figure that compares them counts."
)


def place_notes(provenance: Mapping[str, Any], centre_mm: Sequence[float], spacing_mm: float) -> tuple[str, ...]:
    """What must be said before a reconstruction is compared with a CT.

    Args:
        provenance: of the reconstruction; its "isocentre_lps_mm" is None or left out where no X-ray told it. Of an empty one
            nothing is said.
        centre_mm: of the volume, LPS or RAS.
        spacing_mm: of its voxels.

    Returns:
        :data:`NO_PLACE`, if no X-ray told a place and nobody has moved the volume since.
    """
    told = not provenance or provenance.get("isocentre_lps_mm") is not None
    return () if told or max(map(abs, centre_mm)) > spacing_mm / 2 else (NO_PLACE,)
