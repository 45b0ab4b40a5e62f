"""The layers over a reconstruction, one at a time: coverage, spread, and what came from other patients.

A layer is drawn in the very colours of its legend, so that values can be read, and only where it has something to say;
elsewhere the reconstruction is seen. A line in the panel says what is coloured, for as long as the layer is shown.
It is laid over the user's own slice views here; what the comparison's show is the comparison's affair.
"""

import math

import numpy as np
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.compare.ComparisonLayout import VIEWS
from CLSDMReconstructionLib.scene.Attributes import COVERAGE_ROLE, OTHERS_ROLE, PREFIX, SPREAD_ROLE, attributeOf
from CLSDMReconstructionLib.scene.Legend import showLegend
from CLSDMReconstructionLib.scene.Volumes import voxels

COVERAGE_COLOUR, HU_COLOUR = "vtkMRMLColorTableNodeFilePlasma.txt", "vtkMRMLColorTableNodeFileInferno.txt"
TOP_PERCENTILE = 99.5
"""Of the values above 0: the upper end of a layer in HU, which a single voxel must not decide."""
SEEN_FROM = 0.1
"""Of the upper end: what is lower is left to the reconstruction."""
_ENDLESS = 1.0e6


class Layers:
    """The layers' boxes in the panel, and what they show.

    Args:
        ui: the panel's named widgets.
        logic: the module's.
        onMessage: takes a text for the user, and whether it is an error.
        onLayer: takes the layer's volume node, or None, and its reconstruction, whenever another is shown.
    """

    def __init__(self, ui, logic, onMessage, onLayer) -> None:
        self._ui, self._logic, self._onMessage, self._onLayer = ui, logic, onMessage, onLayer
        self._said = self._missing = ""  # of what is coloured, and where it is not shown
        self._under: dict[str, tuple] = {}  # of each slice view: ID of the user's own foreground, and its opacity
        self._volume = self._asked = self._shown = None  # the reconstruction, a run for it, and the layer's node
        self._kinds = {
            ui.coverageCheckBox: (COVERAGE_ROLE, _("X-rays that see it")),
            ui.spreadCheckBox: (SPREAD_ROLE, _("Spread, HU")),
            ui.othersCheckBox: (OTHERS_ROLE, _("Not in X-rays, HU")),
        }
        for box in self._kinds:
            box.connect("toggled(bool)", lambda on, box=box: self._onToggled(box, on))
        self._say("")

    def show(self, result) -> None:
        """Offer the layers of a ``ReconstructionResult``; none is shown yet."""
        self.clear()
        self._volume = result.volumeNode
        self._ui.coverageCheckBox.enabled = result.coverageNode is not None
        self._ui.spreadCheckBox.enabled = result.spreadNode is not None
        self._ui.othersCheckBox.enabled = bool(attributeOf(result.volumeNode, "views"))

    def clear(self) -> None:
        """No layer, and none to be had."""
        self.leave()
        for box in self._kinds:
            box.enabled = False
        self._volume = None
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    def leave(self) -> None:
        """The slice views are as they were."""
        for box in self._kinds:
            box.checked = False

    def sweep(self) -> None:
        """None is shown, also none that a scene brought, whose box is not ticked and which has no legend."""
        self.leave()
        kinds = [role.removeprefix(PREFIX) for role, _title in self._kinds.values()]
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            name = composite.GetForegroundVolumeID()
            node = slicer.mrmlScene.GetNodeByID(name) if name else None
            if node is not None and attributeOf(node, "role") in kinds:
                _showOver(composite, None, 0.0)

    def sayMissing(self, reason: str) -> None:
        """Where the layer is not shown though its box is ticked, or ""."""
        self._missing = reason
        self._say(self._said)

    def _onToggled(self, box, on: bool) -> None:
        if self._volume is None:
            return
        if not on:
            self._hide()
            return
        for other in self._kinds:
            if other is not box:
                other.checked = False
        role, title = self._kinds[box]
        node = self._volume.GetNodeReference(role)
        if node is not None:
            self._shown = node
            self._layOver(node)
            self._onLayer(node, self._volume)
            self._say(_displayed(node, role))
            showLegend(node, title, True, "%.1f" if role == COVERAGE_ROLE else "%.0f")
        elif role == OTHERS_ROLE:
            self._say(_("Computing what the X-rays fix; the layer comes when it is there."))
            self._askForOthers()

    def _hide(self) -> None:
        node, self._shown = self._shown, None
        self._say("")
        if node is not None:
            self._takeAway(node)
            self._onLayer(None, None)
            if node.GetScene() is not None:
                showLegend(node, "", False)

    def _layOver(self, node) -> None:
        """Lay it over the user's slice views, in its own colours, nothing shining through."""
        for composite in _usersViews():
            self._under[composite.GetID()] = composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()
            _showOver(composite, node.GetID(), 1.0)

    def _takeAway(self, node) -> None:
        """What lay there before comes back, save where the user has laid something else over meanwhile."""
        under, self._under = self._under, {}
        ours = (node.GetID(),) if node.GetScene() is not None else (node.GetID(), None)
        for composite in _usersViews():
            if composite.GetID() in under and composite.GetForegroundVolumeID() in ours:
                name, opacity = under[composite.GetID()]
                there = name and slicer.mrmlScene.GetNodeByID(name) is not None
                _showOver(composite, name if there else None, opacity)

    def _say(self, text: str) -> None:
        self._said = text
        self._ui.layerLabel.text = " ".join(part for part in (text, self._missing) if text and part)
        self._ui.layerLabel.visible = bool(text)

    def _askForOthers(self) -> None:
        """The worker finds it once for a reconstruction; the layer comes when it is there, if it is still wanted."""
        if self._asked is not None:
            return

        def ended(run) -> None:
            if self._asked is not run:
                return
            self._asked = None
            box = self._ui.othersCheckBox
            if run.error is not None:
                box.checked = False
                self._onMessage(run.error.message, True)
            elif box.checked:
                self._onToggled(box, True)

        self._asked = self._logic.fromOthers(self._volume, onFinished=ended, onError=ended)


def _usersViews() -> list:
    """The composite nodes of all slice views but the comparison's."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return [node for node in nodes if node.GetLayoutName() not in VIEWS]


def _showOver(composite, name: str | None, opacity: float) -> None:
    composite.SetForegroundVolumeID(name)
    composite.SetForegroundOpacity(opacity)


def _displayed(node, role: str) -> str:
    """Give a layer its colours and say which of its voxels are drawn; a window that the user has chosen stays."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    colour = COVERAGE_COLOUR if role == COVERAGE_ROLE else HU_COLOUR
    if slicer.mrmlScene.GetNodeByID(colour) is not None:
        display.SetAndObserveColorNodeID(colour)
    if role == COVERAGE_ROLE:  # Slicer's own window would show one X-ray like two
        most = max(1.0, node.GetImageData().GetScalarRange()[1])
        _window(display, most, -_ENDLESS, most - 0.5)
        return _("Coloured is what fewer than {count:.0f} X-rays see; elsewhere the reconstruction is shown.").format(
            count=most
        )
    most = top(voxels(node))
    _window(display, most, SEEN_FROM * most, _ENDLESS)
    told = _("Below {hu:.0f} HU the reconstruction is shown.").format(hu=SEEN_FROM * most)
    return " ".join(text for text in (attributeOf(node, "legend", ""), told) if text)


def _window(display, most: float, seenFrom: float, seenTo: float) -> None:
    if display.GetAutoWindowLevel():
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0.0, most)
    display.SetAutoThreshold(False)
    display.SetThreshold(seenFrom, seenTo)
    display.SetApplyThreshold(True)


def top(values: np.ndarray) -> float:
    """The upper end of a layer's colours, of two digits: few of the values above 0 are higher."""
    above = values[values > 0.0]
    if not above.size:
        return 1.0
    found = float(np.percentile(above, TOP_PERCENTILE))
    step = 10.0 ** (math.floor(math.log10(found)) - 1)
    return math.ceil(found / step - 1e-6) * step
