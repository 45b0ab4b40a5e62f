"""The layers over a reconstruction: what they say, that their colours can be read, and that they go with it."""

import numpy as np
import slicer
from compare_case import FIGURES
from panel_case import PanelCase
from volumes import add_volume

from CLSDMReconstructionLib.compare.ComparisonLayout import PLANES, viewTag
from CLSDMReconstructionLib.panel.Layers import SEEN_FROM, top
from CLSDMReconstructionLib.scene.Attributes import OTHERS_ROLE, setAttributes


class LayersCase(PanelCase):
    """Starts with a reconstruction, and the red view's composite node as ``view``."""

    def setUp(self) -> None:
        super().setUp()
        self.fillSlots()
        self.made = self.reconstructed()
        self.view = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()

    def reconstructed(self):
        made = self.result(spread=True)
        setAttributes(made.volumeNode, {"views": [{"angle_deg": 0.0}]})
        slicer.util.updateVolumeFromArray(made.coverageNode, np.tile(np.arange(20) % 3, (20, 20, 1)).astype(np.uint8))
        self.ui.reconstructButton.click()
        self.logic.runs[-1].finish(made)
        return made


class LayersTest(LayersCase):
    def test_the_explanation_of_a_layer_stands_there_while_it_is_shown_and_no_longer(self) -> None:
        self.assertFalse(self.ui.layerLabel.visible)
        said = self.ui.stageLabel.text
        self.ui.othersCheckBox.click()
        self.assertIn("Computing", self.ui.layerLabel.text)
        setAttributes(self.made.spreadNode, {"legend": "How much came."})
        self.made.volumeNode.SetNodeReferenceID(OTHERS_ROLE, self.made.spreadNode.GetID())
        self.logic.runs[-1].finish(self.made.spreadNode)
        self.assertTrue(self.ui.layerLabel.text.startswith("How much came. Below "), self.ui.layerLabel.text)
        self.assertFalse(self.ui.layerLabel.isHidden())
        self.assertEqual(self.ui.stageLabel.text, said)
        self.ui.othersCheckBox.click()
        self.assertEqual((self.ui.layerLabel.text, self.ui.layerLabel.visible), ("", False))

    def test_a_layer_that_is_switched_off_before_it_is_there_is_not_spoken_of(self) -> None:
        self.ui.othersCheckBox.click()
        self.ui.othersCheckBox.click()
        self.made.volumeNode.SetNodeReferenceID(OTHERS_ROLE, self.made.spreadNode.GetID())
        self.logic.runs[-1].finish(self.made.spreadNode)
        self.assertEqual(self.ui.layerLabel.text, "")
        self.assertFalse(self.view.GetForegroundVolumeID())

    def test_a_layer_is_drawn_in_the_colours_of_its_legend_where_it_has_something_to_say(self) -> None:
        for box, node in (
            (self.ui.coverageCheckBox, self.made.coverageNode),
            (self.ui.spreadCheckBox, self.made.spreadNode),
        ):
            box.click()
            self.assertEqual(self.view.GetForegroundVolumeID(), node.GetID())
            self.assertEqual(self.view.GetForegroundOpacity(), 1.0, "else grey shines through, and no colour fits")
            self.assertTrue(node.GetDisplayNode().GetApplyThreshold())
            self.assertEqual(node.GetDisplayNode().GetWindowLevelMin(), 0.0)
        display = self.made.coverageNode.GetDisplayNode()
        self.assertTrue(display.GetLowerThreshold() < 0 and 1 < display.GetUpperThreshold() < 2, "all see the rest")
        display = self.made.spreadNode.GetDisplayNode()
        self.assertEqual(display.GetWindowLevelMax(), top(slicer.util.arrayFromVolume(self.made.spreadNode)))
        self.assertAlmostEqual(display.GetLowerThreshold(), SEEN_FROM * display.GetWindowLevelMax())
        self.assertIn(f"Below {display.GetLowerThreshold():.0f} HU", self.ui.layerLabel.text)

    def test_a_window_that_the_user_chose_for_a_layer_stays(self) -> None:
        self.ui.spreadCheckBox.click()
        self.made.spreadNode.GetDisplayNode().SetWindowLevelMinMax(0.0, 50.0)
        self.ui.spreadCheckBox.click()
        self.ui.spreadCheckBox.click()
        self.assertEqual(self.made.spreadNode.GetDisplayNode().GetWindowLevelMax(), 50.0)

    def test_what_belongs_to_a_result_goes_with_it_also_when_another_is_shown(self) -> None:
        first, self.made = self.made, self.reconstructed()
        slicer.mrmlScene.RemoveNode(first.volumeNode)
        self.assertEqual([each.GetScene() for each in (first.coverageNode, first.spreadNode)], [None, None])
        self.assertIsNotNone(self.made.coverageNode.GetScene())
        self.ui.coverageCheckBox.click()
        slicer.mrmlScene.RemoveNode(self.made.volumeNode)
        self.assertIsNone(self.made.coverageNode.GetScene())
        self.assertEqual(self.ui.layerLabel.text, "")
        self.assertFalse(self.view.GetForegroundVolumeID())
        self.assertEqual(self.nodes("vtkMRMLColorLegendDisplayNode"), [])

    def lay(self, node, opacity: float) -> None:
        """The user's own foreground in the red view."""
        self.view.SetForegroundVolumeID(node.GetID())
        self.view.SetForegroundOpacity(opacity)

    def shown(self) -> tuple:
        return self.view.GetForegroundVolumeID(), self.view.GetForegroundOpacity()

    def test_the_users_own_foreground_comes_back_when_the_layers_go(self) -> None:
        own = add_volume("CT")
        self.lay(own, 0.4)
        for leave in (self.ui.spreadCheckBox.click, self.panel.exit, lambda: self.panel.result.clear()):
            self.ui.coverageCheckBox.click()
            self.ui.spreadCheckBox.click()
            self.assertEqual(self.shown(), (self.made.spreadNode.GetID(), 1.0))
            leave()
            self.assertEqual(self.shown(), (own.GetID(), 0.4))

    def test_what_the_user_lays_over_a_layer_stays_and_what_was_deleted_does_not_come_back(self) -> None:
        own, other = add_volume("CT"), add_volume("MR")
        self.lay(own, 0.4)
        self.ui.coverageCheckBox.click()
        self.lay(other, 0.7)
        self.ui.coverageCheckBox.click()
        self.assertEqual(self.shown(), (other.GetID(), 0.7))
        self.ui.coverageCheckBox.click()
        slicer.mrmlScene.RemoveNode(other)
        self.ui.coverageCheckBox.click()
        self.assertFalse(self.view.GetForegroundVolumeID())

    def test_a_layers_upper_end_is_not_that_of_one_voxel_and_has_two_digits(self) -> None:
        values = np.concatenate([np.full(1000, 123.4), [9000.0], np.zeros(5000)])
        self.assertEqual(top(values), 130.0)
        self.assertEqual(top(np.zeros(3)), 1.0)


class ComparedLayersTest(LayersCase):
    """Layers while the reconstruction is compared with a CT."""

    def setUp(self) -> None:
        super().setUp()
        self.compare = self.panel.compare
        self.truth = add_volume("CT", size=(40, 40, 40), spacing=(2.0, 2.0, 2.0))
        self.compare.setTruth(self.truth)

    def settle(self) -> None:
        panel, screen = self.compare, self.compare.screen
        self.wait(lambda: not (panel.isRunning or panel.isWorking("overlay") or screen.isOpening or screen.isDrawing))

    def compared(self) -> None:
        self.compare.ui.compareButton.click()
        self.logic.runs[-1].finish(FIGURES)
        self.settle()

    def click(self, box) -> None:
        box.click()
        self.settle()

    def overlay(self, mode: str, amount: float = 0.5) -> None:
        self.compare.ui.overlayComboBox.setCurrentText(mode)
        self.compare.ui.fractionSlider.setValue(amount)
        self.settle()

    def row(self) -> list[tuple]:
        """(background, foreground) volume nodes of the reconstruction's views in the comparison."""
        find = slicer.mrmlScene.GetNodeByID
        tags = [viewTag("Reconstruction", plane) for plane in PLANES]
        nodes = [slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode") for tag in tags]
        names = [(node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) for node in nodes]
        return [(find(under), find(over) if over else None) for under, over in names]

    def test_no_layer_touches_an_overlay_and_the_panel_says_so(self) -> None:
        self.compared()
        for mode in ("Fade", "Checkerboard", "Curtain"):
            with self.subTest(mode):
                self.overlay(mode)
                before = self.row()
                self.assertTrue(all(under is self.truth and over is not None for under, over in before))
                self.click(self.ui.coverageCheckBox)
                self.assertEqual(self.row(), before)
                self.assertIn("overlay is shown without it", self.ui.layerLabel.text)
                self.overlay(mode, 0.25)
                self.assertEqual(self.row(), before)
                self.assertEqual(self.view.GetForegroundVolumeID(), self.made.coverageNode.GetID(), "Red is the user's")
                self.click(self.ui.coverageCheckBox)
                self.assertEqual(self.row(), before)
                self.assertEqual(self.ui.layerLabel.text, "")

    def test_side_by_side_again_a_ticked_layer_is_laid_over_the_reconstruction(self) -> None:
        self.compared()
        self.overlay("Fade")
        self.click(self.ui.coverageCheckBox)
        self.overlay("Side by side")
        self.assertEqual(self.row(), [(self.made.volumeNode, self.made.coverageNode)] * 3)
        self.assertNotIn("overlay", self.ui.layerLabel.text)
        self.click(self.ui.spreadCheckBox)
        self.assertEqual(self.row(), [(self.made.volumeNode, self.made.spreadNode)] * 3)
        self.click(self.ui.spreadCheckBox)
        self.assertEqual(self.row(), [(self.made.volumeNode, None)] * 3)

    def test_a_layer_that_was_ticked_before_is_there_when_the_comparison_opens_and_each_time_after(self) -> None:
        self.ui.coverageCheckBox.click()
        self.compared()
        self.assertEqual(self.row(), [(self.made.volumeNode, self.made.coverageNode)] * 3)
        self.click(self.compare.ui.layoutCheckBox)
        self.assertEqual(self.row(), [(self.made.volumeNode, None)] * 3, "left")
        self.click(self.compare.ui.layoutCheckBox)
        self.assertEqual(self.row(), [(self.made.volumeNode, self.made.coverageNode)] * 3)

    def test_another_reconstruction_is_compared_without_the_layer_and_the_panel_says_so(self) -> None:
        other = self.result().volumeNode
        self.compare.setReconstruction(other)
        self.ui.coverageCheckBox.click()
        self.compared()
        self.assertEqual(self.row(), [(other, None)] * 3)
        self.assertIn("another reconstruction", self.ui.layerLabel.text)
