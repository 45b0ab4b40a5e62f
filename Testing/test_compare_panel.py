"""The panel "Compare", with a fake logic."""

import csv
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from compare_case import FIGURES, ComparePanelCase, removeOwnViews
from scene_case import waitFor
from volumes import add_volume

from CLSDMReconstructionLib.base.Steps import Steps
from CLSDMReconstructionLib.compare.ComparisonLayout import LAYOUT_ID, viewTag
from CLSDMReconstructionLib.compare.Difference import OUTSIDE
from CLSDMReconstructionLib.compare.Overlay import Overlay
from CLSDMReconstructionLib.worker.Runs import ReconstructionError


class PanelTest(ComparePanelCase):
    def test_when_the_module_goes_the_comparison_is_gone_at_once(self) -> None:
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
        self.compared()
        self.assertGreater(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), before)
        table = self.panel.shown.table
        self.panel.cleanup()  # when Slicer ends, its event loop turns no more
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), before)
        self.assertIsNone(table.GetScene())

    def test_the_button_says_what_is_missing(self) -> None:
        self.panel.setTruth(None)
        self.assertFalse(self.ui.compareButton.enabled)
        self.assertIn("ground-truth", self.ui.compareButton.toolTip)
        self.panel.setTruth(self.truth)
        self.panel.setReconstruction(self.truth)
        self.assertIn("same volume", self.ui.compareButton.toolTip)
        self.panel.setReconstruction(self.reconstruction)
        self.assertTrue(self.ui.compareButton.enabled)

    def test_a_click_gives_difference_figures_and_layout(self) -> None:
        self.compared()
        self.assertIs(self.logic.runs[0].arguments["reconstruction"], self.reconstruction)
        values = slicer.util.arrayFromVolume(self.panel.shown.difference)
        self.assertEqual(np.median(values[values != OUTSIDE]), 5)
        self.assertEqual(self.layoutNode.GetViewArrangement(), LAYOUT_ID)
        self.assertIn("45.7 HU", self.ui.figuresLabel.text)
        self.assertIn("2500 HU", self.ui.figuresLabel.text)
        self.assertIn("91.5%", self.ui.statusLabel.text)
        self.assertTrue(self.ui.csvButton.enabled)

    def test_the_button_cancels_while_it_runs(self) -> None:
        self.panel.setTruth(self.truth)
        self.panel.setReconstruction(self.reconstruction)
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.ui.compareButton.click()
        self.assertEqual(self.ui.compareButton.text, "Cancel")
        self.ui.compareButton.click()
        self.assertEqual(self.logic.runs[0].state, "cancelled")
        slicer.app.processEvents()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.assertEqual(self.ui.compareButton.text, "Compare")

    def test_leaving_the_module_brings_back_layout_and_colours(self) -> None:
        display = self.truth.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(777.0, 77.0)
        self.compared()
        self.ui.windowComboBox.setCurrentIndex(2)
        self.assertNotEqual(display.GetWindow(), 777.0)
        self.panel.exit()
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.assertEqual((display.GetWindow(), display.GetLevel()), (777.0, 77.0))

    def test_choosing_another_layout_gives_the_colours_back_as_well(self) -> None:
        display = self.truth.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(777.0, 77.0)
        self.compared()
        self.layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)
        self.assertEqual(display.GetWindow(), 777.0)
        self.assertFalse(self.ui.layoutCheckBox.checked)
        self.ui.layoutCheckBox.click()
        self.waitUntilShown()
        self.assertTrue(self.panel.screen.layout.isShown)
        self.panel.exit()
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)

    def test_a_layout_that_is_on_its_way_can_be_given_up(self) -> None:
        self.compared()
        self.ui.layoutCheckBox.click()
        self.ui.layoutCheckBox.click()
        self.assertTrue(self.panel.screen.isOpening)
        self.assertTrue(self.ui.layoutCheckBox.checked)
        self.ui.layoutCheckBox.click()
        slicer.app.processEvents()
        self.assertFalse(
            self.panel.screen.isOpening or self.panel.screen.layout.isShown or self.ui.layoutCheckBox.checked
        )

    def test_a_comparison_that_ends_after_the_user_has_left_does_not_change_the_layout(self) -> None:
        self.panel.setTruth(self.truth)
        self.panel.setReconstruction(self.reconstruction)
        self.ui.compareButton.click()
        self.panel.exit()
        self.logic.runs[-1].finish(FIGURES)
        waitFor(lambda: not self.panel.isRunning)
        self.assertNotEqual(self.layoutNode.GetViewArrangement(), LAYOUT_ID)
        self.panel.enter()
        self.ui.layoutCheckBox.click()
        self.waitUntilShown()
        self.assertEqual(self.layoutNode.GetViewArrangement(), LAYOUT_ID)

    def test_without_the_worker_the_volumes_can_still_be_looked_at(self) -> None:
        self.panel.setTruth(self.truth)
        self.panel.setReconstruction(self.reconstruction)
        self.ui.compareButton.click()
        self.logic.runs[-1].fail(ReconstructionError("input", "PyTorch is not installed.", "Install it."))
        waitFor(lambda: not self.panel.isRunning)
        self.assertIsNotNone(self.panel.shown.difference)
        self.assertIn("PyTorch is not installed. Install it.", self.ui.statusLabel.text)
        self.assertFalse(self.ui.csvButton.enabled)

    def test_volumes_that_do_not_overlap_are_named_and_the_worker_is_not_kept_busy(self) -> None:
        far = add_volume("far", centre=(900, 0, 0))
        self.panel.setTruth(far)
        self.panel.setReconstruction(self.reconstruction)
        self.ui.compareButton.click()
        waitFor(lambda: not self.panel.isRunning)
        self.assertIn("do not overlap", self.ui.statusLabel.text)
        self.assertEqual(self.logic.runs[0].state, "cancelled")

    def test_deleting_a_compared_volume_ends_the_comparison(self) -> None:
        self.compared()
        slicer.mrmlScene.RemoveNode(self.truth)
        self.assertIsNone(self.panel.shown.difference)
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.assertIn("deleted", self.ui.statusLabel.text)
        self.assertIsNone(self.ui.truthSelector.currentNode())  # and not the volume listed before it

    def test_closing_the_scene_ends_the_comparison(self) -> None:
        self.compared()
        slicer.mrmlScene.Clear(0)
        self.assertIsNone(self.panel.shown.difference)
        self.assertFalse(self.panel.screen.layout.isShown)

    def test_the_difference_limit_sets_a_window_symmetric_around_zero(self) -> None:
        self.compared()
        self.ui.limitSlider.setValue(200.0)
        display = self.panel.shown.difference.GetDisplayNode()
        self.assertEqual((display.GetWindow(), display.GetLevel()), (400.0, 0.0))

    def test_the_profile_follows_the_ends_of_its_line(self) -> None:
        self.compared()
        self.ui.profileButton.click()
        waitFor(lambda: not self.panel.isWorking("profile"))
        line = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
        table = next(t for t in slicer.util.getNodesByClass("vtkMRMLTableNode") if "profile" in t.GetName())
        self.assertEqual(table.GetTable().GetColumnName(1), "CT (HU)")
        line.RemoveNthControlPoint(1)  # a user may delete an end and set it anew
        line.AddControlPoint(vtk.vtkVector3d(0.0, 0.0, 10.0))
        line.SetNthControlPointPositionWorld(0, 0.0, 0.0, 0.0)
        line.SetNthControlPointPositionWorld(1, 0.0, 20.0, 0.0)
        self.assertAlmostEqual(float(table.GetTable().GetColumn(1).GetValue(0)), 100.0, delta=1.0)
        self.assertAlmostEqual(float(table.GetTable().GetColumn(1).GetValue(256)), 160.0, delta=1.0)

    def test_table_and_picture_name_what_they_are_of_and_how_it_is_shown(self) -> None:
        self.truth.SetName("=Doe^Jane")
        self.reconstruction.SetAttribute("CLSDM.model", "openkbp64")
        self.compared()
        self.panel.screen.window.set(400.0, 40.0)
        self.ui.limitSlider.setValue(200.0)
        with tempfile.TemporaryDirectory() as folder:
            self.panel.takeAway.exportCsv(str(Path(folder) / "t.csv"))
            with (Path(folder) / "t.csv").open(newline="", encoding="utf-8") as file:
                told = {line[0]: line[1] for line in csv.reader(file) if line}
            self.panel.takeAway.exportPng(str(Path(folder) / "p.png"))
            waitFor(lambda: self.ui.pngButton.enabled)
            picture = sitk.ReadImage(str(Path(folder) / "p.png"))
        self.assertEqual((told["CT"], told["Reconstruction"]), ("'=Doe^Jane", "R"))
        self.assertEqual(told["CT grid"], "40 x 40 x 40 voxels of 2 x 2 x 2 mm")
        self.assertEqual(told["Window"], "from -160 to 240 HU")
        self.assertIn("-200 HU to red at +200 HU", told["Difference"])
        self.assertIn("Judge the reconstruction by these", told["Protocol honest"])
        self.assertIn("published tables", told["Protocol x2ct"])
        self.assertIn("-1024 and 1476 HU", told["Data range (HU)"])
        self.assertEqual(told["model"], "openkbp64")
        self.assertEqual(picture.GetNumberOfComponentsPerPixel(), 3)
        headline = self.panel.takeAway.picture().gi_frame.f_locals["headline"]
        self.assertIn("CT: =Doe^Jane", headline)
        self.assertIn("Window: from -160 to 240 HU", headline)

    def test_a_picture_that_cannot_be_written_is_said(self) -> None:
        self.compared()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "p.png").mkdir()
            self.panel.takeAway.exportPng(str(Path(folder) / "p.png"))
            self.assertFalse(self.ui.pngButton.enabled)
            waitFor(lambda: self.ui.pngButton.enabled)
        self.assertIn("cannot be written", self.ui.statusLabel.text)

    def test_a_comparison_that_is_forgotten_writes_no_picture(self) -> None:
        self.compared()
        with tempfile.TemporaryDirectory() as folder:
            self.panel.takeAway.exportPng(str(Path(folder) / "p.png"))
            slicer.app.processEvents()
            self.panel.reset()
            slicer.app.processEvents()
            self.assertEqual(list(Path(folder).iterdir()), [])

    def test_a_second_comparison_takes_the_place_of_the_first(self) -> None:
        self.compared()
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        seen = []
        event = vtk.vtkCommand.ModifiedEvent
        tag = self.layoutNode.AddObserver(event, lambda *_: seen.append(self.panel.screen.layout.isShown))
        self.compared()
        self.layoutNode.RemoveObserver(tag)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), before)
        self.assertTrue(self.panel.screen.layout.isShown and all(seen), "the layout stays meanwhile")
        for _, _, composite in self.panel.screen.layout.views("Difference"):
            self.assertEqual(composite.GetBackgroundVolumeID(), self.panel.shown.difference.GetID())

    def test_what_is_compared_is_seen_in_the_views(self) -> None:
        slicer.util.mainWindow().show()
        removeOwnViews()
        self.compared()
        for _ in range(20):
            slicer.app.processEvents()
        getattr(slicer.app.layoutManager(), "renderAll", lambda: None)()  # emulated views draw only when asked to
        for row in ("Truth", "Reconstruction", "Difference"):
            view = slicer.app.layoutManager().sliceWidget(viewTag(row, "Axial")).sliceView()
            self.assertTrue(view.renderEnabled)
            image = view.grab().toImage()
            greys = {image.pixel(x, image.height() // 2) & 0xFF for x in range(2, image.width() - 2)}
            self.assertGreater(len(greys), 1, f"{row} is empty")

    def test_a_second_comparison_that_fails_gives_the_users_layout_back(self) -> None:
        self.compared()
        far = add_volume("F", centre=(5000, 0, 0))
        self.panel.setReconstruction(far)
        self.ui.compareButton.click()
        waitFor(lambda: not self.panel.isRunning)
        self.assertIn("do not overlap", self.ui.statusLabel.text)
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def test_no_turn_of_the_event_loop_lays_more_than_one_plane_over_the_truth(self) -> None:
        self.compared()
        turns: list[int] = []  # planes done in each
        own, step = Overlay._over, Steps._step

        def over(*arguments):
            turns[-1] += 1
            return own(*arguments)

        def turn(steps) -> None:
            turns.append(0)
            step(steps)

        with mock.patch.object(Overlay, "_over", over), mock.patch.object(Steps, "_step", turn):
            self.ui.overlayComboBox.setCurrentIndex(2)
            self.waitUntilShown()
            self.assertEqual((sum(turns), max(turns)), (3, 1))
            for _ in range(2):
                self.ui.layoutCheckBox.click()
                self.waitUntilShown()
            self.assertEqual((sum(turns), max(turns)), (6, 1))

    def test_of_many_places_of_the_slider_the_last_is_shown_and_those_between_are_left_out(self) -> None:
        self.compared()
        self.ui.overlayComboBox.setCurrentIndex(1)
        self.waitUntilShown()
        own, shown = Overlay._over, []
        with mock.patch.object(Overlay, "_over", lambda *these: (shown.append(these[-1]), own(*these))[1]):
            for percent in range(20, 90, 10):
                self.ui.fractionSlider.setValue(percent / 100)
            self.waitUntilShown()
        self.assertEqual(shown, [0.8] * 3)
        self.assertEqual(
            [composite.GetForegroundOpacity() for _, _, composite in self.panel.screen.layout.views("Reconstruction")],
            [0.8] * 3,
        )

    def test_the_overlay_comes_back_with_the_layout(self) -> None:
        self.compared()
        self.ui.overlayComboBox.setCurrentIndex(2)
        self.waitUntilShown()
        before = slicer.mrmlScene.GetNumberOfNodes()
        for _ in range(2):
            self.ui.layoutCheckBox.click()
            self.waitUntilShown()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        shown = [
            composite.GetForegroundVolumeID() for _, _, composite in self.panel.screen.layout.views("Reconstruction")
        ]
        self.assertNotIn(None, shown)
        self.panel.screen.window.set(333.0, 33.0)
        self.assertEqual(slicer.mrmlScene.GetNodeByID(shown[0]).GetDisplayNode().GetWindow(), 333.0)
