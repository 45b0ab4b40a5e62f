"""Reconstruct, progress, log, and what went wrong: the panel's middle."""

import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Appearance import CANCEL_STYLE, ERROR_STYLE, PRIMARY_STYLE, setTone, tip

LOG_LINES = 2000


class RunSection:
    """The primary button, which is Cancel while something runs, and what it has to say.

    Attributes:
        isRunning: whether a reconstruction is under way.
    """

    def __init__(self, ui, onStart, onCancel, onOffer) -> None:
        """``onOffer(changes)`` when the user takes one of an error's offers."""
        self.ui, self._onStart, self._onCancel, self._onOffer = ui, onStart, onCancel, onOffer
        self.isRunning, self._reason = False, ""
        self._offers: list = []
        ui.reconstructButton.connect("clicked()", self._onClicked)
        ui.copyLogButton.connect("clicked()", self._copyLog)
        ui.logText.setMaximumBlockCount(LOG_LINES)
        ui.errorLabel.setStyleSheet(ERROR_STYLE)
        self.idle()

    def _onClicked(self) -> None:
        if self.isRunning:
            self.ui.reconstructButton.enabled = False
            self.ui.stageLabel.text = _("Cancelling…")
            self._onCancel()
        else:
            self._onStart()

    def setReady(self, reason: str) -> None:
        """``reason``: why there is nothing to reconstruct yet, "" when there is."""
        self._reason = reason
        if not self.isRunning:
            self.ui.reconstructButton.enabled = not reason
            self.ui.reconstructButton.toolTip = tip(reason) or _("Reconstruct a CT volume from the X-rays")

    def start(self) -> None:
        """A run begins."""
        self.isRunning = True
        self.clearError()
        self.ui.logText.setPlainText("")
        self.ui.reconstructButton.text = _("Cancel")
        self.ui.reconstructButton.enabled = True
        self.ui.reconstructButton.toolTip = _("Stop; the scene stays as it is")
        self.ui.reconstructButton.setStyleSheet(CANCEL_STYLE)
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = True
        self.say(_("Starting…"))

    def progress(self, run) -> None:
        """Show how far the run is."""
        self.ui.progressBar.value = round(1000 * run.fraction)
        steps = f" {run.done}/{run.total}" if run.total > 1 else ""
        self.say(f"{run.stage}{steps}")

    def log(self, line: str) -> None:
        """One more line of the log."""
        self.ui.logText.appendPlainText(line)

    def idle(self, text: str = "", tone: str = "muted") -> None:
        """Nothing runs; ``text`` says what became of the last run."""
        self.isRunning = False
        self.ui.reconstructButton.text = _("Reconstruct")
        self.ui.reconstructButton.setStyleSheet(PRIMARY_STYLE)
        self.ui.progressBar.visible = False
        self.setReady(self._reason)
        self.say(text, tone)

    def say(self, text: str, tone: str = "muted") -> None:
        """One line below the button."""
        self.ui.stageLabel.text = text
        self.ui.stageLabel.visible = bool(text)
        setTone(self.ui.stageLabel, tone)

    # --- errors ---

    def showError(self, error) -> None:
        """A ``ReconstructionError``: what happened, what to do, and buttons for what may help."""
        self.clearError()
        self.ui.errorLabel.text = f"<b>{_escaped(error.message)}</b><br>{_escaped(error.advice)}"
        for number, (label, changes) in enumerate(error.offers):
            button = qt.QPushButton(label)
            button.name = f"offerButton{number}"
            button.connect("clicked()", lambda changes=changes: self._onOffer(changes))
            self.ui.offerArea.layout().insertWidget(number, button)
            self._offers.append(button)
        self.ui.errorFrame.visible = True
        if error.details:
            self.log(error.details)

    def clearError(self) -> None:
        """Take the last error away."""
        for button in self._offers:
            self.ui.offerArea.layout().removeWidget(button)
            button.hide()
            button.deleteLater()
        self._offers = []
        self.ui.errorFrame.visible = False

    def _copyLog(self) -> None:
        slicer.app.clipboard().setText(self.ui.logText.plainText)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>")
