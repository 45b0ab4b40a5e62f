"""The banner at the top while Python packages are missing: what, why, and the ways to get them. Only on a click."""

import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Appearance import NOTICE_STYLE


class DependenciesSection:
    """Shows itself only when something is missing."""

    def __init__(self, ui, dependencies, onReady, stopWorker) -> None:
        """``onReady()`` when everything is there after an installation; ``stopWorker()`` before what it uses is replaced."""
        self.ui, self._dependencies, self._onReady, self._stopWorker = ui, dependencies, onReady, stopWorker
        ui.reinstallButton.connect("clicked()", self.reinstall)
        self.isInstalling = False
        ui.dependencyLabel.setStyleSheet(NOTICE_STYLE)
        ui.installButton.connect("clicked()", self.install)
        ui.installFolderButton.connect("clicked()", self.installFromFolder)
        ui.copyCommandButton.connect("clicked()", self._copyCommand)
        self.refresh()

    @property
    def missing(self) -> tuple:
        """Names of what is missing."""
        return self._status.missing

    def refresh(self) -> None:
        """Look again; imports nothing."""
        self._status = self._dependencies.status()
        self.ui.dependencyFrame.visible = bool(self._status.missing) or self.isInstalling
        self.ui.packagesLabel.text = self._dependencies.versions() or _("those of CLSDM_PYTHON")
        self.ui.reinstallButton.enabled = (
            self._status.canInstallTorch and not self._status.missing and not self.isInstalling
        )
        self.ui.dependencyLabel.text = self._status.message
        self.ui.installButton.text = _("Extensions Manager…") if self._needsExtension else _("Install…")
        self.ui.installButton.toolTip = (
            _("Open the Extensions Manager, which has the extension PyTorch")
            if self._needsExtension
            else _("Install {names} from the internet; you are asked before anything is downloaded").format(
                names=", ".join(self._status.missing)
            )
        )
        self.ui.copyCommandButton.toolTip = self._status.command

    @property
    def _needsExtension(self) -> bool:
        """Whether the extension has to come first that chooses the PyTorch for this computer."""
        return "torch" in self._status.missing and not self._status.canInstallTorch

    def install(self) -> None:
        """Ask, and install from the internet; or open the Extensions Manager where that has to come first."""
        if self._needsExtension:
            slicer.app.openExtensionsManagerDialog()
            return
        if self.isInstalling:
            self._dependencies.cancel()
            return
        question = _(
            "Download {names} from pytorch.org and pypi.org, and install into Slicer's Python?\n\n"
            "This takes up to 3 GB and some minutes. You can go on working."
        ).format(names=", ".join(self._status.missing))
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Install Python packages")):
            self._begin()
            self._dependencies.install(self._onFinished, self._onLog)

    def reinstall(self) -> None:
        """Ask, and install anew what is there."""
        question = _("Remove PyTorch and install it anew (up to 3 GB of download), and upgrade safetensors?")
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Reinstall or upgrade")):
            self._stopWorker()
            self._begin()
            self.refresh()
            self.ui.dependencyLabel.text = _("Installing anew…")
            self._dependencies.reinstall(self._onFinished, self._onLog)

    def installFromFolder(self) -> None:
        """Ask for a folder of wheels, and install from there."""
        folder = qt.QFileDialog.getExistingDirectory(self.ui.dependencyFrame, _("Folder with Python wheels"))
        if folder:
            self._begin()
            self._dependencies.installFromFolder(folder, self._onFinished, self._onLog)

    def _begin(self) -> None:
        self.isInstalling = True
        self.ui.installButton.text = _("Cancel")
        self.ui.installFolderButton.enabled = False
        self.ui.dependencyLog.setPlainText("")
        self.ui.dependencyLog.visible = True

    def _onLog(self, line: str) -> None:
        self.ui.dependencyLog.appendPlainText(line)

    def _onFinished(self, ok: bool, message: str) -> None:
        self.isInstalling = False
        self.ui.installFolderButton.enabled = True
        self._onLog(message)
        self.refresh()
        if ok and not self.missing:
            self._onReady()
        elif self.missing:
            self.ui.dependencyLabel.text = f"{message}\n{self._status.message}"

    def _copyCommand(self) -> None:
        slicer.app.clipboard().setText(self._status.command)
