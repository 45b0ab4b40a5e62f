"""The base class of the panel's tests: a panel over an empty scene, a fake logic, and a user's hands."""

import sys
import tempfile
import unittest
import zlib
from pathlib import Path

import numpy as np
import qt
import slicer
from fakes import FakeLogic
from real_worker import TESTS
from scene_case import waitFor

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.panel.Widget import ReconstructionPanel
from CLSDMReconstructionLib.scene import Attributes, Volumes
from CLSDMReconstructionLib.worker.Results import Preview, ReconstructionResult

ensureCore()
if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))
from xray_files import film_pixels, write_dicom, write_picture  # noqa: E402

RESIDUALS = [{"angle_deg": angle, "rmse": 0.05, "correlation": 0.99} for angle in (0.0, 90.0)]


class PanelCase(unittest.TestCase):
    """A panel over an empty scene.

    Attributes:
        panel: the ReconstructionPanel.
        ui: its widgets.
        logic: of ``makeLogic``.
        folder: for files.
    """

    def makeLogic(self):
        """A fake one; overridden where the real worker is wanted."""
        return FakeLogic()

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.setAsideSettings()
        folder = tempfile.TemporaryDirectory(prefix="panel-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.logic = self.makeLogic()
        self.openPanel()
        self.addCleanup(self.closePanel)

    def setAsideSettings(self) -> None:
        """A test starts with no settings of the module's, and leaves the tester's own as they were."""
        settings = qt.QSettings()
        kept = {key: settings.value(key) for key in settings.allKeys() if key.startswith("CLSDMReconstruction/")}
        settings.remove("CLSDMReconstruction")

        def restore() -> None:
            settings.remove("CLSDMReconstruction")
            for key, value in kept.items():
                settings.setValue(key, value)

        self.addCleanup(restore)

    def openPanel(self) -> None:
        self.host = slicer.qMRMLWidget()
        self.host.setLayout(qt.QVBoxLayout())
        self.host.resize(480, 900)
        resources = Path(slicer.util.modulePath("CLSDMReconstruction")).parent / "Resources"
        self.panel = ReconstructionPanel(self.logic, self.host.layout(), lambda name: str(resources / name))
        self.ui = self.panel.ui
        self.host.show()
        self.panel.enter()
        slicer.app.processEvents()

    def closePanel(self) -> None:
        if self.panel is None:
            return
        self.panel.exit()
        self.panel.cleanup()
        self.host.hide()
        self.host.deleteLater()
        self.panel = None
        slicer.app.processEvents()

    # --- a user's hands ---

    @property
    def frontal(self):
        return self.panel.xrays.slots[0]

    @property
    def lateral(self):
        return self.panel.xrays.slots[1]

    def type(self, box, text: str) -> None:
        """Type a number into a spin box and press Enter."""
        editor = slicer.util.findChild(box, "qt_spinbox_lineedit")
        editor.setText(text)
        box.interpretText()
        slicer.app.processEvents()

    def press(self, box, text: str) -> None:
        """Press one key after the other in a spin box; "\\r" is Enter."""
        for letter in text:
            key = qt.Qt.Key_Return if letter == "\r" else ord(letter)
            event = qt.QKeyEvent(qt.QEvent.KeyPress, key, qt.Qt.NoModifier, letter)
            qt.QCoreApplication.sendEvent(box, event)
        slicer.app.processEvents()

    def drop(self, widget, *sources) -> bool:
        """Drag files or nodes onto a widget; whether it takes them."""
        mime = qt.QMimeData()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        urls = [
            qt.QUrl.fromLocalFile(str(source))
            if isinstance(source, (str, Path))
            else qt.QUrl(f"mrml://scene/subjecthierarchy/item?id={hierarchy.GetItemByDataNode(source)}")
            for source in sources
        ]
        mime.setUrls(urls)
        return self.dropMime(widget, mime)

    def dropMime(self, widget, mime) -> bool:
        """Drag what ``mime`` holds onto a widget and let go; whether it was taken."""
        how = (qt.Qt.CopyAction, mime, qt.Qt.LeftButton, qt.Qt.NoModifier)
        enter, drop = qt.QDragEnterEvent(qt.QPoint(5, 5), *how), qt.QDropEvent(qt.QPointF(5, 5), *how)
        enter.ignore()
        qt.QCoreApplication.sendEvent(widget, enter)
        if enter.isAccepted():
            qt.QCoreApplication.sendEvent(widget, drop)
        slicer.app.processEvents()
        self.wait(lambda: not self.panel.xrays.pair.isLooking)
        return bool(enter.isAccepted())

    def wait(self, condition, seconds: float = 60.0) -> None:
        waitFor(condition, seconds)

    # --- things to work with ---

    def png(self, name: str = "picture.png") -> Path:
        """A picture without any geometry."""
        pixels = film_pixels(np.uint8)
        pixels[0, :2] = np.frombuffer(zlib.crc32(name.encode()).to_bytes(4, "big")[:2], np.uint8)  # no copy of another
        return write_picture(self.folder / name, pixels)

    def xrayFile(self, name: str, view: str = "PA", **tags: object) -> Path:
        """A DICOM radiograph with its whole geometry: "PA" or "LL" (left lateral)."""
        stated = {"ViewPosition": view, "PatientOrientation": {"PA": ["L", "F"], "LL": ["P", "F"]}[view]}
        return write_dicom(self.folder / name, **(stated | {"StudyInstanceUID": "1.2.3"} | tags))

    def fillSlots(self) -> None:
        """Two radiographs of one patient, as a user chooses them."""
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.drop(self.lateral.widget, self.xrayFile("lateral.dcm", "LL"))

    def result(self, *, spread: bool = False, warnings=()) -> ReconstructionResult:
        """A reconstruction as the logic would make it, in the scene."""
        geometry = {"spacing_mm": [6.0] * 3, "origin_mm": [-60.0] * 3, "direction": np.eye(3).tolist()}
        cube = np.linspace(-1000, 1000, 20**3, dtype=np.float32).reshape(20, 20, 20)
        nodes = {}
        for role in ("coverage", *(["spread"] if spread else []), "volume"):
            nodes[role] = Volumes.makeVolume(cube, geometry, f"CLS-DM mean {role} (research only)")
            Attributes.setAttributes(nodes[role], {"role": role, "warnings": list(warnings), "residuals": RESIDUALS})
        Nodes.addToScene(nodes.values())
        for role in ("coverage", "spread"):
            if role in nodes:
                nodes["volume"].SetNodeReferenceID(f"CLSDM.{role}", nodes[role].GetID())
        picture = np.tile(np.linspace(-1, 1, 32), (32, 1))
        view = {"angle_deg": 0.0, "tilt_deg": 0.0, "source_axis_mm": 1600.0, "source_detector_mm": 1800.0}
        view |= {"rows": 32, "cols": 32, "pixel_mm": [16.0, 16.0], "offset_mm": [0.0, 0.0]}
        reprojections = [
            {"angle_deg": angle, "input": picture, "reprojected": picture * 0.9, "view": view | {"angle_deg": angle}}
            for angle in (0.0, 90.0)
        ]
        return ReconstructionResult(
            volumeNode=nodes["volume"],
            coverageNode=nodes["coverage"],
            spreadNode=nodes.get("spread"),
            residuals=RESIDUALS,
            warnings=list(warnings),
            provenance={"model": "openkbp64", "product": "mean", "device": "cpu", "seed": None},
            reprojections=reprojections,
            views=[],
            inputs=[],
            seconds={"core": 1.0, "total": 1.2},
        )

    @staticmethod
    def preview() -> Preview:
        """A square, brighter to the right, unmeasured at the left edge."""
        image = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
        mask = np.ones((64, 64), dtype=bool)
        mask[:, :8] = False
        return Preview(image, mask, {}, [])

    @staticmethod
    def nodes(kind: str = "vtkMRMLScalarVolumeNode") -> list:
        return list(slicer.util.getNodesByClass(kind))


def saveAndReopen(folder: Path) -> None:
    """Save the scene with its data, close it, and open it again."""
    assert slicer.util.saveScene(str(folder)), "the scene cannot be saved"
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(next(folder.glob("*.mrml"))))
    slicer.app.processEvents()
