"""The panel "Simulate": X-rays of a loaded CT, to try the module without real ones or to compare with the truth."""

from collections.abc import Callable

from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Panel import Panel
from CLSDMReconstructionLib.xrays.Simulation import parseAngles, presets


class SimulatePanel(Panel):
    """See the module's docstring.

    Args:
        logic: the ReconstructionLogic, whose worker computes the X-rays.
        parent: widget that holds the panel.

    Attributes:
        ct: the CT that the latest X-rays were made from; None where there is none, or it was deleted.
    """

    def __init__(self, logic, parent=None) -> None:
        super().__init__("CLSDMSimulate", ("ctSelector",), parent)
        self._logic, self._onXRays = logic, None
        self._ct = None
        self._presets = presets()
        for label in self._presets.values():
            self.ui.presetComboBox.addItem(label)
        self.ui.presetComboBox.setCurrentIndex(list(self._presets).index("chest"))
        self.ui.ctSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_: self._update())
        self.ui.anglesLineEdit.connect("textChanged(QString)", lambda *_: self._update())
        self.ui.simulateButton.connect("clicked()", self._onClicked)
        self._update()

    def onXRays(self, callback: Callable[[object], None]) -> None:
        """Call this with the ``SimulationResult`` (files, nodes, angles) of each simulation."""
        self._onXRays = callback

    def setTruth(self, node) -> None:
        """Choose the CT."""
        self.ui.ctSelector.setCurrentNode(node)

    def offerTruth(self, node) -> None:
        """Choose this CT where none is chosen."""
        if self.ui.ctSelector.currentNode() is None:
            self.setTruth(node)

    @property
    def ct(self):
        """See the class."""
        return None if self._ct is None or self._ct.GetScene() is None else self._ct

    @property
    def isRunning(self) -> bool:
        """Whether X-rays are being computed."""
        return self._run is not None

    def simulate(self) -> None:
        """Start computing the X-rays."""
        angles = parseAngles(self.ui.anglesLineEdit.text)
        preset = list(self._presets)[self.ui.presetComboBox.currentIndex]
        self._ct = self.ui.ctSelector.currentNode()
        self.say(_("Computing X-rays..."))
        self._run = self._logic.simulate(
            self._ct,
            preset,
            angles,
            onProgress=lambda run: self._onProgress(run.fraction),
            onFinished=self._onFinished,
            onError=self._onError,
        )
        self._update()

    def cancel(self) -> None:
        """Stop; no X-ray of it is left."""
        run, self._run = self._run, None
        if run is not None:
            run.cancel()
            self.say(_("Cancelled."))
        self._update()

    def _onClicked(self) -> None:
        self.cancel() if self.isRunning else self.simulate()

    def _onFinished(self, run) -> None:
        if run is not self._run:
            return
        self._run = None
        self.say(_("{count} X-rays made; they are in the slots above.").format(count=len(run.result.files)))
        self._update()
        if self._onXRays is not None:
            self._onXRays(run.result)

    def _reason(self) -> str:
        """Why it cannot start, or nothing."""
        if self.ui.ctSelector.currentNode() is None:
            return _("Choose a CT.")
        try:
            parseAngles(self.ui.anglesLineEdit.text)
        except ValueError as error:
            return str(error)
        return ""

    def _update(self) -> None:
        text, tip = (
            _("Cancel") if self.isRunning else _("Make X-rays"),
            _("Compute what this machine would measure of the CT."),
        )
        self._showButton(self.ui.simulateButton, self.isRunning, text, tip, self._reason())
