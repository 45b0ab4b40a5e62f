"""The panel as a user meets it, with a fake logic: reconstructions, scenes, results."""

import contextlib
import io
from unittest import mock

import numpy as np
import slicer
from panel_case import PanelCase, saveAndReopen
from volumes import add_volume

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.compare.TakeAway import Comparison
from CLSDMReconstructionLib.scene import SessionFiles, Space, XRayNodes
from CLSDMReconstructionLib.scene.Attributes import OTHERS_ROLE, setAttributes
from CLSDMReconstructionLib.scene.Sampling import centre
from CLSDMReconstructionLib.worker.Runs import ReconstructionError


class RunTest(PanelCase):
    def setUp(self) -> None:
        super().setUp()
        self.fillSlots()

    def start(self):
        self.ui.reconstructButton.click()
        return self.logic.runs[-1]

    def test_a_click_asks_for_what_the_panel_shows(self) -> None:
        self.ui.productSelector.setCurrentIndex(2)
        self.ui.samplesSpinBox.setValue(4)
        self.ui.seedSpinBox.setValue(7)
        arguments = self.start().arguments
        self.assertEqual(arguments["frontal"].path, str(self.folder / "pa.dcm"))
        self.assertEqual((arguments["product"], arguments["samples"], arguments["seed"]), ("ensemble", 4, 7))
        self.assertIsNone(arguments["steps"])
        self.assertEqual(arguments["bundle"], str(self.logic.models.embedded()[0].path))

    def test_progress_is_determinate_and_names_its_stage(self) -> None:
        self.ui.productSelector.setCurrentIndex(1)
        run = self.start()
        self.assertEqual(self.ui.reconstructButton.text, "Cancel")
        self.assertFalse(self.ui.slotArea.enabled)
        run.progress("sample", 3, 6)
        self.assertTrue(self.ui.progressBar.visible)
        self.assertGreater(self.ui.progressBar.maximum, 0)
        self.assertGreater(self.ui.progressBar.value, 0)
        self.assertEqual(self.ui.stageLabel.text, "Sampling 3/6")

    def test_the_log_can_be_copied(self) -> None:
        self.start().say("two X-rays read")
        self.ui.copyLogButton.click()
        self.assertIn("two X-rays read", slicer.app.clipboard().text())

    def test_a_result_is_shown_with_its_residuals_in_words(self) -> None:
        run = self.start()
        run.finish(self.result(warnings=["only one view"]))
        self.assertEqual(self.ui.reconstructButton.text, "Reconstruct")
        self.assertTrue(self.ui.slotArea.enabled)
        self.assertFalse(self.ui.resultSection.collapsed)
        self.assertIn("projected like it", self.ui.residualLabel.text)
        self.assertIn("Only one view", self.ui.warningsLabel.text)
        self.assertIn("Research only", self.ui.resultNotice.text)
        self.assertEqual(self.ui.reconstructionSelector.currentNode(), run.result.volumeNode)
        self.assertEqual(self.panel.parameters.reconstruction, run.result.volumeNode)
        composite = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
        self.assertEqual(composite.GetBackgroundVolumeID(), run.result.volumeNode.GetID())

    def test_x_rays_stand_in_3d_and_can_be_hidden(self) -> None:
        self.start().finish(self.result())
        self.wait(lambda: len(self.exposures()) == 6)
        self.assertTrue(self.ui.exposuresCheckBox.checked)
        before = self.exposures()
        self.start().finish(self.result())
        self.wait(lambda: len(self.exposures()) == 6 and not set(before) & set(self.exposures()))
        shown = self.exposures()
        self.ui.exposuresCheckBox.click()
        self.assertFalse(any(node.GetDisplayVisibility() for node in shown))

    def test_of_two_results_in_one_turn_the_last_is_seen_in_3d_and_nothing_of_the_others(self) -> None:
        self.start().finish(self.result())
        self.wait(lambda: len(self.exposures()) == 6)
        before = set(self.exposures())
        for _ in range(2):
            self.panel.result.show(self.result())
        self.wait(lambda: len(self.exposures()) == 6 and not before & set(self.exposures()))
        for _ in range(20):
            slicer.app.processEvents()
        self.assertEqual(len(self.exposures()), 6)

    def exposures(self) -> list:
        return [node for node in self.nodes("vtkMRMLModelNode") if node.GetAttribute("CLSDM.role") == "exposure"]

    def test_without_a_main_window_a_result_is_shown_without_a_word(self) -> None:
        class Headless:
            def __getattr__(self, name: str):
                return getattr(app, name)

            def layoutManager(self) -> None:
                return None

        app, words = slicer.app, io.StringIO()
        headless = mock.patch.object(slicer, "app", Headless())
        with headless, contextlib.redirect_stderr(words), contextlib.redirect_stdout(words):
            self.start().finish(self.result())
            self.wait(lambda: len(self.exposures()) == 6)
            atOnce(self.panel.compare.screen.layout.enter())
            atOnce(self.panel.compare.screen.layout.show(*[self.panel.result.result.volumeNode] * 3))
            self.panel.compare.screen.layout.leave()
        self.assertEqual(words.getvalue(), "")
        self.assertIsNotNone(self.panel.result.result)

    def test_coverage_and_spread_are_laid_over_one_at_a_time_and_leave_with_the_user(self) -> None:
        run = self.start()
        run.finish(self.result(spread=True))
        composite = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
        self.ui.coverageCheckBox.click()
        self.assertEqual(composite.GetForegroundVolumeID(), run.result.coverageNode.GetID())
        self.ui.spreadCheckBox.click()
        self.assertEqual(composite.GetForegroundVolumeID(), run.result.spreadNode.GetID())
        self.assertFalse(self.ui.coverageCheckBox.checked)
        self.panel.exit()
        self.assertFalse(composite.GetForegroundVolumeID())
        self.panel.enter()

    def test_cancel_leaves_the_scene_as_it_was_and_the_panel_usable(self) -> None:
        before = slicer.mrmlScene.GetNumberOfNodes()
        run = self.start()
        self.ui.reconstructButton.click()
        self.assertEqual(run.state, "cancelled")
        self.assertIn("The scene is as it was", self.ui.stageLabel.text)
        self.assertEqual(self.ui.reconstructButton.text, "Reconstruct")
        self.assertTrue(self.ui.reconstructButton.enabled)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.assertIsNot(self.start(), run)

    def test_an_error_says_what_happened_what_to_do_and_offers_what_may_help(self) -> None:
        run = self.start()
        offers = (("Use the CPU", {"device": "cpu"}), ("Make the mean", {"product": "mean"}))
        run.fail(
            ReconstructionError("memory", "The GPU has no memory left.", "Try the CPU.", "CUDA out of memory", offers)
        )
        self.assertTrue(self.ui.errorFrame.visible)
        for words in ("no memory left", "Try the CPU"):
            self.assertIn(words, self.ui.errorLabel.text)
        self.assertIn("CUDA out of memory", self.ui.logText.plainText)
        slicer.util.findChild(self.ui.errorFrame, "offerButton0").click()
        self.assertEqual(self.logic.runs[-1].arguments["device"], "cpu")
        self.assertFalse(self.ui.errorFrame.visible)

    def test_closing_the_scene_ends_the_run_and_empties_the_panel(self) -> None:
        run = self.start()
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        self.assertEqual(run.state, "cancelled")
        self.assertIsNone(self.panel.run)
        self.assertIsNone(self.frontal.xray)
        self.assertEqual(self.ui.reconstructButton.text, "Reconstruct")
        self.assertTrue(self.ui.slotArea.enabled)
        self.fillSlots()
        self.start().finish(self.result())
        self.assertIsNotNone(self.panel.result.result)

    def test_what_was_said_of_a_scene_goes_with_it(self) -> None:
        ofScene = [panel for panel in self.panel.panels if panel is not self.panel.batch]  # whose studies are files
        for panel in ofScene:
            panel.say("2 X-rays made; they are in the slots above.")
        slicer.mrmlScene.Clear(0)
        self.assertEqual([panel.ui.statusLabel.text for panel in ofScene], [""] * 3)

    def test_3d_frames_the_patient_and_can_show_the_volume(self) -> None:
        self.start().finish(self.result(spread=True))
        self.wait(lambda: self.panel.result._exposing is None)
        volume = self.panel.result.result.volumeNode
        view = slicer.app.layoutManager().threeDWidget(0).mrmlViewNode()
        camera = Space.cameraOf(view)
        np.testing.assert_allclose(camera.GetFocalPoint(), centre(volume), atol=1e-6)
        self.assertLess(np.linalg.norm(np.subtract(camera.GetPosition(), camera.GetFocalPoint())), 700.0)
        self.assertTrue(view.GetBoxVisible(), "the user's own view stays as it is")
        logic = slicer.modules.volumerendering.logic()
        self.ui.renderingCheckBox.click()
        display = logic.GetFirstVolumeRenderingDisplayNode(volume)
        self.assertTrue(display.GetVisibility())
        opacity = display.GetVolumePropertyNode().GetVolumeProperty().GetScalarOpacity()
        self.assertEqual([opacity.GetValue(hu) > 0.2 for hu in (-900, 40, 500)], [False, False, True])
        self.ui.renderingCheckBox.click()
        self.assertFalse(display.GetVisibility())

    def test_the_verdict_stands_above_the_numbers(self) -> None:
        self.start().finish(self.result())
        self.assertIn("explains its X-rays", self.ui.verdictLabel.text)
        self.assertTrue(self.ui.verdictLabel.visible)

    def test_an_output_volume_is_handed_on_and_a_comparison_of_it_ends(self) -> None:
        self.assertIsNone(self.start().arguments["into"])
        first = self.result()
        self.logic.runs[-1].finish(first)
        scan = add_volume("a scan")
        self.ui.outputSelector.setCurrentNode(scan)
        self.assertIsNone(self.ui.outputSelector.currentNode(), "only what this module made can be replaced")
        self.ui.outputSelector.setCurrentNode(first.volumeNode)
        self.panel.compare.shown = Comparison(scan, first.volumeNode)
        run = self.start()
        self.assertIs(run.arguments["into"], first.volumeNode)
        run.finish(first)
        self.assertEqual(self.panel.compare.shown, Comparison())

    def test_what_is_loaded_is_chosen_when_the_module_is_opened_and_offered_once(self) -> None:
        slicer.mrmlScene.Clear(0)
        xray, ct = add_volume("pa", size=(90, 70, 1)), add_volume("CT")
        self.panel.exit()
        self.panel.enter()
        self.wait(lambda: not self.panel.xrays.pair.isLooking)
        self.assertIs(self.frontal.xray.node, xray)
        selectors = self.panel.compare.ui.truthSelector, self.panel.simulate.ui.ctSelector
        self.assertEqual([selector.currentNode() for selector in selectors], [ct, ct])
        self.frontal.ui.clearButton.click()
        self.panel.exit()
        self.panel.enter()
        self.assertIsNone(self.frontal.xray)

    def test_the_x_rays_of_an_earlier_result_leave_3d_a_node_in_each_turn(self) -> None:
        self.start().finish(self.result())
        self.wait(lambda: self.panel.result._exposing is None)
        before = self.panel.result.exposures.nodes
        self.start().finish(self.result())
        self.assertEqual([node for node in before if node.GetScene() is None], [])  # all at once stops the window
        self.wait(lambda: self.panel.result._exposing is None)
        self.assertEqual([node for node in before if node.GetScene() is not None], [])

    def test_coverage_and_spread_say_what_their_colours_mean(self) -> None:
        self.start().finish(self.result(spread=True))
        logic, result = slicer.modules.colors.logic(), self.panel.result.result
        for box, node, title in (
            (self.ui.coverageCheckBox, result.coverageNode, "X-rays that see it"),
            (self.ui.spreadCheckBox, result.spreadNode, "Spread, HU"),
        ):
            box.click()
            legend = logic.GetColorLegendDisplayNode(node)
            self.assertEqual((legend.GetTitleText(), bool(legend.GetVisibility())), (title, True))
            self.assertLessEqual(legend.GetSize()[0], 0.25)
        self.assertFalse(logic.GetColorLegendDisplayNode(result.coverageNode).GetVisibility())
        shown, held = result.coverageNode.GetDisplayNode(), result.coverageNode.GetImageData().GetScalarRange()
        self.assertEqual((shown.GetWindowLevelMin(), shown.GetWindowLevelMax()), (0.0, held[1]))

    def test_what_came_from_other_patients_is_asked_for_once_and_laid_over_with_a_legend(self) -> None:
        made = self.result()
        setAttributes(made.volumeNode, {"views": [{"angle_deg": 0.0}]})
        self.start().finish(made)
        box = self.ui.othersCheckBox
        box.click()
        run = self.logic.runs[-1]
        self.assertEqual((run.task, run.arguments["reconstruction"]), ("fixed", made.volumeNode))
        made.volumeNode.SetNodeReferenceID(OTHERS_ROLE, made.coverageNode.GetID())
        run.finish(made.coverageNode)
        legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(made.coverageNode)
        self.assertEqual(legend.GetTitleText(), "Not in X-rays, HU", "short: it lies on the image")
        count = len(self.logic.runs)
        box.click()
        box.click()
        self.assertEqual(len(self.logic.runs), count)

    def test_what_came_from_other_patients_and_cannot_be_had_leaves_no_layer(self) -> None:
        made = self.result()
        setAttributes(made.volumeNode, {"views": [{"angle_deg": 0.0}]})
        self.start().finish(made)
        self.ui.othersCheckBox.click()
        self.logic.runs[-1].fail(ReconstructionError("input", "moved"))
        self.assertFalse(self.ui.othersCheckBox.checked)

    def test_the_log_of_the_result_of_another_scene_is_gone(self) -> None:
        self.start().finish(self.result())
        slicer.mrmlScene.Clear(0)
        self.assertIsNone(self.panel.result.result)
        self.assertEqual(self.ui.residualLabel.text, "")

    def test_a_result_whose_volume_is_deleted_is_no_longer_shown(self) -> None:
        run = self.start()
        run.finish(self.result())
        slicer.mrmlScene.RemoveNode(run.result.volumeNode)
        self.assertIsNone(self.panel.result.result)


class SceneTest(PanelCase):
    def test_a_saved_scene_brings_back_x_rays_entries_and_settings(self) -> None:
        file = self.xrayFile("pa.dcm")
        self.drop(self.frontal.widget, file)
        node = add_volume("X-ray", size=(90, 70, 1))
        self.drop(self.lateral.widget, node)
        self.type(self.frontal.geometry.detector, "2000")
        self.ui.productSelector.setCurrentIndex(1)
        self.ui.seedSpinBox.setValue(5)
        saveAndReopen(self.folder / "scene")
        self.assertEqual(self.frontal.xray.path, str(file))
        self.assertEqual(self.frontal.geometry.detector.value, 2000.0)
        self.assertEqual(self.lateral.xray.node.GetName(), "X-ray")
        self.assertEqual((self.ui.productSelector.currentIndex, self.ui.seedSpinBox.value), (1, 5))

    def test_a_saved_scene_names_no_file_and_in_another_slicer_the_file_has_to_be_chosen_again(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("Doe_Jane.dcm"))
        self.drop(self.lateral.widget, add_volume("X-ray", size=(90, 70, 1)))
        with mock.patch.dict(SessionFiles._PATHS):
            saveAndReopen(self.folder / "scene")
        text = next((self.folder / "scene").glob("*.mrml")).read_text(encoding="utf-8")
        for word in ("Doe_Jane", ".dcm"):
            self.assertNotIn(word, text)
        with mock.patch.dict(SessionFiles._PATHS, clear=True):  # another Slicer
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(str(next((self.folder / "scene").glob("*.mrml"))))
            slicer.app.processEvents()
            self.assertIn("choose it again", self.frontal.ui.problemLabel.text)
            self.assertIn("choose it again", self.ui.reconstructButton.toolTip)
            self.assertEqual(self.lateral.xray.node.GetName(), "X-ray")
            self.assertEqual(self.lateral.problem(), "")
            self.drop(self.frontal.widget, self.xrayFile("again.dcm"))
            self.assertTrue(self.ui.reconstructButton.enabled, self.ui.reconstructButton.toolTip)

    def test_x_rays_that_were_made_from_a_ct_leave_no_path_in_the_scene_but_are_found(self) -> None:
        file = self.xrayFile("made.dcm")
        view = {"angle_deg": 0.0, "tilt_deg": 0.0, "source_axis_mm": 1600.0, "source_detector_mm": 1800.0}
        view |= {"rows": 70, "cols": 90, "pixel_mm": [4.0, 4.0], "offset_mm": [0.0, 0.0]}
        node = XRayNodes.makeXRay(np.zeros((70, 90), np.float32), view, None, "made", str(file))
        Nodes.addToScene([node])
        said = [node.GetAttribute(name) for name in node.GetAttributeNames()]
        self.assertNotIn("made.dcm", " ".join(said))
        self.assertEqual(XRayNodes.xrayFile(node), file)

    def test_a_reconstruction_of_a_saved_scene_still_says_how_it_was_made(self) -> None:
        self.fillSlots()
        self.ui.reconstructButton.click()
        self.logic.runs[-1].finish(self.result(spread=True, warnings=["only one view"]))
        saveAndReopen(self.folder / "scene")
        self.assertIsNotNone(self.ui.reconstructionSelector.currentNode())
        self.assertIn("When it was made, the volume explained its X-rays.", self.ui.verdictLabel.text)
        self.assertIn("projected like it", self.ui.residualLabel.text)
        self.assertIn("Only one view", self.ui.warningsLabel.text)
        self.assertTrue(self.ui.coverageCheckBox.enabled and self.ui.spreadCheckBox.enabled)

    def test_python_can_set_what_the_panel_shows(self) -> None:
        self.panel.parameters.product = "ensemble"
        self.assertEqual(self.ui.productSelector.currentIndex, 2)
        self.assertTrue(self.ui.samplesSpinBox.enabled)
        self.panel.parameters.product = "mean"
        self.assertFalse(self.ui.seedSpinBox.enabled)

    def test_a_second_panel_shows_the_same_scene(self) -> None:
        self.fillSlots()
        self.closePanel()
        self.openPanel()
        self.assertEqual([slot.xray.role for slot in self.panel.xrays.slots], ["frontal", "lateral"])

    def test_nothing_of_a_closed_panel_hears_the_scene(self) -> None:
        self.fillSlots()
        panel = self.panel
        self.closePanel()
        slicer.mrmlScene.Clear(0)
        add_volume("later")
        self.assertIsNone(panel.parameters)
