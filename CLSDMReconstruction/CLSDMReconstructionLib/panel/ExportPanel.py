"""The panel "Export": a reconstruction as NIfTI or NRRD, or as a DICOM series that says what it is."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Panel import Panel
from CLSDMReconstructionLib.scene.Attributes import ROLE_ATTRIBUTE
from CLSDMReconstructionLib.scene.VolumeExport import DICOM, FORMATS, SUFFIXES, writeDicom, writeVolume
from CLSDMReconstructionLib.scene.XRaySources import whyNobodys


class ExportPanel(Panel):
    """See the module's docstring.

    Args:
        logic: the ReconstructionLogic.
        parent: widget that holds the panel.
    """

    def __init__(self, logic, parent=None) -> None:
        super().__init__("CLSDMExport", ("volumeSelector",), parent)
        self._logic = logic
        self._keepsPatient, self._showing = True, False  # as the user ticked it, where it can be
        # A scan is not ours to label as derived.
        self.ui.volumeSelector.addAttribute("vtkMRMLScalarVolumeNode", ROLE_ATTRIBUTE)
        for name in FORMATS:
            self.ui.formatComboBox.addItem(name)
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_: self._update())
        self.ui.formatComboBox.connect("currentIndexChanged(int)", lambda *_: self._update())
        self.ui.patientCheckBox.connect("toggled(bool)", self._onPatientToggled)
        self.ui.exportButton.connect("clicked()", self._onClicked)
        self._update()

    def setReconstruction(self, node) -> None:
        """Choose the reconstruction."""
        self.ui.volumeSelector.setCurrentNode(node)
        self._update()  # also of the same node, in which a new reconstruction took the place of another

    def enter(self) -> None:
        """X-rays may have come into the DICOM database meanwhile, or gone."""
        self._update()

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
        done = _("Written: {path}")
        if self.format == DICOM:
            keepPatient = self.ui.patientCheckBox.checked
            done = done if keepPatient else _("Written without patient and study: {path}")
            steps = writeDicom(node, Path(path), keepPatient)
        else:
            steps = writeVolume(node, Path(path))
        done = done.format(path=path)
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
        self._showPatient(self.ui.volumeSelector.currentNode())

    def _showPatient(self, node) -> None:
        """Whether patient and study can be kept, and why not; a box that cannot be ticked is not."""
        asked = self.format == DICOM and node is not None
        why = whyNobodys(node) if asked else ""
        self._showing = True
        self.ui.patientCheckBox.setChecked(self._keepsPatient and not why)
        self._showing = False
        self.ui.patientCheckBox.setEnabled(self.format == DICOM and not why)
        self.ui.patientLabel.setText(why)
        self.ui.patientLabel.setVisible(bool(why))

    def _onPatientToggled(self, checked: bool) -> None:
        if not self._showing:
            self._keepsPatient = checked
