"""X-rays of a loaded CT from the panel."""

import types
import unittest

import slicer
from fakes import FakeLogic
from volumes import add_volume

from CLSDMReconstructionLib.worker.Runs import ReconstructionError
from CLSDMReconstructionLib.xrays.SimulatePanel import SimulatePanel
from CLSDMReconstructionLib.xrays.Simulation import parseAngles, presets


class AnglesTest(unittest.TestCase):
    def test_angles_are_read_as_people_write_them(self) -> None:
        for text in ("0, 90", "0 90", " 0°; 90° "):
            self.assertEqual(parseAngles(text), (0.0, 90.0))
        self.assertEqual(parseAngles("-90.5"), (-90.5,))

    def test_what_is_no_list_of_different_angles_is_refused_with_what_was_expected(self) -> None:
        for text in ("", "a", "0, 0", "0, 360", "1 2 3 4 5 6 7 8 9", "nan", "inf", "1000"):
            with self.subTest(text), self.assertRaisesRegex(ValueError, "expected"):
                parseAngles(text)

    def test_every_machine_of_the_core_is_offered(self) -> None:
        self.assertEqual(set(presets()), {"chest", "c-arm", "linac-kv", "x2ct"})


class PanelTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.ct = add_volume("CT")
        self.logic, self.made = FakeLogic(), []
        self.panel = SimulatePanel(self.logic)
        self.addCleanup(self.panel.cleanup)
        self.panel.onXRays(self.made.append)
        self.panel.setMRMLScene(slicer.mrmlScene)
        self.panel.setTruth(self.ct)
        self.ui = self.panel.ui

    def test_a_click_asks_for_the_x_rays_and_hands_them_on(self) -> None:
        self.ui.anglesLineEdit.setText("0, 90, 45")
        self.ui.simulateButton.click()
        wanted = {"ct": self.ct, "preset": "chest", "angles": (0.0, 90.0, 45.0)}
        self.assertEqual(self.logic.runs[0].arguments, wanted)
        result = types.SimpleNamespace(files=["a", "b", "c"], nodes=[], angles=[0.0, 90.0, 45.0])
        self.logic.runs[-1].finish(result)
        self.assertEqual(self.made, [result])
        self.assertIs(self.panel.ct, self.ct)
        self.assertIn("3 X-rays", self.ui.statusLabel.text)

    def test_wrong_angles_and_a_missing_ct_are_named_on_the_disabled_button(self) -> None:
        self.ui.anglesLineEdit.setText("0, zero")
        self.assertFalse(self.ui.simulateButton.enabled)
        self.assertIn("zero", self.ui.simulateButton.toolTip)
        self.ui.anglesLineEdit.setText("0")
        self.panel.setTruth(None)
        self.assertIn("Choose a CT", self.ui.simulateButton.toolTip)

    def test_the_button_cancels_while_it_runs(self) -> None:
        self.ui.simulateButton.click()
        self.assertEqual(self.ui.simulateButton.text, "Cancel")
        self.ui.simulateButton.click()
        self.assertEqual(self.logic.runs[0].state, "cancelled")
        self.assertEqual(self.ui.simulateButton.text, "Make X-rays")

    def test_a_deleted_ct_leaves_nothing_chosen_and_not_the_volume_listed_before_it(self) -> None:
        other = add_volume("another CT")
        self.panel.setTruth(other)
        self.ui.simulateButton.click()
        slicer.mrmlScene.RemoveNode(other)
        self.assertIsNone(self.ui.ctSelector.currentNode())
        self.logic.runs[-1].finish(types.SimpleNamespace(files=["a"], nodes=[], angles=[0.0]))
        self.assertIsNone(self.panel.ct)  # nothing could be compared with it
        self.assertIn("Choose a CT", self.ui.simulateButton.toolTip)

    def test_a_failure_says_what_happened_and_what_to_do(self) -> None:
        self.ui.simulateButton.click()
        self.logic.runs[-1].fail(ReconstructionError("input", "The CT is too large.", "Crop it."))
        self.assertEqual(self.ui.statusLabel.text, "The CT is too large. Crop it.")
        self.assertTrue(self.ui.simulateButton.enabled)
        self.assertEqual(self.made, [])
