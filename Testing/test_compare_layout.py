"""The layout of a comparison."""

import unittest
import xml.etree.ElementTree as ET

import numpy as np
import qt
import slicer
import vtk
from compare_case import ShownTest, ownViews, removeOwnViews
from volumes import add_volume, turned

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Steps import atOnce
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
from CLSDMReconstructionLib.scene.Sampling import asArray, centre

SMALL_SCREEN_PIXELS, PANEL_PIXELS = 1280, 340


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
                self.assertEqual([len(list(part.iter("view"))) for part in (planes, others)], [9, 2])
        viewport.resize(*size)

    def test_three_planes_and_the_panel_find_room_on_a_small_screen_with_labels_in_full(self) -> None:
        atOnce(self.layout.makeViews())
        manager, planes = slicer.app.layoutManager(), [(row, plane) for row in ROWS for plane in PLANES]
        for row, plane in planes:
            widget = manager.sliceWidget(viewTag(row, plane))
            label = slicer.util.findChild(widget.sliceController(), "ViewLabel")
            self.assertGreater(label.minimumWidth, qt.QFontMetrics(label.font).horizontalAdvance(row))
            self.assertEqual(widget.sliceController().sliceOffsetSlider().spinBoxVisible, row == ROWS[0])
        viewport = manager.viewport()
        size = viewport.width, viewport.height
        self.layout.leave()
        viewport.resize(WIDE_PIXELS - 1, 700)
        atOnce(self.layout.enter())
        slicer.app.processEvents()
        self.assertLessEqual(viewport.layout().totalMinimumSize().width() + PANEL_PIXELS, SMALL_SCREEN_PIXELS)
        viewport.resize(*size)

    def test_the_first_time_the_layout_grows_view_by_view_and_later_it_comes_at_once(self) -> None:
        self.layout.leave()
        # The user's views go, then come three rows and what is beside them, then all together.
        growing = [0, *(1, 2, 3) * 3, 1, 2, 6, 9, 11]
        for layout, expected in ((ComparisonLayout(), growing), (self.layout, [11])):
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
        self.assertEqual(heard, [0, *(1, 2, 3) * 3, 1, 2, 6, 9, 11])

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
