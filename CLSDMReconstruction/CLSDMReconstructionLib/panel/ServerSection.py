"""The part of "Advanced" that says which computer computes, and tries whether the server can be reached."""

import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Appearance import keepPlain, sentence, setTone
from CLSDMReconstructionLib.base.Narrow import keepNarrow


class ServerSection:
    """Stands at the top of ``advancedOuterLayout``: a row of a form would be given the height of another width.

    Args:
        ui: the panel's widgets.
        file: of the .ui.
        logic: the ReconstructionLogic.
        onChosen: called when another computer is to compute, or is to be reached otherwise.
        onChanged: called when the server is asked, or has answered.
    """

    def __init__(self, ui, file: str, logic, onChosen, onChanged) -> None:
        self._logic, self._server, self._onChosen, self._onChanged = logic, logic.server, onChosen, onChanged
        self.widget = slicer.util.loadUI(file)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        keepNarrow(self.widget)
        keepPlain(self.widget)
        ui.advancedOuterLayout.insertWidget(0, self.widget)
        self._failure, self._testTip = "", self.ui.testButton.toolTip
        self._show()
        self.ui.computeSelector.connect("currentIndexChanged(int)", self._onCompute)
        self.ui.addressEdit.connect("textChanged(QString)", self._offerTest)
        self.ui.addressEdit.connect("editingFinished()", self._onEntered)
        self.ui.keyEdit.connect("editingFinished()", self._onKey)
        self.ui.unencryptedCheckBox.connect("toggled(bool)", self._onEntered)
        self.ui.caButton.connect("clicked()", self._onCa)
        self.ui.systemCaButton.connect("clicked()", lambda: self._chooseCa(""))
        self.ui.testButton.connect("clicked()", self._onTest)

    def problem(self) -> str:
        """Why the server cannot compute; "" where it can, or where this computer does."""
        server = self._server
        if not server.isUsed or server.models:
            return ""
        if not (server.address and server.hasKey):
            return _("Enter the address and the key of the server under Advanced.")
        return self._failure or _("The server has not answered yet.")

    def test(self) -> None:
        """Ask the server what it is; everything else waits for its answer."""
        self._logic.stopWorkers()
        self._server.models, self._failure = [], ""
        self._say(_("Asking the server…"), "muted")
        self._onChanged()
        self._logic.hello(onFinished=self._onReached, onError=self._onFailed)

    def reachOut(self) -> None:
        """Ask the server, where one is used and was not asked yet."""
        server = self._server
        if server.isUsed and server.address and server.hasKey and not (server.models or self._failure):
            self.test()

    def _onReached(self, run) -> None:
        self._say(inWords(run.result), "good")
        self._onChanged()

    def _onFailed(self, run) -> None:
        if run.state == "failed":
            self._failure = run.error.message
            self._say(str(run.error), "error")
            self._onChanged()

    def onRunFailed(self, error) -> None:
        """A run has failed (a ``ReconstructionError``): where the server is to blame, its last answer holds no more."""
        if self._server.isUsed and error.kind in ("server", "settings"):
            self._say(str(error), "error")

    def _say(self, text: str, tone: str) -> None:
        self.ui.answerLabel.text = text
        setTone(self.ui.answerLabel, tone)

    def _offerTest(self, *_args) -> None:
        """While it is typed: a button that is grey takes no focus, so that editing would not end with a click on it."""
        there = bool(self.ui.addressEdit.text.strip())
        self.ui.testButton.enabled = there
        self.ui.testButton.toolTip = self._testTip if there else _("Enter the address of the server first.")

    def _onTest(self) -> None:
        self._onEntered()  # on macOS a click on a button does not end the editing
        self._onKey()
        self.test()

    def _show(self) -> None:
        server = self._server
        self.ui.computeSelector.currentIndex = int(server.isUsed)
        self.ui.serverFrame.visible = server.isUsed
        self.ui.addressEdit.text = server.address
        self._offerTest()
        self.ui.unencryptedCheckBox.checked = server.isUnencryptedAllowed
        self.ui.caButton.text = _("Own authority…") if not server.caFile else _("Own authority: {file}").format(
            file=server.caFile.replace("\\", "/").rpartition("/")[2]
        )  # fmt: skip
        self.ui.systemCaButton.visible = bool(server.caFile)
        self.ui.keyEdit.placeholderText = _("kept in a file of yours") if server.hasKey else ""

    def _changed(self) -> None:
        self._failure = ""
        self._say("", "plain")
        self._show()
        self._logic.stopWorkers()
        self._onChosen()

    def useThisComputer(self) -> None:
        """Compute here from now on."""
        self.ui.computeSelector.setCurrentIndex(0)

    def _onCompute(self, index: int) -> None:
        self._server.choose(used=index == 1)
        self._changed()
        self.reachOut()

    def _onEntered(self, *_args) -> None:
        entered = {"address": self.ui.addressEdit.text.strip(), "unencrypted": self.ui.unencryptedCheckBox.checked}
        if entered != {"address": self._server.address, "unencrypted": self._server.isUnencryptedAllowed}:
            self._server.choose(**entered)
            self._changed()

    def _onKey(self) -> None:
        key = self.ui.keyEdit.text
        if key:
            self.ui.keyEdit.text = ""
            try:
                self._server.enterKey(key)
            except OSError as error:
                self._say(sentence(_("the key cannot be kept ({reason})").format(reason=error.strerror)), "error")
                return
            self._changed()

    def _onCa(self) -> None:
        """Ask for the authority's file; Cancel leaves the one that is."""
        found = qt.QFileDialog.getOpenFileName(
            self.widget, _("Certificate of the authority"), "", "PEM (*.pem *.crt *.cer)"
        )
        file = found[0] if isinstance(found, tuple) else found
        if file:
            self._chooseCa(file)

    def _chooseCa(self, file: str) -> None:
        self._server.choose(caFile=file)
        self._changed()


def inWords(hello: dict) -> str:
    """A server's answer in a few lines."""
    lines = [
        _("Reached in {seconds:.2f} s: clsdm {version}, PyTorch {torch}.").format(
            seconds=hello.get("reached_s", 0.0), version=hello["clsdm"], torch=hello["torch"]
        )
    ]
    lines += [
        _("Model {id}: {anatomy}, {voxels}³ voxels of {spacing:g} mm.").format(
            id=each["id"], anatomy=each["anatomy"] or _("unknown anatomy"), voxels=each["voxels"],
            spacing=each["spacing_mm"],
        )
        for each in hello["models"]
    ]  # fmt: skip
    for device in hello["devices"]:
        free = _(" ({free:.1f} of {total:.1f} GB free)").format(
            free=device["free_bytes"] / 1e9, total=device["total_bytes"] / 1e9
        )
        lines.append(device["label"] + (free if device["total_bytes"] else ""))
    return "\n".join(lines)
