"""Slicer's Undo, also where somebody had it restore volumes, tables and markups, leaves what the module put into the scene."""

import slicer
from compare_case import FIGURES
from panel_case import PanelCase
from volumes import add_volume

KINDS = (
    *(f"ScalarVolume{part}" for part in ("", "Display")),
    *("VolumeArchetypeStorage", "Model", "ModelDisplay", "Table", "TableStorage", "MarkupsLine", "MarkupsDisplay"),
    *("ColorTable", "PlotChart", "PlotSeries"),
)


class UndoTest(PanelCase):
    def setUp(self) -> None:
        scene = slicer.mrmlScene
        for kind in KINDS:
            node = scene.CreateNodeByClass(f"vtkMRML{kind}Node")
            if node is not None:
                node.UnRegister(None)
                node.UndoEnabledOn()
                scene.AddDefaultNode(node)
                self.addCleanup(node.UndoEnabledOff)
        super().setUp()
        scene.SetUndoOn()
        for undo in (scene.SetUndoOff, scene.ClearUndoStack, scene.ClearRedoStack):
            self.addCleanup(undo)

    def restorable(self) -> set[str]:
        nodes = (slicer.mrmlScene.GetNthNode(at) for at in range(slicer.mrmlScene.GetNumberOfNodes()))
        return {node.GetID() for node in nodes if node.GetUndoEnabled()}

    def test_a_result_and_its_comparison_survive_undo_and_redo_and_an_x_ray_is_undone(self) -> None:
        scene, compare = slicer.mrmlScene, self.panel.compare
        truth = add_volume("CT", size=(20, 20, 20))
        scene.SaveStateForUndo()
        film = add_volume("film", size=(100, 100, 1))
        others = self.restorable()
        self.fillSlots()
        self.drop(self.lateral.widget, film)
        self.type(self.lateral.geometry.angle, "90")
        self.ui.reconstructButton.click()
        result = self.result(spread=True)
        self.logic.runs[-1].finish(result)
        window = result.volumeNode.GetDisplayNode()
        scene.SaveStateForUndo()
        compare.offerTruth(truth)
        self.assertTrue(compare.ui.compareButton.enabled, compare.ui.compareButton.toolTip)
        compare.ui.compareButton.click()
        self.logic.runs[-1].finish(FIGURES)
        self.wait(lambda: not (compare.isRunning or compare.screen.isOpening or compare.screen.isDrawing))
        compare.ui.profileButton.click()
        self.wait(lambda: not compare.screen.isDrawing)
        difference, table = compare.shown.difference, compare.shown.table
        self.assertEqual(self.restorable(), others)
        for step in (scene.Undo, scene.Undo, scene.Redo, scene.Redo):
            step()
            slicer.app.processEvents()
            self.assertIs(self.panel.result.result.volumeNode, result.volumeNode)
            self.assertIs(result.volumeNode.GetDisplayNode(), window)
            self.assertIs(compare.shown.difference, difference)
            self.assertIsNotNone(table.GetScene())
            self.assertIsNotNone(difference.GetDisplayNode().GetColorNode())
            self.assertEqual(self.ui.reconstructionSelector.currentNode(), result.volumeNode)
            if film.GetScene() is None:
                self.assertIsNone(self.lateral.xray)
        self.drop(self.lateral.widget, scene.GetFirstNodeByName("film"))
        self.assertTrue(self.ui.reconstructButton.enabled, self.ui.reconstructButton.toolTip)
