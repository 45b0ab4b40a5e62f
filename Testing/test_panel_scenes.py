"""Scenes that are added to an open one, or were saved with a comparison on the screen."""

import dataclasses
from pathlib import Path

import slicer
from compare_case import FIGURES
from panel_case import PanelCase, saveAndReopen
from scene_case import waitFor
from volumes import add_volume

from CLSDMReconstructionLib.compare.ComparisonLayout import BEFORE, LAYOUT_ID
from CLSDMReconstructionLib.panel.Parameters import asText


class AddedSceneTest(PanelCase):
    """X-rays that are nodes and a result, in a scene that is loaded beside another without closing it."""

    def saved(self, name: str, *, withXRays: bool = True, withResult: bool = True) -> Path:
        """A scene's file; the scene is empty afterwards."""
        if withXRays:
            for slot, role in zip(self.panel.xrays.slots, ("frontal", "lateral"), strict=True):
                self.drop(slot.widget, add_volume(f"{name} {role}", size=(90, 70, 1)))
        if withResult:
            self.panel.showResult(self.result(), asText(self.panel.xrays.xrays()))
        self.assertTrue(slicer.util.saveScene(str(self.folder / name)))
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        return self.folder / name / f"{name}.mrml"

    def load(self, file: Path) -> None:
        slicer.util.loadScene(str(file))
        slicer.app.processEvents()

    def shown(self) -> list[str]:
        return [slot.xray and slot.xray.node.GetName() for slot in self.panel.xrays.slots]

    def referred(self) -> list[str]:
        names = ("xray1", "xray2", "reconstruction")
        return [self.panel.parameters.parameterNode.GetNodeReferenceID(name) for name in names]

    def test_its_x_rays_and_its_result_are_shown_and_nothing_is_lost_from_the_scene(self) -> None:
        for withXRays in (False, True):
            with self.subTest(withXRays=withXRays):
                first = self.saved(f"first {withXRays}", withXRays=withXRays)
                second = self.saved(f"second {withXRays}")
                self.load(first)
                self.load(second)
                self.assertEqual(self.shown(), [f"second {withXRays} {role}" for role in ("frontal", "lateral")])
                nodes = [slot.xray.nodeId for slot in self.panel.xrays.slots]
                newest = self.nodes()[-1].GetID()
                self.assertEqual(self.referred(), [*nodes, newest])
                self.assertEqual(self.panel.result.result.volumeNode.GetID(), newest)
                slicer.mrmlScene.Clear(0)

    def test_its_model_settings_come_with_it_and_can_be_changed(self) -> None:
        self.ui.seedSpinBox.setValue(5)
        second = self.saved("second")
        self.load(self.saved("first"))
        self.ui.seedSpinBox.setValue(3)
        self.load(second)
        self.assertEqual(self.ui.seedSpinBox.value, 5)
        self.ui.seedSpinBox.setValue(7)
        self.assertEqual(self.panel.parameters.seed, 7)

    def test_a_scene_that_is_added_from_another_module_is_shown_on_coming_back(self) -> None:
        second = self.saved("second")
        self.load(self.saved("first"))
        self.panel.exit()
        self.load(second)
        self.panel.enter()
        self.assertEqual(self.shown(), ["second frontal", "second lateral"])

    def test_x_rays_that_come_during_a_run_are_not_said_to_be_explained_and_not_to_be_turned(self) -> None:
        huber = self.saved("Huber")
        self.fillSlots()
        self.ui.reconstructButton.click()
        self.load(huber)
        self.assertEqual(self.shown(), ["Huber frontal", "Huber lateral"])
        hang = dict.fromkeys(("turned", "mirrored", "inverted"), True)
        found = {"hangs": [hang, hang], "swapped": False, "residual_before": 0.27, "residual_after": 0.04}
        result = dataclasses.replace(self.result(), hanging=found)
        self.logic.runs[-1].finish(result)
        self.assertTrue(self.panel.result.isOf(result.volumeNode))
        for label in (self.ui.verdictLabel, self.ui.stageLabel):
            self.assertIn("ade from other X-rays", label.text)
            self.assertNotIn("explains", label.text)
        self.assertFalse(self.ui.foundArea.visible)

    def test_x_rays_that_come_without_a_result_after_a_run_are_not_said_to_be_explained(self) -> None:
        huber = self.saved("Huber", withResult=False)
        self.fillSlots()
        self.ui.reconstructButton.click()
        self.logic.runs[-1].finish(self.result())
        self.assertIn("explains", self.ui.verdictLabel.text)
        self.load(huber)
        self.assertEqual(self.shown(), ["Huber frontal", "Huber lateral"])
        self.assertNotIn("explains", self.ui.verdictLabel.text + self.ui.stageLabel.text)

    def test_a_run_that_ends_after_a_scene_was_added_in_another_module_leaves_a_panel_that_can_begin_anew(self) -> None:
        huber = self.saved("Huber")
        self.fillSlots()
        self.ui.reconstructButton.click()
        self.panel.exit()
        self.load(huber)
        self.logic.runs[-1].finish(self.result())
        self.panel.enter()
        self.assertFalse(self.panel.runSection.isRunning)
        self.assertEqual(self.ui.reconstructButton.text, "Reconstruct")


class ComparisonSceneTest(PanelCase):
    """A scene that was saved while a comparison was shown, a layer over its reconstruction."""

    def setUp(self) -> None:
        super().setUp()
        self.layoutNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        self.layoutNode.SetViewArrangement(self.layoutNode.SlicerLayoutConventionalView)
        self.compare = self.panel.compare
        self.compare.setTruth(add_volume("CT", size=(40, 40, 40), spacing=(2.0, 2.0, 2.0)))
        self.panel.showResult(self.result(), asText(self.panel.xrays.xrays()))
        self.compare.ui.compareButton.click()
        self.logic.runs[-1].finish(FIGURES)
        screen = self.compare.screen
        waitFor(lambda: not (self.compare.isRunning or screen.isOpening or screen.isDrawing))
        self.assertEqual(self.layoutNode.GetViewArrangement(), LAYOUT_ID)
        self.ui.coverageCheckBox.click()
        waitFor(lambda: not (self.compare.isWorking("overlay") or screen.isDrawing))

    def foregrounds(self) -> dict:
        nodes = self.nodes("vtkMRMLSliceCompositeNode")
        return {node.GetLayoutName(): node.GetForegroundVolumeID() for node in nodes if node.GetForegroundVolumeID()}

    def test_a_layer_is_laid_over_the_reconstruction_only(self) -> None:
        shown = self.foregrounds()
        self.assertEqual([name for name in shown if name.startswith(("CLSDMTruth", "CLSDMDifference"))], [])
        self.assertIn("CLSDMReconstructionAxial", shown)
        self.assertIn("Red", shown)

    def test_it_opens_in_the_users_own_layout_without_the_layer_and_with_boxes_that_say_so(self) -> None:
        saveAndReopen(self.folder / "scene")
        self.assertEqual(self.layoutNode.GetViewArrangement(), self.layoutNode.SlicerLayoutConventionalView)
        self.assertEqual(self.foregrounds(), {})
        self.assertFalse(self.ui.coverageCheckBox.checked)
        self.assertFalse(self.compare.ui.layoutCheckBox.checked)

    def ofComparison(self) -> list[str]:
        nodes = [*self.nodes(), *self.nodes("vtkMRMLTableNode")]
        return [
            node.GetName()
            for node in nodes
            if " - difference to CT" in node.GetName() or " - figures" in node.GetName()
        ]

    def test_it_holds_no_difference_and_no_figures_that_would_be_left_beside_the_next_ones(self) -> None:
        self.assertEqual(len(self.ofComparison()), 2)
        display = self.compare.shown.difference.GetDisplayNode()
        for node in (self.compare.shown.difference, display, display.GetColorNode()):
            self.assertFalse(node.GetSaveWithScene(), node.GetName())
        saveAndReopen(self.folder / "scene")
        self.assertEqual(self.ofComparison(), [])
        self.assertIsNotNone(self.panel.result.result)

    def test_difference_and_figures_go_with_their_reconstruction(self) -> None:
        slicer.mrmlScene.RemoveNode(self.panel.result.result.volumeNode)
        waitFor(lambda: not self.ofComparison())

    def test_it_is_reconciled_too_when_the_module_is_opened_after_it(self) -> None:
        self.assertTrue(slicer.util.saveScene(str(self.folder / "scene")))
        self.closePanel()
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(str(self.folder / "scene" / "scene.mrml"))
        self.assertEqual(self.layoutNode.GetViewArrangement(), LAYOUT_ID)
        self.openPanel()
        self.assertEqual(self.layoutNode.GetViewArrangement(), self.layoutNode.SlicerLayoutConventionalView)
        self.assertEqual(self.foregrounds(), {})

    def test_the_layout_can_be_left_whatever_brought_it(self) -> None:
        for before, after in (
            ("", self.layoutNode.SlicerLayoutFourUpView),
            ("none", self.layoutNode.SlicerLayoutFourUpView),
            ("999", self.layoutNode.SlicerLayoutFourUpView),
            (str(self.layoutNode.SlicerLayoutOneUp3DView), self.layoutNode.SlicerLayoutOneUp3DView),
        ):
            for how in ("box", "exit"):
                with self.subTest(before=before, how=how):
                    self.compare.reset()
                    self.layoutNode.SetViewArrangement(LAYOUT_ID)
                    self.layoutNode.SetAttribute(BEFORE, before)
                    self.assertTrue(self.compare.ui.layoutCheckBox.enabled and self.compare.ui.layoutCheckBox.checked)
                    self.compare.ui.layoutCheckBox.click() if how == "box" else self.panel.exit()
                    self.assertEqual(self.layoutNode.GetViewArrangement(), after)
                    self.assertFalse(self.compare.ui.layoutCheckBox.checked)
