"""The layers over a reconstruction: what they say, that their colours can be read, and that they go with it."""

import numpy as np
import slicer
from panel_case import PanelCase

from CLSDMReconstructionLib.panel.Layers import SEEN_FROM, top
from CLSDMReconstructionLib.scene.Attributes import OTHERS_ROLE, setAttributes


class LayersTest(PanelCase):
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

    def test_a_layers_upper_end_is_not_that_of_one_voxel_and_has_two_digits(self) -> None:
        values = np.concatenate([np.full(1000, 123.4), [9000.0], np.zeros(5000)])
        self.assertEqual(top(values), 130.0)
        self.assertEqual(top(np.zeros(3)), 1.0)
