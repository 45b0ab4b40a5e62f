"""Comparing a reconstruction with the true CT in the scene."""

from __future__ import annotations

import csv
import tempfile
import time
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from fakes import FakeLogic
from volumes import LPS, add_volume, linear_hu, turned, wait_until

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.compare import Comparison, ComparisonReport, LineProfile
from CLSDMReconstructionLib.compare.ComparePanel import ComparePanel
from CLSDMReconstructionLib.compare.Comparison import NOT_SHOWN, OUTSIDE, Overlay, SharedWindow, makeDifference
from CLSDMReconstructionLib.compare.ComparisonLayout import (
    LAYOUT_ID,
    PLANES,
    ROWS,
    THREE_D,
    VIEW_GROUP,
    WIDE_PIXELS,
    ComparisonLayout,
    viewTag,
)
from CLSDMReconstructionLib.scene.HeldViews import HeldViews
from CLSDMReconstructionLib.scene.Sampling import alongLine, asArray, centre, corners, ijkToWorld
from CLSDMReconstructionLib.worker.Runs import ReconstructionError

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


class DifferenceTest(SceneTest):
    def test_two_grids_of_one_patient_that_agree_everywhere_have_no_difference(self) -> None:
        truth = add_volume("CT", size=(31, 29, 27), spacing=(1.5, 1.7, 2.0), axes=turned(20.0), centre=(3, -2, 5))
        difference = atOnce(makeDifference(truth, add_volume("R", spacing=(5.0, 5.0, 5.0))))
        values = slicer.util.arrayFromVolume(difference)
        self.assertGreater((values != OUTSIDE).mean(), 0.9)
        self.assertLessEqual(np.abs(values[values != OUTSIDE]).max(), 1)  # rounding to whole HU

    def test_the_difference_is_reconstruction_minus_truth(self) -> None:
        truth = add_volume("CT")
        reconstruction = add_volume("R", lambda at: linear_hu(at) + 25.0)
        values = slicer.util.arrayFromVolume(atOnce(makeDifference(truth, reconstruction)))
        self.assertEqual(set(values.ravel()), {25})

    def test_it_lies_on_the_voxels_of_the_truth_where_the_reconstruction_covers_them(self) -> None:
        truth = add_volume("CT", size=(40, 40, 40), spacing=(2.0, 2.0, 2.0))
        difference = atOnce(makeDifference(truth, add_volume("R", size=(10, 10, 10), centre=(6, 4, 2))))
        toTruth = np.linalg.inv(asArray(ijkToWorld(truth))) @ asArray(ijkToWorld(difference))
        np.testing.assert_allclose(toTruth[:3, :3], np.eye(3), atol=1e-9)
        np.testing.assert_allclose(toTruth[:3, 3], np.rint(toTruth[:3, 3]), atol=1e-9)
        self.assertEqual(difference.GetImageData().GetDimensions(), (20, 20, 20))

    def test_what_lies_outside_the_reconstruction_is_marked_and_never_shown(self) -> None:
        truth = add_volume("CT", size=(40, 40, 40), spacing=(2.0, 2.0, 2.0))
        difference = atOnce(makeDifference(truth, add_volume("R", size=(8, 8, 8), axes=turned(45.0))))
        self.assertTrue((slicer.util.arrayFromVolume(difference) == OUTSIDE).any())
        display = difference.GetDisplayNode()
        self.assertTrue(display.GetApplyThreshold())
        self.assertGreater(display.GetLowerThreshold(), OUTSIDE + 20000)

    def test_a_linear_transform_above_a_volume_moves_it_and_a_bent_one_is_refused(self) -> None:
        truth, reconstruction = add_volume("CT"), add_volume("R", centre=(10, 0, 0))
        moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        moved.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(_shift(-10.0)))
        reconstruction.SetAndObserveTransformNodeID(moved.GetID())
        values = slicer.util.arrayFromVolume(atOnce(makeDifference(truth, reconstruction)))
        self.assertEqual(set(values.ravel()), {20})  # 10 mm along R are 20 HU
        bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
        truth.SetAndObserveTransformNodeID(bent.GetID())
        with self.assertRaisesRegex(ValueError, "harden"):
            atOnce(makeDifference(truth, reconstruction))

    def test_volumes_that_do_not_meet_are_refused_and_leave_nothing_in_the_scene(self) -> None:
        truth, reconstruction = add_volume("CT"), add_volume("R", centre=(500, 0, 0))
        before = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaisesRegex(ValueError, "do not overlap"):
            atOnce(makeDifference(truth, reconstruction))
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_a_difference_that_is_not_finished_is_no_node(self) -> None:
        truth = add_volume("CT", size=(200, 200, 60), spacing=(1.0, 1.0, 1.0))
        reconstruction = add_volume("R", size=(50, 50, 50))
        before = slicer.mrmlScene.GetNumberOfNodes()
        steps = makeDifference(truth, reconstruction)
        self.assertLess(next(steps), 1.0)
        steps.close()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_no_step_of_a_clinical_ct_holds_the_event_loop_for_100_ms(self) -> None:
        truth = add_volume("CT", lambda at: at[:, 0], size=(512, 512, 60), spacing=(0.7, 0.7, 5.0))
        steps, slowest = makeDifference(truth, add_volume("R", size=(64, 64, 64), spacing=(6.0, 6.0, 6.0))), 0.0
        for _ in range(3):
            start = time.thread_time()  # of this thread alone: other programs do not count
            next(steps)
            slowest = max(slowest, time.thread_time() - start)
        self.assertLess(slowest, 0.1)

    def test_a_volume_without_voxels_is_refused(self) -> None:
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaisesRegex(ValueError, "no voxels"):
            atOnce(makeDifference(add_volume("CT"), empty))

    def test_padding_below_air_counts_as_air(self) -> None:
        truth = add_volume("CT", lambda at: np.full(len(at), -3024.0))
        values = slicer.util.arrayFromVolume(
            atOnce(makeDifference(truth, add_volume("R", lambda at: np.full(len(at), -1000.0))))
        )
        self.assertEqual(set(values.ravel()), {24})


def _shift(along_r: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = along_r
    return matrix


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


class LayoutTest(ShownTest):
    def test_the_users_layout_comes_back(self) -> None:
        self.assertEqual(self.layoutNode.GetViewArrangement(), LAYOUT_ID)
        self.layout.leave()
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def test_where_there_is_no_room_beside_the_planes_the_other_views_lie_below_them(self) -> None:
        viewport = slicer.app.layoutManager().viewport()
        size = viewport.width, viewport.height
        for width, outer, inner in (
            (WIDE_PIXELS - 1, "vertical", "horizontal"),
            (WIDE_PIXELS, "horizontal", "vertical"),
        ):
            with self.subTest(width=width):
                self.layout.leave()
                viewport.resize(width, 700)
                atOnce(self.layout.enter())
                root = ET.fromstring(self.layoutNode.GetCurrentLayoutDescription())
                planes, others = root.findall("item")
                self.assertEqual((root.get("type"), others.find("layout").get("type")), (outer, inner))
                self.assertEqual([len(list(part.iter("view"))) for part in (planes, others)], [9, 3])
        viewport.resize(*size)

    def test_the_first_time_the_layout_grows_view_by_view_and_later_it_comes_at_once(self) -> None:
        self.layout.leave()
        # The user's views go, then come three rows and what is beside them, then all together.
        growing = [0, *(1, 2, 3) * 4, 6, 9, 12]
        for layout, expected in ((ComparisonLayout(), growing), (self.layout, [12])):
            seen = []
            for _ in layout.enter():
                seen.append(self.viewsShown())
                slicer.app.processEvents()
            self.assertEqual([*seen, self.viewsShown()], expected)
            layout.leave()

    def test_slicer_lays_its_views_out_once_for_each_step(self) -> None:
        self.layout.leave()
        heard = []
        tag = self.layoutNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: heard.append(self.viewsShown()))
        atOnce(ComparisonLayout().enter())
        self.layoutNode.RemoveObserver(tag)
        self.assertEqual(heard, [0, *(1, 2, 3) * 4, 6, 9, 12])

    def viewsShown(self) -> int:
        return self.layoutNode.GetCurrentLayoutDescription().count("<view ")

    def test_a_layout_that_the_user_chose_while_it_grew_stays(self) -> None:
        self.layout.leave()
        growing = ComparisonLayout().enter()
        next(growing)
        self.layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)
        self.assertEqual(list(growing), [])
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)

    def test_a_layout_that_was_stopped_while_it_grew_goes_on_where_it_was(self) -> None:
        self.layout.leave()
        layout = ComparisonLayout()
        growing = layout.enter()
        for _ in range(6):
            next(growing)
        growing.close()
        self.assertEqual(self.viewsShown(), 2)
        next(layout.enter())
        self.assertEqual(self.viewsShown(), 3)
        layout.leave()
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def test_views_that_were_made_one_by_one_are_those_of_the_layout(self) -> None:
        self.layout.leave()
        removeOwnViews()
        self.assertEqual(len(list(self.layout.makeViews())), 24)  # one for each view, one for what it leaves behind
        made = ownViews()
        atOnce(self.layout.enter())
        slicer.app.processEvents()
        self.assertEqual(ownViews(), made)
        self.assertEqual({node.GetViewGroup() for node in made}, {VIEW_GROUP})
        self.assertEqual(list(self.layout.makeViews()), [], "there is nothing left to make")

    def test_a_layout_that_the_user_chose_meanwhile_stays(self) -> None:
        self.layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)
        self.layout.leave()
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)

    def test_rows_show_truth_reconstruction_and_difference_and_columns_the_three_planes(self) -> None:
        for row, node in zip(ROWS, (self.truth, self.reconstruction, self.difference), strict=True):
            views = list(self.layout.views(row))
            self.assertEqual([plane for plane, _, _ in views], list(PLANES))
            for plane, sliceNode, composite in views:
                self.assertEqual(composite.GetBackgroundVolumeID(), node.GetID())
                self.assertEqual(sliceNode.GetViewGroup(), VIEW_GROUP)
                self.assertEqual(sliceNode.GetOrientation(), plane)

    def test_the_users_own_views_keep_their_volume_and_window(self) -> None:
        composite = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
        self.assertNotIn(composite.GetBackgroundVolumeID(), (self.truth.GetID(), self.difference.GetID()))
        self.assertNotEqual(slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetViewGroup(), VIEW_GROUP)

    def test_a_volume_that_slicer_shows_everywhere_is_not_shown_here(self) -> None:
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveVolumeID(add_volume("new").GetID())
        slicer.app.applicationLogic().PropagateVolumeSelection(0)
        for _, _, composite in self.layout.views("Truth"):
            self.assertEqual(composite.GetBackgroundVolumeID(), self.truth.GetID())

    def test_scrolling_one_plane_scrolls_the_three_rows_and_no_other_plane(self) -> None:
        sliceNode = next(iter(self.layout.views("Truth")))[1]
        others = [node.GetSliceOffset() for plane, node, _ in self.layout.views("Difference") if plane != "Axial"]
        logic = slicer.app.applicationLogic().GetSliceLogic(sliceNode)
        logic.StartSliceOffsetInteraction()
        logic.SetSliceOffset(17.0)
        logic.EndSliceOffsetInteraction()
        for row in ROWS:
            self.assertAlmostEqual(next(iter(self.layout.views(row)))[1].GetSliceOffset(), 17.0)
        after = [node.GetSliceOffset() for plane, node, _ in self.layout.views("Difference") if plane != "Axial"]
        self.assertEqual(others, after)
        self.assertAlmostEqual(self.layout.position()[2], 17.0)

    def seenIn3D(self) -> dict[str, list[bool]]:
        return {row: [bool(node.GetSliceVisible()) for _, node, _ in self.layout.views(row)] for row in ROWS}

    def test_the_planes_of_the_reconstruction_and_no_others_are_seen_in_3d(self) -> None:
        slicer.app.processEvents()
        self.assertEqual(self.seenIn3D(), {ROWS[0]: [False] * 3, ROWS[1]: [True] * 3, ROWS[2]: [False] * 3})

    @unittest.skipUnless(hasattr(slicer.vtkMRMLSliceNode, "GetSliceEdgeVisibility3D"), "older than Slicer 5.13")
    def test_no_frame_is_drawn_around_a_plane_in_3d(self) -> None:
        frames = [node.GetSliceEdgeVisibility3D() for row in ROWS for _, node, _ in self.layout.views(row)]
        self.assertEqual(frames, [False] * 9)

    def test_a_plane_that_is_shown_in_3d_by_its_own_button_shows_no_others(self) -> None:
        """Slicer's button passes it on to linked views; also when a program changed it, for then it clicks itself."""
        sliceNode = next(iter(self.layout.views(ROWS[0])))[1]
        logic = slicer.app.applicationLogic().GetSliceLogic(sliceNode)
        logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceVisibleFlag)
        sliceNode.SetSliceVisible(True)
        logic.EndSliceNodeInteraction()
        self.assertEqual(self.seenIn3D(), {ROWS[0]: [True, False, False], ROWS[1]: [True] * 3, ROWS[2]: [False] * 3})

    def test_a_volume_that_is_shown_leaves_with_its_display_and_gets_no_other(self) -> None:
        kind = "vtkMRMLScalarVolumeDisplayNode"
        before = slicer.mrmlScene.GetNumberOfNodesByClass(kind)
        Nodes.remove(self.difference)
        slicer.app.processEvents()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass(kind), before - 1)

    def test_all_planes_begin_at_the_middle_of_the_reconstruction(self) -> None:
        np.testing.assert_allclose(self.layout.position(), centre(self.reconstruction), atol=1e-6)

    def test_the_3d_view_looks_at_the_reconstruction_from_behind_and_from_the_right(self) -> None:
        cameras = slicer.util.getNodesByClass("vtkMRMLCameraNode")
        camera = next(node for node in cameras if node.GetLayoutName() == THREE_D)
        np.testing.assert_allclose(camera.GetFocalPoint(), centre(self.reconstruction), atol=1e-6)
        direction = np.subtract(camera.GetPosition(), camera.GetFocalPoint())
        self.assertEqual((direction > 0).tolist(), [True, False, True])  # right, behind, above
        near, far = camera.GetCamera().GetClippingRange()
        self.assertTrue(
            near < np.linalg.norm(direction) - 100.0 and far > np.linalg.norm(direction) + 100.0, (near, far)
        )

    def test_views_have_one_scale_and_hold_the_whole_reconstruction(self) -> None:
        for row in ROWS:
            for _, sliceNode, _ in self.layout.views(row):
                columns, lines, _ = sliceNode.GetDimensions()
                width, height, _ = sliceNode.GetFieldOfView()
                self.assertAlmostEqual(width / columns, height / lines, places=3)
                self.assertGreaterEqual(min(width, height), 100.0)

    def test_an_oblique_truth_is_cut_along_its_own_axes_in_every_row(self) -> None:
        oblique = add_volume("CT", axes=turned(15.0))
        atOnce(self.layout.show(oblique, self.reconstruction, self.difference))
        for plane in range(3):
            matrices = [asArray(list(self.layout.views(row))[plane][1].GetSliceToRAS())[:3, :3] for row in ROWS]
            np.testing.assert_allclose(matrices[1], matrices[0], atol=1e-6)
            np.testing.assert_allclose(matrices[2], matrices[0], atol=1e-6)
            alignment = np.abs(matrices[0].T @ turned(15.0)).max(0)
            np.testing.assert_allclose(alignment, 1.0, atol=1e-6)


class WindowTest(SceneTest):
    def setUp(self) -> None:
        super().setUp()
        self.displays = [add_volume(name).GetDisplayNode() for name in ("CT", "R")]
        for display, window in zip(self.displays, (1234.0, 555.0), strict=True):
            display.SetAutoWindowLevel(False)
            display.SetWindowLevel(window, 10.0)
        self.shared = SharedWindow()
        self.shared.start([display.GetDisplayableNode() for display in self.displays])

    def test_a_change_in_either_volume_is_seen_in_the_other(self) -> None:
        self.displays[0].SetWindowLevel(300.0, 30.0)
        self.assertEqual(self.displays[1].GetWindow(), 300.0)
        self.displays[1].SetLevel(77.0)
        self.assertEqual(self.displays[0].GetLevel(), 77.0)

    def test_a_preset_sets_both(self) -> None:
        self.shared.set(*Comparison.WINDOWS["Lung"])
        self.assertEqual([(d.GetWindow(), d.GetLevel()) for d in self.displays], [(1500.0, -500.0)] * 2)

    def test_each_gets_its_own_window_back(self) -> None:
        self.shared.set(400.0, 40.0)
        self.shared.stop()
        self.assertEqual([d.GetWindow() for d in self.displays], [1234.0, 555.0])
        self.displays[0].SetWindow(50.0)
        self.assertEqual(self.displays[1].GetWindow(), 555.0)


class OverlayTest(ShownTest):
    def setUp(self) -> None:
        super().setUp()
        self.shared = SharedWindow()
        self.shared.start([self.truth, self.reconstruction])
        self.overlay = Overlay(self.layout, self.shared)
        self.overlay.start(self.truth, self.reconstruction)

    def tearDown(self) -> None:
        self.overlay.stop()
        self.shared.stop()
        super().tearDown()

    def composites(self):
        return [composite for _, _, composite in self.layout.views("Reconstruction")]

    def foreground(self, plane: str) -> np.ndarray:
        index = list(PLANES).index(plane)
        node = slicer.mrmlScene.GetNodeByID(self.composites()[index].GetForegroundVolumeID())
        return slicer.util.arrayFromVolume(node)

    def test_fading_lays_the_reconstruction_over_the_truth(self) -> None:
        self.overlay.apply("Fade", 0.25)
        for composite in self.composites():
            self.assertEqual(composite.GetBackgroundVolumeID(), self.truth.GetID())
            self.assertEqual(composite.GetForegroundVolumeID(), self.reconstruction.GetID())
            self.assertEqual(composite.GetForegroundOpacity(), 0.25)

    def test_a_checkerboard_shows_about_half_of_each(self) -> None:
        self.overlay.apply("Checkerboard", 0.5)
        shown = self.foreground("Axial") != NOT_SHOWN
        self.assertAlmostEqual(shown.mean(), 0.5, delta=0.2)

    def test_the_curtain_is_drawn_from_the_patients_right_and_in_the_sagittal_plane_from_the_front(self) -> None:
        self.overlay.apply("Curtain", 0.3)
        shown = self.foreground("Coronal") != NOT_SHOWN  # (k, j, i), i to the left, j to the back
        self.assertEqual((shown[0, 0, 0], shown[0, 0, -1], shown[-1, -1, 0]), (True, False, True))
        shown = self.foreground("Sagittal") != NOT_SHOWN
        self.assertEqual((shown[0, 0, 0], shown[0, -1, 0], shown[-1, 0, -1]), (True, False, True))

    def test_a_curtain_that_is_open_shows_the_truth_alone_and_one_that_is_closed_the_reconstruction(self) -> None:
        self.overlay.apply("Curtain", 0.0)
        self.assertFalse((self.foreground("Axial") != NOT_SHOWN).any())
        self.overlay.apply("Curtain", 1.0)
        np.testing.assert_array_equal(self.foreground("Axial"), slicer.util.arrayFromVolume(self.reconstruction))

    def test_side_by_side_again_the_reconstruction_stands_alone_and_the_copies_are_gone_in_the_end(self) -> None:
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        self.overlay.apply("Checkerboard", 0.5)
        Nodes.remove(*self.overlay.handOver())
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), before)
        for composite in self.composites():
            self.assertEqual(composite.GetBackgroundVolumeID(), self.reconstruction.GetID())
            self.assertIsNone(composite.GetForegroundVolumeID())

    def test_the_copies_follow_the_shared_window(self) -> None:
        self.overlay.apply("Curtain", 0.5)
        self.shared.set(400.0, 40.0)
        node = slicer.mrmlScene.GetNodeByID(self.composites()[0].GetForegroundVolumeID())
        self.assertEqual(node.GetDisplayNode().GetWindow(), 400.0)


class ReportTest(SceneTest):
    def test_the_table_states_unit_range_and_region_of_every_figure(self) -> None:
        rows = {(row[0], row[5]): row for row in ComparisonReport.tableRows(FIGURES, [{"angle_deg": 0.0, "rmse": 0.1}])}
        self.assertEqual(rows["MAE", "honest"][1:4], ("45.7", "130.2", "HU"))
        self.assertEqual(rows["RMSE", "honest"][1:3], ("110.4", "250.0"))  # 20 dB below a peak of 2500
        self.assertEqual(rows["PSNR", "honest"][4], "2500")
        self.assertEqual(rows["PSNR", "x2ct"][4], "2500, peak 4095")
        self.assertEqual(rows["SSIM", "honest"][1:3], ("0.812", "0.710"))
        self.assertEqual(rows["MAE bone", "honest"][2], "")
        self.assertEqual(rows["Reprojection, 0 deg", "X-ray"][1], "5.0")

    def test_the_table_node_holds_what_the_csv_file_holds(self) -> None:
        rows = ComparisonReport.tableRows(FIGURES)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
        ComparisonReport.fillTable(node, rows)
        self.assertEqual((node.GetNumberOfRows(), node.GetNumberOfColumns()), (len(rows), 6))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "figures.csv"
            ComparisonReport.writeCsv(path, rows, {"model": "m", "seed": "3"}, "Research only")
            with path.open(newline="", encoding="utf-8") as file:
                lines = list(csv.reader(file))
        self.assertEqual(tuple(lines[0]), ComparisonReport.TABLE_COLUMNS)
        self.assertEqual([tuple(line) for line in lines[1 : len(rows) + 1]], rows)
        self.assertIn(["Notice", "Research only"], lines)
        self.assertIn(["model", "m"], lines)

    def test_a_profile_reads_both_volumes_at_the_same_points(self) -> None:
        truth = add_volume("CT", axes=turned(30.0), size=(40, 40, 40))
        reconstruction = add_volume("R", lambda at: linear_hu(at) + 10.0)
        start, end = np.array([20.0, -10.0, 5.0]), np.array([-15.0, 12.0, -8.0])
        values = LineProfile.profile(truth, reconstruction, start, end)
        self.assertAlmostEqual(values[-1, 0], np.linalg.norm(end - start))
        at = start + np.linspace(0, 1, len(values))[:, None] * (end - start)
        np.testing.assert_allclose(values[:, 1], linear_hu(at), atol=1.0)
        np.testing.assert_allclose(values[:, 2], linear_hu(at) + 10.0, atol=1.0)

    def test_beyond_a_volume_a_profile_holds_nothing(self) -> None:
        values = alongLine(add_volume("CT"), np.array([0.0, 0.0, 0.0]), np.array([0.0, 0.0, 400.0]), 11)
        self.assertTrue(np.isfinite(values[0]))
        self.assertTrue(np.isnan(values[-1]))

    def test_a_plot_shows_two_curves_and_leaves_nothing_behind(self) -> None:
        Nodes.subjectHierarchy()  # makes the node that every scene has
        before = slicer.mrmlScene.GetNumberOfNodes()
        plot = LineProfile.ProfilePlot()
        plot.show(np.zeros((5, 3)))
        plot.show(np.ones((7, 3)))
        self.assertEqual(plot.chart.GetNumberOfPlotSeriesNodes(), 2)
        self.assertEqual(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode").GetNumberOfRows(), 7)
        Nodes.remove(*plot.handOver())
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_the_legend_of_a_plot_covers_no_curve(self) -> None:
        plot = LineProfile.ProfilePlot()
        plot.show(np.array([[0.0, -1000.0, np.nan], [1.0, 200.0, 400.0]]))
        self.assertFalse(plot.chart.GetYAxisRangeAuto())
        low, high = plot.chart.GetYAxisRange()
        self.assertLess(low, -1000.0)
        self.assertAlmostEqual(high, 400.0 + LineProfile.LEGEND_ROOM * 1400.0)
        plot.show(np.zeros((0, 3)))  # a line without length: the axis stays
        self.assertEqual(plot.chart.GetYAxisRange(), (low, high))
        Nodes.remove(*plot.handOver())

    def test_a_line_that_was_stopped_before_it_had_ends_gets_them_the_next_time(self) -> None:
        volumes, profile = (add_volume("CT"), add_volume("R")), LineProfile.LineProfile()
        stopped = profile.show(*volumes, np.zeros(3), None)
        next(stopped)
        stopped.close()
        line = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
        self.assertEqual(line.GetNumberOfControlPoints(), 0)
        atOnce(profile.show(*volumes, np.zeros(3), None))
        self.assertEqual(line.GetNumberOfControlPoints(), 2)
        self.assertIsNotNone(line.GetDisplayNode())
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode"), 1)
        Nodes.remove(*profile.handOver())

    def test_the_picture_shows_the_patients_right_at_the_left_and_the_head_on_top(self) -> None:
        def ball(at: np.ndarray) -> np.ndarray:
            return np.where(np.linalg.norm(at - np.array([-30.0, 25.0, 20.0]), axis=1) < 12, 1000.0, -1000.0)

        volumes = [add_volume(name, ball, size=(30, 30, 30)) for name in ("CT", "R")]
        volumes.append(atOnce(makeDifference(*volumes)))
        rgb = atOnce(ComparisonReport.picture(volumes, (-30.0, 25.0, 20.0), (2000.0, 0.0), 500.0, ["text"]))
        tiles = [rgb[100:420, 12 + 332 * column : 332 * (column + 1)].astype(int) for column in range(3)]
        for tile, (right, down) in zip(tiles, ((True, False), (True, False), (False, False)), strict=True):
            grey = np.where(np.ptp(tile, axis=2) == 0, tile[..., 0], 0)  # the letters are coloured
            row, column = np.argwhere(grey == 255).mean(0)
            self.assertEqual((column > 160, row > 160), (right, down))


class PanelTest(SceneTest):
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
        wait_until(
            lambda: not self.panel.isRunning and not self.panel.screen.isOpening and not self.panel.screen.isDrawing
        )

    def test_when_the_module_goes_the_comparison_is_gone_at_once(self) -> None:
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
        self.compared()
        self.assertGreater(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), before)
        table = self.panel.table
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
        values = slicer.util.arrayFromVolume(self.panel.difference)
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
        wait_until(lambda: not self.panel.isRunning)
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
        wait_until(lambda: not self.panel.isRunning)
        self.assertIsNotNone(self.panel.difference)
        self.assertIn("PyTorch is not installed. Install it.", self.ui.statusLabel.text)
        self.assertFalse(self.ui.csvButton.enabled)

    def test_volumes_that_do_not_overlap_are_named_and_the_worker_is_not_kept_busy(self) -> None:
        far = add_volume("far", centre=(900, 0, 0))
        self.panel.setTruth(far)
        self.panel.setReconstruction(self.reconstruction)
        self.ui.compareButton.click()
        wait_until(lambda: not self.panel.isRunning)
        self.assertIn("do not overlap", self.ui.statusLabel.text)
        self.assertEqual(self.logic.runs[0].state, "cancelled")

    def test_deleting_a_compared_volume_ends_the_comparison(self) -> None:
        self.compared()
        slicer.mrmlScene.RemoveNode(self.truth)
        self.assertIsNone(self.panel.difference)
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.assertIn("deleted", self.ui.statusLabel.text)
        self.assertIsNone(self.ui.truthSelector.currentNode())  # and not the volume listed before it

    def test_closing_the_scene_ends_the_comparison(self) -> None:
        self.compared()
        slicer.mrmlScene.Clear(0)
        self.assertIsNone(self.panel.difference)
        self.assertFalse(self.panel.screen.layout.isShown)

    def test_the_difference_limit_sets_a_window_symmetric_around_zero(self) -> None:
        self.compared()
        self.ui.limitSlider.setValue(200.0)
        display = self.panel.difference.GetDisplayNode()
        self.assertEqual((display.GetWindow(), display.GetLevel()), (400.0, 0.0))

    def test_the_profile_follows_the_ends_of_its_line(self) -> None:
        self.compared()
        self.ui.profileButton.click()
        wait_until(lambda: not self.panel.isPlotting)
        line = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
        table = next(t for t in slicer.util.getNodesByClass("vtkMRMLTableNode") if "profile" in t.GetName())
        self.assertEqual(table.GetTable().GetColumnName(1), "CT (HU)")
        line.RemoveNthControlPoint(1)  # a user may delete an end and set it anew
        line.AddControlPoint(vtk.vtkVector3d(0.0, 0.0, 10.0))
        line.SetNthControlPointPositionWorld(0, 0.0, 0.0, 0.0)
        line.SetNthControlPointPositionWorld(1, 0.0, 20.0, 0.0)
        self.assertAlmostEqual(float(table.GetTable().GetColumn(1).GetValue(0)), 100.0, delta=1.0)
        self.assertAlmostEqual(float(table.GetTable().GetColumn(1).GetValue(256)), 160.0, delta=1.0)

    def test_table_and_picture_are_written_without_naming_the_volumes(self) -> None:
        self.truth.SetName("Doe^Jane")
        self.reconstruction.SetAttribute("CLSDM.model", "openkbp64")
        self.compared()
        with tempfile.TemporaryDirectory() as folder:
            self.panel.exportCsv(str(Path(folder) / "t.csv"))
            text = (Path(folder) / "t.csv").read_text(encoding="utf-8")
            self.panel.exportPng(str(Path(folder) / "p.png"))
            wait_until(lambda: self.ui.pngButton.enabled)
            picture = sitk.ReadImage(str(Path(folder) / "p.png"))
        self.assertNotIn("Jane", text)
        self.assertIn("openkbp64", text)
        self.assertEqual(picture.GetNumberOfComponentsPerPixel(), 3)

    def test_a_picture_that_cannot_be_written_is_said(self) -> None:
        self.compared()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "p.png").mkdir()
            self.panel.exportPng(str(Path(folder) / "p.png"))
            self.assertFalse(self.ui.pngButton.enabled)
            wait_until(lambda: self.ui.pngButton.enabled)
        self.assertIn("cannot be written", self.ui.statusLabel.text)

    def test_a_comparison_that_is_forgotten_writes_no_picture(self) -> None:
        self.compared()
        with tempfile.TemporaryDirectory() as folder:
            self.panel.exportPng(str(Path(folder) / "p.png"))
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
            self.assertEqual(composite.GetBackgroundVolumeID(), self.panel.difference.GetID())

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
        wait_until(lambda: not self.panel.isRunning)
        self.assertIn("do not overlap", self.ui.statusLabel.text)
        self.assertEqual(self.layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def test_the_overlay_comes_back_with_the_layout(self) -> None:
        self.compared()
        self.ui.overlayComboBox.setCurrentIndex(2)
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


class GeometryTest(SceneTest):
    def test_corners_are_the_outer_corners_of_the_outermost_voxels(self) -> None:
        node = add_volume("CT", size=(10, 20, 30), spacing=(1.0, 2.0, 3.0), centre=(5, 6, 7), axes=LPS)
        np.testing.assert_allclose(np.ptp(corners(node), axis=0), (10, 40, 90))
        np.testing.assert_allclose(centre(node), (5, 6, 7))
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        np.testing.assert_allclose(asArray(ijkToWorld(node)), asArray(matrix))


if __name__ == "__main__":
    unittest.main()
