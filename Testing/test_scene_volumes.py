"""Nodes to files and arrays and back: nothing is mirrored, moved or scaled on the way."""

from unittest import mock

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from real_worker import scene
from scene_case import SceneCase

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.scene import Volumes, XRayNodes

OBLIQUE = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
GEOMETRY = {"spacing_mm": [1.0, 2.0, 3.0], "origin_mm": [10.0, -20.0, 30.0], "direction": OBLIQUE.tolist()}


def numbers(dtype: str = "int16") -> np.ndarray:
    """(4, 3, 2) array, every voxel another."""
    return (np.arange(24).reshape(4, 3, 2) * 10 - 100).astype(dtype)


class VolumeCase(SceneCase):
    def written(self, node, name: str = "ct.mha") -> sitk.Image:
        steps = list(Volumes.writeVolume(node, self.folder / name))
        self.assertEqual(steps[-1], 1.0)
        return sitk.ReadImage(str(self.folder / name))


class VolumeTest(VolumeCase):
    """3-D volumes."""

    def test_a_voxel_lies_in_ras_where_it_lay_in_lps(self) -> None:
        node = Volumes.makeVolume(numbers(), GEOMETRY, "x")
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        x, y, z = np.array(GEOMETRY["origin_mm"]) + OBLIQUE @ (np.array([1, 2, 3]) * [1.0, 2.0, 3.0])
        found = matrix.MultiplyPoint((1, 2, 3, 1))[:3]
        self.assertTrue(np.allclose(found, (-x, -y, z)), found)

    def test_array_and_geometry_come_back_as_they_went_in(self) -> None:
        node = Volumes.makeVolume(numbers(), GEOMETRY, "x")
        self.assertTrue(np.array_equal(Volumes.voxels(node), numbers()))
        for name, value in Volumes.geometryOf(node).items():
            self.assertTrue(np.allclose(value, GEOMETRY[name]), name)

    def test_the_array_is_copied(self) -> None:
        array = numbers()
        node = Volumes.makeVolume(array, GEOMETRY, "x")
        array[:] = 0
        self.assertTrue(np.array_equal(Volumes.voxels(node), numbers()))

    def test_a_written_volume_is_read_by_itk_at_the_same_place(self) -> None:
        for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"):
            with self.subTest(dtype=dtype):
                array = np.abs(numbers(dtype)) if dtype.startswith("u") else numbers(dtype)
                image = self.written(Volumes.makeVolume(array, GEOMETRY, "x"))
                self.assertTrue(np.array_equal(sitk.GetArrayFromImage(image), array))
                self.assertTrue(np.allclose(image.GetSpacing(), GEOMETRY["spacing_mm"]))
                self.assertTrue(np.allclose(image.GetOrigin(), GEOMETRY["origin_mm"]))
                self.assertTrue(np.allclose(image.GetDirection(), OBLIQUE.ravel()))

    def test_a_large_volume_is_written_in_several_steps(self) -> None:
        with mock.patch.object(Volumes, "PIECE_BYTES", 12):
            node = Volumes.makeVolume(numbers(), GEOMETRY, "x")
            self.assertEqual(len(list(Volumes.writeVolume(node, self.folder / "ct.mha"))), 4)
        self.assertTrue(np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(self.folder / "ct.mha"))), numbers()))

    def test_a_node_that_is_deleted_meanwhile_is_written_as_it_was(self) -> None:
        with mock.patch.object(Volumes, "PIECE_BYTES", 12):
            node = Volumes.makeVolume(numbers(), GEOMETRY, "x")
            Nodes.addToScene([node])
            steps = Volumes.writeVolume(node, self.folder / "ct.mha")
            next(steps)
            Nodes.removeFromScene(node)
            del node
            list(steps)
        self.assertTrue(np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(self.folder / "ct.mha"))), numbers()))

    def test_a_linear_transform_above_the_node_counts(self) -> None:
        node = Volumes.makeVolume(numbers(), GEOMETRY, "x")
        Nodes.addToScene([node])
        transform = slicer.vtkMRMLLinearTransformNode()
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 5.0)
        transform.SetMatrixTransformToParent(matrix)
        slicer.mrmlScene.AddNode(transform)
        node.SetAndObserveTransformNodeID(transform.GetID())
        self.assertTrue(np.allclose(self.written(node).GetOrigin(), [5.0, -20.0, 30.0]))  # 5 mm to the right

    def test_hounsfield_volumes_say_so(self) -> None:
        node = Volumes.makeVolume(numbers(), GEOMETRY, "x", hounsfield=True)
        self.assertEqual(node.GetVoxelValueUnits().GetCodeMeaning(), "Hounsfield unit")
        self.assertEqual(node.GetVoxelValueQuantity().GetCodeValue(), "112031")

    def test_an_empty_volume_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "no voxels"):
            self.written(slicer.vtkMRMLScalarVolumeNode())

    def test_all_nodes_come_into_the_scene_or_none(self) -> None:
        before = scene()
        good = Volumes.makeVolume(numbers(), GEOMETRY, "good")
        with self.assertRaises(AttributeError):
            Nodes.addToScene([good, None])
        self.assertEqual(scene(), before)

    def test_names_stay_apart(self) -> None:
        nodes = [Volumes.makeVolume(numbers(), GEOMETRY, "same") for _ in range(2)]
        Nodes.addToScene(nodes)
        self.assertEqual(len({node.GetName() for node in nodes}), 2)

    def test_results_lie_under_the_study_of_their_x_rays(self) -> None:
        tree = Nodes.subjectHierarchy()
        study = tree.CreateStudyItem(tree.GetSceneItemID(), "study")
        xray, volume = (Volumes.makeVolume(numbers(), GEOMETRY, name) for name in ("xray", "volume"))
        Nodes.addToScene([xray], study)
        Nodes.addToScene([volume], Nodes.studyItem([xray]))
        self.assertEqual(tree.GetItemParent(tree.GetItemByDataNode(volume)), study)


class XRayTest(VolumeCase):
    """2-D images."""

    def image(self) -> np.ndarray:
        return np.arange(64 * 80, dtype=np.uint16).reshape(64, 80)

    def node(self):
        return Volumes.makeVolume(self.image()[None], GEOMETRY, "xray")

    def test_rows_and_columns_stay_as_they_lie(self) -> None:
        ensureCore()
        from clsdm.xray.read import read_xray

        XRayNodes.writeXRay(self.node(), self.folder / "x.nrrd")
        xray = read_xray(self.folder / "x.nrrd", 0.0)
        self.assertTrue(np.array_equal(xray.image, self.image()))
        self.assertEqual(xray.view.pixel_mm, (2.0, 1.0))

    def test_a_ct_is_no_x_ray(self) -> None:
        with self.assertRaisesRegex(ValueError, "a CT in place of an X-ray"):
            XRayNodes.writeXRay(Volumes.makeVolume(numbers(), GEOMETRY, "x"), self.folder / "x.nrrd")

    def test_a_node_without_a_file_is_written_for_as_long_as_it_is_read(self) -> None:
        with XRayNodes.xrayAsFile(self.node()) as path:
            self.assertTrue(path.is_file())
            self.assertRegex(path.name, r"^clsdm-[a-z0-9_]+\.nrrd$")
        self.assertFalse(path.exists())

    def test_a_loaded_file_is_read_again_until_the_node_changes(self) -> None:
        file = self.folder / "x.nrrd"
        XRayNodes.writeXRay(self.node(), file)
        node = slicer.util.loadVolume(str(file))
        self.assertEqual(XRayNodes.xrayFile(node), file)
        node.GetImageData().Modified()
        node.Modified()
        node.StorableModified()
        self.assertIsNone(XRayNodes.xrayFile(node))

    def test_an_exposure_lies_where_its_detector_was(self) -> None:
        view = {
            "angle_deg": 90.0, "tilt_deg": 0.0, "source_axis_mm": 1600.0, "source_detector_mm": 1800.0,
            "rows": 64, "cols": 80, "pixel_mm": [2.0, 1.0], "offset_mm": [0.0, 0.0],
        }  # fmt: skip
        node = XRayNodes.makeXRay(self.image(), view, [10.0, 20.0, 30.0], "lateral", "")
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        centre = matrix.MultiplyPoint((39.5, 31.5, 0.0, 1.0))[:3]
        self.assertTrue(np.allclose(centre, (-210.0, -20.0, 30.0)), centre)  # 200 mm to the left of the isocentre
        right = np.array(matrix.MultiplyPoint((1, 0, 0, 0))[:3])
        self.assertTrue(np.allclose(right, (0.0, -1.0, 0.0)), right)  # columns run to posterior
        down = np.array(matrix.MultiplyPoint((0, 1, 0, 0))[:3])
        self.assertTrue(np.allclose(down, (0.0, 0.0, -2.0)), down)
        self.assertEqual(XRayNodes.viewOf(node)["isocentre_mm"], [10.0, 20.0, 30.0])
