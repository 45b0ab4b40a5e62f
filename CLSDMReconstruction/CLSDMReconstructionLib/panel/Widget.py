"""The panel: its sections, the parameter node behind them, and what happens when the scene closes or the module goes."""

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin
from vtk import vtkCommand

from CLSDMReconstructionLib.base.Appearance import NOTICE_STYLE, keepPlain, retone
from CLSDMReconstructionLib.base.Narrow import keepNarrow
from CLSDMReconstructionLib.base.Nodes import Chosen, keepFromUndo
from CLSDMReconstructionLib.base.Preload import preload
from CLSDMReconstructionLib.base.Steps import Steps
from CLSDMReconstructionLib.compare.ComparePanel import ComparePanel
from CLSDMReconstructionLib.install.DependenciesSection import DependenciesSection
from CLSDMReconstructionLib.panel.BatchPanel import BatchPanel
from CLSDMReconstructionLib.panel.ExportPanel import ExportPanel
from CLSDMReconstructionLib.panel.ModelSearch import ModelSearch
from CLSDMReconstructionLib.panel.ModelSection import ModelSection
from CLSDMReconstructionLib.panel.Parameters import Parameters, asText, nodeOf, readXRays, writeXRays
from CLSDMReconstructionLib.panel.ResultSection import ResultSection, showInSlices
from CLSDMReconstructionLib.panel.Runner import Runner
from CLSDMReconstructionLib.panel.RunSection import RunSection
from CLSDMReconstructionLib.panel.ServerSection import ServerSection
from CLSDMReconstructionLib.scene.Attributes import ROLE_ATTRIBUTE, isUsers
from CLSDMReconstructionLib.scene.Belongings import Belongings
from CLSDMReconstructionLib.scene.HeldViews import HeldViews
from CLSDMReconstructionLib.xrays.Inputs import XRayInput
from CLSDMReconstructionLib.xrays.PairFinder import loadedXRays
from CLSDMReconstructionLib.xrays.SampleMenu import SampleMenu
from CLSDMReconstructionLib.xrays.SimulatePanel import SimulatePanel
from CLSDMReconstructionLib.xrays.XRaysSection import XRaysSection


class ReconstructionPanel(VTKObservationMixin):
    """The module's panel, to be put into ``layout``.

    Attributes:
        ui: widgets by name.
        parameters: the scene's ``Parameters``; None while the scene is closing or another is loaded, and from then on
            until the module is shown.
        runner: the Runner.
    """

    def __init__(self, logic, layout, resourcePath) -> None:
        VTKObservationMixin.__init__(self)
        self.logic, self.parameters = logic, None
        self._guiTag, self._xraysShown = None, None
        self._entered = self._imports = False
        self._xraysOfResult = ""  # as ``Parameters.xrays`` held them; "" where that is not known
        self._warmed = self._chosen = self._preload = None
        self._offered: set[str] = set()  # IDs of volumes that were chosen for the user once
        self.widget = slicer.util.loadUI(resourcePath("UI/CLSDMReconstruction.ui"))
        layout.addWidget(self.widget)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.ui.noticeLabel.setStyleSheet(NOTICE_STYLE)
        keepNarrow(self.widget)
        keepPlain(self.widget)
        self._build(resourcePath)
        slicer.app.connect("paletteChanged(QPalette)", self._onPaletteChanged)
        self.widget.setMRMLScene(slicer.mrmlScene)
        for panel in self.panels:
            panel.setMRMLScene(slicer.mrmlScene)
        self._results.watch(slicer.mrmlScene)
        self._belongings.watch(slicer.mrmlScene)
        events = slicer.vtkMRMLScene
        for event, heard in (
            (events.StartCloseEvent, self._onSceneStartClose),
            (events.EndCloseEvent, self._onSceneEndClose),
            (events.StartImportEvent, self._onSceneStartImport),
            (events.EndBatchProcessEvent, self._onSceneEndBatch),
            (events.NodeRemovedEvent, self._onNodeRemoved),
        ):
            self.addObserver(slicer.mrmlScene, event, heard)
        self._useParameters()
        self._reconcile()

    @property
    def run(self):
        """The reconstruction under way, or None."""
        return self.runner.run

    def _build(self, resourcePath) -> None:
        ui, logic = self.ui, self.logic
        self.runner = Runner(self)
        self.runSection = RunSection(ui, self.runner.reconstruct, self.runner.cancel, self.runner.takeOffer)
        self.server = ServerSection(
            ui, resourcePath("UI/CLSDMServer.ui"), logic, self._onComputerChosen, self._onComputerChanged
        )
        self.model = ModelSection(ui, logic, self._onModelChanged, self._onMessage, lambda: self.search.open())
        self.search = ModelSearch(
            resourcePath("UI/CLSDMModels.ui"), self.widget, logic, self.model.choose, self.model.add, self.runner.tryOut
        )
        self.xrays = XRaysSection(ui, logic, resourcePath("UI/CLSDMXRaySlot.ui"), self._onXRaysChanged)
        self.dependencies = DependenciesSection(ui, logic.dependencies, self._onComputerChanged, logic.stopWorkers)
        self.views = HeldViews()
        self.compare = ComparePanel(logic, self.views, ui.compareSection)
        self.result = ResultSection(ui, self.views, logic, self._onMessage, self.compare.lay)
        self.compare.onLayer(self.result.layers.sayMissing)
        self.simulate = SimulatePanel(logic, ui.simulateSection)
        self.export = ExportPanel(logic, ui.exportSection)
        self.batch = BatchPanel(logic, self.runner.arguments, ui.batchSection)
        self.panels = (self.compare, self.simulate, self.export, self.batch)
        for selector in (ui.outputSelector, ui.reconstructionSelector):
            selector.addAttribute("vtkMRMLScalarVolumeNode", ROLE_ATTRIBUTE, "volume")
        self.samples = SampleMenu(ui, logic, self._onMessage, self._onSample)
        self.simulate.onXRays(self._onSimulated)
        self._results, self._belongings = Chosen(ui.reconstructionSelector), Belongings()
        self.compare.ui.truthSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onTruthChosen)

    # --- life ---

    def enter(self) -> None:
        """The module is shown."""
        self._entered = True
        self._useParameters()
        self._onComputerChanged()
        self.server.reachOut()
        self._offerLoaded()
        for panel in self.panels:
            panel.enter()
        if self._preload is None:
            self._preload = Steps(preload(), lambda _: None, lambda _: None)

    def _offerLoaded(self) -> None:
        """Choose what is loaded and was not offered before, where nothing is chosen: X-rays, and a CT to compare with."""
        volumes = {node.GetID(): node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
        fresh = [node for name, node in volumes.items() if name not in self._offered and isUsers(node)]
        self._offered |= set(volumes)
        xrays = [node for node in loadedXRays() if node in fresh]
        cts = [node for node in fresh if node.GetImageData() and node not in xrays]
        if xrays and not any(self.xrays.xrays()):
            self.xrays.pair.among(xrays)
        if cts:
            self.compare.offerTruth(cts[0])
            self.simulate.offerTruth(cts[0])

    def exit(self) -> None:
        """Another module is shown; a reconstruction goes on."""
        self._entered = False
        self.result.leave()
        for panel in self.panels:
            panel.exit()

    def cleanup(self) -> None:
        """The module goes: nothing of it stays behind."""
        if self._preload is not None:
            self._preload.cancel()
        self._leaveParameters()
        self.removeObservers()
        slicer.app.disconnect("paletteChanged(QPalette)", self._onPaletteChanged)
        self._results.watch(None)
        self._belongings.watch(None)
        self.result.cleanup()
        self.xrays.cleanup()
        self.samples.cleanup()
        for panel in self.panels:
            panel.cleanup()
        self.views.stop()
        self.logic.cleanup()

    def _onPaletteChanged(self, *_args) -> None:
        retone(self.widget)

    def _onSceneStartClose(self, *_args) -> None:
        self._leaveParameters()
        self.logic.cancelOfScene()
        self.samples.cancel()
        self.runner.run = self.runner.made = None
        self._offered.clear()  # the next scene's volumes have the same IDs
        self.lock(False)
        self.result.clear()
        self.xrays.setXRays([None, None])
        self.runSection.idle()
        self.runSection.clearError()
        for panel in self.panels:
            panel.forget()

    def _onSceneEndClose(self, *_args) -> None:
        if self._entered:
            self._useParameters()

    def _onSceneStartImport(self, *_args) -> None:
        """Until the end the parameter node refers to nodes of the scene before, by IDs that new ones may get, and the
        selectors drop what they show: nothing of that is to be read, or written into the scene.
        """
        self._imports = True
        self._leaveParameters()

    def _onSceneEndBatch(self, *_args) -> None:
        """Of an import: only now are all nodes there that the parameter node refers to, and in all selectors."""
        if self._imports:
            self._imports = False
            self._onSceneEndClose()
            self._reconcile()

    def _reconcile(self) -> None:
        """What a scene shows is what the panel's boxes say."""
        self.result.layers.sweep()
        for panel in self.panels:
            panel.sceneLoaded()

    def _onNodeRemoved(self, *_args) -> None:
        """An X-ray or a result may have been deleted."""
        if slicer.mrmlScene.IsBatchProcessing() or self.parameters is None:
            return
        for slot in self.xrays.slots:
            if slot.xray is not None and slot.xray.nodeId is not None and slot.xray.node is None:
                slot.take(None)
        shown = self.result.result
        if shown is not None and not slicer.mrmlScene.IsNodePresent(shown.volumeNode):
            self.result.clear()
        self.runner.forgetDeleted()

    # --- parameter node ---

    def _useParameters(self) -> None:
        """Bind the panel to the scene's parameter node."""
        if self.parameters is not None or slicer.mrmlScene.IsClosing():
            return
        node = self.logic.getParameterNode()
        keepFromUndo(node)
        self.parameters = Parameters(node)
        self._guiTag = self.parameters.connectGui(self.ui)
        self.addObserver(node, vtkCommand.ModifiedEvent, self._onParametersModified)
        self.model.setParameters(self.parameters)
        self.model.refresh(self.parameters.model)
        self._onParametersModified()

    def _leaveParameters(self) -> None:
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, vtkCommand.ModifiedEvent, self._onParametersModified)
            self.model.setParameters(None)
            self.parameters = self._guiTag = self._xraysShown = self._chosen = None

    def _onParametersModified(self, *_args) -> None:
        """The scene says something else than the panel shows (a scene was loaded, or Python set a value)."""
        parameters = self.parameters
        if parameters is None:
            return
        if parameters.xrays != self._xraysShown:
            self._xraysShown, before = parameters.xrays, asText(self.xrays.xrays())
            self.xrays.setXRays(readXRays(parameters))
            if not self.holdsXRays(before):
                self._forgetLastRun()
        if parameters.model != self.model.wanted:
            self.model.refresh(parameters.model)
        self.xrays.setContext(parameters.preset, self.model.bundle())
        self.model.showProduct()
        self.compare.setTruth(nodeOf(parameters, "groundTruth"))
        chosen = nodeOf(parameters, "reconstruction")
        if chosen is not self._chosen:
            self._chosen = chosen
            if not self.result.isOf(chosen):
                self._xraysOfResult = ""
            self.result.showNode(chosen)
            for panel in self.panels:
                panel.setReconstruction(chosen)
        if self._xraysOfResult:  # a scene that was added may have brought others, and no result
            self.result.setOutdated(not self.holdsXRays(self._xraysOfResult))
        self.updateReadiness()

    # --- what the user does ---

    def _onXRaysChanged(self) -> None:
        """The user changed the X-rays, or their files were found to be of no use."""
        shown = asText(self.xrays.xrays())
        if self.parameters is not None and shown != self._xraysShown:
            self._xraysShown = shown
            writeXRays(self.parameters, self.xrays.xrays())
            self._forgetLastRun()
            self.result.setOutdated(shown != self._xraysOfResult)
        self.updateReadiness()

    def _forgetLastRun(self) -> None:
        """What was said of it is of other X-rays than the slots hold now, or of a volume that is gone."""
        if not self.runSection.isRunning:
            self.runSection.clearError()
            self.runSection.say("")

    def holdsXRays(self, xrays: str) -> bool:
        """Whether these X-rays (see ``Parameters.asText``) are the ones that the slots hold."""
        return xrays == asText(self.xrays.xrays())

    def showResult(self, result, xrays: str) -> None:
        """Show what was made of these X-rays (see ``Parameters.asText``), which the slots may not hold any more."""
        self.result.show(result)
        self._xraysOfResult = xrays
        self.parameters.reconstruction = result.volumeNode
        self.result.setOutdated(not self.holdsXRays(xrays))

    def _onTruthChosen(self, node) -> None:
        if self.parameters is not None and node is not nodeOf(self.parameters, "groundTruth"):
            self.parameters.groundTruth = node

    def _onModelChanged(self) -> None:
        if self.parameters is not None:
            self.parameters.model = self.model.wanted
            self.xrays.setContext(self.parameters.preset, self.model.bundle())
        self.updateReadiness()

    def _onComputerChosen(self) -> None:
        """Another computer is to compute: what failed was said of the other one."""
        self.runSection.clearError()
        self.runSection.say("")
        for panel in self.panels:
            panel.clearError()
        self._onComputerChanged()

    def _onComputerChanged(self) -> None:
        """Another computer may compute now, or has said what it can."""
        self._warmed = None
        self.dependencies.refresh()
        self.model.refresh()
        missing = _("The preview appears when the Python packages above are installed")
        self.xrays.setNoPreview(missing if self.dependencies.missing else self.server.problem())
        if self.parameters is not None:
            self.xrays.setContext(self.parameters.preset, self.model.bundle())
        self.updateReadiness()

    def _onMessage(self, text: str, isError: bool) -> None:
        self.runner.isTrying &= not isError
        self.runSection.say(text, "error" if isError else "muted")

    def _onSimulated(self, simulation) -> None:
        self._fillSlots(simulation.nodes, self.simulate.ct)

    def _onSample(self, simulation, ct) -> None:
        self._fillSlots(simulation.nodes, ct)
        showInSlices(ct, self.views)
        self._onMessage(_("The slots hold X-rays of the sample; its CT is the ground truth."), False)
        self.runner.onSample()

    def _fillSlots(self, nodes: list, truth) -> None:
        """X-rays that were made from a CT, which is then the ground truth."""
        roles = ["frontal", "lateral", *["view"] * len(nodes)]
        self.xrays.setXRays(
            [XRayInput(nodeId=node.GetID(), role=role) for node, role in zip(nodes, roles, strict=False)]
        )
        self._onXRaysChanged()
        if truth is not None:
            self.compare.setTruth(truth)

    def updateReadiness(self) -> None:
        """Say whether there is something to reconstruct, and load the model in advance."""
        missing = _("First install what is missing (see the top of the panel).") if self.dependencies.missing else ""
        missing = missing or self.server.problem()
        cannot = missing or ("" if self.model.model is not None else _("Add a model first."))
        reason = cannot or self.xrays.problem()
        self.runSection.setReady(reason)
        for panel, why in ((self.compare, missing), (self.simulate, missing), (self.batch, cannot)):
            panel.setCannot(why)
        wanted = (self.model.bundle(), self.model.device)
        if not reason and self._warmed != wanted:  # so that the first click need not wait for the model
            self._warmed = wanted
            self.logic.warm(*wanted)

    def lock(self, locked: bool) -> None:
        """While a run goes on, what it was made from cannot be changed."""
        for section in (self.ui.slotArea, self.ui.pairButton, self.ui.swapButton, self.ui.sampleButton):
            section.enabled = not locked
        for widget in (
            self.ui.modelSelector,
            self.ui.modelMenuButton,
            self.ui.productSelector,
            self.ui.outputSelector,
            self.ui.advancedSettings,
            self.server.widget,
        ):
            widget.enabled = not locked
        self.model.gauges.watch(locked)
