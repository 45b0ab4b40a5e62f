"""What ranks an X-ray among others of its study: the part of the body, and when it was exposed. No pixels, no geometry."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clsdm.files.dicom_tags import Tags

TRUNK = ("CHEST", "THORAX", "LUNG", "ABDOMEN", "RIB", "STERNUM", "SPINE", "TSPINE", "LSPINE", "CSPINE", "SHOULDER",
         "CLAVICLE", "HEART", "NECK", "PELVIS", "WHOLEBODY", "TRUNK", "BODY", "MEDIASTINUM", "PORT", "UNKNOWN")  # fmt: skip
"""BodyPartExamined of what a reconstruction may be made of, by any of these words in it."""
_HEAD = ("HEAD", "SKULL", "FACE")
_SAYS_LITTLE = ("UNKNOWN", "PORT", "SHOULDER", "CLAVICLE")
_TIMES = (
    ("AcquisitionDateTime",),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
    ("SeriesDate", "SeriesTime"),
)


@dataclass(frozen=True)
class Listing:
    """What a file says of its place among others.

    Attributes:
        body_part: BodyPartExamined in capitals, without spaces, or "".
        exposed: date and time of the exposure as YYYYMMDDHHMMSS.F, or "".
        number: InstanceNumber, or 0.
    """

    body_part: str = ""
    exposed: str = ""
    number: int = 0

    @property
    def rank(self) -> int:
        """2 of the trunk or the head, 1 where nobody can tell, 0 of another part."""
        if any(word in self.body_part for word in _HEAD):
            return 2
        known = [word for word in TRUNK if word in self.body_part]
        if known:
            return 1 if all(word in _SAYS_LITTLE for word in known) else 2
        return 0 if self.body_part else 1

    @property
    def place(self) -> tuple[str, int]:
        """Greater for a later exposure."""
        return self.exposed, self.number


def listing_of(tags: Tags) -> Listing:
    """Of a DICOM file."""
    times = ("".join(tags.text(name) for name in names) for names in _TIMES if all(map(tags.text, names)))
    exposed = re.sub(r"[+&-].*|[^0-9.]", "", next(times, ""))
    return Listing("".join(tags.text("BodyPartExamined").split()), exposed, tags.count("InstanceNumber"))
