"""The panel with the real worker and an embedded model: from a dropped file to a volume in the slice views, and back out."""

import sys
from unittest import mock

import slicer
from fakes import FakeDependencies
from panel_case import PanelCase
from real_worker import OwnTemporaries, alive, leftovers, scene, smallCase

from CLSDMReconstruction import CLSDMReconstructionLogic


class RealWorkerTest(OwnTemporaries, PanelCase):
    """One worker for all of a test; what a run needs is in ``case``, the model is the quicker of the embedded ones."""

    def makeLogic(self):
        self.case = smallCase()
        return CLSDMReconstructionLogic(dependencies=FakeDependencies())

    def setUp(self) -> None:
        self.before = leftovers()
        super().setUp()
        names = [model.id for model in self.panel.model.models]
        self.ui.modelSelector.setCurrentIndex(names.index("openkbp64"))
        self.drop(self.frontal.widget, self.case / "lateral.dcm", self.case / "frontal.dcm")

    def reconstruct(self) -> None:
        self.ui.reconstructButton.click()
        self.wait(lambda: self.panel.run is None, 240.0)
        self.assertFalse(self.ui.errorFrame.visible, self.ui.errorLabel.text)

    def test_two_dropped_files_become_a_volume_in_hounsfield_units_that_says_what_it_is(self) -> None:
        self.wait(lambda: all(slot.hasPreview() for slot in self.panel.xrays.slots), 240.0)
        self.reconstruct()
        node = self.ui.reconstructionSelector.currentNode()
        self.assertIn("research only", node.GetName())
        self.assertEqual(node.GetVoxelValueUnits().GetCodeMeaning(), "Hounsfield unit")
        self.assertIn("not for diagnosis", node.GetAttribute("CLSDM.notice"))
        self.assertEqual(node.GetAttribute("CLSDM.model"), "openkbp64")
        self.assertEqual(node.GetImageData().GetDimensions(), (64, 64, 64))
        self.assertIn("projected like it", self.ui.residualLabel.text)
        self.assertIn("Reading the X-rays", self.ui.logText.plainText)
        self.assertNotIn(str(self.case), self.ui.logText.plainText)
        self.assertRegex(self.ui.productDetails.text, "as before on this computer")

    def test_cancel_in_the_middle_of_sampling_leaves_no_process_no_file_and_no_node(self) -> None:
        self.ui.productSelector.setCurrentIndex(2)
        self.ui.samplesSpinBox.setValue(64)
        nodes = scene()
        self.ui.reconstructButton.click()
        self.wait(lambda: "Sampling" in self.ui.stageLabel.text, 240.0)
        worker = self.logic.worker.processId
        self.ui.reconstructButton.click()
        self.wait(lambda: not alive(worker), 20.0)
        self.assertEqual(scene(), nodes)
        self.assertIn("Cancelled", self.ui.stageLabel.text)
        self.ui.productSelector.setCurrentIndex(0)
        self.reconstruct()

    def test_closing_the_scene_while_sampling_ends_it_and_nothing_arrives_later(self) -> None:
        self.ui.productSelector.setCurrentIndex(2)
        self.ui.samplesSpinBox.setValue(64)
        self.ui.reconstructButton.click()
        self.wait(lambda: "Sampling" in self.ui.stageLabel.text, 240.0)
        worker = self.logic.worker.processId
        slicer.mrmlScene.Clear(0)
        self.wait(lambda: not alive(worker), 20.0)
        self.assertEqual(self.nodes(), [])
        self.assertIsNone(self.frontal.xray)

    def tearDown(self) -> None:
        """Whatever a test did: with the panel, the worker and its files go."""
        worker = self.logic.worker.processId
        self.closePanel()
        if worker:
            self.wait(lambda: not alive(worker), 20.0)
        self.wait(lambda: leftovers() <= self.before, 20.0)


class ModuleTest(PanelCase):
    """The module as Slicer opens it."""

    def tearDown(self) -> None:
        """Left open, it would share its parameter node with the panels of other tests, and start a worker for them."""
        slicer.util.selectModule("Volumes")

    @classmethod
    def tearDownClass(cls) -> None:
        """Its panel hears of scenes as long as Slicer runs, and would answer before those of other tests."""
        slicer.util.getModuleWidget("CLSDMReconstruction").cleanup()
        super().tearDownClass()

    def test_the_module_opens_without_torch_and_can_be_reloaded(self) -> None:
        slicer.util.mainWindow().show()
        with mock.patch.dict(sys.modules, {"torch": None}):  # to import it would raise
            slicer.util.selectModule("CLSDMReconstruction")
            first = slicer.util.getModuleWidget("CLSDMReconstruction")
            self.assertTrue(first.panel.ui.noticeLabel.visible)
            file = self.xrayFile("pa.dcm")
            self.drop(first.panel.xrays.slots[0].widget, file)
            slicer.util.reloadScriptedModule("CLSDMReconstruction")
        second = slicer.util.getModuleWidget("CLSDMReconstruction")
        self.assertIsNot(second, first)
        self.assertEqual(second.panel.xrays.slots[0].xray.path, str(file))
        self.assertIsNone(first.panel.parameters)
        self.assertIsNotNone(second.panel.parameters)
        self.assertFalse(first.logic.worker.isRunning)

    def test_another_module_can_be_shown_and_ours_again(self) -> None:
        slicer.util.selectModule("CLSDMReconstruction")
        slicer.util.selectModule("Volumes")
        slicer.util.selectModule("CLSDMReconstruction")
        panel = slicer.util.getModuleWidget("CLSDMReconstruction").panel
        self.assertIsNotNone(panel.parameters)
