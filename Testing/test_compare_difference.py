"""The difference of a reconstruction and the true CT, and where both are sampled."""

import time

import numpy as np
import slicer
import vtk
from compare_case import SceneTest
from volumes import LPS, add_volume, linear_hu, turned

from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.compare.Difference import OUTSIDE, makeDifference
from CLSDMReconstructionLib.scene.Sampling import asArray, centre, corners, ijkToWorld


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


class GeometryTest(SceneTest):
    def test_corners_are_the_outer_corners_of_the_outermost_voxels(self) -> None:
        node = add_volume("CT", size=(10, 20, 30), spacing=(1.0, 2.0, 3.0), centre=(5, 6, 7), axes=LPS)
        np.testing.assert_allclose(np.ptp(corners(node), axis=0), (10, 40, 90))
        np.testing.assert_allclose(centre(node), (5, 6, 7))
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        np.testing.assert_allclose(asArray(ijkToWorld(node)), asArray(matrix))
