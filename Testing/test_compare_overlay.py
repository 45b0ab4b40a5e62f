"""One window for both volumes, fader, checkerboard and curtain."""

import numpy as np
import slicer
from compare_case import SceneTest, ShownTest
from volumes import add_volume

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.compare.ComparisonLayout import PLANES
from CLSDMReconstructionLib.compare.Difference import WINDOWS
from CLSDMReconstructionLib.compare.Overlay import NOT_SHOWN, Overlay, SharedWindow
from CLSDMReconstructionLib.scene.Sampling import onPlane


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
        self.shared.set(*WINDOWS["Lung"])
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

    def apply(self, mode: str, fraction: float) -> None:
        atOnce(self.overlay.apply(mode, fraction))

    def composites(self):
        return [composite for _, _, composite in self.layout.views("Reconstruction")]

    def foreground(self, plane: str) -> np.ndarray:
        index = list(PLANES).index(plane)
        node = slicer.mrmlScene.GetNodeByID(self.composites()[index].GetForegroundVolumeID())
        return slicer.util.arrayFromVolume(node)

    def test_fading_lays_the_reconstruction_over_the_truth(self) -> None:
        self.apply("Fade", 0.25)
        for composite in self.composites():
            self.assertEqual(composite.GetBackgroundVolumeID(), self.truth.GetID())
            self.assertEqual(composite.GetForegroundVolumeID(), self.reconstruction.GetID())
            self.assertEqual(composite.GetForegroundOpacity(), 0.25)

    def test_a_step_makes_one_plane_and_shows_it(self) -> None:
        for mode in ("Checkerboard", "Curtain", "Fade"):
            self.apply("Side by side", 0.5)
            shown = [
                sum(composite.GetForegroundVolumeID() is not None for composite in self.composites())
                for _ in self.overlay.apply(mode, 0.5)
            ]
            self.assertEqual(shown, [1, 2, 3], mode)

    def test_stopped_between_two_planes_it_lays_nothing_over_any_more(self) -> None:
        steps = self.overlay.apply("Checkerboard", 0.5)
        next(steps)
        self.overlay.stop()
        self.assertEqual(list(steps), [])
        self.assertEqual([composite.GetForegroundVolumeID() for composite in self.composites()], [None] * 3)

    def test_a_checkerboard_shows_about_half_of_each(self) -> None:
        self.apply("Checkerboard", 0.5)
        shown = self.foreground("Axial") != NOT_SHOWN
        self.assertAlmostEqual(shown.mean(), 0.5, delta=0.2)

    def test_a_checkerboard_shows_both_in_every_plane_wherever_it_lies_and_however_large_its_squares(self) -> None:
        sides = {"Axial": ((1, 0, 0), (0, 1, 0)), "Coronal": ((1, 0, 0), (0, 0, 1)), "Sagittal": ((0, 1, 0), (0, 0, 1))}
        for number, plane in enumerate(PLANES):
            for fraction in (0.0, 0.5, 1.0):
                self.apply("Checkerboard", fraction)
                node = slicer.mrmlScene.GetNodeByID(self.composites()[number].GetForegroundVolumeID())
                right, down = sides[plane]
                for at in (0.0, 12.0):
                    middle = np.cross(right, down) * at
                    values = onPlane(node, middle, np.array(right), np.array(down), 60, 1.5)
                    shown = (values > node.GetDisplayNode().GetLowerThreshold())[np.isfinite(values)]
                    self.assertTrue(0.15 < shown.mean() < 0.8, f"{plane} at {at} mm, {fraction}: {shown.mean():.2f}")

    def test_the_curtain_is_drawn_from_the_patients_right_and_in_the_sagittal_plane_from_the_front(self) -> None:
        self.apply("Curtain", 0.3)
        shown = self.foreground("Coronal") != NOT_SHOWN  # (k, j, i), i to the left, j to the back
        self.assertEqual((shown[0, 0, 0], shown[0, 0, -1], shown[-1, -1, 0]), (True, False, True))
        shown = self.foreground("Sagittal") != NOT_SHOWN
        self.assertEqual((shown[0, 0, 0], shown[0, -1, 0], shown[-1, 0, -1]), (True, False, True))

    def test_a_curtain_that_is_open_shows_the_truth_alone_and_one_that_is_closed_the_reconstruction(self) -> None:
        self.apply("Curtain", 0.0)
        self.assertFalse((self.foreground("Axial") != NOT_SHOWN).any())
        self.apply("Curtain", 1.0)
        np.testing.assert_array_equal(self.foreground("Axial"), slicer.util.arrayFromVolume(self.reconstruction))

    def test_side_by_side_again_the_reconstruction_stands_alone_and_the_copies_are_gone_in_the_end(self) -> None:
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        self.apply("Checkerboard", 0.5)
        Nodes.remove(*self.overlay.handOver())
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), before)
        for composite in self.composites():
            self.assertEqual(composite.GetBackgroundVolumeID(), self.reconstruction.GetID())
            self.assertIsNone(composite.GetForegroundVolumeID())

    def test_the_copies_follow_the_shared_window(self) -> None:
        self.apply("Curtain", 0.5)
        self.shared.set(400.0, 40.0)
        node = slicer.mrmlScene.GetNodeByID(self.composites()[0].GetForegroundVolumeID())
        self.assertEqual(node.GetDisplayNode().GetWindow(), 400.0)
