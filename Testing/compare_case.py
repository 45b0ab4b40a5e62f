"""The base classes of the comparison's tests: an empty scene in the four-up layout, and a comparison that is shown."""

import unittest

import slicer
from fakes import FakeLogic
from scene_case import waitFor
from volumes import add_volume, linear_hu

from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.compare.ComparePanel import ComparePanel
from CLSDMReconstructionLib.compare.ComparisonLayout import ComparisonLayout
from CLSDMReconstructionLib.compare.Difference import makeDifference
from CLSDMReconstructionLib.scene.HeldViews import HeldViews

FIGURES = {
    "protocols": {
        "honest": {
            "data_range_hu": 2500.0, "peak_hu": 2500.0, "psnr_3d_db": 27.123, "ssim_3d": 0.8123, "mae_hu": 45.67,
            "rmse_hu": 110.4, "psnr_body_db": 20.0, "ssim_body": 0.71, "mae_body_hu": 130.2, "body_fraction": 0.3,
            "mae_lung_hu": 99.0, "mae_soft_tissue_hu": 55.5, "mae_bone_hu": None,
        },
        "x2ct": {
            "data_range_hu": 2500.0, "peak_hu": 4095.0, "ssim_data_range": 1.0, "psnr_3d_db": 31.4, "ssim_slices": 0.77,
        },
    },
    "overlap_fraction": 0.915,
    "warnings": ["The true scan covers 91.5% of the reconstructed cube."],
}  # fmt: skip


class SceneTest(unittest.TestCase):
    """Starts with an empty scene and the four-up layout."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.layoutNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        self.layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        slicer.app.processEvents()


class ComparePanelCase(SceneTest):
    """Starts with a CT, a reconstruction and the panel "Compare" over a fake logic."""

    def setUp(self) -> None:
        super().setUp()
        self.truth = add_volume("CT", size=(40, 40, 40), spacing=(2.0, 2.0, 2.0))
        self.reconstruction = add_volume("R", lambda at: linear_hu(at) + 5.0, size=(16, 16, 16))
        self.logic = FakeLogic()
        self.panel = ComparePanel(self.logic, HeldViews())
        self.panel.setMRMLScene(slicer.mrmlScene)
        self.ui = self.panel.ui

    def tearDown(self) -> None:
        self.panel.cleanup()

    def compared(self) -> None:
        self.panel.setTruth(self.truth)
        self.panel.setReconstruction(self.reconstruction)
        self.ui.compareButton.click()
        self.logic.runs[-1].finish(FIGURES)
        self.waitUntilShown()

    def waitUntilShown(self) -> None:
        panel, screen = self.panel, self.panel.screen
        waitFor(lambda: not (panel.isRunning or panel.isWorking("overlay") or screen.isOpening or screen.isDrawing))


class ShownTest(SceneTest):
    """Starts in the comparison layout."""

    def setUp(self) -> None:
        super().setUp()
        self.truth = add_volume("CT", size=(60, 60, 30), spacing=(2.0, 2.0, 5.0))
        self.reconstruction = add_volume("R", size=(20, 20, 20), spacing=(5.0, 5.0, 5.0), centre=(6, 4, 2))
        self.difference = atOnce(makeDifference(self.truth, self.reconstruction))
        self.layout = ComparisonLayout()
        atOnce(self.layout.enter())
        slicer.app.processEvents()
        if not list(self.layout.views("Truth")):
            self.skipTest("needs the views of a main window")
        atOnce(self.layout.show(self.truth, self.reconstruction, self.difference))

    def tearDown(self) -> None:
        self.layout.leave()


def ownViews() -> list:
    """The nodes of the comparison's views."""
    kinds = ("vtkMRMLSliceNode", "vtkMRMLViewNode", "vtkMRMLTableViewNode", "vtkMRMLPlotViewNode")
    nodes = [node for kind in kinds for node in slicer.util.getNodesByClass(kind)]
    return [node for node in nodes if node.GetLayoutName().startswith("CLSDM")]


def removeOwnViews() -> None:
    """As before the first comparison of a session."""
    for node in ownViews():
        slicer.mrmlScene.RemoveNode(node)
