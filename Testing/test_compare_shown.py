"""What a comparison shows belongs to the volumes that are chosen, and is called by its name."""

import re

import slicer
from compare_case import ComparePanelCase
from scene_case import waitFor
from volumes import add_volume


class ShownFiguresTest(ComparePanelCase):
    def test_figures_leave_with_the_volumes_they_are_of(self) -> None:
        self.compared()
        other = add_volume("another CT", size=(20, 20, 20))
        for choose, node, back in (
            (self.panel.setTruth, other, self.truth),
            (self.panel.setReconstruction, other, self.reconstruction),
        ):
            choose(node)
            self.assertFalse(self.ui.figuresLabel.visible)
            self.assertFalse(self.ui.csvButton.enabled or self.ui.pngButton.enabled or self.ui.profileButton.enabled)
            choose(back)
            self.assertTrue(not self.ui.figuresLabel.isHidden() and self.ui.csvButton.enabled)

    def test_a_difference_leaves_its_views_one_by_one(self) -> None:
        self.compared()
        difference, layout = self.panel.shown.difference, self.panel.screen.layout
        shown = [sum(each.GetBackgroundVolumeID() == difference.GetID() for _, _, each in layout.views("Difference"))]
        for _ in layout.letGo(difference):
            shown.append(
                sum(each.GetBackgroundVolumeID() == difference.GetID() for _, _, each in layout.views("Difference"))
            )
        self.assertEqual(shown, [3, 2, 1, 0])

    def test_there_is_no_empty_plot_and_no_label_on_the_images(self) -> None:
        self.compared()
        self.assertNotIn("vtkMRMLPlotViewNode", self.layoutNode.GetCurrentLayoutDescription())
        self.ui.profileButton.click()
        self.waitUntilShown()
        waitFor(lambda: not self.panel.isWorking("profile"))
        self.assertIn("vtkMRMLPlotViewNode", self.layoutNode.GetCurrentLayoutDescription())
        display = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode").GetDisplayNode()
        self.assertFalse(display.GetPropertiesLabelVisibility() or display.GetPointLabelsVisibility())
        self.compared()
        self.ui.layoutCheckBox.click()
        self.ui.layoutCheckBox.click()
        self.waitUntilShown()
        self.assertNotIn("vtkMRMLPlotViewNode", self.layoutNode.GetCurrentLayoutDescription())

    def test_views_are_called_by_words_and_the_difference_has_a_legend(self) -> None:
        self.compared()
        labels = set(re.findall('viewlabel" action="relayout">([^<]*)<', self.layoutNode.GetCurrentLayoutDescription()))
        self.assertEqual(labels, {"Truth", "Reconstruction", "Difference", "3D", "Metrics"})
        legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(self.panel.shown.difference)
        self.assertEqual((legend.GetTitleText(), bool(legend.GetVisibility())), ("HU", True))
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode")
        self.compared()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode"), before)
