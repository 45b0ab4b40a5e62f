"""The X-rays a user hands in: file or node, what was entered by hand, and what file and preset say about the rest.

Everything about a file comes from ``clsdm.xray.read``, which reads headers without torch and without pixels, so that a
panel may ask at once. An :class:`XRayInput` holds only what the user chose and typed; ``Facts.inspect`` says what follows.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.scene import SessionFiles, XRayNodes

FIELDS = {
    "angleDeg": "angle_deg",
    "spacingMm": "pixel_mm",
    "sourceDetectorMm": "source_detector_mm",
    "sourceAxisMm": "source_axis_mm",
    "rotateQuarters": "rotate_quarters",
    "flip": "flip_horizontal",
    "invert": "invert",
    "window": "window",
    "frame": "frame",
}
"""The properties of an X-ray that can be entered, and the core's names for them.

angleDeg: float, 0 PA, 180 AP, 90 left lateral, -90 right lateral. spacingMm: (row, column) on the detector.
sourceDetectorMm, sourceAxisMm: float. rotateQuarters: int, counter-clockwise. flip: bool, left and right exchanged, after
the rotation. invert: bool, True where bone is dark in the image as shown. window: (low, high) in the file's values,
beyond which nothing is told apart. frame: int, which image of a file that holds several, from 1.
"""

MAX_VIEWS = 8

ROLE_ANGLES_DEG = {"frontal": 0.0, "lateral": 90.0}
"""The angle of a slot where neither file nor user names one."""

_LABELS = {"frontal": "frontal X-ray", "lateral": "lateral X-ray", "view": "further X-ray"}


@dataclass
class XRayInput:
    """One X-ray of a reconstruction.

    Attributes:
        path: image file, or None.
        nodeId: of a loaded volume node, or None. One of the two is given; neither where a scene was saved by another
            Slicer, whose files are not part of it.
        role: "frontal", "lateral" or "view".
        entered: what the user typed, by the names of :data:`FIELDS`; what is not in it comes from file or preset.
    """

    path: str | None = None
    nodeId: str | None = None
    role: str = "frontal"
    entered: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, source, role: str) -> "XRayInput":
        """From what ``reconstruct`` takes: a path, a volume node, or an ``XRayInput`` (which is returned as it is).

        Raises:
            TypeError: anything else.
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, (str, Path)):
            return cls(path=str(source), role=role)
        if hasattr(source, "IsA") and source.IsA("vtkMRMLVolumeNode"):
            return cls(nodeId=source.GetID(), role=role)
        raise TypeError(f"{role} X-ray: expected a file, a volume node or an XRayInput, got {type(source).__name__}")

    @property
    def label(self) -> str:
        """Its name in messages; never a file's name, which may be the patient's."""
        return _LABELS[self.role]

    @property
    def node(self):
        """The volume node, or None."""
        return slicer.mrmlScene.GetNodeByID(self.nodeId) if self.nodeId else None

    def enter(self, name: str, value) -> None:
        """Set one of :data:`FIELDS` by hand; None takes the entry back."""
        if name not in FIELDS:
            raise KeyError(f"{name}: expected one of {', '.join(FIELDS)}")
        self.entered.pop(name, None)
        if value is not None:
            self.entered[name] = value

    def toPlain(self) -> dict[str, Any]:
        """JSON types, for a parameter node, without the file's path: see ``SessionFiles``."""
        plain = asdict(self)
        path = plain.pop("path")
        return plain | {"file": None if path is None else SessionFiles.keyOf(path)}

    @classmethod
    def fromPlain(cls, plain: dict[str, Any]) -> "XRayInput":
        """The inverse of :meth:`toPlain`; JSON's lists become tuples again."""
        entered = {name: tuple(value) if isinstance(value, list) else value for name, value in plain["entered"].items()}
        return cls(SessionFiles.pathOf(plain.get("file")), plain["nodeId"], plain["role"], entered)

    @contextlib.contextmanager
    def asFile(self) -> Iterator[Path]:
        """The file to read; a node without one is written for as long as the block lasts.

        Raises:
            ValueError: the node is gone or no single image, or the file was never this Slicer's.
        """
        if self.path is not None:
            yield Path(self.path)
            return
        if self.nodeId is None:
            raise ValueError("its file is not part of a saved scene; choose it again")
        if self.node is None:
            raise ValueError("it is no longer in the scene; choose it again")
        with XRayNodes.xrayAsFile(self.node) as path:
            yield path

    def toViewRequest(self, file: Path) -> dict[str, Any]:
        """``clsdm.app.request.ViewRequest`` as JSON types, for the file of :meth:`asFile`."""
        known = {**self._notedByNode(file), **{FIELDS[name]: value for name, value in self.entered.items()}}
        angle = known.pop("angle_deg", None)
        return {
            "file": str(file),
            "angle_deg": angle,
            "default_angle_deg": ROLE_ANGLES_DEG.get(self.role),
            "geometry": known,
        }

    def _notedByNode(self, file: Path) -> dict[str, Any]:
        """The geometry that a node has and its file lacks: of an exposure that this module made, or a spacing set in Slicer."""
        node = self.node
        if node is None or isDicom(file):
            return {}
        noted = XRayNodes.viewOf(node)
        if noted:
            names = ("angle_deg", "source_axis_mm", "source_detector_mm", "offset_mm", "isocentre_mm")
            known = {name: noted[name] for name in names if noted[name] is not None}
            return known | {"pixel_mm": noted["pixel_mm"], "invert": False, "upright": True}
        across, down = node.GetSpacing()[:2]
        return {} if (across, down) == (1.0, 1.0) else {"pixel_mm": (down, across)}


def isDicom(file: Path) -> bool:
    """Whether a file is DICOM, by its content."""
    ensureCore()
    from clsdm.xray.dicom import is_dicom

    return is_dicom(file)


def viewName(angleDeg: float | None) -> str:
    """A view's name in radiography, or its angle."""
    ensureCore()
    from clsdm.geometry.view import view_name

    names = {"PA": _("PA"), "AP": _("AP"), "left lateral": _("left lateral"), "right lateral": _("right lateral")}
    return "" if angleDeg is None else names.get(view_name(angleDeg), f"{angleDeg:g}°")
