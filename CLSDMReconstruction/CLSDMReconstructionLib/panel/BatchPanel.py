"""The panel "Many studies": a table of studies with a pair of X-rays each, reconstructed one after the other into a folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import qt
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Panel import Panel
from CLSDMReconstructionLib.panel.Words import verdict
from CLSDMReconstructionLib.scene.VolumeExport import SUFFIXES, writeVolume
from CLSDMReconstructionLib.xrays.Studies import Study, studiesOfDatabase, studiesOfFolder

SUFFIX = SUFFIXES["NIfTI"]


class BatchPanel(Panel):
    """See the module's docstring. One study that fails does not stop the others; what is there already is not made again.

    Args:
        logic: the ReconstructionLogic.
        arguments: gives how to reconstruct, as the panel above says.
        parent: widget that holds the panel.

    Attributes:
        studies: of the table.
    """

    def __init__(self, logic, arguments: Callable[[], dict], parent=None) -> None:
        super().__init__("CLSDMBatch", (), parent)
        self._logic, self._arguments, self._run = logic, arguments, None
        self.studies: list[Study] = []
        self._waiting: list[int] = []
        self._folder: Path | None = None
        self.ui.databaseButton.connect("clicked()", lambda: self.find(studiesOfDatabase()))
        self.ui.folderButton.connect("clicked()", self._onFolder)
        self.ui.startButton.connect("clicked()", self._onStart)
        table = self.ui.studiesTable
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Study"), _("X-rays"), _("Result")])
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().hide()
        self._update()

    @property
    def isRunning(self) -> bool:
        """Whether studies are being reconstructed."""
        return self._folder is not None

    def forget(self) -> None:
        """The scene closes; the studies are files, and stay."""
        self.cancel()
        super().forget()

    def find(self, steps: Iterator[float]) -> None:
        """Fill the table with what these steps find."""
        self.say(_("Looking for studies…"))
        self.begin("find", steps, self._onStudies, onProgress=self._onProgress)

    def start(self, folder: Path) -> None:
        """Reconstruct every study with a pair into this folder."""
        self._folder = folder
        pairs = [number for number, study in enumerate(self.studies) if study.isPair]
        self._waiting = [number for number in pairs if not self._target(number).exists()]
        for number in set(pairs) - set(self._waiting):
            self._tell(number, _("is there already"))
        self._next()

    def cancel(self) -> None:
        """Stop; what is finished stays."""
        run, self._run = self._run, None
        wasRunning, self._folder, self._waiting = self.isRunning, None, []
        self._stopWork()
        if run is not None:
            run.cancel()
        if wasRunning:
            self.say(_("Cancelled. What is finished is in the folder."))
        self._update()

    def state(self, number: int) -> str:
        """The text in the last column of a study."""
        return self.ui.studiesTable.item(number, 2).text()

    def _onFolder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.widget, _("Folder with DICOM files"))
        if folder:
            self.find(studiesOfFolder(Path(folder)))

    def _onStart(self) -> None:
        if self.isRunning:
            self.cancel()
            return
        folder = qt.QFileDialog.getExistingDirectory(self.widget, _("Folder for the reconstructions"))
        if folder:
            self.start(Path(folder))

    def _onStudies(self, studies: list[Study]) -> None:
        self.studies, table = studies, self.ui.studiesTable
        table.setRowCount(len(studies))
        for number, study in enumerate(studies):
            found = [name for name, xray in ((_("frontal"), study.frontal), (_("lateral"), study.lateral)) if xray]
            cells = (study.name.removeprefix("study-"), " + ".join(found), "" if study.isPair else _("no pair"))
            for column, text in enumerate(cells):
                table.setItem(number, column, qt.QTableWidgetItem(text))
        pairs = sum(study.isPair for study in studies)
        self.say(_("{count} studies, {pairs} with a pair of X-rays.").format(count=len(studies), pairs=pairs))

    def _next(self) -> None:
        if not self._waiting:
            self._folder = None
            self.say(_("Finished."))
            self._update()
            return
        number = self._waiting[0]
        self._tell(number, _("reconstructing…"))
        study = self.studies[number]
        self._run = self._logic.reconstruct(
            study.frontal,
            study.lateral,
            onProgress=lambda run: self._onRunProgress(run.fraction),
            onFinished=self._onFinished,
            onError=self._onError,
            **(self._arguments() | {"into": None}),
        )
        self._update()

    def _onFinished(self, run) -> None:
        if run is not self._run:
            return
        self._run, result, number = None, run.result, self._waiting[0]
        text = verdict(result.residuals)[0]

        def done(_files: object) -> None:
            Nodes.remove(result.coverageNode, result.spreadNode, result.volumeNode)
            self._end(number, text)

        def failed(error: Exception) -> None:
            Nodes.remove(result.coverageNode, result.spreadNode, result.volumeNode)
            self._end(number, str(error))

        self.begin("write", writeVolume(result.volumeNode, self._target(number)), done, failed)

    def _onError(self, run) -> None:
        if run is self._run:
            self._run = None
            self._end(self._waiting[0], run.error.message)

    def _end(self, number: int, text: str) -> None:
        self._tell(number, text)
        if self.isRunning:
            self._waiting.remove(number)
            self._next()

    def _target(self, number: int) -> Path:
        return self._folder / f"{self.studies[number].name}{SUFFIX}"

    def _tell(self, number: int, text: str) -> None:
        self.ui.studiesTable.item(number, 2).setText(text)
        self.ui.studiesTable.item(number, 2).setToolTip(text)

    def _onRunProgress(self, fraction: float) -> None:
        pairs = sum(study.isPair for study in self.studies)
        self._onProgress((pairs - len(self._waiting) + fraction) / max(1, pairs))

    def _update(self) -> None:
        reason = "" if any(study.isPair for study in self.studies) else _("Find studies with a pair of X-rays first.")
        text, tip = (
            _("Cancel") if self.isRunning else _("Reconstruct all…"),
            _("Reconstruct every study as the panel above says, and write the volumes into a folder."),
        )
        self._showButton(self.ui.startButton, self.isRunning, text, tip, reason)
        self.ui.progressBar.setVisible(self.isRunning or self.isWorking("find"))
        for button in (self.ui.databaseButton, self.ui.folderButton):
            button.setEnabled(not self.isRunning and not self.isWorking("find"))
