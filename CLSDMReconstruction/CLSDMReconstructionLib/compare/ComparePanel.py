"""The panel "Compare": choose a CT, see both and their difference side by side, read the figures, take them along."""

from collections.abc import Callable, Iterator

import slicer
import vtk
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Panel import Panel
from CLSDMReconstructionLib.base.Steps import Steps
from CLSDMReconstructionLib.compare import ComparisonReport as Report
from CLSDMReconstructionLib.compare.ComparisonScreen import ComparisonScreen
from CLSDMReconstructionLib.compare.Difference import WINDOWS, makeDifference, setDifferenceLimit
from CLSDMReconstructionLib.compare.Overlay import Overlay
from CLSDMReconstructionLib.compare.TakeAway import Comparison, TakeAway
from CLSDMReconstructionLib.compare.ViewBars import tidyTables
from CLSDMReconstructionLib.scene.HeldViews import HeldViews
from CLSDMReconstructionLib.scene.Legend import showLegend

OWN_WINDOW = "As in the views"


class ComparePanel(Panel):
    """See the module's docstring.

    Args:
        logic: the ReconstructionLogic, whose worker computes the figures.
        views: which are held while much changes in them.
        parent: widget that holds the panel.

    Attributes:
        shown: the Comparison.
        screen: the ComparisonScreen.
        takeAway: the TakeAway.
    """

    def __init__(self, logic, views: HeldViews, parent=None) -> None:
        super().__init__("CLSDMCompare", ("truthSelector", "reconstructionSelector"), parent)
        self._logic = logic
        self._views, self.shown = views, Comparison()
        self.screen = ComparisonScreen(views, self._show, self._update, self.sayError)
        self.takeAway = TakeAway(self, self.screen, views, lambda: self.shown, self._remove)
        self._removal = None
        self._leaving: list = []  # nodes that go one after the other
        self._sceneTags = []
        self._entered = True
        self._done: dict[str, float] = {}  # of difference and figures, how much
        self._isOverlayDue = False  # another was chosen than is shown
        self._tellLayer: Callable[[str], None] = lambda reason: None
        self._saidOf: tuple | None = None  # the pair that the line of status is about; None: whatever is chosen
        self._fill()
        self._connect()
        self._update()

    def setMRMLScene(self, scene) -> None:
        """Give the selectors the scene and watch it."""
        self._stopWatching()
        super().setMRMLScene(scene)
        if scene is not None:
            events = slicer.vtkMRMLScene
            self._sceneTags = [
                (scene, scene.AddObserver(events.StartCloseEvent, lambda *_: self.reset())),
                (scene, scene.AddObserver(events.NodeAboutToBeRemovedEvent, self._onNodeRemoved)),
            ]
        self.screen.watch(scene)

    def setReconstruction(self, node) -> None:
        """Choose the reconstruction."""
        self.ui.reconstructionSelector.setCurrentNode(node)

    def setTruth(self, node) -> None:
        """Choose the ground-truth CT."""
        self.ui.truthSelector.setCurrentNode(node)

    def offerTruth(self, node) -> None:
        """Choose this CT where none is chosen."""
        if self.ui.truthSelector.currentNode() is None:
            self.setTruth(node)

    def onLayer(self, tell: Callable[[str], None]) -> None:
        """Call this with why the comparison does not show the layer, or "", whenever something changed."""
        self._tellLayer = tell

    def lay(self, layer, reconstruction) -> None:
        """Lay a layer over its reconstruction, where that stands alone; None for none."""
        self.screen.overlay.layer, self.screen.overlay.layerOf = layer, reconstruction
        self._onOverlay()

    def enter(self) -> None:
        """The module is shown; the comparison layout waits for the user to ask for it."""
        self._entered = True
        self.sceneLoaded()

    def sceneLoaded(self) -> None:
        """One that was saved in the comparison layout shows it, but its comparison is not in it; or shows it in our views."""
        if self.screen.layout.isShown and not self.screen.isOpening:
            self.showLayout(self._isCurrent)

    def exit(self) -> None:
        """The user goes elsewhere: layout and colours as they were."""
        self._entered = False
        self.showLayout(False)

    def cleanup(self) -> None:
        """Stop everything, remove what is left, and let go of the scene."""
        self._stopWatching()
        super().cleanup()
        if self._removal is not None:  # no turn of the event loop may come any more
            self._removal.cancel()
        Nodes.remove(*self._leaving)

    @property
    def isRunning(self) -> bool:
        """Whether a comparison is being made."""
        return self.isWorking("difference") or self._run is not None

    def compare(self) -> None:
        """Make the difference and ask the worker for the figures; both go on in the background."""
        truth, reconstruction = self._chosenPair
        self._forget()
        self.shown = Comparison(truth, reconstruction)
        self.say(_("Comparing..."))
        self._done = {}
        self.begin(
            "difference",
            makeDifference(truth, reconstruction),
            self._onDifference,
            self._onDifferenceError,
            lambda fraction: self._onPartProgress("difference", fraction),
        )
        self._run = self._logic.compare(
            reconstruction,
            truth,
            onProgress=lambda run: self._onPartProgress("figures", run.fraction),
            onFinished=self._onFigures,
            onError=self._onError,
        )
        self._update()

    def cancel(self) -> None:
        """Stop the comparison that is being made; what was there before it is gone already."""
        self.reset()
        self.say(_("Cancelled."))

    def reset(self) -> None:
        """Forget the comparison: stop it, leave its layout, remove its nodes."""
        self.showLayout(False)
        self._forget()

    def onChanged(self, node) -> None:
        """This volume holds something else now: a comparison of it is none any more."""
        if node in self.shown.pair:
            self.reset()

    def say(self, text: str, failed: bool = False) -> None:
        """Say something about the pair that is shown, or else the chosen one; it goes when another pair is chosen."""
        super().say(text, failed)
        self._saidOf = self._chosenPair if self.shown.truth is None else self.shown.pair
        self._showStatus()

    @property
    def _chosenPair(self) -> tuple:
        return self.ui.truthSelector.currentNode(), self.ui.reconstructionSelector.currentNode()

    def _showStatus(self) -> None:
        self.ui.statusLabel.visible = self.isRunning or self._saidOf in (None, self._chosenPair)

    def _forget(self) -> None:
        """Stop it and remove its nodes; where its layout is shown, it stays for the next."""
        run, self._run = self._run, None
        self.screen.stopOpening()
        self._stopWork()
        if run is not None:
            run.cancel()
        with self._views.held(self.screen.layout.viewsWith("Reconstruction")):
            made = [self.shown.difference, self.shown.table]
            made += [*self.takeAway.profile.handOver(), *self.screen.overlay.handOver()]
        self.screen.layout.showPlot(False, later=True)
        self.shown = Comparison()
        self._remove(made)
        self.ui.figuresLabel.setText("")
        self.say("")
        self._update()

    def _remove(self, nodes: list) -> None:
        """These nodes, or None, are to go, one in each turn."""
        self._leaving += [node for node in nodes if node is not None]
        if self._leaving and (self._removal is None or not self._removal.isRunning):
            self._removal = Steps(self._removing())

    def _removing(self) -> Iterator[float]:
        with self._views.held():
            while self._leaving:
                node = self._leaving[-1]
                for _done in self.screen.layout.letGo(node):  # else every view that shows it would change in one turn
                    yield 0.0
                Nodes.remove(self._leaving.pop())
                yield 0.0

    def showLayout(self, shown: bool) -> None:
        """Switch to the comparison layout, in the background, or back to the user's."""
        if not shown:
            self.screen.leave()
        elif self._isCurrent:
            self.screen.open()

    @property
    def _isCurrent(self) -> bool:
        """Whether there is a comparison of what is chosen."""
        return self.shown.difference is not None and self.shown.pair == self._chosenPair

    # What follows answers to signals.

    def _fill(self) -> None:
        self.ui.windowComboBox.addItem(_(OWN_WINDOW))
        for name in WINDOWS:
            self.ui.windowComboBox.addItem(_(name))
        for mode in Overlay.MODES:
            self.ui.overlayComboBox.addItem(_(mode))

    def _connect(self) -> None:
        ui = self.ui
        for selector in (ui.truthSelector, ui.reconstructionSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_: self._update())
        ui.compareButton.connect("clicked()", self._onCompare)
        ui.layoutCheckBox.connect("clicked(bool)", self.showLayout)
        ui.windowComboBox.connect("currentIndexChanged(int)", self._onWindow)
        ui.limitSlider.connect("valueChanged(double)", self._onLimit)
        ui.overlayComboBox.connect("currentIndexChanged(int)", lambda *_: self._onOverlay())
        ui.fractionSlider.connect("valueChanged(double)", lambda *_: self._onOverlay())

    def _onCompare(self) -> None:
        self.cancel() if self.isRunning else self.compare()

    def _onPartProgress(self, part: str, fraction: float) -> None:
        self._done[part] = fraction
        self._onProgress(sum(self._done.values()) / 2)

    def _onDifference(self, node) -> None:
        self.shown.difference = node
        setDifferenceLimit(node, self.ui.limitSlider.value)
        if self._entered:
            self.showLayout(True)  # also where the layout still shows the comparison before
        self._onPartDone()

    def _onDifferenceError(self, error: Exception) -> None:
        of = self.shown.pair
        self.reset()
        self.sayError(error)
        self._saidOf = of

    def _onFigures(self, run) -> None:
        if run is not self._run:
            return
        self._run, self.shown.figures = None, run.result
        name = f"{self.shown.reconstruction.GetName()} - figures"
        self.shown.table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
        Nodes.keepFromUndo(self.shown.table)
        Nodes.keepFromSaving(self.shown.table)
        Report.fillTable(self.shown.table, self.shown.rows())
        self._showTable()
        self.ui.figuresLabel.setText(Report.figuresHtml(run.result))
        self._onPartDone()

    def _onPartDone(self) -> None:
        if not self.isRunning and self.shown.figures is not None:
            self.say("\n".join(self.shown.figures.get("warnings", ())))
        self._update()

    def _onWindow(self, index: int) -> None:
        if index > 0:
            self.screen.window.set(*list(WINDOWS.values())[index - 1])

    def _onLimit(self, limitHu: float) -> None:
        if self.shown.difference is not None:
            setDifferenceLimit(self.shown.difference, limitHu)

    def _onOverlay(self) -> None:
        self._isOverlayDue = True
        self._update()
        if self.screen.layout.isShown and not self.screen.isOpening and not self.isWorking("overlay"):
            self.begin("overlay", self._overlays(), lambda _shown: None)

    def _overlays(self) -> Iterator[float]:
        """The overlay as it is chosen now, until no other was chosen meanwhile; each is drawn before the next."""
        while self._isOverlayDue:
            yield from self._overlay()
            while self._views.isHolding:
                yield 1.0

    def _overlay(self) -> Iterator[float]:
        self._isOverlayDue = False
        mode = Overlay.MODES[self.ui.overlayComboBox.currentIndex]
        with self._views.held(self.screen.layout.viewsWith("Reconstruction")):
            yield from self.screen.overlay.apply(mode, self.ui.fractionSlider.value)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _scene, _event, node) -> None:
        if node is not None and node in (*self.shown.pair, self.shown.difference):
            self.reset()
            self.say(_("A volume of the comparison was deleted."))
            self._saidOf = None
            self._showStatus()

    def _show(self) -> Iterator[float]:
        truth, reconstruction = self.shown.pair
        yield from self.screen.layout.show(truth, reconstruction, self.shown.difference)
        self.screen.window.start([truth, reconstruction])
        yield 1.0
        self._onWindow(self.ui.windowComboBox.currentIndex)
        yield 1.0
        self.screen.overlay.start(truth, reconstruction)
        yield 1.0
        self._isOverlayDue = True
        while self._isOverlayDue:
            yield from self._overlay()
        self._showTable()
        showLegend(self.shown.difference, _("HU"))  # now that there are views to draw it

    def _showTable(self) -> None:
        view = self.screen.layout.tableView()
        if view is not None and self.shown.table is not None:
            view.SetTableNodeID(self.shown.table.GetID())
            tidyTables(self.shown.table)

    def _update(self) -> None:
        """Enable what can be used now, and say why something cannot."""
        ui, running, ready = self.ui, self.isRunning, self.shown.difference is not None
        truth, reconstruction = self._chosenPair
        reason = (
            _("Choose a ground-truth CT.") if truth is None
            else _("Choose a reconstruction.") if reconstruction is None
            else _("The CT and the reconstruction are the same volume.") if truth is reconstruction
            else ""
        )  # fmt: skip
        stale = "" if (truth, reconstruction) == self.shown.pair else _("Compare these two first.")
        if stale and self.shown.truth is not None and self.screen.isWanted:  # it would show another pair than is chosen
            self.screen.leave()
        ui.figuresLabel.visible = not stale
        self._showStatus()
        self.takeAway.update(stale)
        text, tip = _("Cancel") if running else _("Compare"), _("Difference, figures and linked views of both.")
        self._showButton(ui.compareButton, running, text, tip, reason)
        ui.layoutCheckBox.setEnabled(self._isCurrent or self.screen.isWanted)
        ui.layoutCheckBox.setChecked(self.screen.isWanted)
        for widget in (ui.windowComboBox, ui.overlayComboBox):
            widget.setEnabled(self.screen.layout.isShown)
        ui.fractionSlider.setEnabled(self.screen.layout.isShown and ui.overlayComboBox.currentIndex > 0)
        ui.limitSlider.setEnabled(ready)
        self._tellLayer(self._noLayer())

    def _noLayer(self) -> str:
        """Why the layer is not shown in the comparison, or ""."""
        overlay = self.screen.overlay
        if overlay.layer is None or not self.screen.isWanted:
            return ""
        if self.shown.reconstruction not in (None, overlay.layerOf):
            return _("The comparison is of another reconstruction, and shown without it.")
        return _("The comparison's overlay is shown without it.") if self.ui.overlayComboBox.currentIndex > 0 else ""

    def _stopWatching(self) -> None:
        tags, self._sceneTags = self._sceneTags, []
        for scene, tag in tags:
            scene.RemoveObserver(tag)
        self.screen.watch(None)
