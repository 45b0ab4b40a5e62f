"""The section "Result": the volume, how well it explains its X-rays, and what to be careful about."""

from collections.abc import Iterator

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base import Pictures
from CLSDMReconstructionLib.base.Appearance import sentence, setTone
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Dropping import DropFilter
from CLSDMReconstructionLib.base.Narrow import LEAST_PIXELS
from CLSDMReconstructionLib.base.Steps import Steps, atOnce
from CLSDMReconstructionLib.panel.Layers import Layers
from CLSDMReconstructionLib.panel.Words import madeFromOthers, numbersHtml, provenanceText, residualInWords, verdict
from CLSDMReconstructionLib.scene import Space
from CLSDMReconstructionLib.scene.Attributes import COVERAGE_ROLE, SPREAD_ROLE, attributeOf, provenanceOf
from CLSDMReconstructionLib.scene.ExposureScene import ExposureScene
from CLSDMReconstructionLib.scene.HeldViews import HeldViews
from CLSDMReconstructionLib.worker.Results import ReconstructionResult
from CLSDMReconstructionLib.xrays.Inputs import viewName

WIDEST_PICTURE = 480


class ResultSection:
    """The panel's section of the latest reconstruction.

    Args:
        ui: the panel's named widgets.
        views: which are held while much changes in them.
        logic: the module's.
        onMessage: takes a text for the user, and whether it is an error.
        onLayer: takes the layer that is laid over the reconstruction, or None, and the reconstruction.

    Attributes:
        result: the ``ReconstructionResult`` that is shown, or None.
        layers: what can be laid over it.
        exposures: the X-rays in 3-D.
    """

    def __init__(self, ui, views: HeldViews, logic, onMessage, onLayer) -> None:
        self.ui, self.result, self._views, self.layers = ui, None, views, Layers(ui, logic, onMessage, onLayer)
        self.exposures, self._leaving, self._exposing = ExposureScene(), ExposureScene(), None
        self._pictures: list = []
        self._resizes = DropFilter(lambda sources: None, self._fitPictures)
        ui.residualArea.installEventFilter(self._resizes)
        self._labels = (ui.verdictLabel, ui.residualLabel, ui.numbersLabel, ui.warningsLabel, ui.provenanceLabel)
        ui.reconstructionSelector.connect("nodeActivated(vtkMRMLNode*)", self._onActivated)
        ui.exposuresCheckBox.connect("toggled(bool)", self._onExposures)
        ui.renderingCheckBox.connect("toggled(bool)", self._onRendering)
        setTone(ui.provenanceLabel, "muted")
        setTone(ui.warningsLabel, "caution")
        setTone(ui.resultNotice, "caution")
        self.clear()

    def isOf(self, node) -> bool:
        """Whether this volume's result is the one that is shown."""
        return self.result is not None and self.result.volumeNode is node

    def showNode(self, node) -> None:
        """Show what a volume in the scene says about itself; a result that is shown already stays as it is."""
        if node is None:
            self.clear()
        elif not self.isOf(node):
            self.show(resultOf(node))

    def _onActivated(self, node) -> None:
        if node is not None:
            showInSlices(node, self._views)

    def show(self, result) -> None:
        """Say what is to be said about a reconstruction."""
        before, self.exposures = self.exposures, ExposureScene()
        self.clear()
        self.result = result
        self.ui.resultSection.collapsed = False
        self.setOutdated(False)
        self.ui.residualLabel.text = "\n".join(residualInWords(residual) for residual in result.residuals)
        self.ui.numbersLabel.text = numbersHtml(result.measures)
        for reprojection in result.reprojections:
            self._addPicture(reprojection)
        said = (result.measures or {}).get("doubts", ()) if self.ui.numbersLabel.text else ()
        self.ui.warningsLabel.text = "\n".join(f"⚠ {sentence(text)}" for text in result.warnings if text not in said)
        self.ui.provenanceLabel.text = provenanceText(result)
        for box, there in (
            (self.ui.exposuresCheckBox, bool(result.reprojections)),
            (self.ui.renderingCheckBox, True),
        ):
            box.enabled = there
        self.layers.show(result)
        self._updateVisibility()
        self._leaving = before
        self._exposing = Steps(self._replaced(), self._onExposed, self._onNotExposed)

    def setOutdated(self, outdated: bool) -> None:
        """Whether the slots hold other X-rays than those that it was made from."""
        if self.result is None:
            return
        text, tone = verdict(self.result.residuals, isShown=bool(self.result.reprojections))
        if outdated:
            text, tone = madeFromOthers()
        self.ui.verdictLabel.text = text and f"<b>{text}</b>"
        self.ui.verdictLabel.visible = bool(text)
        setTone(self.ui.verdictLabel, tone)

    def _addPicture(self, reprojection: dict) -> None:
        caption = qt.QLabel(
            _("{view}: X-ray · X-ray of the reconstruction · difference (blue: too little, red: too much)").format(
                view=viewName(reprojection["angle_deg"])
            )
        )
        caption.wordWrap = True
        setTone(caption, "muted")
        picture = qt.QLabel()
        picture.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        picture.setAlignment(qt.Qt.AlignCenter)
        for widget in (caption, picture):
            self.ui.residualArea.layout().addWidget(widget)
        self._pictures.append((caption, picture, Pictures.toPixmap(pairPicture(reprojection))))
        self._fitPictures()

    def _fitPictures(self) -> None:
        """All three parts of each are seen, however narrow the panel."""
        wide = min(max(self.ui.residualArea.width, LEAST_PIXELS), WIDEST_PICTURE)
        for _caption, label, pixmap in self._pictures:
            label.setPixmap(pixmap.scaledToWidth(wide, qt.Qt.SmoothTransformation))

    def clear(self) -> None:
        """Nothing to show; the nodes in the scene stay."""
        ui = self.ui
        for caption, picture, _pixmap in self._pictures:
            for widget in (caption, picture):
                self.ui.residualArea.layout().removeWidget(widget)
                widget.hide()
                widget.deleteLater()
        self._pictures = []
        for label in self._labels:
            label.text = ""
        for box in (ui.exposuresCheckBox, ui.renderingCheckBox):
            box.checked = box.enabled = False
        self.layers.clear()
        self.result = None
        if self._exposing is not None:
            self._exposing.cancel()
            self._exposing = None
        for scene in (self._leaving, self.exposures):
            atOnce(scene.clear())
        self._updateVisibility()

    def cleanup(self) -> None:
        """Let go of the widget, too."""
        self.clear()
        self.ui.residualArea.removeEventFilter(self._resizes)

    def leave(self) -> None:
        """Another module is shown: the slice views are as they were, without our layer."""
        self.layers.leave()

    def _updateVisibility(self) -> None:
        for label in self._labels:
            label.visible = bool(label.text)

    def _onExposures(self, on: bool) -> None:
        if on and self.result is not None and not self.exposures.nodes and self._exposing is None:
            self._exposing = Steps(self._exposed(), self._onExposed, self._onNotExposed)
        self.exposures.setVisible(on)

    def _onRendering(self, on: bool) -> None:
        if self.result is not None and slicer.mrmlScene.IsNodePresent(self.result.volumeNode):
            Space.render(self.result.volumeNode, on)
            if on:
                Space.lookEverywhere(self.result.volumeNode)

    def _replaced(self) -> Iterator[float]:
        """The X-rays of the result before go out of 3-D and those of this one come, a node in each turn."""
        with self._views.held():
            yield from self._leaving.clear()
            self.ui.exposuresCheckBox.checked = bool(self.result.reprojections)
            if self.ui.exposuresCheckBox.checked:
                yield from self._exposed()

    def _exposed(self) -> Iterator[float]:
        with self._views.held():
            yield from self.exposures.show(self.result)
            Space.lookEverywhere(self.result.volumeNode)  # Slicer's own reset would frame the sources, metres away

    def _onExposed(self, _outcome: object) -> None:
        self._exposing = None
        self.exposures.setVisible(self.ui.exposuresCheckBox.checked)  # the user may have changed it meanwhile

    def _onNotExposed(self, error: Exception) -> None:
        self._exposing = None
        raise error


def resultOf(node) -> ReconstructionResult:
    """The result of a reconstruction in the scene, as far as its nodes hold it: everything save the reprojections."""
    return ReconstructionResult(
        volumeNode=node,
        coverageNode=node.GetNodeReference(COVERAGE_ROLE),
        spreadNode=node.GetNodeReference(SPREAD_ROLE),
        residuals=attributeOf(node, "residuals", []),
        warnings=attributeOf(node, "warnings", []),
        provenance=provenanceOf(node),
        reprojections=[],
        views=[],
        inputs=[],
        seconds={},
        measures=attributeOf(node, "measures"),
    )


def pairPicture(reprojection: dict) -> np.ndarray:
    """(rows, 3 x columns, 3) uint8: the X-ray, the reconstruction projected like it, and their difference.

    Both X-rays are scaled alike; the difference runs from blue (too little in the way) over white to red (too much).
    """
    ensureCore()
    from clsdm.quality.picture import Painter

    first, second = reprojection["input"], reprojection["reprojected"]
    paint = Painter(-1.0, 1.0)
    return np.hstack([paint(first), paint(second), Painter(-1.0, 1.0, diverging=True)(second - first)])


def showInSlices(node, views: HeldViews) -> None:
    """Show a volume in the slice views as Slicer does after loading one; each draws it in a turn of its own."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    with views.held():
        selection.SetActiveVolumeID(node.GetID())
        slicer.app.applicationLogic().PropagateVolumeSelection(1)
