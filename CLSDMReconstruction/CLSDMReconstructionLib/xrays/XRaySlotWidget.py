"""One X-ray of the panel: where it is from, how the network will see it, and its geometry field by field."""

from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base import Pictures
from CLSDMReconstructionLib.base.Appearance import elided, keepPlain, setTone, tip
from CLSDMReconstructionLib.base.Dropping import DropFilter
from CLSDMReconstructionLib.base.Narrow import LEAST_PIXELS, keepNarrow
from CLSDMReconstructionLib.base.Steps import Steps
from CLSDMReconstructionLib.scene.XRayNodes import xrayFile
from CLSDMReconstructionLib.xrays.DicomSeries import MOST, whoseFile, xraySeries
from CLSDMReconstructionLib.xrays.Facts import XRayFacts, inspect, isFolder, pictureOf
from CLSDMReconstructionLib.xrays.GeometryFields import GeometryFields
from CLSDMReconstructionLib.xrays.Inputs import XRayInput, viewName
from CLSDMReconstructionLib.xrays.SpacingHelp import SpacingHelp

FILES = "*.dcm *.ima *.png *.jpg *.jpeg *.tif *.tiff *.bmp *.nii *.nii.gz *.nrrd *.mha"


class XRaySlotWidget:
    """A slot for one X-ray.

    Attributes:
        role: "frontal", "lateral" or "view".
        xray: the ``XRayInput``, or None while the slot is empty.
        facts: what is known about it (``XRayFacts``), or None.
        widget: to be put into a layout.
    """

    def __init__(self, role: str, title: str, uiFile: str, onChanged, onDropped, onRemoved=None) -> None:
        """``onChanged(slot)`` after every change by the user; ``onDropped(slot, sources)`` for several files or a folder."""
        self.role, self.title = role, title
        self.xray: XRayInput | None = None
        self.facts: XRayFacts | None = None
        self._preset, self._pixmap, self._updating, self._search = "chest", None, False, None
        self._geometryWanted, self._fault = False, ""
        self._storedSize: tuple[int, int] | None = None  # rows and columns, while the image is shown as it is stored
        self._preview: tuple | None = (
            None  # what setPreview was given, where the stored image is shown only for its ruler
        )
        self._reading: Steps | None = None
        self._onChanged, self._onDropped, self._onRemoved = onChanged, onDropped, onRemoved
        self.widget = slicer.util.loadUI(uiFile)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        keepNarrow(self.widget)
        keepPlain(self.widget)
        self.widget.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)
        self.widget.minimumWidth = LEAST_PIXELS  # else two beside each other would keep the panel from becoming narrow
        self.geometry = GeometryFields(self.ui.geometryArea.layout(), self._onEntered)
        self._build()
        self.spacingHelp = SpacingHelp(
            self.ui.spacingButton,
            self.ui.previewLabel,
            self._size,
            lambda: self._storedSize,
            self._showStored,
            lambda mm: self._onEntered("spacingMm", (mm, mm)),
            self._sayOfSpacing,
        )
        self.refresh()

    def _build(self) -> None:
        self.ui.titleLabel.text = f"<b>{self.title}</b>"
        self._menu = qt.QMenu(self.widget)
        self._seriesMenu = qt.QMenu(_("DICOM series"), self.widget)
        self._seriesMenu.connect("aboutToShow()", self._fillSeriesMenu)
        self._fileAction = self._menu.addAction(_("Image file…"))
        self._fileAction.connect("triggered()", self.chooseFile)
        self._menu.addMenu(self._seriesMenu)
        self.ui.chooseButton.setMenu(self._menu)
        self.ui.clearButton.connect("clicked()", self._onClear)
        self.ui.nodeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onNode)
        self._drops = DropFilter(self._onDrop, self._fitPreview)
        self.widget.installEventFilter(self._drops)
        event = slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent
        self._observer = slicer.mrmlScene.AddObserver(event, self._onNodeAboutToBeRemoved)
        self.ui.previewLabel.setStyleSheet("QLabel { background: #101418; color: #9aa4ae; border: 1px solid #39424c; }")

    def cleanup(self) -> None:
        """Let go of the widget."""
        self._stopSearch()
        self._stopReading()
        self.widget.removeEventFilter(self._drops)
        self.ui.previewLabel.removeEventFilter(self.spacingHelp)
        slicer.mrmlScene.RemoveObserver(self._observer)

    # --- what the user does ---

    def chooseFile(self) -> None:
        """Ask for an image file."""
        path = qt.QFileDialog.getOpenFileName(
            self.widget, _("X-ray image"), "", _("X-ray images ({patterns});;All files (*)").format(patterns=FILES)
        )
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self.take(XRayInput(path=path, role=self.role))

    def take(self, xray: XRayInput | None) -> None:
        """Put an X-ray into the slot, as the user."""
        self.setXRay(xray)
        self._onChanged(self)

    def _onNode(self, node) -> None:
        if self._updating:
            return
        if node is None:
            if self.xray is not None and self.xray.nodeId is not None:
                self.take(None)
        elif self.xray is None or self.xray.nodeId != node.GetID():  # the selector also speaks when a node is renamed
            self.take(XRayInput(nodeId=node.GetID(), role=self.role))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, _scene, _event, node) -> None:
        """Comes before the selector notices, which would turn to the node above it."""
        if node is not None and self.xray is not None and self.xray.nodeId == node.GetID():
            self.take(None)

    def _onClear(self) -> None:
        if self._onRemoved is not None:
            self._onRemoved(self)
        else:
            self.take(None)

    def _onDrop(self, sources: list) -> None:
        """Files or folders (paths) or nodes."""
        if len(sources) == 1 and not isFolder(sources[0]):
            self.take(XRayInput.of(sources[0], self.role))
        else:
            self._onDropped(self, sources)

    def _onEntered(self, name: str, value) -> None:
        if self.xray is not None:
            if name in ("spacingMm", "frame"):
                self.spacingHelp.stop()
            self.xray.enter(name, value)
            if name == "frame":
                self._forgetPicture()
            self.refresh()
            self._onChanged(self)

    def _fillSeriesMenu(self) -> None:
        """The database is asked while the menu is open."""
        self._stopSearch()
        self._listSeries([], _("Looking in the DICOM database…"))
        self._search = Steps(
            xraySeries(MOST + 1),
            lambda series: self._listSeries(series, _("The DICOM database holds no X-ray")),
            lambda error: self._listSeries([], _("The DICOM database cannot be read")),
        )

    def _listSeries(self, series: list, otherwise: str) -> None:
        self._seriesMenu.clear()
        for one in series[:MOST]:
            text = " · ".join(part for part in (one.whose, one.label) if part)
            action = self._seriesMenu.addAction(text.replace("&", "&&"))
            action.connect("triggered()", lambda *_args, path=one.path: self.take(XRayInput(path=path, role=self.role)))
        if len(series) > MOST:
            text = _("The newest {count} only; load an older one from Slicer's DICOM browser").format(count=MOST)
            self._seriesMenu.addAction(text).enabled = False
        if not series:
            self._seriesMenu.addAction(otherwise).enabled = False

    def _stopSearch(self) -> None:
        if self._search is not None:
            self._search.cancel()

    # --- what the panel does ---

    def setXRay(self, xray: XRayInput | None) -> None:
        """Show an X-ray, without a callback."""
        self.spacingHelp.stop()
        self.xray = xray
        self._forgetPicture()
        self.refresh()

    def _forgetPicture(self) -> None:
        self._stopReading()
        self._pixmap = self._storedSize = self._preview = None

    def setPreset(self, preset: str) -> None:
        """Geometry for what neither file nor user says."""
        if preset != self._preset:
            self._preset = preset
            self.refresh()

    def setFault(self, fault: str) -> None:
        """Refuse the X-ray for what its pixels showed, until something about it changes."""
        self._fault = fault
        self._showProblem()

    def refresh(self) -> None:
        """Ask again what is known about the X-ray, and show it."""
        self._fault = ""
        self.facts = inspect(self.xray, self._preset) if self.xray is not None else None
        self._updating = True
        node = slicer.mrmlScene.GetNodeByID(self.xray.nodeId) if self.xray is not None and self.xray.nodeId else None
        self.ui.nodeSelector.setCurrentNode(node)
        self._updating = False
        self.ui.clearButton.enabled = self.xray is not None or self._onRemoved is not None
        self.ui.sourceLabel.text = self._sourceText()
        self.ui.sourceLabel.toolTip = tip(self._whoseText())
        self._showProblem()
        self.geometry.show(self.facts)
        self.ui.geometryArea.visible = self._geometryWanted and self.xray is not None
        if self.xray is None:
            self.setPreview(None, _("Drop an X-ray here,\nor choose one"))
        elif self.facts.missing == "spacingMm":
            self.showStored()
        elif self.problem():
            self.setPreview(None, _("No preview yet"))
        self.ui.spacingButton.visible = self._isSpacingOpen()

    def _isSpacingOpen(self) -> bool:
        """Whether the file does not say the spacing, so that it can be found in another way."""
        field = None if self.facts is None else self.facts.fields.get("spacingMm")
        return field is not None and (field.value is None or field.origin == "entered")

    def _size(self) -> tuple[int, int] | None:
        header = None if self.facts is None else self.facts.header
        return self._storedSize or (None if header is None else (header.rows, header.cols))

    def showStored(self) -> None:
        """Show the image as it is stored, which needs no geometry, as soon as it is read."""
        self._preview = None
        self._showStored()

    def _showStored(self) -> None:
        if self._storedSize is None and self._reading is None:
            self._showPicture(None, _("Reading…"))
            self._reading = Steps(pictureOf(self.xray), self._onRead, self._onUnreadable)

    def _onRead(self, found: tuple) -> None:
        self._reading, (size, pixels) = None, found
        self._showPicture(pixels)
        self._storedSize = size

    def _onUnreadable(self, error: Exception) -> None:
        self._reading = None
        self._showPicture(None, _("No preview yet"))
        if self.spacingHelp.isMeasuring:
            self.spacingHelp.stop()
            self._sayOfSpacing(
                _("The image cannot be read as it is stored, so that no ruler in it can be measured."), "error"
            )

    def _stopReading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()

    def _sayOfSpacing(self, text: str, tone: str) -> None:
        """Text "": a ruler is measured no longer, and what came meanwhile is shown."""
        if not text:
            self._showProblem()
            if self._preview is not None:
                self._stopReading()
                self._showPicture(*self._preview)
            return
        self.ui.problemLabel.text, self.ui.problemLabel.visible = text, True
        setTone(self.ui.problemLabel, tone)

    def _showProblem(self) -> None:
        prompt = self.spacingHelp.prompt
        self.ui.problemLabel.text = prompt or self.problem()
        self.ui.problemLabel.visible = bool(self.ui.problemLabel.text)
        setTone(self.ui.problemLabel, "info" if prompt else "error")

    def problem(self) -> str:
        """Why this X-ray cannot be used yet, or ""."""
        return "" if self.facts is None else self.facts.problem or self._fault

    def needsALook(self) -> bool:
        """Whether its geometry is not all said by its file, so that somebody should look at it."""
        if self.facts is None:
            return False
        origins = {field.origin for name, field in self.facts.fields.items() if name != "window"}
        return bool(self.problem()) or origins != {"tag"}

    def _sourceText(self) -> str:
        if self.xray is None:
            return ""
        header = None if self.facts is None else self.facts.header
        size = "" if header is None else f"{header.cols} × {header.rows}"
        name = elided(Path(self.xray.path).name) if self.xray.path else ""
        return " · ".join(part for part in (name, "" if header is None else self._viewText(), size) if part)

    def _whoseText(self) -> str:
        """Whose X-ray it is, as far as its file says, and where that lies."""
        if self.xray is None:
            return ""
        file = Path(self.xray.path) if self.xray.path else None if self.xray.node is None else xrayFile(self.xray.node)
        return "\n".join(part for part in (whoseFile(file), self.xray.path or "") if part)

    def _viewText(self) -> str:
        """The view's name; one that only the slot tells, as of a picture, is said to be assumed."""
        angle, likely = self.facts.fields["angleDeg"], self.facts.header.likely_angle_deg
        if angle.origin != "default":
            return viewName(angle.value)
        name = viewName(angle.value if likely is None else likely)
        return _("{view} (assumed)").format(view=name) if name and likely is None else name

    def setPreview(self, pixels, text: str = "") -> None:
        """The X-ray as the network sees it (uint8), or a text in its place; not before a ruler in it is measured."""
        self._preview = (pixels, text)
        if not self.spacingHelp.isMeasuring:
            self._showPicture(pixels, text)

    def _showPicture(self, pixels, text: str = "") -> None:
        self._storedSize = None
        if pixels is None:
            self._pixmap = None
            self.ui.previewLabel.setPixmap(qt.QPixmap())
            self.ui.previewLabel.text = text
        else:
            self._pixmap = Pictures.toPixmap(pixels)
            self._fitPreview()

    def _fitPreview(self) -> None:
        if self._pixmap is not None:
            Pictures.showFitted(self.ui.previewLabel, self._pixmap)

    def hasPreview(self) -> bool:
        """Whether a picture is shown."""
        return self._pixmap is not None

    def setGeometryVisible(self, visible: bool) -> None:
        """Show or hide the geometry; an empty slot has none."""
        self._geometryWanted = visible
        self.ui.geometryArea.visible = visible and self.xray is not None
