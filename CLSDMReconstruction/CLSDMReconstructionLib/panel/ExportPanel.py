"""The panel "Export": a reconstruction as NIfTI or NRRD, or as a DICOM series that says what it is."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Panel import Panel
from CLSDMReconstructionLib.scene.Attributes import ROLE_ATTRIBUTE
from CLSDMReconstructionLib.scene.VolumeExport import DICOM, FORMATS, SUFFIXES, writeDicom, writeVolume, xrayFiles
from CLSDMReconstructionLib.xrays.Inputs import XRayInput


class ExportPanel(Panel):
    """See the module's docstring.

    Args:
        logic: the ReconstructionLogic.
        parent: widget that holds the panel.
    """

    def __init__(self, logic, parent=None) -> None:
        super().__init__("CLSDMExport", ("volumeSelector",), parent)
        self._logic = logic
        self._inputs: dict[str, tuple] = {}  # the X-rays by the reconstruction's node ID
        # A scan is not ours to label as derived.
        self.ui.volumeSelector.addAttribute("vtkMRMLScalarVolumeNode", ROLE_ATTRIBUTE)
        for name in FORMATS:
            self.ui.formatComboBox.addItem(name)
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_: self._update())
        self.ui.formatComboBox.connect("currentIndexChanged(int)", lambda *_: self._update())
        self.ui.exportButton.connect("clicked()", self._onClicked)
        self._update()

    def setReconstruction(self, node, inputs=()) -> None:
        """Choose the reconstruction, and say which X-rays (``XRayInput`` or files) it was made from, for DICOM."""
        if node is not None and inputs:
            self._inputs[node.GetID()] = tuple(XRayInput.of(each, "view") for each in inputs)
        self.ui.volumeSelector.setCurrentNode(node)

    @property
    def isRunning(self) -> bool:
        """Whether something is being written."""
        return self.isWorking("export")

    @property
    def format(self) -> str:
        """One of ``FORMATS``."""
        return FORMATS[self.ui.formatComboBox.currentIndex]

    def exportTo(self, path: str) -> None:
        """Write to this file, or for DICOM into this new or empty folder."""
        node = self.ui.volumeSelector.currentNode()
        self.say("")
        if self.format == DICOM:
            xrays = xrayFiles(node, self._inputs.get(node.GetID(), ()))
            steps = writeDicom(node, Path(path), xrays, self.ui.patientCheckBox.checked)
        else:
            steps = writeVolume(node, Path(path))
        done = _("Written: {path}").format(path=path)
        self.begin("export", steps, lambda _files: self.say(done), onProgress=self._onProgress)

    def cancel(self) -> None:
        """Stop; no file of it is left."""
        if self.isRunning:
            self._stopWork()
            self.say(_("Cancelled."))
        self._update()

    def _onClicked(self) -> None:
        if self.isRunning:
            self.cancel()
            return
        if self.format == DICOM:
            path = qt.QFileDialog.getExistingDirectory(self.widget, _("New or empty folder for the DICOM series"))
        else:
            suffix = SUFFIXES[self.format]
            path = self.askForFile(_("Export the reconstruction"), f"reconstruction{suffix}", f"*{suffix}")
        if path:
            self.exportTo(path)

    def _reason(self) -> str:
        """Why it cannot be exported, or nothing."""
        node = self.ui.volumeSelector.currentNode()
        if node is None:
            return _("Choose a reconstruction.")
        if self.format == DICOM and node.GetAttribute(ROLE_ATTRIBUTE) != "volume":
            return _("Only a reconstruction itself can be a CT series, not its coverage, spread or difference.")
        return ""

    def _update(self) -> None:
        text, tip = _("Cancel") if self.isRunning else _("Export..."), _("Write the reconstruction to disk.")
        self._showButton(self.ui.exportButton, self.isRunning, text, tip, self._reason())
        self.ui.patientCheckBox.setEnabled(self.format == DICOM)
