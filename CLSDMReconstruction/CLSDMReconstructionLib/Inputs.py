"""The X-rays a user hands in: file or node, what was entered by hand, and what file and preset say about the rest.

Everything about a file comes from ``clsdm.xray_io``, which reads headers without torch and without pixels, so that a
panel may ask at once. An :class:`XRayInput` holds only what the user chose and typed; :func:`inspect` says what follows.
"""

from dataclasses import dataclass, field
from typing import Any

FIELDS = (
    "angleDeg",
    "spacingMm",
    "sourceDetectorMm",
    "sourceAxisMm",
    "rotateQuarters",
    "flip",
    "invert",
    "window",
)
"""What can be entered about an X-ray.

angleDeg: float, 0 PA, 180 AP, 90 left lateral, -90 right lateral. spacingMm: (row, column) on the detector.
sourceDetectorMm, sourceAxisMm: float. rotateQuarters: int, counter-clockwise. flip: bool, left and right exchanged, after
the rotation. invert: bool, True where bone is dark in the image as shown. window: (low, high) in the file's values,
beyond which nothing is told apart.
"""

ROLE_ANGLES_DEG = {"frontal": 0.0, "lateral": 90.0}
"""The angle of a slot where neither file nor user names one."""


@dataclass(frozen=True)
class Field:
    """A value of one of :data:`FIELDS` and where it is from: "tag", "default" or "entered"; value None: unknown."""

    value: Any
    origin: str


@dataclass
class XRayInput:
    """One X-ray of a reconstruction.

    Attributes:
        path: image file, or None.
        nodeId: of a loaded volume node, or None; exactly one of the two is given.
        role: "frontal", "lateral" or "view".
        entered: what the user typed, by the names of :data:`FIELDS`; what is not in it comes from file or preset.
    """

    path: str | None = None
    nodeId: str | None = None
    role: str = "frontal"
    entered: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, source, role: str) -> "XRayInput":
        """From what ``reconstruct`` takes: a path, a volume node, or an ``XRayInput`` (which is returned as it is)."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What messages call it; never a file's name, which may be the patient's."""
        raise NotImplementedError

    def enter(self, name: str, value) -> None:
        """Set one of :data:`FIELDS` by hand; None takes the entry back."""
        raise NotImplementedError

    def toPlain(self) -> dict[str, Any]:
        """JSON types, for a parameter node."""
        raise NotImplementedError

    @classmethod
    def fromPlain(cls, plain: dict[str, Any]) -> "XRayInput":
        """The inverse of :meth:`toPlain`."""
        raise NotImplementedError

    def toViewRequest(self) -> dict[str, Any]:
        """``clsdm.request.ViewRequest`` as JSON types; ``file`` is the one :class:`MrmlBridge` finds or writes."""
        raise NotImplementedError


@dataclass(frozen=True)
class XRayFacts:
    """What is known about an X-ray before it is read.

    Attributes:
        fields: a :class:`Field` for each of :data:`FIELDS`.
        rows: of the image after turning; 0 where it cannot be read.
        cols: likewise.
        problem: why it cannot be used yet (unknown spacing, no radiograph, damaged), in a sentence; "" where it can.
        missing: name of the field that must be entered, or "".
        warnings: what the user should know (8 bit, FOR PRESENTATION, ...).
        patientKey: one-way hash, equal for two X-rays of one patient; None where unknown.
        studyUid: StudyInstanceUID or "".
        viewName: ViewPosition or what PatientOrientation says ("PA", "AP", "LL", "RL"), or "".
    """

    fields: dict[str, Field]
    rows: int = 0
    cols: int = 0
    problem: str = ""
    missing: str = ""
    warnings: tuple[str, ...] = ()
    patientKey: str | None = None
    studyUid: str = ""
    viewName: str = ""


def inspect(xray: XRayInput, preset: str = "chest") -> XRayFacts:
    """What file, preset and user say about an X-ray; reads the header only, in milliseconds. Never raises InputError."""
    raise NotImplementedError


def pairProblem(frontal: XRayInput, lateral: XRayInput, preset: str = "chest") -> tuple[str, tuple[str, ...]]:
    """(why the two cannot be used together or "", warnings): two patients, angles that are not about 90 degrees apart."""
    raise NotImplementedError


def suggestPair(candidates) -> tuple[XRayInput | None, XRayInput | None]:
    """(frontal, lateral) out of files or nodes: of one study, by ViewPosition, PatientOrientation or angle.

    Args:
        candidates: paths or volume nodes; what is no radiograph is passed over.

    Returns:
        The pair whose angles are nearest to 90 degrees apart; None for a slot nothing fits.
    """
    raise NotImplementedError
