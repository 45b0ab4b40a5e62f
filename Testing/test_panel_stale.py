"""What the panel says is of the X-rays, the CT and the scene that are there now."""

import slicer
from panel_case import PanelCase, saveAndReopen
from volumes import add_volume

from CLSDMReconstructionLib.worker.Runs import ReconstructionError


class StaleTest(PanelCase):
    def setUp(self) -> None:
        super().setUp()
        self.fillSlots()

    def reconstruct(self) -> object:
        self.ui.reconstructButton.click()
        run = self.logic.runs[-1]
        run.finish(self.result())
        return run

    @property
    def truth(self):
        return self.panel.compare.ui.truthSelector

    def test_the_truth_that_the_user_chose_outlasts_a_reconstruction(self) -> None:
        sample, own = add_volume("sample"), add_volume("own")
        self.panel.parameters.groundTruth = sample
        self.assertIs(self.truth.currentNode(), sample)
        self.truth.setCurrentNode(own)
        self.reconstruct()
        self.assertIs(self.truth.currentNode(), own)

    def test_the_truth_is_chosen_again_in_a_scene_that_is_opened(self) -> None:
        self.truth.setCurrentNode(add_volume("own"))
        saveAndReopen(self.folder / "scene")
        self.assertEqual(self.truth.currentNode().GetName(), "own")

    def test_a_volume_of_the_next_scene_is_offered_though_it_has_an_old_id(self) -> None:
        first = add_volume("first")
        self.panel.exit()
        self.panel.enter()
        self.assertIs(self.truth.currentNode(), first)
        name = first.GetID()
        slicer.mrmlScene.Clear(0)
        self.panel.exit()
        second = add_volume("second")
        self.panel.enter()
        self.assertEqual((self.truth.currentNode(), second.GetID()), (second, name))

    def test_done_says_how_well_the_volume_explains_its_x_rays(self) -> None:
        self.reconstruct()
        self.assertRegex(self.ui.stageLabel.text, r"^Done in 1\.2 s\. The volume explains its X-rays\.$")

    def test_other_x_rays_make_the_result_an_old_one_until_they_are_back(self) -> None:
        self.reconstruct()
        self.ui.swapButton.click()
        self.assertIn("other X-rays", self.ui.verdictLabel.text)
        self.assertEqual(self.ui.stageLabel.text, "")
        self.ui.swapButton.click()
        self.assertIn("explains its X-rays", self.ui.verdictLabel.text)

    def test_an_error_goes_with_the_x_rays_that_it_is_about(self) -> None:
        self.ui.reconstructButton.click()
        self.logic.runs[-1].fail(ReconstructionError("input", "X-ray 1 cannot be used"))
        self.assertTrue(self.ui.errorFrame.visible)
        self.drop(self.frontal.widget, self.xrayFile("other.dcm"))
        self.assertFalse(self.ui.errorFrame.visible)

    def test_a_deleted_result_leaves_none_in_its_place(self) -> None:
        self.reconstruct()
        last = self.reconstruct().result.volumeNode
        slicer.mrmlScene.RemoveNode(last)
        slicer.app.processEvents()
        self.assertIsNone(self.ui.reconstructionSelector.currentNode())
        self.assertEqual(self.ui.verdictLabel.text, "")

    def test_what_is_said_of_the_last_run_goes_with_its_volume_and_with_no_other(self) -> None:
        first = self.reconstruct().result.volumeNode
        last = self.reconstruct().result.volumeNode
        slicer.mrmlScene.RemoveNode(first)
        self.assertIn("explains", self.ui.stageLabel.text)
        slicer.mrmlScene.RemoveNode(last)
        self.assertEqual(self.ui.stageLabel.text, "")

    def test_a_new_pair_takes_the_further_views_of_the_old_one_away(self) -> None:
        files = [self.xrayFile(f"new-{name}.dcm", name, PatientID="2", StudyInstanceUID="4.5") for name in ("PA", "LL")]
        for place in ("between the slots", "on a slot"):
            with self.subTest(place):
                view = self.panel.xrays.addView()
                self.drop(view.widget, self.xrayFile("third.dcm"))
                self.drop(self.frontal.widget if place == "on a slot" else self.ui.slotArea, *files)
                self.assertEqual(
                    [xray and xray.path for xray in self.panel.xrays.xrays()], [str(file) for file in files]
                )
