"""Views that are held draw nothing; let go, each draws once, in a turn of its own."""

import unittest
from unittest import mock

import slicer
from scene_case import waitFor

from CLSDMReconstructionLib.scene.HeldViews import HeldViews

FOUR_UP = ("Red", "Green", "Yellow")


class HeldViewsTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.util.mainWindow().show()
        self.manager = slicer.app.layoutManager()
        if self.manager is None:
            self.skipTest("needs the views of a main window")
        self.manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        slicer.app.processEvents()
        waitFor(lambda: all(self.enabled()))  # whatever another test had begun
        for view in (*map(self.view, FOUR_UP), self.manager.threeDWidget(0).threeDView()):
            view.forceRender()  # a view that has never drawn is not held
        self.views = HeldViews()
        self.addCleanup(self.views.stop)

    def view(self, name: str = "Red"):
        return self.manager.sliceWidget(name).sliceView()

    def enabled(self) -> list[bool]:
        return [
            *(self.view(name).renderEnabled for name in FOUR_UP),
            self.manager.threeDWidget(0).threeDView().renderEnabled,
        ]

    def waitUntilDrawn(self) -> None:
        waitFor(lambda: not self.views.isHolding)
        slicer.app.processEvents()

    def test_held_views_do_not_draw_and_draw_again_afterwards(self) -> None:
        with self.views.held():
            self.assertEqual(self.enabled(), [False] * 4)
        self.waitUntilDrawn()
        self.assertEqual(self.enabled(), [True] * 4)

    def test_they_draw_one_after_the_other(self) -> None:
        with mock.patch("CLSDMReconstructionLib.scene.HeldViews.Steps") as steps:
            with self.views.held():
                steps.assert_not_called()
            work = steps.call_args.args[0]
        self.assertEqual([sum(self.enabled()) for _ in work], [1, 2, 3, 4])

    def test_views_that_this_does_not_concern_go_on_drawing(self) -> None:
        with self.views.held([self.manager.sliceWidget("Red").mrmlSliceNode()]):
            self.assertEqual(self.enabled(), [False, True, True, True])

    def test_the_last_block_to_end_lets_them_go(self) -> None:
        with self.views.held():
            with self.views.held():
                pass
            for _ in range(5):
                slicer.app.processEvents()
            self.assertEqual(self.enabled(), [False] * 4)
        self.waitUntilDrawn()
        self.assertEqual(self.enabled(), [True] * 4)

    def test_an_error_lets_them_go_too(self) -> None:
        with self.assertRaises(ValueError), self.views.held():
            raise ValueError
        self.waitUntilDrawn()
        self.assertEqual(self.enabled(), [True] * 4)

    def test_a_view_that_somebody_else_has_stopped_stays_so(self) -> None:
        self.view().setRenderEnabled(False)
        self.addCleanup(lambda: self.view().setRenderEnabled(True))
        with self.views.held():
            pass
        self.waitUntilDrawn()
        self.assertEqual(self.enabled(), [False, True, True, True])

    def test_stopped_they_draw_when_they_will(self) -> None:
        with self.views.held():
            pass
        self.views.stop()
        self.assertEqual(self.enabled(), [True] * 4)

    def test_without_a_main_window_there_is_nothing_to_hold(self) -> None:
        headless = mock.Mock()
        headless.layoutManager.return_value = None
        with mock.patch.object(slicer, "app", headless), self.views.held():
            self.assertFalse(self.views.isHolding)
        self.assertEqual(self.enabled(), [True] * 4)
