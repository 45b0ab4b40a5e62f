"""The exposures in 3-D lie where they were taken, and their pictures the right way round."""

import importlib.util
import types
import unittest

import numpy as np
import slicer
from volumes import add_volume, linear_hu
from vtk.util.numpy_support import vtk_to_numpy

from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.scene.ExposureScene import ExposureScene, frustumOf, measuredPart, texture

HAS_TORCH = importlib.util.find_spec("torch") is not None


def view(angle: float = 0.0, **other) -> dict:
    """A chest exposure as a plain table."""
    known = {"angle_deg": angle, "tilt_deg": 0.0, "source_axis_mm": 1600.0, "source_detector_mm": 1800.0,
             "rows": 40, "cols": 60, "pixel_mm": (9.0, 6.0), "offset_mm": (0.0, 0.0)}  # fmt: skip
    return known | other


def result(*angles: float, isocentre=(0.0, 0.0, 0.0)) -> types.SimpleNamespace:
    """A ReconstructionResult as far as it is looked at: X-rays with a bright corner at top left."""
    image = np.zeros((40, 60))
    image[:10, :15] = 1.0
    image[-1, -1] = np.nan
    items = [{"angle_deg": angle, "view": view(angle), "input": image, "reprojected": image} for angle in angles]
    return types.SimpleNamespace(provenance={"isocentre_lps_mm": list(isocentre)}, reprojections=items)


class FrustumTest(unittest.TestCase):
    def test_a_pa_exposure_comes_from_behind_onto_a_panel_in_front_and_a_left_lateral_from_the_right(self) -> None:
        for angle, behind in ((0.0, (0, -1, 0)), (90.0, (1, 0, 0))):  # RAS: behind is -A, right is +R
            frustum = frustumOf(view(angle))
            np.testing.assert_allclose(frustum.source, np.multiply(1600, behind), atol=1e-9)
            np.testing.assert_allclose(frustum.corners.mean(0), np.multiply(-200, behind), atol=1e-9)

    def test_a_pa_film_has_the_patients_left_at_its_right_and_the_head_on_top(self) -> None:
        top_left, top_right, bottom_right, _ = frustumOf(view(0.0)).corners
        np.testing.assert_allclose(top_right - top_left, (-360, 0, 0), atol=1e-9)  # 60 columns of 6 mm
        np.testing.assert_allclose(bottom_right - top_right, (0, 0, -360), atol=1e-9)  # 40 rows of 9 mm

    def test_a_left_lateral_film_faces_left(self) -> None:
        top_left, top_right, _, _ = frustumOf(view(90.0)).corners
        np.testing.assert_allclose(top_right - top_left, (0, -360, 0), atol=1e-9)  # columns run to posterior

    def test_everything_turns_around_the_isocentre(self) -> None:
        moved, there = frustumOf(view(30.0), (10.0, 20.0, 30.0)), frustumOf(view(30.0))
        np.testing.assert_allclose(moved.source - there.source, (-10, -20, 30), atol=1e-9)  # LPS to RAS
        np.testing.assert_allclose(moved.corners - there.corners, np.tile((-10, -20, 30), (4, 1)), atol=1e-9)

    def test_only_the_measured_part_of_a_detector_is_shown_and_it_stays_where_it_is(self) -> None:
        image = np.full((40, 60), np.nan)
        image[10:20, 30:60] = 1.0
        part, pixels = measuredPart(view(90.0, offset_mm=(4.0, -2.0)), image)
        self.assertEqual(pixels.shape, (10, 30))
        whole, shown = frustumOf(view(90.0, offset_mm=(4.0, -2.0))).corners, frustumOf(part).corners
        down, right = (whole[3] - whole[0]) / 40, (whole[1] - whole[0]) / 60
        np.testing.assert_allclose(shown[0], whole[0] + 10 * down + 30 * right, atol=1e-9)
        np.testing.assert_allclose(shown[2], whole[0] + 20 * down + 60 * right, atol=1e-9)

    @unittest.skipUnless(HAS_TORCH, "needs torch, which the projector uses")
    def test_places_agree_with_the_cameras_of_the_projector(self) -> None:
        from clsdm.geometry.cameras import Cameras
        from clsdm.geometry.view import View

        to_ras = np.array([-1.0, -1.0, 1.0])
        for angle, tilt in ((0, 0), (90, 0), (30, 10), (-90, -5), (180, 0)):
            exposure = View(angle, 700.0, 1100.0, 50, 60, (2.0, 3.0), tilt, (7.0, -11.0))
            cameras, frustum = Cameras.from_views([[exposure]]), frustumOf(vars(exposure))
            half = cameras.right[0, 0] * 1.5 + cameras.down[0, 0] * 1.0  # from a pixel's centre to its corner
            centres = cameras.pixel_centres()[0, 0]
            np.testing.assert_allclose(frustum.source, cameras.source[0, 0].numpy() * to_ras, atol=1e-3)
            np.testing.assert_allclose(frustum.corners[0], (centres[0, 0] - half).numpy() * to_ras, atol=1e-3)
            np.testing.assert_allclose(frustum.corners[2], (centres[-1, -1] + half).numpy() * to_ras, atol=1e-3)

    @unittest.skipUnless(HAS_TORCH, "needs torch, which the projector uses")
    def test_the_line_from_the_source_to_a_shadow_passes_through_what_cast_it(self) -> None:
        from clsdm.geometry.view import View
        from clsdm.simulate import simulate_xray
        from clsdm.volume.ct import CTVolume

        z, y, x = np.meshgrid(*[np.arange(-100.0, 101.0, 4.0)] * 3, indexing="ij")
        ball = np.array([40.0, -30.0, 50.0])  # LPS: left, front, head
        hu = np.where((x - ball[0]) ** 2 + (y - ball[1]) ** 2 + (z - ball[2]) ** 2 < 144, 1000.0, -1000.0)
        ct = CTVolume(hu.astype(np.float32), (4.0,) * 3, (-100.0,) * 3)
        for angle in (0.0, 90.0, 35.0):
            exposure = View(angle, 700.0, 1100.0, 100, 120, (3.0, 3.0), 5.0, (10.0, -20.0))
            image = simulate_xray(ct, exposure, (0.0, 0.0, 0.0)).image
            row, col = np.argwhere(image > 0.5 * image.max()).mean(0)
            frustum = frustumOf(vars(exposure))
            top_left, top_right, _, bottom_left = frustum.corners
            shadow = (
                top_left + (col + 0.5) / 120 * (top_right - top_left) + (row + 0.5) / 100 * (bottom_left - top_left)
            )
            along = (shadow - frustum.source) / np.linalg.norm(shadow - frustum.source)
            offset = ball * (-1, -1, 1) - frustum.source
            self.assertLess(np.linalg.norm(np.cross(offset, along)), 4.0)


class SceneTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.scene = ExposureScene()
        self.addCleanup(lambda: atOnce(self.scene.clear()))

    def test_each_exposure_has_a_picture_a_source_and_a_beam(self) -> None:
        atOnce(self.scene.show(result(0.0, 90.0)))
        self.assertEqual(len(self.scene.nodes), 6)
        detector, source, beam = self.scene.nodes[:3]
        self.assertIsNotNone(detector.GetDisplayNode().GetTextureImageDataConnection())
        np.testing.assert_allclose(
            np.array(source.GetPolyData().GetBounds()).reshape(3, 2).mean(1), (0, -1600, 0), atol=1
        )
        self.assertEqual(beam.GetPolyData().GetNumberOfLines(), 8)

    def test_the_picture_lies_on_the_plane_as_it_is_hung(self) -> None:
        atOnce(self.scene.show(result(0.0)))
        poly = self.scene.nodes[0].GetPolyData()
        points = vtk_to_numpy(poly.GetPoints().GetData())
        coordinates = vtk_to_numpy(poly.GetPointData().GetTCoords())
        right_top = points[np.argmin(np.linalg.norm(coordinates - (0.0, 1.0), axis=1))]  # left column, first row
        self.assertGreater(right_top[0], 0)  # patient's right
        self.assertGreater(right_top[2], 0)  # head

    def test_a_second_reconstruction_takes_the_place_of_the_first(self) -> None:
        atOnce(self.scene.show(result(0.0, 90.0)))
        atOnce(self.scene.show(result(45.0)))
        exposures = [
            node for node in slicer.util.getNodesByClass("vtkMRMLModelNode") if node.GetAttribute("CLSDM.role")
        ]
        self.assertEqual(len(exposures), 3)

    def test_it_can_be_hidden_and_leaves_nothing_behind(self) -> None:
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        before, items = slicer.mrmlScene.GetNumberOfNodes(), tree.GetNumberOfItems()
        atOnce(self.scene.show(result(0.0)))
        self.assertEqual(tree.GetNumberOfItems(), items + 4)  # a folder with three models
        self.scene.setVisible(False)
        self.assertFalse(any(node.GetDisplayVisibility() for node in self.scene.nodes))
        atOnce(self.scene.clear())
        self.assertEqual((slicer.mrmlScene.GetNumberOfNodes(), tree.GetNumberOfItems()), (before, items))

    def test_a_scene_that_was_closed_meanwhile_is_no_trouble(self) -> None:
        atOnce(self.scene.show(result(0.0)))
        slicer.mrmlScene.Clear(0)
        atOnce(self.scene.clear())
        self.assertEqual(self.scene.nodes, [])

    def test_the_volumes_of_the_scene_are_left_alone(self) -> None:
        node = add_volume("CT")
        before = slicer.util.arrayFromVolume(node).copy()
        atOnce(self.scene.show(result(0.0)))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), before)
        self.assertEqual(before[0, 0, 0], np.rint(linear_hu(np.array([[38.0, 42.0, -46.0]])))[0])


class PictureTest(unittest.TestCase):
    def test_bone_is_bright_and_what_was_not_measured_is_transparent(self) -> None:
        data = texture(result(0.0).reprojections[0]["input"])
        rgba = vtk_to_numpy(data.GetPointData().GetScalars()).reshape(40, 60, 4)
        # The first row of the X-ray is the last of the texture.
        self.assertEqual(tuple(rgba[-1, 0]), (255, 255, 255, 255))
        self.assertEqual(rgba[0, -1, 3], 0)
        self.assertEqual(tuple(rgba[0, 0]), (0, 0, 0, 255))
