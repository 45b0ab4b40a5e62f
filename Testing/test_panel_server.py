"""A server in place of this computer: entered, tried and used in the panel, with a real server on loopback."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import mock

import qt
import slicer
from panel_case import PanelCase
from real_worker import OwnTemporaries, smallCase

from CLSDMReconstruction import CLSDMReconstructionLogic
from CLSDMReconstructionLib.base.CorePath import corePath
from CLSDMReconstructionLib.base.QtChannel import findPython, usesOtherPython
from CLSDMReconstructionLib.install.Dependencies import Dependencies
from CLSDMReconstructionLib.panel.ServerSection import inWords
from CLSDMReconstructionLib.worker import Faults, Server
from CLSDMReconstructionLib.worker.Runs import ReconstructionError
from CLSDMReconstructionLib.xrays.Studies import studiesOfFolder

KEY = "a-key-of-the-panel-0123"
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from clsdm.app.worker import main; sys.exit(main())"


@contextlib.contextmanager
def serving(model: Path):
    """A server's address."""
    environment = {**(slicer.util.startupEnvironment() if usesOtherPython() else os.environ), "CLSDM_KEY": KEY}
    command = [findPython(), "-c", START, str(corePath()), "--listen", "127.0.0.1:0", "--model", str(model)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as child,
    ):
        try:
            yield json.loads(child.stdout.readline())["address"]
        finally:
            child.terminate()


class ServerPanelCase(PanelCase):
    """The key lies in a folder of the test's, where the user's own is not touched."""

    def setAsideSettings(self) -> None:
        super().setAsideSettings()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.keyFile = Path(folder.name) / "key"
        qt.QSettings().setValue(f"{Server.SETTINGS}/keyFile", str(self.keyFile))

    @property
    def section(self):
        return self.panel.server.ui

    def enter(self, address: str, key: str) -> None:
        self.section.computeSelector.setCurrentIndex(1)
        self.section.addressEdit.setText(address)
        self.press(self.section.addressEdit, "\r")
        self.section.keyEdit.setText(key)
        self.press(self.section.keyEdit, "\r")


class ServerPanelTest(ServerPanelCase):
    """Without a server."""

    def test_what_is_to_be_entered_is_said_and_what_is_entered_is_kept_for_its_user_alone(self) -> None:
        self.assertFalse(self.section.serverFrame.visible)
        self.fillSlots()
        self.section.computeSelector.setCurrentIndex(1)
        self.assertIn("address and the key", self.ui.reconstructButton.toolTip)
        self.enter("https://example.org:8765", f" {KEY} ")
        self.assertIn("not answered yet", self.ui.reconstructButton.toolTip)
        self.assertEqual((self.section.keyEdit.text, self.keyFile.read_text()), ("", f"{KEY}\n"))
        if os.name == "posix":
            self.assertEqual(self.keyFile.stat().st_mode & 0o077, 0)
        kept = [str(qt.QSettings().value(name)) for name in qt.QSettings().allKeys()]
        self.assertNotIn(KEY, " ".join(kept))
        server = self.logic.server
        options = ["--server", "https://example.org:8765", "--key-file", str(self.keyFile)]
        self.assertEqual(server.options(), options)
        self.section.unencryptedCheckBox.checked = True
        self.assertEqual(server.options(), [*options, "--unencrypted"])
        self.section.computeSelector.setCurrentIndex(0)
        self.assertEqual(server.options(), [])
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_what_failed_on_one_computer_is_not_said_of_another(self) -> None:
        self.enter("https://example.org:8765", KEY)
        error = ReconstructionError("server", "The connection was lost.")
        for change in (
            lambda: self.section.computeSelector.setCurrentIndex(0),
            lambda: self.section.computeSelector.setCurrentIndex(1),
            lambda: self.enter("https://example.org:1", KEY),
        ):
            self.panel.runSection.showError(error)
            self.panel.batch.sayError(error)
            self.panel.server.test()  # the same computer is asked again
            self.assertTrue(self.ui.errorFrame.visible)
            change()
            self.assertFalse(self.ui.errorFrame.visible)
            self.assertEqual(self.panel.batch.ui.statusLabel.text, "")

    def test_slots_without_a_preview_say_the_present_cause(self) -> None:
        self.section.computeSelector.setCurrentIndex(1)
        self.fillSlots()
        self.wait(lambda: "Enter the address" in self.frontal.ui.previewLabel.text)
        self.enter("https://example.org:8765", KEY)
        self.assertIn("has not answered yet", self.frontal.ui.previewLabel.text)
        self.section.testButton.click()
        (hello,) = (run for run in self.logic.runs if run.isRunning)
        hello.fail(ReconstructionError("server", "It cannot be reached."))
        self.assertEqual(self.frontal.ui.previewLabel.text, "It cannot be reached.")

    def test_a_server_that_is_lost_in_a_run_is_not_said_to_be_reached(self) -> None:
        self.fillSlots()
        self.section.computeSelector.setCurrentIndex(1)
        self.logic.server.models = self.logic.models.list()[:1]
        self.panel.updateReadiness()
        for kind, isLost in (("memory", False), ("server", True)):
            self.panel.server._say("Reached in 7.33 s", "good")
            self.panel.runner.reconstruct()
            self.logic.runs[-1].fail(Faults.explain(kind, "the connection was lost"))
            self.assertEqual("Reached" not in self.section.answerLabel.text, isLost)
        self.assertIn("connection was lost", self.section.answerLabel.text)

    def test_a_server_that_is_lost_in_a_run_leaves_this_computer(self) -> None:
        lost = Faults.explain("server", "the connection to the server was lost")
        self.fillSlots()
        for isReady in (True, False):
            self.panel.server.ui.computeSelector.setCurrentIndex(1)
            self.logic.server.models = self.logic.models.list()[:1]
            self.panel.updateReadiness()
            self.panel.runner.reconstruct()
            self.logic.runs[-1].fail(lost)
            self.assertIn("connection to the server was lost", self.ui.errorLabel.text)
            self.logic.dependencies.missing = () if isReady else ("torch",)
            button = slicer.util.findChild(self.ui.errorFrame, "offerButton0")
            self.assertEqual(button.text, "Compute on this computer")
            before = len(self.logic.runs)
            button.click()
            self.assertFalse(self.logic.server.isUsed)
            self.assertEqual([run.task for run in self.logic.runs[before:]], ["reconstruct"] * isReady)
            self.assertFalse(self.ui.errorFrame.visible)
            self.panel.runner.cancel()

    def test_this_computer_takes_the_model_that_the_server_took_or_none_unasked(self) -> None:
        default = self.logic.models.list()[0]
        own = dataclasses.replace(default, version="2", sha256="0" * 64, path=self.folder / "2", embedded=False)
        theirs = dataclasses.replace(own, path=Path("openkbp64"), embedded=True)
        self.fillSlots()
        for here, isHere in (([default, own], True), ([default, dataclasses.replace(own, sha256="1" * 64)], False)):
            with self.subTest(isHere=isHere), mock.patch.object(self.logic.models, "list", return_value=here):
                self.panel.server.ui.computeSelector.setCurrentIndex(1)
                self.logic.server.models = [theirs]
                self.panel.model.refresh("")
                self.panel.updateReadiness()
                self.panel.runner.reconstruct()
                self.logic.runs[-1].fail(Faults.explain("server", "the connection to the server was lost"))
                before = len(self.logic.runs)
                slicer.util.findChild(self.ui.errorFrame, "offerButton0").click()
                begun = [run.arguments["bundle"] for run in self.logic.runs[before:] if run.task == "reconstruct"]
                self.assertEqual(begun, [str(own.path)] * isHere)
                if isHere:
                    self.logic.runs[-1].cancel()
        self.assertIn(f"does not have the model {own.id} 2", self.ui.stageLabel.text)
        self.assertIn(f"The model {own.id} that was chosen is not here", self.ui.modelDetails.text)
        self.assertTrue(self.ui.reconstructButton.enabled)
        self.ui.reconstructButton.click()
        self.assertEqual(self.logic.runs[-1].arguments["bundle"], str(default.path))

    def test_a_long_answer_is_read_to_its_end_in_a_panel_of_any_width(self) -> None:
        self.section.computeSelector.setCurrentIndex(1)
        self.ui.advancedSection.collapsed = False
        label = self.section.answerLabel
        for width in (360, 420, 500):
            self.host.resize(width, 900)
            for text in ("", "The address is not one of a server. " * 12):
                label.text = text
                for _ in range(8):
                    slicer.app.processEvents()
            self.assertGreaterEqual(label.height, label.heightForWidth(label.width), width)

    def test_a_connection_is_tried_once_there_is_an_address(self) -> None:
        self.section.computeSelector.setCurrentIndex(1)
        button = self.section.testButton
        for address, there in (("", False), (" ", False), ("https://example.org", True), ("", False)):
            self.section.addressEdit.setText(address)  # still being typed
            self.assertEqual((button.enabled, "Enter the address" in button.toolTip), (there, not there), address)
        self.section.addressEdit.setText("https://example.org")
        button.click()
        self.assertEqual(self.logic.server.address, "https://example.org")

    def test_an_own_authority_is_kept_when_the_choice_of_another_is_cancelled_and_taken_back_with_a_click(self) -> None:
        self.enter("https://example.org:8765", KEY)
        self.assertTrue(self.section.systemCaButton.isHidden())
        for chosen in (("/somewhere/hospital.pem", "PEM"), ("", ""), ""):
            with mock.patch.object(qt.QFileDialog, "getOpenFileName", return_value=chosen):
                self.section.caButton.click()
            self.assertEqual(self.logic.server.caFile, "/somewhere/hospital.pem")
            self.assertIn("hospital.pem", self.section.caButton.text)
            self.assertFalse(self.section.systemCaButton.isHidden())
        self.section.systemCaButton.click()
        self.assertEqual(self.logic.server.caFile, "")
        self.assertEqual(self.section.caButton.text, "Own authority…")
        self.assertTrue(self.section.systemCaButton.isHidden())

    def test_another_computer_cannot_be_chosen_while_a_run_goes_on(self) -> None:
        for locked in (True, False):
            self.panel.lock(locked)
            self.assertEqual(self.section.computeSelector.enabled, not locked)

    def test_the_answer_is_plain(self) -> None:
        model = {"id": "chest", "anatomy": "chests", "voxels": 128, "spacing_mm": 3.0}
        gpu = {"label": "GPU X", "free_bytes": 7e10, "total_bytes": 8e10}
        told = inWords({"reached_s": 0.5, "clsdm": "1", "torch": "2", "models": [model], "devices": [gpu]})
        self.assertEqual(
            told.split("\n"),
            [
                "Reached in 0.50 s: clsdm 1, PyTorch 2.",
                "Model chest: chests, 128³ voxels of 3 mm.",
                "GPU X (70.0 of 80.0 GB free)",
            ],
        )


class RealServerTest(OwnTemporaries, ServerPanelCase):
    """With a server, and without torch here."""

    def makeLogic(self):
        self.case = smallCase()
        packages = Dependencies(findModule=lambda name: None if name == "torch" else name, python="python")
        return CLSDMReconstructionLogic(dependencies=packages)

    def answered(self) -> str:
        self.section.testButton.click()
        self.wait(lambda: not self.section.answerLabel.text.startswith("Asking"), 240.0)
        return self.section.answerLabel.text

    def test_a_server_reconstructs_the_bits_that_this_computer_does(self) -> None:
        with serving(self.case / "bundle") as address:
            self.enter(address, KEY[:-1] + "x")
            self.assertIn("does not take this key", self.answered())
            self.assertIn("does not take this key", self.ui.reconstructButton.toolTip)
            self.enter(address, KEY)
            self.assertRegex(self.answered(), r"Reached in [\d.]+ s: clsdm .*\nModel small: .*16³ voxels of 24 mm")
            self.assertFalse(self.ui.dependencyFrame.visible)
            self.assertEqual(self.ui.modelSelector.currentText, "small (server)")
            self.drop(self.frontal.widget, self.case / "lateral.dcm", self.case / "frontal.dcm")
            self.wait(lambda: all(slot.hasPreview() for slot in self.panel.xrays.slots), 240.0)
            self.ui.reconstructButton.click()
            self.wait(lambda: self.panel.run is None, 240.0)
            self.assertFalse(self.ui.errorFrame.visible, self.ui.errorLabel.text)
            node = self.ui.reconstructionSelector.currentNode()
            command = Path(f"/proc/{self.logic.worker.processId}/cmdline")
            if command.exists():
                self.assertNotIn(KEY, command.read_text())
        self.section.computeSelector.setCurrentIndex(0)
        here = self.logic.reconstruct(
            self.case / "frontal.dcm", self.case / "lateral.dcm", bundle=self.case / "bundle", wait=True
        )
        made = [slicer.util.arrayFromVolume(each) for each in (node, here.result.volumeNode)]
        self.assertEqual(made[0].tobytes(), made[1].tobytes())

    def test_many_studies_are_made_by_the_server_and_lie_here(self) -> None:
        inside, out, batch = self.folder / "in", self.folder / "out", self.panel.batch
        inside.mkdir()
        for name in ("frontal.dcm", "lateral.dcm"):
            shutil.copy(self.case / name, inside / name)
        with serving(self.case / "bundle") as address:
            self.enter(address, KEY)
            self.answered()
            batch.find(studiesOfFolder(inside))
            self.wait(lambda: not batch.isWorking("find"))
            self.assertTrue(batch.ui.startButton.enabled, batch.ui.startButton.toolTip)
            batch.start(out)
            self.wait(lambda: not batch.isRunning, 240.0)
            self.assertIn("1 reconstructed", batch.ui.statusLabel.text)
            self.assertIn("X-rays", batch.ui.studiesTable.item(0, 2).toolTip())
            self.assertFalse(batch.ui.overviewButton.isHidden())
            self.assertTrue((out / batch.studies[0].name / "reconstruction.nii.gz").is_file())
        batch.start(self.folder / "other")
        self.wait(lambda: not batch.isRunning, 240.0)
        self.assertIn("cannot be reached", batch.ui.statusLabel.text)

    def test_settings_that_cannot_be_right_are_named_by_the_panels_words(self) -> None:
        box = self.section.unencryptedCheckBox.text
        for address, key, said, todo in (
            (
                "example.org",
                KEY,
                "Address of the server: expected https://HOST:PORT, got 'example.org'.",
                "address under",
            ),
            (
                "https://example.org",
                "short",
                "Key: expected a key of 16 or more letters and digits, in one line.",
                "again",
            ),
            ("http://example.org", KEY, "X-rays would travel unencrypted.", f"tick “{box}” under Advanced"),
        ):
            with self.subTest(said=said):
                self.enter(address, key)
                answer = self.answered()
                self.assertIn(said, answer)
                self.assertIn(todo, answer)
                for other in ("--", "clsdm", "Python", str(self.keyFile)):
                    self.assertNotIn(other, answer)
        for file, said in ((__file__, "holds no certificate"), (str(self.keyFile) + "x", "no such file")):
            self.enter("https://example.org:8765", KEY)
            self.logic.server.choose(caFile=file)
            self.assertIn(f"wn authority: {said}", self.answered())
            self.assertNotIn(file, self.section.answerLabel.text)

    def test_a_server_that_is_gone_is_said_with_what_to_do(self) -> None:
        with serving(self.case / "bundle") as address:
            pass
        self.enter(address, KEY)
        self.assertIn("cannot be reached", self.answered())
        self.assertIn("under Advanced", self.answered())
        self.assertIn("cannot be reached", self.ui.reconstructButton.toolTip)
