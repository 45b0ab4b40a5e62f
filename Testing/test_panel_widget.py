"""The panel as a user meets it, with a fake logic."""

from __future__ import annotations

import contextlib
import io
import sys
import types
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import slicer
from fakes import FakeDatabase
from panel_case import PanelCase, saveAndReopen
from volumes import add_volume

import CLSDMReconstruction
from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.scene import SessionFiles, XRayNodes
from CLSDMReconstructionLib.worker.Runs import ReconstructionError
from CLSDMReconstructionLib.xrays.DicomSeries import xraySeries
from CLSDMReconstructionLib.xrays.Inputs import XRayInput


class XRaysTest(PanelCase):
    def test_an_empty_panel_says_what_to_do_first(self) -> None:
        self.assertFalse(self.ui.reconstructButton.enabled)
        self.assertIn("Choose a frontal or a lateral X-ray", self.ui.reconstructButton.toolTip)
        self.assertIn("Drop an X-ray here", self.frontal.ui.previewLabel.text)
        self.assertIn("Research only", self.ui.noticeLabel.text)

    def test_a_dropped_file_fills_the_slot_it_is_dropped_on(self) -> None:
        self.assertTrue(self.drop(self.lateral.widget, self.xrayFile("lateral.dcm", "LL")))
        self.assertIsNone(self.frontal.xray)
        self.assertEqual(self.lateral.geometry.angle.value, 90.0)
        self.assertEqual(self.lateral.geometry.badges["angleDeg"].text, "tag")
        self.assertIn("With one view, depth", self.ui.pairLabel.text)
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_geometry_is_shown_where_a_file_leaves_some_of_it_open_and_folds_on_request(self) -> None:
        self.assertFalse(self.ui.geometryCheckBox.checked)
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm", DistanceSourceToDetector=None))
        self.assertEqual(self.frontal.geometry.badges["sourceDetectorMm"].text, "default")
        self.assertTrue(self.frontal.ui.geometryArea.visible)
        self.ui.geometryCheckBox.checked = False
        self.assertFalse(self.frontal.ui.geometryArea.visible)

    def test_geometry_that_is_all_said_by_the_files_takes_no_room(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.assertEqual(self.frontal.geometry.badges["sourceDetectorMm"].text, "tag")
        self.assertFalse(self.frontal.ui.geometryArea.visible)
        self.ui.geometryCheckBox.checked = True
        self.assertTrue(self.frontal.ui.geometryArea.visible)

    def test_files_dropped_together_find_their_slots(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("b.dcm", "LL"), self.xrayFile("a.dcm"))
        self.assertEqual([slot.geometry.angle.value for slot in self.panel.xrays.slots], [0.0, 90.0])
        self.assertFalse(self.ui.pairLabel.visible, self.ui.pairLabel.text)

    def test_a_node_can_be_dragged_from_the_data_module_or_chosen_in_the_selector(self) -> None:
        node = self.xrayNode()
        self.drop(self.frontal.widget, node)
        self.assertEqual(self.frontal.xray.nodeId, node.GetID())
        self.assertEqual(self.frontal.ui.nodeSelector.currentNode(), node)
        self.lateral.ui.nodeSelector.setCurrentNode(node)
        self.assertEqual(self.lateral.xray.nodeId, node.GetID())
        self.lateral.ui.nodeSelector.setCurrentNode(None)
        self.assertIsNone(self.lateral.xray)

    def test_something_that_is_no_file_is_not_taken(self) -> None:
        mime = qt.QMimeData()
        mime.setText("hello")
        self.assertFalse(self.dropMime(self.frontal.widget, mime))
        self.assertIsNone(self.frontal.xray)

    def test_an_unknown_pixel_spacing_is_refused_until_it_is_typed(self) -> None:
        self.drop(self.frontal.widget, self.png())
        self.assertFalse(self.ui.reconstructButton.enabled)
        self.assertIn("spacing", self.ui.reconstructButton.toolTip)
        self.assertEqual(self.frontal.geometry.badges["spacingMm"].text, "?")
        self.type(self.frontal.geometry.spacing, "0.5")
        self.assertEqual(self.frontal.xray.entered["spacingMm"], (0.5, 0.5))
        self.assertIn("entered", self.frontal.geometry.badges["spacingMm"].text)
        self.assertTrue(self.ui.reconstructButton.enabled, self.ui.reconstructButton.toolTip)

    def test_a_click_on_its_badge_takes_an_entry_back(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.assertEqual(self.frontal.geometry.badges["sourceDetectorMm"].text, "tag")
        xray = self.frontal.xray
        self.type(self.frontal.geometry.detector, "2000")
        self.assertIs(self.frontal.xray, xray, "what was typed must not build the slot anew")
        self.assertEqual(self.frontal.facts.fields["sourceDetectorMm"].value, 2000.0)
        self.frontal.geometry.badges["sourceDetectorMm"].click()
        self.assertEqual(self.frontal.geometry.detector.value, 1500.0)
        self.assertEqual(self.frontal.xray.entered, {})

    def test_what_neither_file_nor_user_says_comes_from_the_preset_and_is_marked_so(self) -> None:
        self.drop(
            self.frontal.widget, self.xrayFile("pa.dcm", DistanceSourceToDetector=None, DistanceSourceToPatient=None)
        )
        self.assertEqual(self.frontal.geometry.badges["sourceDetectorMm"].text, "default")
        self.assertEqual(self.frontal.geometry.detector.value, 1800.0)
        self.ui.presetSelector.setCurrentIndex(2)
        self.assertEqual(self.frontal.geometry.detector.value, 1100.0)

    def test_a_machine_is_called_the_same_wherever_it_can_be_chosen(self) -> None:
        boxes = (self.ui.presetSelector, self.panel.simulate.ui.presetComboBox)
        names, others = ({box.itemText(index) for index in range(box.count)} for box in boxes)
        self.assertEqual(names, others)
        self.assertIn("Chest radiography (180 cm)", names)

    def test_pixels_that_are_not_square_show_both_spacings_and_one_entry_makes_them_square(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm", ImagerPixelSpacing=[0.2, 0.25]))
        spacing = self.frontal.geometry.spacing
        self.assertEqual(spacing.text, "0.2000 × 0.2500 mm")
        self.assertIn("0.25 mm between columns", spacing.toolTip)
        self.type(spacing, "0.3")
        self.assertEqual(self.frontal.xray.entered["spacingMm"], (0.3, 0.3))
        self.assertEqual(spacing.text, "0.3000 mm")
        self.frontal.geometry.badges["spacingMm"].click()
        self.assertEqual(spacing.text, "0.2000 × 0.2500 mm")

    def test_the_number_of_the_rows_typed_again_makes_the_pixels_square_and_passing_by_does_not(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm", ImagerPixelSpacing=[0.2, 0.25]))
        spacing = self.frontal.geometry.spacing
        self.press(spacing, "\r")
        self.assertEqual(self.frontal.xray.entered, {})
        slicer.util.findChild(spacing, "qt_spinbox_lineedit").selectAll()
        self.press(spacing, "0.2\r")
        self.assertEqual(self.frontal.xray.entered["spacingMm"], (0.2, 0.2))
        self.assertEqual(spacing.text, "0.2000 mm")

    def test_orientation_and_inversion_can_be_entered(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        geometry = self.frontal.geometry
        geometry.rotate[0].setCurrentIndex(1)
        geometry.flip[0].setCurrentIndex(1)
        geometry.invert[0].setCurrentIndex(1)
        self.assertEqual(self.frontal.xray.entered, {"rotateQuarters": 1, "flip": True, "invert": True})
        self.assertIn("70 × 90", self.frontal.ui.sourceLabel.text)

    def test_swap_exchanges_the_x_rays(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("lateral.dcm", "LL"))
        self.ui.swapButton.click()
        self.assertIsNone(self.frontal.xray)
        self.assertEqual(self.lateral.xray.role, "lateral")

    def test_x_rays_of_two_patients_are_refused_in_words(self) -> None:
        self.fillSlots()
        self.assertTrue(self.ui.reconstructButton.enabled)
        self.drop(self.lateral.widget, self.xrayFile("other.dcm", "LL", PatientID="another"))
        self.assertIn("two patients", self.ui.pairLabel.text)
        self.assertIn("two patients", self.ui.reconstructButton.toolTip)
        self.assertFalse(self.ui.reconstructButton.enabled)

    def test_views_that_see_no_depth_get_a_warning_not_a_refusal(self) -> None:
        self.fillSlots()
        self.type(self.lateral.geometry.angle, "20")
        self.assertIn("20 degrees apart", self.ui.pairLabel.text)
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_a_damaged_file_is_named_as_the_x_ray_it_should_be_never_by_its_name(self) -> None:
        path = self.folder / "Doe_Jane.dcm"
        path.write_bytes(self.xrayFile("pa.dcm").read_bytes()[:200])
        self.drop(self.frontal.widget, path)
        self.assertNotIn("Doe", self.ui.reconstructButton.toolTip)
        self.assertNotIn("Doe", self.frontal.ui.problemLabel.text)
        self.assertTrue(self.frontal.ui.problemLabel.text)

    def test_the_preview_is_shown_and_follows_what_is_entered(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.wait(lambda: self.logic.previews)
        run = self.logic.previews[-1]
        run.finish(self.preview())
        self.assertTrue(self.frontal.hasPreview())
        self.frontal.geometry.flip[0].setCurrentIndex(1)
        self.wait(lambda: self.logic.previews[-1] is not run)
        self.assertIs(self.logic.previews[-1].arguments["xray"].entered["flip"], True)

    def test_a_preview_that_fails_says_why_in_its_place(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm"))
        self.wait(lambda: self.logic.previews)
        self.logic.previews[-1].fail(ReconstructionError("input", "The image is constant."))
        self.assertEqual(self.frontal.ui.previewLabel.text, "The image is constant.")

    def test_up_to_eight_views_can_be_added_and_taken_away(self) -> None:
        for _number in range(6):
            self.ui.addViewButton.click()
        self.assertFalse(self.ui.addViewButton.enabled)
        third = self.panel.xrays.slots[2]
        self.drop(third.widget, self.xrayFile("oblique.dcm", PositionerPrimaryAngle=45.0, ViewPosition=None))
        self.assertEqual(third.xray.role, "view")
        self.panel.xrays.slots[3].ui.clearButton.click()
        self.assertEqual(len(self.panel.xrays.slots), 7)
        self.assertTrue(self.ui.addViewButton.enabled)

    def test_a_deleted_node_leaves_its_slot_empty(self) -> None:
        first, second = self.xrayNode(), self.xrayNode()
        self.drop(self.frontal.widget, first)
        self.drop(self.lateral.widget, second)
        slicer.mrmlScene.RemoveNode(second)
        self.assertIsNone(self.lateral.xray)  # and not the other node, to which a combo box turns by itself
        self.assertEqual(self.frontal.xray.nodeId, first.GetID())
        slicer.mrmlScene.RemoveNode(first)
        slicer.app.processEvents()
        self.assertIsNone(self.frontal.xray)
        self.assertFalse(self.ui.reconstructButton.enabled)

    def xrayNode(self) -> object:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "X-ray")
        slicer.util.updateVolumeFromArray(node, np.arange(70 * 90, dtype=np.int16).reshape(1, 70, 90))
        node.SetSpacing(2.0, 2.0, 1.0)
        return node


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
        self.assertTrue(str(arguments["bundle"]).endswith("openkbp64"))

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


class SampleTest(PanelCase):
    def test_the_phantom_fills_both_slots_and_is_the_ground_truth(self) -> None:
        self.panel.samples.loadPhantom()
        run = self.logic.runs[-1]
        ct = run.arguments["ct"]
        self.assertIn("no patient", ct.GetName())
        xrays = [add_volume(f"X-ray {angle}", size=(90, 70, 1)) for angle in (0, 90)]
        run.finish(mock.Mock(nodes=xrays, files=["a", "b"], angles=[0.0, 90.0]))
        self.assertEqual([slot.xray.node for slot in self.panel.xrays.slots], xrays)
        self.assertEqual(self.panel.parameters.groundTruth, ct)

    def test_without_a_main_window_a_tile_fills_the_panel_too(self) -> None:
        shown = types.SimpleNamespace(panel=self.panel)
        widget = mock.patch("slicer.util.getModuleWidget", return_value=shown)
        window = mock.patch("slicer.util.mainWindow", return_value=None)
        select = mock.patch("slicer.util.selectModule", side_effect=RuntimeError("no main window"))
        with widget, window, select:
            CLSDMReconstruction.loadPhantom()
        self.assertEqual(self.logic.runs[-1].task, "simulate")

    def test_the_public_case_is_downloaded_only_with_consent(self) -> None:
        asks = mock.Mock(return_value=False)
        with mock.patch("slicer.util.confirmOkCancelDisplay", asks):
            self.panel.samples.loadPublicCase()
        self.assertIn("CC BY 3.0", asks.call_args_list[0].args[0])
        self.assertEqual(self.logic.runs, [])


class SampleTilesTest(unittest.TestCase):
    def test_two_tiles_are_registered_in_the_way_that_sample_data_asks_for(self) -> None:
        tiles = []

        def register(
            category="Custom",
            sampleName=None,
            uris=None,
            fileNames=None,
            nodeNames=None,
            customDownloader=None,
            thumbnailFileName=None,
            loadFileType=None,
            loadFiles=None,
            loadFileProperties=None,
            checksums=None,
        ) -> None:  # the arguments of Slicer 5.10
            tiles.append((category, sampleName, thumbnailFileName, customDownloader))
            self.assertEqual({len(part) for part in (uris, fileNames, nodeNames, loadFiles, checksums)}, {1})

        data = types.SimpleNamespace(SampleDataLogic=types.SimpleNamespace(registerCustomSampleDataSource=register))
        with mock.patch.dict(sys.modules, {"SampleData": data}):
            CLSDMReconstruction.registerSampleData()
        self.assertEqual([tile[1] for tile in tiles], ["X-rays of a chest CT", "X-rays of a phantom"])
        for _category, _name, thumbnail, load in tiles:
            self.assertTrue(Path(thumbnail).is_file())
            self.assertTrue(callable(load))


class DependenciesTest(PanelCase):
    def missTorch(self) -> None:
        self.logic.dependencies.missing = ("torch",)
        self.panel.enter()

    def test_what_is_missing_is_said_and_nothing_happens_without_consent(self) -> None:
        self.assertFalse(self.ui.dependencyFrame.visible)
        self.missTorch()
        self.assertTrue(self.ui.dependencyFrame.visible)
        self.assertIn("install", self.ui.reconstructButton.toolTip)
        asks = mock.Mock(return_value=False)
        with mock.patch("slicer.util.confirmOkCancelDisplay", asks):
            self.ui.installButton.click()
        self.assertEqual(self.logic.dependencies.calls, [])
        for words in ("torch", "pytorch.org", "3 GB", "go on working"):
            self.assertIn(words, asks.call_args_list[0].args[0])

    def test_an_installation_shows_its_log_and_makes_the_panel_ready(self) -> None:
        self.missTorch()
        self.fillSlots()
        with mock.patch("slicer.util.confirmOkCancelDisplay", mock.Mock(return_value=True)):
            self.ui.installButton.click()
        self.assertEqual(self.logic.dependencies.calls, ["install"])
        self.logic.dependencies.onLog("Collecting torch")
        self.assertIn("Collecting torch", self.ui.dependencyLog.plainText)
        self.logic.dependencies.missing = ()
        self.logic.dependencies.onFinished(True, "Everything is installed.")
        self.assertFalse(self.ui.dependencyFrame.visible)
        self.assertTrue(self.ui.reconstructButton.enabled)

    def test_a_failed_installation_leaves_its_reason_and_the_command(self) -> None:
        self.missTorch()
        with mock.patch("slicer.util.confirmOkCancelDisplay", mock.Mock(return_value=True)):
            self.ui.installButton.click()
        self.logic.dependencies.onFinished(False, "The proxy refused.")
        self.assertIn("The proxy refused.", self.ui.dependencyLabel.text)
        self.ui.copyCommandButton.click()
        self.assertIn("pip install", slicer.app.clipboard().text())


class ModelTest(PanelCase):
    def test_a_model_is_added_only_after_licence_size_and_hash_were_shown(self) -> None:
        model = self.panel.model.model
        for agrees, tasks in ((False, ["bundle"]), (True, ["bundle", "install"])):
            self.logic.runs.clear()
            asks = mock.Mock(return_value=agrees)
            with mock.patch("slicer.util.confirmOkCancelDisplay", asks):
                self.panel.model.add("https://example.org/model.zip")
                self.logic.runs[0].finish(model)
            for part in (model.licence, model.sha256, "MB"):
                self.assertIn(part, asks.call_args_list[0].args[0])
            self.assertEqual([run.task for run in self.logic.runs], tasks)

    def test_the_embedded_model_cannot_be_deleted(self) -> None:
        self.assertFalse(self.panel.model._deleteAction.enabled)

    def test_the_product_is_explained_with_the_time_it_takes(self) -> None:
        self.assertIn("Closest to the truth", self.ui.productDetails.text)
        self.assertRegex(self.ui.productDetails.text, r"About \d+ s")
        self.ui.productSelector.setCurrentIndex(2)
        self.assertIn("where they differ", self.ui.productDetails.text)

    def test_devices_are_listed_with_free_memory_when_advanced_is_opened(self) -> None:
        self.ui.advancedSection.collapsed = False
        devices = [
            {"name": "cpu", "label": "CPU"},
            {"name": "cuda", "label": "GPU X", "free_bytes": 8e9, "total_bytes": 1e10},
        ]
        self.logic.runs[-1].finish({"devices": devices})
        self.assertEqual(self.ui.deviceSelector.itemText(2), "GPU X (8.0 of 10.0 GB free)")
        self.ui.deviceSelector.setCurrentIndex(2)
        self.assertEqual(self.panel.model.device, "cuda")


class InputOfNodesTest(unittest.TestCase):
    def test_an_x_ray_goes_through_the_parameter_node_unchanged(self) -> None:
        xray = XRayInput(path="a.dcm", role="view", entered={"spacingMm": (0.1, 0.2), "flip": True})
        self.assertEqual(XRayInput.fromPlain(xray.toPlain()), xray)


class DatabaseTest(PanelCase):
    def test_the_menu_lists_x_rays_of_the_dicom_database_newest_first_and_without_names(self) -> None:
        with mock.patch.object(slicer, "dicomDatabase", FakeDatabase(), create=True):
            found = atOnce(xraySeries())
        self.assertEqual([series.path for series in found], ["pa.dcm", "lateral.dcm", "a.dcm"])
        self.assertEqual(found[0].label, "2024-01-01 · CR · PA · CHEST")

    def test_the_newest_study_of_the_database_can_fill_both_slots(self) -> None:
        files = [str(self.xrayFile("b.dcm", "LL")), str(self.xrayFile("a.dcm"))]
        database = FakeDatabase({"new": ("2024-01-01", {"b": ("CR", files)})})
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            self.panel.xrays.pairFromDatabase()
            self.wait(lambda: not self.panel.xrays.isLooking)
        self.assertEqual([slot.geometry.angle.value for slot in self.panel.xrays.slots], [0.0, 90.0])

    def test_a_large_database_is_asked_a_little_at_a_time(self) -> None:
        database = FakeDatabase({f"{number}": ("", {f"{number}.1": ("DX", ["a.dcm"])}) for number in range(40)})
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            search = xraySeries()
            next(search)
            self.assertLess(database.questions, 5)
            self.assertEqual(len(atOnce(search)), 40)

    def test_a_slot_that_is_filled_by_hand_meanwhile_keeps_its_x_ray(self) -> None:
        self.panel.xrays.pairFrom([str(self.xrayFile("a.dcm")), str(self.xrayFile("b.dcm", "LL"))])
        self.assertTrue(self.panel.xrays.isLooking)
        self.drop(self.lateral.widget, self.xrayFile("mine.dcm", "LL"))
        self.assertEqual(self.lateral.xray.path, str(self.folder / "mine.dcm"))
        self.assertIsNone(self.frontal.xray)

    def test_a_menu_entry_fills_its_slot(self) -> None:
        database = FakeDatabase({"new": ("2024-01-01", {"b": ("CR", [str(self.xrayFile("a.dcm"))])})})
        with mock.patch.object(slicer, "dicomDatabase", database, create=True):
            self.frontal._fillSeriesMenu()
            self.assertIn("Looking", self.frontal._seriesMenu.actions()[0].text)
            self.wait(lambda: "Looking" not in self.frontal._seriesMenu.actions()[0].text)
        self.frontal._seriesMenu.actions()[0].trigger()
        self.assertEqual(self.frontal.xray.path, str(self.folder / "a.dcm"))
