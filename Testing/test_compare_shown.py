"""What a comparison shows belongs to the volumes that are chosen, and is called by its name."""

import re

import slicer
from compare_case import FIGURES, ComparePanelCase
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

    def test_views_and_status_leave_with_the_volumes_they_are_of(self) -> None:
        other = add_volume("another CT", size=(20, 20, 20))
        self.compared()
        self.assertFalse(self.ui.statusLabel.isHidden())
        self.panel.setTruth(other)
        self.assertFalse(self.panel.screen.isWanted or self.ui.layoutCheckBox.checked or self.ui.layoutCheckBox.enabled)
        self.assertTrue(self.ui.statusLabel.isHidden())
        self.panel.showLayout(True)
        self.assertFalse(self.panel.screen.isWanted)
        self.panel.setTruth(self.truth)
        self.assertIn("91.5%", self.ui.statusLabel.text)
        self.assertFalse(self.ui.statusLabel.isHidden())
        self.ui.layoutCheckBox.click()
        self.waitUntilShown()
        self.assertTrue(self.panel.screen.layout.isShown)

    def test_a_comparison_that_ends_when_other_volumes_are_chosen_neither_opens_nor_speaks(self) -> None:
        other = add_volume("another CT", size=(20, 20, 20))
        self.panel.setTruth(self.truth)
        self.panel.setReconstruction(self.reconstruction)
        self.ui.compareButton.click()
        self.panel.setTruth(other)
        self.assertFalse(self.ui.statusLabel.isHidden(), "it is at work")
        self.logic.runs[-1].finish(FIGURES)
        waitFor(lambda: not self.panel.isRunning)
        self.assertFalse(self.panel.screen.isWanted)
        self.assertTrue(self.ui.statusLabel.isHidden())

    def test_an_error_about_a_pair_goes_when_another_is_chosen(self) -> None:
        self.panel.setTruth(add_volume("far", centre=(900, 0, 0)))
        self.panel.setReconstruction(self.reconstruction)
        self.ui.compareButton.click()
        waitFor(lambda: not self.panel.isRunning)
        self.assertFalse(self.ui.statusLabel.isHidden())
        self.panel.setTruth(self.truth)
        self.assertTrue(self.ui.statusLabel.isHidden())

    def profileNodes(self) -> list:
        kinds = ("vtkMRMLMarkupsLineNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode")
        return [node for kind in kinds for node in slicer.util.getNodesByClass(kind)]

    def switchProfile(self) -> None:
        self.ui.profileButton.click()
        waitFor(lambda: not self.panel.isWorking("profile"))
        self.waitUntilShown()

    def test_a_profile_opens_the_comparisons_views_and_is_saved_with_no_scene(self) -> None:
        self.compared()
        self.ui.layoutCheckBox.click()
        self.assertFalse(self.panel.screen.layout.isShown)
        self.switchProfile()
        self.assertTrue(self.panel.screen.layout.isShown and self.ui.profileButton.checked)
        self.assertIn("vtkMRMLPlotViewNode", self.layoutNode.GetCurrentLayoutDescription())
        nodes = self.profileNodes()
        self.assertEqual(len(nodes), 4)
        table = next(t for t in slicer.util.getNodesByClass("vtkMRMLTableNode") if "profile" in t.GetName())
        for node in (*nodes, table, nodes[0].GetDisplayNode()):
            self.assertFalse(node.GetSaveWithScene(), node.GetName())

    def test_a_profile_that_is_switched_off_leaves_nothing_and_comes_back_where_it_was(self) -> None:
        self.compared()
        self.switchProfile()
        line = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
        line.SetNthControlPointPositionWorld(0, 3.0, 4.0, 5.0)
        self.switchProfile()
        waitFor(lambda: not self.profileNodes())
        self.assertNotIn("vtkMRMLPlotViewNode", self.layoutNode.GetCurrentLayoutDescription())
        self.assertFalse(self.ui.profileButton.checked)
        self.switchProfile()
        at = [0.0] * 3
        slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode").GetNthControlPointPositionWorld(0, at)
        self.assertEqual(at, [3.0, 4.0, 5.0])

    def test_no_line_stays_among_the_users_own_views(self) -> None:
        self.compared()
        for leave in (self.ui.layoutCheckBox.click, self.panel.exit, lambda: self.panel.setTruth(None)):
            self.panel.enter()
            self.switchProfile()
            self.assertEqual(len(self.profileNodes()), 4)
            leave()
            waitFor(lambda: not self.profileNodes())
            self.assertFalse(self.ui.profileButton.checked)

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
