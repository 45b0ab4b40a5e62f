"""The panel "Many studies": a table of studies with a pair of X-rays each, reconstructed one after the other into a folder.

It is the command line's batch, run by the worker, which may have a server make the volumes: what is finished is known by its
content, not by its name.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import qt
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Appearance import setCellTone, tip
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Panel import Panel
from CLSDMReconstructionLib.base.Steps import aside
from CLSDMReconstructionLib.panel.Words import shortVerdict, verdict
from CLSDMReconstructionLib.xrays.Studies import Study, studiesOfDatabase, studiesOfFolder


class BatchPanel(Panel):
    """See the module's docstring. One study that fails does not stop the others.

    Args:
        logic: the ReconstructionLogic.
        arguments: gives how to reconstruct, as the panel above says.
        parent: widget that holds the panel.

    Attributes:
        studies: of the table.
    """

    def __init__(self, logic, arguments: Callable[[], dict], parent=None) -> None:
        super().__init__("CLSDMBatch", (), parent)
        self._logic, self._arguments = logic, arguments
        self.studies: list[Study] = []
        self._overview: str | None = None
        self._folder = Path()
        self.ui.databaseButton.connect("clicked()", lambda: self.find(studiesOfDatabase()))
        self.ui.folderButton.connect("clicked()", self._onFolder)
        self.ui.startButton.connect("clicked()", self._onStart)
        self.ui.overviewButton.connect("clicked()", self.openOverview)
        table = self.ui.studiesTable
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Study"), _("X-rays"), _("Result")])
        table.setWordWrap(False)  # else a long cell shows its first words only
        head = table.horizontalHeader()
        head.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        head.setSectionResizeMode(2, qt.QHeaderView.Stretch)
        table.verticalHeader().hide()
        self._update()

    @property
    def isRunning(self) -> bool:
        """Whether studies are being reconstructed."""
        return self._run is not None

    def cleanup(self) -> None:
        super().cleanup()
        self._stopWork()  # looking for what the run left that was just stopped

    def forget(self) -> None:
        """The scene closes; the studies are files: they stay, and what is at work on them goes on."""

    def find(self, steps: Iterator[float]) -> None:
        """Fill the table with what these steps find."""
        self.say(_("Looking for studies…"))
        self.begin("find", steps, self._onStudies, onProgress=self._onProgress)

    def start(self, folder: Path) -> None:
        """Reconstruct every study with a pair into this folder."""
        pairs = {study.name: (study.frontal, study.lateral) for study in self.studies if study.isPair}
        arguments = self._arguments()
        self._run = self._logic.reconstructMany(
            pairs,
            folder,
            options={name: arguments[name] for name in ("product", "steps", "samples", "seed", "device")},
            bundle=arguments["bundle"],
            preset=arguments["preset"],
            onProgress=lambda run: self._onProgress(run.fraction),
            onTold=self._onTold,
            onFinished=self._onFinished,
            onError=self._onError,
        )
        self.say(_("Reconstructing…"))
        self._emptyResults()
        self._folder, self._overview = folder, None
        self._update()

    def cancel(self) -> None:
        """Stop; what is finished stays."""
        self._stopWork()
        if self._run is not None:
            self._run.cancel()
        self._update()

    def openOverview(self) -> None:
        """Show the page of all studies in the browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._overview))

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
            xrays = (
                _("pair") if study.isPair else _("frontal") if study.frontal else _("lateral") if study.lateral else ""
            )
            for column, text in enumerate((study.name.removeprefix("study-"), xrays, "")):
                table.setItem(number, column, qt.QTableWidgetItem(text))
            if study.notes:
                table.item(number, 1).setText(_("{xrays}, chosen").format(xrays=xrays))
                table.item(number, 1).setToolTip(tip(" ".join(study.notes)))
        self._emptyResults()
        pairs = sum(study.isPair for study in studies)
        self.say(_("{count} studies, {pairs} with a pair of X-rays.").format(count=len(studies), pairs=pairs))

    def _onTold(self, row: dict) -> None:
        number = next(number for number, study in enumerate(self.studies) if study.name == row["case"])
        if row["status"] == "failed":
            short = text = _("failed: {problem}").format(problem=row["problem"])
            tone = "error"
        else:
            text, tone = verdict([{"rmse": 0.0, "correlation": row["worst_correlation"]}])
            short = shortVerdict(tone)
        if row["status"] == "kept":
            text = _("Is there already: {verdict}").format(verdict=text)
            short = _("kept, {verdict}").format(verdict=short)
        item = self.ui.studiesTable.item(number, 2)
        item.setText(short)
        item.setToolTip(tip(text))
        setCellTone(item, tone)

    def _emptyResults(self) -> None:
        """Nothing is known of the studies' results, but where there will be none."""
        for number, study in enumerate(self.studies):
            item = qt.QTableWidgetItem("" if study.isPair else _("no pair"))
            self.ui.studiesTable.setItem(number, 2, item)

    def _onFinished(self, run) -> None:
        self._run = None
        self._overview = next((file for file in run.result["files"] if file.endswith(".html")), None)
        text = _("Finished: {done} reconstructed, {kept} were there already, {failed} failed.")
        self.say(text.format(**{name: run.result[name] for name in ("done", "kept", "failed")}))
        self._update()

    def _onError(self, run) -> None:
        self._run = None
        if run.state == "cancelled":
            self.say(_("Cancelled. What is finished is in the folder."))
        else:
            self.sayError(run.error)
        self.begin("overview", aside(partial(_overviewIn, self._folder)), self._onOverview)

    def _onOverview(self, file: str | None) -> None:
        if not self.isRunning:  # else it is of the run before
            self._overview = file

    def _update(self) -> None:
        reason = "" if any(study.isPair for study in self.studies) else _("Find studies with a pair of X-rays first.")
        text, tip = (
            _("Cancel") if self.isRunning else _("Reconstruct all…"),
            _(
                "Reconstruct every study as the panel above says into a folder; what is there already is not made again."
            ),
        )
        self._showButton(self.ui.startButton, self.isRunning, text, tip, reason)
        self.ui.progressBar.setVisible(self.isRunning or self.isWorking("find"))
        self.ui.overviewButton.setVisible(self._overview is not None)
        for button in (self.ui.databaseButton, self.ui.folderButton):
            button.setEnabled(not self.isRunning and not self.isWorking("find"))


def _overviewIn(folder: Path) -> str | None:
    """The page of all that a run left in a folder before it was stopped, or an earlier one; never a foreign file."""
    file = folder / "index.html"
    if not file.is_file():
        return None
    ensureCore()
    from clsdm.app.batch_summary import is_summary  # takes 0.4 s the first time

    return str(file) if is_summary(file) else None
